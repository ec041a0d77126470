#!/usr/bin/env bash

# Writes the module files of all minors in hack/kubernetes/minors: go.mod for the first of
# them, hack/kubernetes/MINOR/go.mod, which differs from it by versions alone, for the others.
#
#   hack/update-kubernetes.sh

set -o errexit -o nounset -o pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# available MODULE VERSION: the version, or the last one before it that there is of its minor.
available() {
  local version
  for ((version = ${2##*.}; version >= 0; version--)); do
    if go -C / mod download "$1@${2%.*}.$version" > /dev/null 2>&1; then
      echo "${2%.*}.$version"
      return
    fi
  done
  echo "$2" # not needed, as it seems
}

default=
while read -r minor kubernetes go runtime etcd; do
  modules=go.mod
  if [[ -n $default ]]; then
    modules=hack/kubernetes/$minor/go.mod
    mkdir -p "${modules%/*}"
    cp go.mod "$modules"
    cp go.sum "${modules%mod}sum"
  fi
  default=${default:-$minor}
  echo "Kubernetes $kubernetes: $modules"
  edits=(-go "$go" -require "k8s.io/kubernetes@v$kubernetes" -require "sigs.k8s.io/controller-runtime@v$runtime")
  for module in api client/pkg client pkg server; do
    edits+=(-require "go.etcd.io/etcd/$module/v3@v$etcd")
  done
  # k8s.io/kubernetes says which of its modules are released with it.
  theirs=$(go mod download -json "k8s.io/kubernetes@v$kubernetes" | sed -n 's/^.*"GoMod": "\(.*\)".*$/\1/p')
  while read -r module; do
    edits+=(-replace "$module=$module@$(available "$module" "v0.${kubernetes#1.}")")
  done < <(sed -n 's/^.*\(k8s.io\/[a-z-]*\) => .*$/\1/p' "$theirs" | grep -vE 'sample-(controller|cli-plugin)')
  go mod edit "${edits[@]}" "$modules"
  go mod tidy -modfile="$modules"
done < <(grep -v '^#' hack/kubernetes/minors)
