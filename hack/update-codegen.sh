#!/usr/bin/env bash

# Generates deep copies, defaults and conversions of the configuration types.
#
#   hack/update-codegen.sh           in place
#   hack/update-codegen.sh FOLDER    into FOLDER, the checkout stays as it is
#
# The generators write beside the sources that they read, so with a FOLDER the
# sources are copied there first.

set -o errexit -o nounset -o pipefail
export CGO_ENABLED=0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/bin/tools
tree=$root

go -C "$root/hack" build -o "$tools/" \
  k8s.io/code-generator/cmd/{deepcopy,defaulter,conversion}-gen

if [[ $# -gt 0 ]]; then
  mkdir -p "$1/pkg/apis"
  tree=$(cd "$1" && pwd)
  cp "$root"/go.{mod,sum} "$tree/"
  cp -R "$root/pkg/apis/config" "$tree/pkg/apis/"
  cp -R "$root/pkg/placement" "$root/pkg/spelling" "$tree/pkg/" # which the types use
fi

cd "$tree"
find pkg/apis/config -name 'zz_generated.*.go' -delete

"$tools/deepcopy-gen" \
  --go-header-file "$root/hack/boilerplate.go.txt" \
  --output-file zz_generated.deepcopy.go \
  ./pkg/apis/config ./pkg/apis/config/v1
"$tools/defaulter-gen" \
  --go-header-file "$root/hack/boilerplate.go.txt" \
  --output-file zz_generated.defaults.go \
  ./pkg/apis/config/v1
"$tools/conversion-gen" \
  --go-header-file "$root/hack/boilerplate.go.txt" \
  --output-file zz_generated.conversion.go \
  ./pkg/apis/config/v1
