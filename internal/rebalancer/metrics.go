package rebalancer

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"k8s.io/component-base/version"

	"github.com/hyperconverge/scheduler/pkg/rebalance"
)

const metricsNamespace = "hyperconverge_rebalancer"

// Ways in which pods leave nodes whose storage is gone.
const (
	rescueEvicted  = "evicted"
	rescueDeleted  = "deleted"
	rescueDetached = "detached" // VolumeAttachments
	rescueRefused  = "refused"
	rescueFailed   = "failed"
)

// metrics are those of one controller. All series are there from the start: Prometheus
// sees an increase only of a series that it has seen before.
type metrics struct {
	registry   *prometheus.Registry
	candidates *prometheus.GaugeVec
	moves      prometheus.Gauge
	evictions  *prometheus.CounterVec
	saved      prometheus.Counter
	rescues    *prometheus.CounterVec
	blind      prometheus.Gauge
	halted     prometheus.Gauge
	held       *prometheus.GaugeVec
	dryRun     prometheus.Gauge
	underWay   prometheus.Gauge
	cooldowns  prometheus.Gauge
	lastLook   prometheus.Gauge
	lookTime   prometheus.Gauge
	failures   prometheus.Counter
}

// heldReasons are those of a Plan's Held.
var heldReasons = []rebalance.StayReason{
	rebalance.Paused, rebalance.Halted, rebalance.WindowClosed, rebalance.StorageProblem, rebalance.NodeListOld, rebalance.JournalFull,
}

func newMetrics() *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: metricsNamespace, Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: metricsNamespace, Name: name, Help: help})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		candidates: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: metricsNamespace, Name: "candidates",
			Help: "Pods that run off their data and stay where they are, by the reason."}, []string{"reason"}),
		moves: gauge("moves", "Pods that the last look would move or has moved home."),
		evictions: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: metricsNamespace, Name: "evictions_total",
			Help: "Evictions for the sake of locality by how they ended: home, nearer, elsewhere, stayed, late, not-replaced, not-begun, refused, failed."}, []string{"result"}),
		saved: counter("home_seconds_total", "Seconds that pods which were brought home have been running at home since, all together."),
		rescues: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: metricsNamespace, Name: "rescues_total",
			Help: "What was done about pods on nodes whose storage is gone: evicted, deleted, refused, failed, and detached for VolumeAttachments."}, []string{"what"}),
		blind:  gauge("rescue_blind", "1 while storage is gone from so many nodes that nobody is rescued."),
		halted: gauge("halted", "1 from when a successor was not ready in time until an administrator resumes."),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: metricsNamespace, Name: "held",
			Help: "1 for the reason for which no pod may be moved now."}, []string{"reason"}),
		dryRun:    gauge("dry_run", "1 if the controller decides and evicts nothing."),
		underWay:  gauge("evictions_under_way", "Pods that were evicted and whose successors are not ready yet."),
		cooldowns: gauge("cooldowns", "Owners that are left alone, or remembered, because a pod of theirs did not come home."),
		lastLook:  gauge("last_look_timestamp_seconds", "Unix time of the end of the last look at the cluster that succeeded; 0 before the first."),
		lookTime:  gauge("last_look_duration_seconds", "How long the last look has taken, evictions included."),
		failures:  counter("failed_looks_total", "Looks that ended with an error."),
	}
	for _, reason := range rebalance.Reasons() {
		m.candidates.WithLabelValues(string(reason))
	}
	for _, result := range rebalance.Results() {
		m.evictions.WithLabelValues(string(result))
	}
	for _, what := range []string{rescueEvicted, rescueDeleted, rescueDetached, rescueRefused, rescueFailed} {
		m.rescues.WithLabelValues(what)
	}
	build := version.Get()
	m.registry.MustRegister(m.candidates, m.moves, m.evictions, m.saved, m.rescues, m.blind, m.halted, m.held, m.dryRun, m.underWay, m.cooldowns,
		m.lastLook, m.lookTime, m.failures,
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector(),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: metricsNamespace, Name: "build_info", Help: "Always 1; the labels say which build this is.",
			ConstLabels: prometheus.Labels{"version": build.GitVersion, "commit": build.GitCommit, "go": runtime.Version()},
		}, func() float64 { return 1 }))
	return m
}

// show publishes what a look has found.
func (m *metrics) show(plan *rebalance.HomePlan, journal *rebalance.Journal) {
	counts := map[rebalance.StayReason]int{}
	for i := range plan.Kept {
		counts[plan.Kept[i].Reason]++
	}
	for _, reason := range rebalance.Reasons() {
		m.candidates.WithLabelValues(string(reason)).Set(float64(counts[reason]))
	}
	for _, reason := range heldReasons {
		m.held.WithLabelValues(string(reason)).Set(boolean(plan.Held == reason))
	}
	m.moves.Set(float64(len(plan.Moves)))
	m.halted.Set(boolean(journal.Halt != nil))
	m.underWay.Set(float64(len(journal.Evictions)))
	m.cooldowns.Set(float64(len(journal.Cooldowns)))
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
