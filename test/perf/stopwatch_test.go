package perf

import (
	"context"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// stopwatch times the scheduling cycles of one scheduler, in the same way for
// all that are compared.
//
// kube-scheduler's own histograms would not do: their first buckets end at 0.1 ms
// and 1 ms, and they count the Filters of the prefer-first pass to no extension
// point at all.
type stopwatch struct {
	mu sync.Mutex
	// preFiltered is when the PreFilter plugins of the present cycle had run.
	preFiltered time.Time
	filterScore []time.Duration
}

// watch begins to time the scheduler. It must happen before its profiles are
// wrapped otherwise, and before it runs.
func (s *stopwatch) watch(sched *scheduler.Scheduler) {
	for name, inner := range sched.Profiles {
		sched.Profiles[name] = &timedProfile{Framework: inner, stopwatch: s}
	}
	schedulePod := sched.SchedulePod
	sched.SchedulePod = func(ctx context.Context, fw framework.Framework, state fwk.CycleState, pod *v1.Pod) (scheduler.ScheduleResult, error) {
		result, err := schedulePod(ctx, fw, state, pod)
		if err == nil {
			s.stop()
		}
		return result, err
	}
}

// timedProfile notes when the plugins' PreFilters have run. What follows until
// the end of the cycle's search is filtering and scoring, wherever it happens: in
// plugins, in the prefer-first pass, in extenders.
type timedProfile struct {
	framework.Framework
	stopwatch *stopwatch
}

func (p *timedProfile) RunPreFilterPlugins(ctx context.Context, state fwk.CycleState, pod *v1.Pod) (*fwk.PreFilterResult, *fwk.Status, sets.Set[string]) {
	result, status, narrowing := p.Framework.RunPreFilterPlugins(ctx, state, pod)
	p.stopwatch.mu.Lock()
	defer p.stopwatch.mu.Unlock()
	p.stopwatch.preFiltered = time.Now()
	return result, status, narrowing
}

func (s *stopwatch) stop() {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filterScore = append(s.filterScore, now.Sub(s.preFiltered))
}

// take returns the durations of Filter and Score since it was called last, of
// pods that found a node.
func (s *stopwatch) take() durations {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.filterScore
	s.filterScore = nil
	slices.Sort(taken)
	return taken
}

// durations are sorted, shortest first.
type durations []time.Duration

// quantile returns one of the durations: the median for 0.5.
func (d durations) quantile(q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return d[int(q*float64(len(d)-1))]
}
