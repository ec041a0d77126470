#!/usr/bin/env bash

# Builds the container images of scheduler, webhook and rebalancer into dist/, or those of
# another minor than the default one into dist/kubernetes1.36/ for example, as OCI archives, each for all architectures, with bills of materials. Neither a Docker daemon
# nor a registry is needed. Two builds of the same commit have the same digest.
#
#   hack/image.sh                  all
#   hack/image.sh scheduler        one of them
#
# ARCH has the architectures, "amd64 arm64" unless it is set. VERSION and REVISION are
# those of hack/version.sh unless they are set.

set -o errexit -o nounset -o pipefail
export CGO_ENABLED=0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# Images and bills carry the time of the commit instead of that of the build.
source hack/version.sh
export ARCH=${ARCH:-amd64 arm64}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$DIST"
go -C hack build -o "$work/release" ./release

if (($# == 0)); then
  set -- scheduler webhook rebalancer
fi
for command; do
  name=hyperconverge-$command
  binaries=()
  for arch in $ARCH; do
    echo "Compiling $name $VERSION for linux/$arch: the first time takes some minutes"
    ARCH=$arch hack/release-binary.sh "$command" "$work/$name-$arch"
    binaries+=("$arch=$work/$name-$arch")
  done
  "$work/release" image "$name" "${binaries[@]}"
done
