package webhook

import (
	"math"
	"regexp"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"k8s.io/component-base/version"
)

const metricsNamespace = "hyperconverge_webhook"

// Results of reading an object from the API server.
const (
	lookupFound  = "found"
	lookupAbsent = "absent"
	lookupFailed = "failed"
	// lookupAborted is for what was not read: because the time was over, or because
	// too much is being read at the moment.
	lookupAborted = "aborted"
)

// Values of the labels of counters, all of which are there from the start: Prometheus
// sees an increase only of a series that it has seen before.
var (
	outcomes        = []Outcome{Mutated, Unchanged, NotOurs, Undecided, OptedOut, OtherScheduler, Pinned, Excluded, Unreadable, Crashed}
	lookupResources = []string{"persistentvolumeclaims", "persistentvolumes", "storageclasses"}
	lookupResults   = []string{lookupFound, lookupAbsent, lookupFailed, lookupAborted}
)

// metrics are those of one server; how many requests there were and how long
// they took is counted by controller-runtime, per path.
type metrics struct {
	registry *prometheus.Registry
	// pods by Outcome.
	pods *prometheus.CounterVec
	// lookups by resource and result.
	lookups *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		pods: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: metricsNamespace, Name: "pods_total",
			Help: "Pods seen at creation, by what became of them: mutated, unchanged, not-ours, undecided (a claim, volume or class is missing), opted-out, other-scheduler, pinned, excluded-namespace, unreadable, crashed.",
		}, []string{"outcome"}),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: metricsNamespace, Name: "lookups_total",
			Help: "Reads from the API server for objects that pods refer to and that the caches lack, by resource and result: found, absent, failed, aborted (not read for lack of time, or because too much is being read).",
		}, []string{"resource", "result"}),
	}
	for _, outcome := range outcomes {
		m.pods.WithLabelValues(string(outcome))
	}
	for _, resource := range lookupResources {
		for _, result := range lookupResults {
			m.lookups.WithLabelValues(resource, result)
		}
	}
	build := version.Get()
	m.registry.MustRegister(m.pods, m.lookups,
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(
			// The live heap is what the caches take; the rest is garbage in waiting.
			collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/gc/heap/live:bytes$`)})),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: metricsNamespace, Name: "build_info", Help: "Always 1; the labels say which build this is.",
			ConstLabels: prometheus.Labels{"version": build.GitVersion, "commit": build.GitCommit, "go": runtime.Version()},
		}, func() float64 { return 1 }))
	return m
}

// watchCaches shows whether the caches are complete.
func (m *metrics) watchCaches(synced func() bool) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Name: "caches_synced",
		Help: "1 when the caches of claims, volumes and classes are complete, 0 before that.",
	}, func() float64 {
		if synced() {
			return 1
		}
		return 0
	}))
}

// watchCertificate shows when the certificate that is served ends.
func (m *metrics) watchCertificate(certificates Certificates) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Name: "certificate_not_after_seconds",
		Help: "End of the validity of the serving certificate, in seconds since the epoch; NaN while there is none.",
	}, func() float64 {
		leaf, err := servedBy(certificates)
		if err != nil {
			return math.NaN()
		}
		return float64(leaf.NotAfter.Unix())
	}))
}
