#!/usr/bin/env bash

# Fails when a go.mod or go.sum is not what `go mod tidy` would leave, or when the module files
# of the minors of Kubernetes are not what hack/update-kubernetes.sh makes.

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
done < <(git -C "$root" ls-files '*go.mod' ':!hack/kubernetes')

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
git -C "$root" ls-files -z | tar -C "$root" --null -T - -c | tar -C "$fresh" -x
"$fresh/hack/update-kubernetes.sh" > /dev/null
while IFS= read -r file; do
  if ! diff -u "$root/$file" "$fresh/$file"; then
    echo "$file is out of date: run hack/update-kubernetes.sh and commit the result." >&2
    failed=1
  fi
done < <(git -C "$root" ls-files '*.mod' '*.sum')

exit $failed
