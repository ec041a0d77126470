#!/usr/bin/env bash

# Fails when the reference in docs/configure.md is not what the types' comments
# say.

set -o errexit -o nounset -o pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if ! diff -u "$root/docs/configure.md" <("$root/hack/update-docs.sh" --print); then
  echo "docs/configure.md is out of date: run hack/update-docs.sh and commit the result." >&2
  exit 1
fi
