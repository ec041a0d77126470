#!/usr/bin/env bash

# Proves every minor of hack/kubernetes/minors: unit tests, the tests against that minor's API
# server, the demo and the quick benchmarks, one after the other. It compiles all of Kubernetes
# once for each, and takes hours. What comes of a step is written into docs/versions.md as soon as
# it ends, with the revision it was run on, so that a part can be repeated or added later.
#
#   hack/minors.sh [-quick] [MINOR...]    all of them without an argument
#
# STEPS chooses targets of make. -quick builds, vets and runs the unit tests alone, of all but the
# default minor without an argument, and only prints.

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

revision=$(git describe --always --dirty --abbrev=7 --match=)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# record MINOR COLUMN TEXT: one cell of the page's table.
record() {
  if [[ -n ${quick:-} ]]; then
    return
  fi
  awk -F ' *[|] *' -v minor="$1" -v column="$2" -v text="$3" '
    $2 == "minor" { for (i = 3; i < NF; i++) columns[$i] = i }
    $2 == minor && column in columns {
      $columns[column] = text
      line = "|"
      for (i = 2; i < NF; i++) line = line " " $i " |"
      $0 = line
      written = 1
    }
    { print }
    END { if (!written) { print "docs/versions.md has no cell for " column " of " minor > "/dev/stderr" } }
  ' docs/versions.md > "$work/page"
  cp "$work/page" docs/versions.md
}

# figure TEXT: what the log says of a figure, what it should be, and of each kind of pod.
figure() {
  awk -F '   *' -v what="$1" '$2 == what { print $4 ", " $3 " wanted (" $6 ")" }' "$work/log"
}

failed=0
for minor in "${minors[@]}"; do
  record "$minor" Kubernetes "$(awk -v minor="$minor" '$1 == minor { print $2 }' hack/kubernetes/minors)"
  for step in "${steps[@]}"; do
    echo -n "Kubernetes $minor: $step "
    start=$SECONDS
    if make --no-print-directory "$step" KUBERNETES="$minor" ${packages+UNIT_PACKAGES="${packages[*]}"} > "$work/log" 2>&1; then
      outcome=passed
    else
      outcome='**failed**'
      failed=1
    fi
    echo "$outcome, $((SECONDS - start)) s"
    [[ $outcome == passed ]] || tail -n 60 "$work/log" >&2
    record "$minor" "$step" "$outcome (\`$revision\`)"
    if [[ $step == bench-quick && $outcome == passed ]]; then
      # What the scheduler gains over that of its own minor, with few pods in one round.
      nodes='replicated volumes, 5000 nodes'
      record "$minor" throughput "$(figure "throughput, $nodes, LocalFirst ÷ stock")"
      record "$minor" Filter+Score "$(figure "Filter+Score p50, $nodes, stock ÷ LocalFirst")"
      record "$minor" CPU "$(figure "the scheduler's own CPU per pod, $nodes, stock ÷ LocalFirst")"
    fi
  done
done
exit $failed
