#!/usr/bin/env bash

# Makes the templates of the Helm chart from the kustomizations in manifests, or writes
# them into another folder.
#
#   hack/update-chart.sh [FOLDER]

set -o errexit -o nounset -o pipefail
export CGO_ENABLED=0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=$(realpath "${1:-$root/charts/hyperconverge/templates}")

go -C "$root/hack" run ./chart "$root/manifests" "$folder"
