#!/usr/bin/env bash

# Builds the container images of the scheduler and the webhook into dist/, as OCI
# archives, each with its bill of materials. Neither a Docker daemon nor a registry
# is needed. Two builds of the same commit have the same digest.
#
#   hack/image.sh                  both
#   hack/image.sh scheduler        one of them
#
# VERSION and REVISION come from git unless they are set; ARCH is amd64 or arm64.

set -o errexit -o nounset -o pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

export VERSION=${VERSION:-$(git describe --tags --always --dirty)}
export REVISION=${REVISION:-$(git rev-parse HEAD)}
export ARCH=${ARCH:-amd64}
# Images and bills carry the time of the commit instead of that of the build.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p dist
CGO_ENABLED=0 go -C hack build -o "$work/image" ./image

if (($# == 0)); then
  set -- scheduler webhook
fi
for command; do
  name=hyperconverge-$command
  echo "Compiling $name $VERSION for linux/$ARCH: the first time takes some minutes"
  hack/release-binary.sh "$command" "$work/$name"
  "$work/image" -name "$name" -binary "$work/$name" -version "$VERSION" -revision "$REVISION" \
    -arch "$ARCH" -epoch "$SOURCE_DATE_EPOCH" -archive "dist/$name.tar" -bill "dist/$name.spdx.json"
done
