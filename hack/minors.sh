#!/usr/bin/env bash

# Proves every minor of hack/kubernetes/minors: unit tests, the tests against that minor's API
# server, the demo and the quick benchmarks, one after the other, and writes what came of it into
# docs/versions.md. It compiles all of Kubernetes once for each, and takes hours.
#
#   hack/minors.sh [-quick] [MINOR...]    all of them without an argument
#
# -quick builds, vets and runs the unit tests alone, of all but the default one without an
# argument. STEPS chooses targets of make. Only all steps of all minors are written.

set -o errexit -o nounset -o pipefail

# Without the flags of a minor that make was called for: each minor has its own below.
GOFLAGS=$(sed -E "s/ *('-modfile=[^']*'|-tags=kubernetes[^ ]*)//g" <<< "${GOFLAGS:-}")
[[ -n $GOFLAGS ]] && export GOFLAGS || unset GOFLAGS
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
read -ra steps <<< "${STEPS:-vet test-unit test-integration demo bench-quick}"
if [[ ${1:-} == -quick ]]; then
  shift
  steps=(vet build test-unit)
  quick=true
  # What has nothing of kube-scheduler in it is the same on all minors.
  mapfile -t packages < <(go list -f '{{.ImportPath}} {{join .Deps " "}}' ./cmd/... ./internal/... ./pkg/... | sed -n 's/ .*k8s\.io\/kubernetes\/pkg\/scheduler.*//p')
fi
minors=("$@")
if (($# == 0)); then
  mapfile -t minors < <(awk '/^[^#]/ { print $1 }' hack/kubernetes/minors)
  [[ -z ${quick:-} ]] || minors=("${minors[@]:1}")
fi

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
failed=0
for minor in "${minors[@]}"; do
  row="| $minor | $(awk -v minor="$minor" '$1 == minor { print $2 }' hack/kubernetes/minors) |"
  for step in "${steps[@]}"; do
    echo "Kubernetes $minor: $step"
    if make --no-print-directory "$step" KUBERNETES="$minor" ${packages+UNIT_PACKAGES="${packages[*]}"} > "$results/log" 2>&1; then
      row+=" passed |"
      # What the scheduler gains over that of its own minor, with few pods in one round.
      sed -n "/ LocalFirst ÷ stock  \| stock ÷ LocalFirst  /s/^ */$minor  /p" "$results/log" >> "$results/figures"
    else
      tail -n 60 "$results/log" >&2
      row+=" **failed** |"
      failed=1
    fi
  done
  echo "$row" >> "$results/rows"
done
table=$(printf '| minor | Kubernetes |'; printf ' %s |' "${steps[@]}"; printf '\n|---|---|'; printf -- '---|%.0s' "${steps[@]}"; printf '\n'; cat "$results/rows")
[[ ! -s $results/figures ]] || table+=$'\n\n```\n'$(cat "$results/figures")$'\n```'
echo "$table"
if [[ -z ${quick:-}${STEPS:-}$* ]]; then
  { sed '/make minors writes from here on/q' docs/versions.md; printf '\n%s\n' "$table"; } > "$results/page"
  cp "$results/page" docs/versions.md
fi
exit $failed
