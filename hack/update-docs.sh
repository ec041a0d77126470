#!/usr/bin/env bash

# Writes the references in docs anew: the plugin's arguments in configure.md, and the
# values of the chart in helm.md.
#
#   hack/update-docs.sh [FOLDER]      writes both files into FOLDER instead of docs

set -o errexit -o nounset -o pipefail
export CGO_ENABLED=0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=$(realpath "${1:-$root/docs}")
fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT

reference() {
  go -C "$root/hack" run ./configreference "$root/$1" "$root/docs/$2" >"$fresh"
  cat "$fresh" >"$folder/$2"
}
reference pkg/apis/config/v1/types.go configure.md
reference charts/hyperconverge/values.yaml helm.md
