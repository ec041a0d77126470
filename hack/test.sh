#!/usr/bin/env bash

# Runs go test with the arguments. Its output stays as it is; if something failed,
# the names of it and the first lines of each stand once more at the end, where
# nobody has to look for them.
#
#   hack/test.sh ./pkg/placement/... -run TestExamples

set -o nounset -o pipefail

output=$(mktemp)
trap 'rm -f "$output"' EXIT

go test "$@" 2>&1 | tee "$output"
status=${PIPESTATUS[0]}
((status == 0)) && exit

echo
echo "What failed:"
# Lines wait until their package is named, which go test does last.
awk -v most=6 '
  /^ *--- FAIL: / || /^(panic|fatal error): / || /^WARNING: DATA RACE/ || /^# / || /^\*\*\* / { left = most }
  /^ *--- (PASS|SKIP): / || /^(ok|PASS|exit status)/ { left = 0 }
  /^ok / || /^\?/ { found = "" }
  /^FAIL\t/ { printf "%s\n%s", $0, found; found = ""; left = 0; next }
  /^FAIL$/ || /^$/ { next }
  left > 0 { found = found "  " $0 "\n"; left-- }
' "$output"
exit "$status"
