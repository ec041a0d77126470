#!/usr/bin/env bash

# Fails when the alert and recording rules are not well-formed, or do not do what
# their tests want, by Prometheus' own promtool. Compiling it takes some minutes
# the first time; bin/tools keeps it.

set -o errexit -o nounset -o pipefail
export CGO_ENABLED=0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Without the clients of all clouds, which have nothing to do with rules.
go -C "$root/hack" build -tags remove_all_sd -o "$root/bin/tools/" \
  github.com/prometheus/prometheus/cmd/promtool
go -C "$root/hack" run ./monitoring "$root/manifests/monitoring/rules.yaml" >"$folder/rules.yaml"
cp "$root/hack/monitoring/rules_test.yaml" "$folder/"

"$root/bin/tools/promtool" check rules --lint=all --lint-fatal "$folder/rules.yaml"
"$root/bin/tools/promtool" test rules "$folder/rules_test.yaml"
