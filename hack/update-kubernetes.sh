#!/usr/bin/env bash

# Writes the module files of all minors in hack/kubernetes/minors: go.mod for the first of
# them, hack/kubernetes/MINOR/go.mod, which differs from it by versions alone, for the others.
#
#   hack/update-kubernetes.sh

set -o errexit -o nounset -o pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# available MODULE VERSION: the version, or the last one before it that there is of its minor.
available() {
  local version answer
  for ((version = ${2##*.}; version >= 0; version--)); do
    if answer=$(go -C / mod download "$1@${2%.*}.$version" 2>&1); then
      echo "${2%.*}.$version"
      return
    fi
    if [[ ! $answer =~ unknown\ revision|404|410|403|not\ found|invalid\ version ]]; then
      echo "$answer" >&2
      return 1
    fi
  done
  echo "$2" # not needed, as it seems
}

# pin MODULES FOLDER KUBERNETES GO RUNTIME ETCD: sets the versions in the module file MODULES of
# the module in FOLDER.
pin() {
  local edits=(-go "$4" -require "k8s.io/kubernetes@v$3" -require "sigs.k8s.io/controller-runtime@v$5") module theirs
  for module in api client/pkg client pkg server; do
    edits+=(-require "go.etcd.io/etcd/$module/v3@v$6")
  done
  # k8s.io/kubernetes says which modules are released with it.
  theirs=$(go mod download -json "k8s.io/kubernetes@v$3" | sed -n 's/^.*"GoMod": "\(.*\)".*$/\1/p')
  local version
  while read -r module; do
    version=$(available "$module" "v0.${3#1.}")
    edits+=(-replace "$module=$module@$version")
  done < <(sed -n 's/^.*\(k8s.io\/[a-z-]*\) => .*$/\1/p' "$theirs" | grep -vE 'sample-(controller|cli-plugin)')
  echo "Kubernetes $3: ${1#"$PWD/"}"
  go mod edit "${edits[@]}" "$1"
  go -C "$2" mod tidy -modfile="$1" # drops what the module does not need
}

default=
while read -r minor versions; do
  for name in go controlplane conformance; do
    case $name in
      go) folder=$PWD ;;
      controlplane) folder=$PWD/hack/controlplane ;;
      conformance) folder=$PWD/test/conformance ;;
    esac
    modules=$folder/go.mod
    if [[ -n $default ]]; then
      [[ $name != conformance ]] || continue # storage is the same on all minors
      modules=$PWD/hack/kubernetes/$minor/$name.mod
      mkdir -p "${modules%/*}"
      cp "$folder/go.mod" "$modules"
      cp "$folder/go.sum" "${modules%mod}sum"
    fi
    # shellcheck disable=SC2086 # four words
    pin "$modules" "$folder" $versions
  done
  default=${default:-$minor}
done < <(grep -v '^#' hack/kubernetes/minors)
