#!/usr/bin/env bash

# Writes the version in the file VERSION into the chart, the manifests and krew's
# manifest. With --check it fails where they say another.

set -o errexit -o nounset -o pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

hack/version.sh >/dev/null # refuses what is no version
version=$(<VERSION)
stale=0
for file in charts/hyperconverge/Chart.yaml cmd/kubectl-hyperconverge/hyperconverge.yaml \
  manifests/base/scheduler/kustomization.yaml manifests/webhook/kustomization.yaml \
  manifests/rebalancer/kustomization.yaml; do
  fresh=$(sed -E "s/^(version:) .*/\1 $version/; s/^(appVersion|  version|  newTag): .*/\1: v$version/
    s#(/releases/download)/[^/]+/#\1/v$version/#" "$file")
  if [[ ${1:-} != --check ]]; then
    echo "$fresh" >"$file"
  elif ! diff -u "$file" - <<<"$fresh" || ! grep -qF ": v$version" "$file"; then
    echo "$file does not say v$version: run hack/update-version.sh and commit the result." >&2
    stale=1
  fi
done
exit $stale
