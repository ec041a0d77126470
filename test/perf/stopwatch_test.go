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
	"k8s.io/kubernetes/pkg/scheduler/profile"

	"github.com/hyperconverge/scheduler/internal/minor"
)

// stopwatch times the scheduling cycles of one scheduler, in the same way for
// all that are compared.
//
// kube-scheduler's own histograms would not do: their first buckets end at 0.1 ms
// and 1 ms, and they count the Filters of the prefer-first pass to no extension
// point at all.
type stopwatch struct {
	mu      sync.Mutex
	present cycle
	cycles  []cycle
}

// cycle is when the parts of one scheduling cycle were over.
type cycle struct {
	begun, preFiltered, passed, filtered, scored time.Time
}

// The parts of a cycle: the PreFilter plugins, and those after them. Filter and Score hold
// what extenders do there.
func (c *cycle) preFilter() time.Duration   { return c.preFiltered.Sub(c.begun) }
func (c *cycle) pass() time.Duration        { return c.passed.Sub(c.preFiltered) }
func (c *cycle) filter() time.Duration      { return c.filtered.Sub(c.passed) }
func (c *cycle) score() time.Duration       { return c.scored.Sub(c.filtered) }
func (c *cycle) filterScore() time.Duration { return c.scored.Sub(c.preFiltered) }

// inside begins to time the plugins, inside of the prefer-first pass.
func (s *stopwatch) inside(profiles profile.Map) {
	for name, plugins := range profiles {
		profiles[name] = &innerProfile{Framework: plugins, stopwatch: s}
	}
}

// outside begins to time the scheduler. Both must happen before it runs.
func (s *stopwatch) outside(sched *scheduler.Scheduler) {
	for name, wrapped := range sched.Profiles {
		sched.Profiles[name] = &outerProfile{Framework: wrapped, stopwatch: s}
	}
	minor.AfterEach(sched, func(err error) {
		if err == nil {
			s.stop()
		}
	})
}

// mark notes the present time in the present cycle.
func (s *stopwatch) mark(part func(*cycle) *time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*part(&s.present) = time.Now()
}

// stop ends a cycle that has found a node.
func (s *stopwatch) stop() {
	s.mark(func(c *cycle) *time.Time { return &c.scored })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.present.filtered.Before(s.present.passed) {
		s.present.filtered = s.present.scored // one node was left, and needed no score
	}
	s.cycles = append(s.cycles, s.present)
}

// take returns the cycles since it was called last.
func (s *stopwatch) take() cycles {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.cycles
	s.cycles = nil
	return taken
}

// innerProfile notes when the plugins' PreFilters have run.
type innerProfile struct {
	framework.Framework
	stopwatch *stopwatch
}

// RunPreFilterPlugins notes the end of the plugins' PreFilters.
func (p *innerProfile) RunPreFilterPlugins(ctx context.Context, state fwk.CycleState, pod *v1.Pod) (*fwk.PreFilterResult, *fwk.Status, sets.Set[string]) {
	result, status, narrowing := p.Framework.RunPreFilterPlugins(ctx, state, pod)
	p.stopwatch.mark(func(c *cycle) *time.Time { return &c.preFiltered })
	return result, status, narrowing
}

// outerProfile notes when the prefer-first pass is over, and when all filtering is.
type outerProfile struct {
	framework.Framework
	stopwatch *stopwatch
}

// RunPreFilterPlugins notes the begin of the cycle, and the end of the prefer-first pass, if
// there is one.
func (p *outerProfile) RunPreFilterPlugins(ctx context.Context, state fwk.CycleState, pod *v1.Pod) (*fwk.PreFilterResult, *fwk.Status, sets.Set[string]) {
	p.stopwatch.mark(func(c *cycle) *time.Time { return &c.begun })
	result, status, narrowing := p.Framework.RunPreFilterPlugins(ctx, state, pod)
	p.stopwatch.mark(func(c *cycle) *time.Time { return &c.passed })
	return result, status, narrowing
}

// RunPreScorePlugins notes the end of filtering.
func (p *outerProfile) RunPreScorePlugins(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo) *fwk.Status {
	p.stopwatch.mark(func(c *cycle) *time.Time { return &c.filtered })
	return p.Framework.RunPreScorePlugins(ctx, state, pod, nodes)
}

// cycles are those of one measurement.
type cycles []cycle

// quantile returns one of the durations of a part: the median for 0.5.
func (all cycles) quantile(q float64, part func(*cycle) time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	durations := make([]time.Duration, len(all))
	for i := range all {
		durations[i] = part(&all[i])
	}
	slices.Sort(durations)
	return durations[int(q*float64(len(durations)-1))]
}
