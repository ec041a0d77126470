#!/usr/bin/env bash

# Fails when krew would not take the manifest of the kubectl plugin, or the one that is
# given.
#
#   hack/verify-krew.sh [FILE]

set -o errexit -o nounset -o pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
manifest=$(realpath "${1:-$root/cmd/kubectl-hyperconverge/hyperconverge.yaml}")
if ! said=$(go -C "$root/hack/krew" tool validate-krew-manifest -skip-install -manifest "$manifest" 2>&1); then
  echo "$said" >&2
  exit 1
fi
