#!/usr/bin/env bash

# Prints the version of what is built here, which is the tag of the images, too: v and
# what VERSION says where the commit has that tag and nothing is changed, and otherwise
# a pre-release of it. Not a + and more: a tag of an image has none. With KUBERNETES, a minor
# of hack/kubernetes/minors other than the default one, the minor stands behind it.
#
# Sourced, it exports VERSION, REVISION and SOURCE_DATE_EPOCH, the time of the commit in
# seconds since 1970, unless they are set, and DIST, the folder of what is built to be
# published. What is no clone of its own is of revision unknown and of 1970.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

version=v$(<"$root/VERSION")
identifier='(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)'
if [[ ! $version =~ ^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-$identifier(\.$identifier)*)?$ ]]; then
  echo "VERSION says '${version#v}', which is no semantic version as 1.2.3 or 1.2.3-rc.1." >&2
  exit 1
fi

# ours asks git, unless this folder is a part of a repository of something else, as sources
# from an archive may be.
ours() {
  [[ $(git -C "$root" rev-parse --show-toplevel 2>/dev/null) -ef $root ]] && git -C "$root" "$@"
}
revision=$(ours rev-parse HEAD 2>/dev/null || echo unknown)
changes=$(ours status --porcelain 2>/dev/null || true)
if [[ -n $changes ]] || ! ours tag --points-at HEAD 2>/dev/null | grep -qxF "$version"; then
  # As many digits in every clone, however many objects it has.
  version+=-dev-${revision:0:12}${changes:+-dirty}
fi
if [[ -n ${KUBERNETES:-} ]] && ! cut -d' ' -f1 "$root/hack/kubernetes/minors" | grep -qxF -- "$KUBERNETES"; then
  echo "KUBERNETES says '$KUBERNETES', which is none of the minors in hack/kubernetes/minors." >&2
  exit 1
fi
export DIST=dist
if [[ -f $root/hack/kubernetes/${KUBERNETES:-}/go.mod ]]; then # not the default minor
  version+=-kubernetes$KUBERNETES
  DIST+=/kubernetes$KUBERNETES
fi
if [[ -n ${VERSION:-} && -f $root/hack/kubernetes/${KUBERNETES:-}/go.mod && $VERSION != *-kubernetes* ]]; then
  VERSION+=-kubernetes$KUBERNETES # images of several minors are not to have one tag
fi
export VERSION=${VERSION:-$version} REVISION=${REVISION:-$revision}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(ours log -1 --format=%ct 2>/dev/null || echo 0)}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  echo "$VERSION"
fi
