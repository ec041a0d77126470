#!/usr/bin/env bash

# Writes the reference of the plugin's arguments in docs/configure.md anew, or
# prints the whole file with --print.

set -o errexit -o nounset -o pipefail
export CGO_ENABLED=0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
go -C hack run ./configreference "$root/pkg/apis/config/v1/types.go" "$root/docs/configure.md" >"$fresh"
if [[ ${1:-} == --print ]]; then
  cat "$fresh"
else
  cat "$fresh" >docs/configure.md
fi
