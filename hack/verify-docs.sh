#!/usr/bin/env bash

# Fails when a reference in docs is not what the comments say that it is made of.

set -o errexit -o nounset -o pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"$root/hack/update-docs.sh" "$fresh"
for document in "$fresh"/*; do
  name=docs/$(basename "$document")
  if ! diff -u "$root/$name" "$document"; then
    echo "$name is out of date: run hack/update-docs.sh and commit the result." >&2
    exit 1
  fi
done
