#!/usr/bin/env bash

# Fails when the alert and recording rules are not well-formed, do not do what their
# tests want, or differ from what is generated of them; and when the scrape
# configuration is not well-formed, by Prometheus' own promtool. Compiling it takes
# some minutes the first time; bin/tools keeps it.

set -o errexit -o nounset -o pipefail
export CGO_ENABLED=0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$root/hack/update-monitoring.sh" --check

# Without the clients of all clouds, which have nothing to do with rules.
go -C "$root/hack" build -tags remove_all_sd,enable_kubernetes_sd -o "$root/bin/tools/" \
  github.com/prometheus/prometheus/cmd/promtool
cp "$root"/manifests/monitoring/scrape/{rules,scrape}.yaml "$root/hack/monitoring/rules_test.yaml" "$folder/"

"$root/bin/tools/promtool" check rules --lint=all --lint-fatal "$folder/rules.yaml"
"$root/bin/tools/promtool" test rules "$folder/rules_test.yaml"
printf 'scrape_config_files: [scrape.yaml]\nrule_files: [rules.yaml]\n' >"$folder/prometheus.yaml"
# Not the files that it names, which are those of a pod.
"$root/bin/tools/promtool" check config --syntax-only "$folder/prometheus.yaml"
