#!/usr/bin/env bash

# Fails when the code can reach a known vulnerability. Flags and packages go to
# govulncheck as they are; without any it looks at the whole module. It asks the
# Go vulnerability database over the network; -db=file:///FOLDER takes a copy.

set -o errexit -o nounset -o pipefail
export CGO_ENABLED=0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

go -C "$root/hack" build -o "$root/bin/tools/" golang.org/x/vuln/cmd/govulncheck

cd "$root"
bin/tools/govulncheck "${@:-./...}"
