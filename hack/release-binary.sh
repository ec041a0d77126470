#!/usr/bin/env bash

# Compiles a command as it is released: static, without paths of the machine, with
# the version stamped in. The same sources and the same Go give the same file.
#
#   hack/release-binary.sh COMMAND FILE [OS]     COMMAND is a folder of cmd/, OS linux
#                                                unless it is darwin or windows
#
# VERSION and REVISION are those of hack/version.sh unless they are set; ARCH is amd64 or
# arm64; KUBERNETES is a minor of hack/kubernetes, the default one unless it is set.
# The first time takes minutes: -trimpath compiles all of Kubernetes anew.

set -o errexit -o nounset -o pipefail

command=$1
file=$(realpath -m "$2")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

flags=
if [[ -f hack/kubernetes/${KUBERNETES:-}/go.mod ]]; then
  flags="'-modfile=$root/hack/kubernetes/$KUBERNETES/go.mod' -tags=kubernetes$KUBERNETES"
fi
kubernetes=$(GOFLAGS=$flags go list -m -f '{{.Version}}' k8s.io/kubernetes)
source hack/version.sh
stamp=k8s.io/component-base/version

# What the version control says is in the stamps; -buildvcs would make a difference
# between a checkout and an archive of the same sources.
CGO_ENABLED=0 GOOS=${3:-linux} GOARCH=${ARCH:-amd64} GOAMD64=v1 GOFLAGS=$flags go build \
  -trimpath -buildvcs=false \
  -ldflags "-s -w -buildid= -X $stamp.gitVersion=$kubernetes+hyperconverge.$VERSION -X $stamp.gitCommit=$REVISION -X $stamp.gitTreeState=" \
  -o "$file" "./cmd/$command"
