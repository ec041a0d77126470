package perf

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/component-base/metrics/testutil"
	schedulermetrics "k8s.io/kubernetes/pkg/scheduler/metrics"
)

var (
	sizesFlag    = flag.String("perf.nodes", "500,1000,5000", "cluster sizes of BenchmarkScheduling")
	rounds       = flag.Int("perf.rounds", 3, "how often BenchmarkScheduling measures everything")
	podsFlag     = flag.Int("perf.pods", 500, "pods per workload in BenchmarkScheduling")
	variantsFlag = flag.String("perf.variants", "", "names of the variants that BenchmarkScheduling measures; all if empty")
	// An extender is so slow that fewer pods tell its rate as well.
	extenderPods = flag.Int("perf.extender-pods", 60, "pods per workload in BenchmarkScheduling with the extender")
)

func sizes(tb testing.TB) []int {
	var all []int
	for text := range strings.SplitSeq(*sizesFlag, ",") {
		size, err := strconv.Atoi(text)
		if err != nil {
			tb.Fatalf("-perf.nodes: %v", err)
		}
		all = append(all, size)
	}
	return all
}

// TestLocalFirstKeepsItsPromise: with LocalFirst every pod comes onto its data.
// 300 nodes are enough for kube-scheduler to look at a sample of them only.
func TestLocalFirstKeepsItsPromise(t *testing.T) {
	const nodes, pods = 300, 200
	c := newCluster(t, nodes, pods)
	for _, v := range variants {
		if !v.plugin() {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			s, err := startScheduler(t, c, v)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range workloads {
				if !w.replicated() {
					continue
				}
				m, err := s.measure(t.Context(), c, w, pods)
				if err != nil {
					t.Fatalf("%s: %v", w.name, err)
				}
				t.Logf("%s: %d of %d pods on their data", w.name, m.onData, m.scheduled)
				if m.scheduled != pods {
					t.Errorf("%s: %d pods are scheduled, want %d", w.name, m.scheduled, pods)
				}
				if (v.preference == "LocalFirst" || w.strict) && m.onData != pods {
					t.Errorf("%s: %d of %d pods are on their data, want all", w.name, m.onData, pods)
				}
			}
		})
	}
}

// BenchmarkScheduling compares the variants on all workloads and cluster sizes.
// Run it with -benchtime=1x. All variants work on the same cluster, one after the
// other, round by round; every round begins with another of them.
func BenchmarkScheduling(b *testing.B) {
	for _, nodes := range sizes(b) {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			c := newCluster(b, nodes, *podsFlag)
			for round := range *rounds {
				for i := range variants {
					v := variants[(i+round)%len(variants)]
					if *variantsFlag != "" && !slices.Contains(strings.Split(*variantsFlag, ","), v.name) {
						continue
					}
					b.Run(fmt.Sprintf("round=%d/variant=%s", round+1, v.name), func(b *testing.B) {
						benchmarkVariant(b, c, v)
					})
				}
			}
		})
	}
}

// BenchmarkReaders has 2000 readers of one shared volume scheduled, one to a node. Without
// the plugin most take over what was found for the one before; pods with volumes of the
// driver do not sign. Run it with -benchtime=1x.
func BenchmarkReaders(b *testing.B) {
	c := newCluster(b, 5000, *podsFlag)
	for round := range *rounds {
		for _, v := range rivals(round) {
			b.Run(fmt.Sprintf("round=%d/variant=%s", round+1, v.name), func(b *testing.B) {
				v.batches = true
				s, err := startScheduler(b, c, v)
				c.Must(err)
				before := hintsUsed(b)
				m, err := s.measure(b.Context(), c, readers, c.pods*readers.fold)
				c.Must(err)
				batched := 100 * (hintsUsed(b) - before) / float64(m.scheduled)
				if !v.plugin() && batched == 0 {
					b.Error("stock has batched nothing")
				}
				b.ReportMetric(0, "ns/op") // of no meaning here
				b.ReportMetric(m.throughput, "pods/s")
				b.ReportMetric(batched, "batched-%")
			})
		}
	}
}

// hintsUsed is how many pods, in this process, have taken over the search of another.
func hintsUsed(b *testing.B) float64 {
	b.Helper()
	used, err := testutil.GetCounterMetricValue(schedulermetrics.BatchAttemptStats.WithLabelValues(v1.DefaultSchedulerName, schedulermetrics.BatchAttemptHintUsed))
	if err != nil {
		b.Fatal(err)
	}
	return used
}

func benchmarkVariant(b *testing.B, c *cluster, v variant) {
	s, err := startScheduler(b, c, v)
	if err != nil {
		b.Fatal(err)
	}
	for _, w := range workloads {
		b.Run("workload="+w.name, func(b *testing.B) {
			pods := c.pods
			measured := c.pods * w.fold
			if v.extender != nil {
				pods = min(pods, *extenderPods)
				measured = pods
			}
			idle, err := s.search(b.Context(), w, pods)
			if err != nil {
				b.Fatal(err)
			}
			m, err := s.measure(b.Context(), c, w, measured)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(0, "ns/op") // of no meaning here
			b.ReportMetric(m.throughput, "pods/s")
			b.ReportMetric(float64(idle.quantile(0.5, (*cycle).filterScore)), "filter-score-p50-ns")
			b.ReportMetric(float64(idle.quantile(0.5, (*cycle).preFilter)), "prefilter-p50-ns")
			b.ReportMetric(float64(idle.quantile(0.5, (*cycle).pass)), "pass-p50-ns")
			b.ReportMetric(float64(idle.quantile(0.5, (*cycle).filter)), "filter-p50-ns")
			b.ReportMetric(float64(idle.quantile(0.5, (*cycle).score)), "score-p50-ns")
			b.ReportMetric(float64(m.loaded.quantile(0.5, (*cycle).filterScore)), "loaded-p50-ns")
			b.ReportMetric(float64(m.cpu), "cpu-ns/pod")
			if w.replicated() {
				b.ReportMetric(100*float64(m.onData)/float64(m.scheduled), "on-data-%")
			}
			if (v.preference == "LocalFirst" || v.plugin() && w.strict) && w.replicated() && m.onData != m.scheduled {
				b.Errorf("%d of %d pods are on their data, want all", m.onData, m.scheduled)
			}
		})
	}
}
