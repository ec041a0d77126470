#!/usr/bin/env bash
# Measures everything that docs/performance.md tells, prints the table of figures,
# and writes the page with its charts. Nothing else should run meanwhile.
#
#   test/perf/bench.sh [-quick]
#
# -quick takes few pods and one round, and only prints. SCALE=1 adds 30 000 nodes and a million
# volumes, which wants 24 GiB of memory.
set -euo pipefail
cd "$(dirname "$0")/../.."
export CGO_ENABLED=0

scheduling=(-perf.nodes=500,1000,5000 -perf.rounds=3 -perf.pods=500 -perf.extender-pods=60)
small=(-perf.nodes=300 -perf.rounds=1 -perf.pods=300 -perf.extender-pods=30)
own=(-perf.nodes=5000 -perf.rounds=3 -perf.pods=1000)
scale=()
heap=(-perf.rounds=3)
index=()
count=5
few=3
webhook=3
docs=(-docs docs)
minutes=48
if [[ ${1:-} == -quick ]]; then
	scheduling=(-perf.nodes=500,5000 -perf.rounds=1 -perf.pods=100 -perf.extender-pods=10)
	small=(-perf.nodes=300 -perf.rounds=1 -perf.pods=100 -perf.extender-pods=10)
	own=(-perf.nodes=5000 -perf.rounds=1 -perf.pods=300)
	heap=(-perf.rounds=1)
	index=(-steady 10s -moves 100)
	count=1
	few=1
	webhook=1
	docs=()
	minutes=20
elif [[ -n ${SCALE:-} ]]; then
	scale=(-perf.nodes=15000,30000 -perf.rounds=1 -perf.pods=200 -perf.variants=stock,LocalFirst)
	minutes=70
fi

default=$(awk '/^[^#]/ { print $1; exit }' hack/kubernetes/minors)
kubernetes=${KUBERNETES:-$default}
if [[ $kubernetes != "$default" ]]; then
	docs=() # the page is about the default
	if [[ ${GOFLAGS:-} != *"kubernetes$kubernetes"* ]]; then
		echo "Kubernetes $kubernetes is measured by: make bench KUBERNETES=$kubernetes" >&2
		exit 1
	fi
fi

folder=$(mktemp -d)
results=$folder/results.txt
# An hour's figures are not thrown away because the last one could not be had.
trap 'if (($? == 0)); then rm -rf "$folder"; else echo "What was measured is in $results; $folder/report $results prints it." >&2; fi' EXIT

echo "Compiling (minutes the first time)"
go test -c -o "$folder/perf.test" ./test/perf
go build -o "$folder/index" ./test/perf/index
env -u GOFLAGS go build -C test/perf/report -o "$folder/report" .

# run BENCHMARK FLAGS...: the API server's own log is shown only on failure.
run() {
	local benchmark=$1
	shift
	if ! (cd "$folder" && ./perf.test -test.run '^$' -test.bench "$benchmark" -test.benchtime 1x -test.timeout 2h "$@" 2>stderr.txt) |
		tee -a "$results" | awk '/pods\/s|heap-MiB|rss-MB|local-%/ { printf "." > "/dev/stderr" } /FAIL|panic|_test.go/ { print > "/dev/stderr" }'; then
		echo >&2
		tail -50 "$folder/stderr.txt" >&2
		exit 1
	fi
}

# gobench PACKAGE FLAGS...: what a package prints goes to the results.
gobench() {
	# A benchmark that fails when it is repeated does not fail the command.
	if ! go test "$1" -run '^$' "${@:2}" >"$folder/output.txt" || grep -q -- '--- FAIL' "$folder/output.txt"; then
		tail -50 "$folder/output.txt" >&2
		exit 1
	fi
	cat "$folder/output.txt" >>"$results"
	printf . >&2
}

echo "Measuring, about $minutes minutes on 2 cores"
gobench ./pkg/plugins/hyperconverge -bench '^Benchmark(PreFilter|Filter|Score|Cycle)$' -count "$count"
gobench ./pkg/plugins/hyperconverge -count "$few" \
	-bench '^Benchmark(PreFilterOfTenThousandVolumes|PreFilterBesideWaitingPods|HeapOfWaitingPods|RunningPodHeap|RunningPodChange|PreFilterOfNewVolume|HeapOfStrategies)$'
gobench ./pkg/volumes -count "$few" -bench '^Benchmark(NodeList|RollingStateChange)$'
"$folder/index" -json "${index[@]}" >>"$results"
KUBE_CACHE_MUTATION_DETECTOR=false gobench ./test/webhook -bench . -benchtime 1x -count "$webhook" -timeout 30m
run '^BenchmarkHeap$' "${heap[@]}"
# These compile a command, so that they have to run where the module is.
gobench ./test/perf -bench '^BenchmarkKubectl$' -benchtime 1x -timeout 30m -args "${heap[@]}"
gobench ./test/perf -bench '^Benchmark(Rebalancer|Homecoming)$' -benchtime 1x -timeout 30m
gobench ./test/perf -bench '^BenchmarkOwnProcess$' -benchtime 1x -timeout 30m -args "${own[@]}"
run '^BenchmarkLocalFromBirth$' "${heap[@]}"
run '^BenchmarkReaders$' "${heap[@]}" -perf.pods=500
run '^BenchmarkScheduling$' "${small[@]}"
run '^BenchmarkScheduling$' "${scheduling[@]}"
if ((${#scale[@]})); then
	run '^BenchmarkScheduling$' "${scale[@]}"
	gobench ./test/perf -bench '^BenchmarkOwnProcess$' -benchtime 1x -timeout 60m -args -perf.nodes=15000,30000 -perf.rounds=1 -perf.pods=200
	for volumes in 100000 300000 1000000; do
		"$folder/index" -json -scale -volumes "$volumes" -nodes 5000 >>"$results"
	done
fi
printf '\n\n'
"$folder/report" "${docs[@]}" -kubernetes "$kubernetes" "$results"
