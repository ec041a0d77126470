#!/usr/bin/env bash

# Writes the rules for a Prometheus without operator, and those for Azure, from
# manifests/monitoring/rules.yaml. With --check it fails where they differ.

set -o errexit -o nounset -o pipefail
export CGO_ENABLED=0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

monitoring=$root/manifests/monitoring
go -C "$root/hack" run ./monitoring rules "$monitoring/rules.yaml" >"$folder/rules.yaml"
go -C "$root/hack" run ./monitoring azure "$monitoring/rules.yaml" >"$folder/rules.json"
if [[ ${1:-} == --check ]]; then
  if ! diff -u "$monitoring/scrape/rules.yaml" "$folder/rules.yaml" || ! diff -u "$monitoring/azure/rules.json" "$folder/rules.json"; then
    echo "manifests/monitoring is out of date: run hack/update-monitoring.sh and commit the result." >&2
    exit 1
  fi
else
  cat "$folder/rules.yaml" >"$monitoring/scrape/rules.yaml"
  cat "$folder/rules.json" >"$monitoring/azure/rules.json"
fi
