#!/usr/bin/env bash

# Makes a release in dist/, that of another minor than the default one in
# dist/kubernetes1.36/ for example, and deletes the files of the one before there when it
# begins to compile: images, the kubectl plugin with krew's manifest, the chart, install.yaml
# files, bills of materials, checksums and their signature. Two runs at the same commit make
# the same files.
#
# REGISTRY is the registry and folder that the images will be pulled from; without it
# they have bare names. ARCH has the architectures of the images, "amd64 arm64" unless it
# is set; of one only, the manifests choose nodes by it. MINISIGN_KEY is a secret key of
# minisign or the path of one, MINISIGN_PASSWORD its password.

set -o errexit -o nounset -o pipefail
export CGO_ENABLED=0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

source hack/version.sh
export ARCH=${ARCH:-amd64 arm64} REGISTRY=${REGISTRY:-}
if [[ $VERSION != *-dev-* ]] && ! grep -q "^## ${VERSION%-kubernetes*} " CHANGELOG.md; then
  echo "CHANGELOG.md has no section $VERSION: make one as the comment at its top says." >&2
  exit 1
fi

if [[ -n $REGISTRY && ! $REGISTRY =~ ^[a-z0-9]([a-z0-9._/-]|:[0-9])*$ ]]; then
  echo "REGISTRY is \"$REGISTRY\": want a registry and folder as images have them, registry.example.com:5000/folder for example." >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$DIST"
go -C hack build -o "$work/release" ./release
# A key that is no good stops here, and not when all is compiled.
"$work/release" sign >/dev/null
find "$DIST" -maxdepth 1 -type f -delete # folders are those of other minors

echo "[1/5] Images for $ARCH"
hack/image.sh
echo "[2/5] kubectl plugin"
for platform in {linux,darwin,windows}-{amd64,arm64}; do
  os=${platform%-*}
  echo "Compiling kubectl-hyperconverge $VERSION for ${platform/-//}"
  file=kubectl-hyperconverge
  [[ $os != windows ]] || file+=.exe
  ARCH=${platform#*-} hack/release-binary.sh kubectl-hyperconverge "$work/plugin/$platform/$file" "$os"
done
"$work/release" plugin "$work/plugin"
hack/verify-krew.sh "$DIST/hyperconverge.yaml"
echo "[3/5] Helm chart"
"$work/release" chart
echo "[4/5] Manifests with the images of ${REGISTRY:-no registry: REGISTRY is not set}"
"$work/release" install
echo "[5/5] Checksums"
"$work/release" sign
