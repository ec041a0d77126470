#!/usr/bin/env bash

# Fails when krew would not take the manifest of the kubectl plugin.

set -o errexit -o nounset -o pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if ! said=$(go -C "$root/hack/krew" tool validate-krew-manifest -skip-install -manifest "$root/cmd/kubectl-hyperconverge/hyperconverge.yaml" 2>&1); then
  echo "$said" >&2
  exit 1
fi
