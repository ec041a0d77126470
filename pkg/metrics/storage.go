package metrics

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

var (
	// Volumes is the number of followed volumes by freshness.
	Volumes = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Subsystem:      Subsystem,
		Name:           "volumes",
		Help:           "Volumes that PersistentVolumes name, by how far the index can trust what it knows of their replicas: unknown, fresh, suspect or stale.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"freshness"})

	// Nodes is the number of Kubernetes nodes by storage state.
	Nodes = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Subsystem:      Subsystem,
		Name:           "nodes",
		Help:           "Kubernetes nodes by how storage stands there: NoDriver, Online, StorageDown, Degraded or Offline.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"state"})

	// StorageNodes is the number of storage nodes by whether they are Kubernetes
	// nodes: "true" or "false".
	StorageNodes = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Subsystem:      Subsystem,
		Name:           "storage_nodes",
		Help:           "Nodes that the storage API lists, by whether a Kubernetes node is matched to them. Replicas on unmatched ones are near to nothing.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"matched"})

	// IndexSynced is 1 once the informers' initial lists are in the index.
	IndexSynced = metrics.NewGauge(&metrics.GaugeOpts{
		Subsystem:      Subsystem,
		Name:           "index_synced",
		Help:           "1 when the index has taken in the initial lists of nodes, CSINodes and PersistentVolumes.",
		StabilityLevel: metrics.ALPHA,
	})

	// StorageLastContact is the time of the last answer that could be used, about
	// nodes or any volume, be it by the watch. An empty node list is none.
	StorageLastContact = metrics.NewGauge(&metrics.GaugeOpts{
		Subsystem:      Subsystem,
		Name:           "storage_last_contact_timestamp_seconds",
		Help:           "Unix time of the last useful answer of the storage API; 0 if there was none.",
		StabilityLevel: metrics.ALPHA,
	})

	// StorageRequests counts the calls to the storage API.
	StorageRequests = metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem:      Subsystem,
		Name:           "storage_requests_total",
		Help:           "Calls to the storage API by method and gRPC code; a watch counts when it ends.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"method", "code"})

	// StorageRequestDuration is how long unary calls took.
	StorageRequestDuration = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Subsystem:      Subsystem,
		Name:           "storage_request_duration_seconds",
		Help:           "Time until the storage API answered, by method; watches are left out.",
		Buckets:        metrics.ExponentialBuckets(0.001, 2, 14),
		StabilityLevel: metrics.ALPHA,
	}, []string{"method"})

	// StorageWatchOpen is 1 while the watch is open.
	StorageWatchOpen = metrics.NewGauge(&metrics.GaugeOpts{
		Subsystem:      Subsystem,
		Name:           "storage_watch_open",
		Help:           "1 while changes come from the storage API's watch, 0 while volumes are polled.",
		StabilityLevel: metrics.ALPHA,
	})

	// StorageWatchMessages counts the messages of the watch.
	StorageWatchMessages = metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem:      Subsystem,
		Name:           "storage_watch_messages_total",
		Help:           "Messages of the watch by what came of them: foreign (no volume of ours), confirmed or dirty (inspected then).",
		StabilityLevel: metrics.ALPHA,
	}, []string{"outcome"})

	// InspectQueue is the number of volumes that wait to be inspected.
	InspectQueue = metrics.NewGauge(&metrics.GaugeOpts{
		Subsystem:      Subsystem,
		Name:           "inspect_queue",
		Help:           "Volumes that wait to be inspected.",
		StabilityLevel: metrics.ALPHA,
	})

	// AuditedVolumes counts the comparisons of the self-audit.
	AuditedVolumes = metrics.NewCounter(&metrics.CounterOpts{
		Subsystem:      Subsystem,
		Name:           "audited_volumes_total",
		Help:           "Volumes of which the index was compared with the storage API, although nothing had made them dirty.",
		StabilityLevel: metrics.ALPHA,
	})

	// DivergentVolumes counts what the self-audit found wrong, and repaired.
	DivergentVolumes = metrics.NewCounter(&metrics.CounterOpts{
		Subsystem:      Subsystem,
		Name:           "divergent_volumes_total",
		Help:           "Audited volumes that the index had wrong. They are repaired at once; a number that grows says that the watch loses changes.",
		StabilityLevel: metrics.ALPHA,
	})

	// StorageProblems is 1 for every problem that lasts.
	StorageProblems = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Subsystem:      Subsystem,
		Name:           "storage_problem",
		Help:           "1 while the storage API has this problem, 0 afterwards. The log says what to do about it.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"reason"})
)

var registerStorage sync.Once

// RegisterStorage registers the metrics of the index and its source, once per
// process.
func RegisterStorage() {
	registerStorage.Do(func() {
		legacyregistry.MustRegister(Volumes, Nodes, StorageNodes, IndexSynced,
			StorageLastContact, StorageRequests, StorageRequestDuration,
			StorageWatchOpen, StorageWatchMessages, InspectQueue,
			AuditedVolumes, DivergentVolumes, StorageProblems)
	})
}
