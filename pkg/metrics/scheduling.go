// Package metrics holds the metrics of the scheduler's own plugin and of its
// volume index. They appear at /metrics beside those of kube-scheduler.
package metrics

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// Subsystem begins the names of all metrics of this project.
const Subsystem = "scheduler_hyperconverge"

var (
	// Pods is the number of pods that run, by how they stand to their data: local,
	// partly, remote, away or unknown (section 11). Only the leader reports it. The
	// namespace is empty if the namespaces are not counted by themselves.
	Pods = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Subsystem:      Subsystem,
		Name:           "pods",
		Help:           "Pods with volumes that have a node, by namespace and by how they stand to their data: local, partly (of some volumes, or of a part of one), remote, away (as their volumes want) or unknown.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"namespace", "locality"})

	// PodsBound counts pods with near volumes by how near to a replica they were
	// bound: local, partly, rack, zone, region or remote. Of several volumes the nearest
	// counts, unless the node serves some of them, or a part of one: that is partly.
	PodsBound = metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem:      Subsystem,
		Name:           "pods_bound_total",
		Help:           "Pods with volumes that want them near, by profile and by the nearest relation of their node to a replica: local (of every volume), partly (of some, or of a part of one), rack, zone, region or remote.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"profile", "relation"})

	// PreferFirst counts the prefer-first passes by what has come of them: best (a node of
	// the group with the highest score), later (one of a further group), none (the cycle
	// goes on with all nodes) or failed (a Filter plugin broke).
	PreferFirst = metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem:      Subsystem,
		Name:           "prefer_first_total",
		Help:           "Passes over the preferred nodes of a pod, by outcome: best (a node of the best group), later (one of a further group), none (all nodes are looked at) or failed.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"outcome"})

	// PreferFirstDuration is how long the passes take, with every plugin's Filter and the
	// extenders on each node that is tried: 10 µs to 160 ms.
	PreferFirstDuration = metrics.NewHistogram(&metrics.HistogramOpts{
		Subsystem:      Subsystem,
		Name:           "prefer_first_duration_seconds",
		Help:           "How long the passes over the preferred nodes of a pod take, with every plugin's Filter and the extenders.",
		Buckets:        metrics.ExponentialBuckets(10e-6, 2, 15),
		StabilityLevel: metrics.ALPHA,
	})

	// Batching is 1 for profiles that place alike pods by what was decided for the one
	// before, 0 for the others, of which off_by names what turns it off.
	Batching = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Subsystem:      Subsystem,
		Name:           "batching",
		Help:           "Whether a profile places alike pods by what was decided for the one before: 1, or 0 with the name of what turns it off, an extender or a plugin.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"profile", "off_by"})

	// HeldPods is the number of pods that were turned down on all nodes for a storage
	// reason, as long as that reason stands.
	HeldPods = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Subsystem:      Subsystem,
		Name:           "held_pods",
		Help:           "Pending pods that are held back on all nodes for a storage reason, by reason.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"reason"})

	// ActivatedPods counts the activations of pods by changes in storage, those for the
	// sake of a condition included.
	ActivatedPods = metrics.NewCounter(&metrics.CounterOpts{
		Subsystem:      Subsystem,
		Name:           "activated_pods_total",
		Help:           "Pods put back into the active queue because a change in storage helps them, or changes what they are told.",
		StabilityLevel: metrics.ALPHA,
	})

	// UnknownVolumes counts volumes that pods were scheduled without regard to.
	UnknownVolumes = metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem:      Subsystem,
		Name:           "unknown_volumes_total",
		Help:           "Volumes that a pod was scheduled without regard to, because their replicas were unknown or last known too long ago (stale).",
		StabilityLevel: metrics.ALPHA,
	}, []string{"cause"})
)

// Outcomes of PreferFirst.
const (
	PassBest   = "best"
	PassLater  = "later"
	PassNone   = "none"
	PassFailed = "failed"
)

var registerScheduling sync.Once

// RegisterScheduling registers the plugin's metrics, once per process.
func RegisterScheduling() {
	registerScheduling.Do(func() {
		legacyregistry.MustRegister(Pods, PodsBound, PreferFirst, PreferFirstDuration, Batching, HeldPods, ActivatedPods, UnknownVolumes)
	})
}
