#!/usr/bin/env bash

# Fails when the generated code is not what the generators make of the sources.

set -o errexit -o nounset -o pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

"$root/hack/update-codegen.sh" "$fresh"

if ! diff -Nru "$root/pkg/apis/config" "$fresh/pkg/apis/config"; then
  echo "Generated code is out of date: run hack/update-codegen.sh and commit the result." >&2
  exit 1
fi
