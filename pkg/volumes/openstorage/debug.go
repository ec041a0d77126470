package openstorage

import (
	"context"
	"os"
	"os/signal"

	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// debugExamples is how many handles of each kind the debug view names.
const debugExamples = 20

// debugLoop logs the debug view on the signal of notifyDump.
func (s *Source) debugLoop(ctx context.Context) {
	signals := make(chan os.Signal, 1)
	notifyDump(signals)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			s.LogSummary(klog.FromContext(ctx))
		}
	}
}

// LogSummary logs the state of the index and of the source.
func (s *Source) LogSummary(logger klog.Logger) {
	summary := s.summarize(debugExamples)
	logger.Info("Dump of the volume index",
		"synced", s.index.HasSynced(),
		"volumes", summary.NumVolumes(),
		"fresh", summary.Volumes[volumes.Fresh],
		"suspect", summary.Volumes[volumes.Suspect],
		"stale", summary.Volumes[volumes.Stale],
		"unknown", summary.Volumes[volumes.Unknown],
		"dirty", summary.Dirty,
		"withoutPV", summary.Unclaimed,
		"oldestVerified", age(summary.OldestVerified),
		"lastContact", age(summary.LastContact),
		"lastNodeList", age(summary.LastNodeList),
		"storageNodes", summary.MatchedNodes+summary.UnmatchedNodes,
		"unmatchedStorageNodes", summary.UnmatchedNodes,
	)
	for _, freshness := range []volumes.Freshness{volumes.Unknown, volumes.Suspect, volumes.Stale} {
		if handles := summary.Examples[freshness]; len(handles) > 0 {
			logger.Info("Volumes that are not fresh", "freshness", freshness,
				"count", summary.Volumes[freshness], "examples", handles)
		}
	}
	for state, count := range summary.Nodes {
		logger.Info("Kubernetes nodes by storage state", "state", state, "count", count)
	}
	for _, node := range summary.Unmatched {
		logger.Info("Storage node that no Kubernetes node matches", "id", node.ID, "schedulerNodeName", node.SchedulerNodeName,
			"hostname", node.Hostname, "managementIP", node.MgmtIP, "dataIP", node.DataIP)
	}
	for _, problem := range summary.Problems {
		logger.Info("Node with a value that cannot be taken as written",
			"node", problem.Node, "key", problem.Key, "value", problem.Value, "detail", problem.Detail)
	}

	logger.Info("Storage API", "endpoint", s.config.Endpoint,
		"watching", s.watchIs(watchOpen), "inspectQueue", s.queue.len())
	for _, condition := range s.Conditions() {
		logger.Info("Storage API condition of this moment", "reason", condition.Reason, "detail", condition.Message, "advice", condition.Advice)
	}
	current, last := s.audit.passes()
	if !last.Begun.IsZero() {
		last.log(logger, "Last resync of the volumes")
	}
	if !current.Begun.IsZero() {
		current.log(logger, "Present resync of the volumes")
	}
}
