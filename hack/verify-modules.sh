#!/usr/bin/env bash

# Fails when a go.mod or go.sum is not what `go mod tidy` would leave, or when
# the pins that must go together do not.

set -o errexit -o nounset -o pipefail
export CGO_ENABLED=0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
failed=0

while IFS= read -r mod; do
  dir=$(dirname "$root/$mod")
  if ! go -C "$dir" mod tidy -diff; then
    echo "$mod is not tidy: run go mod tidy in $(dirname "$mod") and commit the result." >&2
    failed=1
  fi
  if strays=$(grep -E '^\s+k8s\.io/\S+ => k8s\.io/\S+ ' "$dir/go.mod" | grep -vE ' (v0\.35\.4|\S*kubernetes v1\.35\.4)$'); then
    echo "$mod replaces Kubernetes modules by another version than v0.35.4 or v1.35.4:" >&2
    echo "$strays" >&2
    failed=1
  fi
done < <(git -C "$root" ls-files '*go.mod')

exit $failed
