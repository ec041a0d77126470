#!/usr/bin/env bash

# Fails when two clones of the last commit do not make the same release. The second one
# takes nothing from the build cache: it compiles everything, Kubernetes included,
# for each architecture. ARCH=amd64 makes it half of that.

set -o errexit -o nounset -o pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for clone in first second; do
  echo "The $clone clone"
  git clone -q "$root" "$work/$clone"
  (
    [[ $clone == first ]] || export GOCACHE=$work/cache
    "$work/$clone/hack/release.sh"
  )
done
if ! diff -r "$work/first/dist" "$work/second/dist"; then
  echo "The two differ." >&2
  exit 1
fi
echo "Both have made the same $(find "$work/first/dist" -name checksums.txt -exec cat {} + | wc -l) files."
