package openstorage

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// nodeLoop polls the node list: nodes are not in the watch. The interval varies
// by a tenth, so that several schedulers do not ask at the same moment.
func (s *Source) nodeLoop(ctx context.Context) {
	wait.JitterUntilWithContext(ctx, func(ctx context.Context) {
		s.pollNodes(ctx)
		s.polled.fire()
		s.publish()
	}, s.config.NodePollInterval, 0.1, true)
}

func (s *Source) pollNodes(ctx context.Context) {
	response, err := s.client.listNodes(ctx)
	if ctx.Err() != nil {
		return
	}
	k := s.health.observe(err)
	cause := s.client.cause(ctx, err)
	if ctx.Err() != nil {
		return
	}
	s.health.observeNodes(k, cause)
	if k != answered {
		return
	}
	s.health.expire()
	list := storageNodesOf(response.GetNodes())
	s.index.SetStorageNodes(list)
	s.health.observeNodeCount(len(list))
}

// publish updates the metrics.
func (s *Source) publish() {
	summary := s.summarize(0)
	for freshness := range volumes.NumFreshness {
		metrics.Volumes.WithLabelValues(volumes.Freshness(freshness).String()).Set(float64(summary.Volumes[freshness]))
	}
	for state := placement.NoDriver; state <= placement.Offline; state++ {
		metrics.Nodes.WithLabelValues(state.String()).Set(float64(summary.Nodes[state]))
	}
	metrics.StorageNodes.WithLabelValues("true").Set(float64(summary.MatchedNodes))
	metrics.StorageNodes.WithLabelValues("false").Set(float64(summary.UnmatchedNodes))
	metrics.StorageLastContact.Set(unixSeconds(summary.LastContact))
	metrics.IndexSynced.Set(boolean(s.index.HasSynced()))
}

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
