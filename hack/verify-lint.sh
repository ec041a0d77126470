#!/usr/bin/env bash

# Runs the linters of .golangci.yaml.
#
#   hack/verify-lint.sh                      over the whole module
#   hack/verify-lint.sh ./pkg/placement/...  over some packages
#
# The linter is built from the module in hack, which takes minutes the first
# time; bin/tools keeps it.

set -o errexit -o nounset -o pipefail
export CGO_ENABLED=0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

go -C "$root/hack" build -o "$root/bin/tools/" \
  github.com/golangci/golangci-lint/v2/cmd/golangci-lint

cd "$root"
if ! bin/tools/golangci-lint run "${@:-./...}"; then
  echo "Linters found something: what they can mend, 'bin/tools/golangci-lint run --fix' and 'bin/tools/golangci-lint fmt' do." >&2
  exit 1
fi
