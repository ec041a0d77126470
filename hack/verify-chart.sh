#!/usr/bin/env bash

# Fails when the chart's templates are not what the kustomizations make of them.

set -o errexit -o nounset -o pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

cp "$root"/charts/hyperconverge/templates/* "$fresh/"
"$root/hack/update-chart.sh" "$fresh"

if ! diff -Nru "$root/charts/hyperconverge/templates" "$fresh"; then
  echo "The chart is out of date: run hack/update-chart.sh and commit the result." >&2
  exit 1
fi
