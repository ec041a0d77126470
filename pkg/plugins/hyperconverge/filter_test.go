package hyperconverge

import (
	"sync"
	"testing"

	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// PreFilter narrows the nodes of a strict pod, but the scheduler asks about a
// nominated node, and preemption about any node, without looking at that set.
func TestFilterAloneIsStrict(t *testing.T) {
	play(t, setting{nodes: []string{"", "", "closed", "NoDriver", "Degraded", "Offline"}}, func(s *scene) {
		s.data("data", 1)
		pod := strict(makePod("db", "data"))
		state, _, _ := s.preFilter(pod)
		var reasons []string
		for _, node := range s.nodeInfos() {
			reasons = append(reasons, s.pl.Filter(s.ctx, state.Clone(), pod, node).Message())
		}
		same(s, "reasons", []string{"", placement.ReasonNotLocal, placement.ReasonNodeUnschedulable,
			placement.ReasonNoDriver, placement.ReasonDegraded, placement.ReasonOffline}, reasons)
	})
}

func TestFilterOfNodesThatStorageDoesNotKnow(t *testing.T) {
	play(t, online(1), func(s *scene) {
		s.data("data", 1)
		pod := makePod("db", "data").Obj()
		state, _, _ := s.preFilter(pod)
		node, _, _ := makeNode(7, "")
		info := framework.NewNodeInfo()
		info.SetNode(node)
		same(s, "a node younger than the index", placement.ReasonNoDriver, s.pl.Filter(s.ctx, state, pod, info).Message())
	})
}

// The scheduler filters in many goroutines, and writes into the statuses that it
// gets.
func TestFilterInManyGoroutines(t *testing.T) {
	play(t, setting{nodes: []string{"", "Offline", "Offline", "Offline"}}, func(s *scene) {
		s.data("data", 1)
		pod := makePod("db", "data").Obj()
		state, _, _ := s.preFilter(pod)
		statuses := make([]*fwk.Status, 4)
		var filters sync.WaitGroup
		for i, node := range s.nodeInfos() {
			filters.Go(func() { statuses[i] = s.profile.RunFilterPlugins(s.ctx, state, pod, node) })
		}
		filters.Wait()
		for i, status := range statuses[1:] {
			same(s, "reason", placement.ReasonOffline, status.Message())
			same(s, "plugin", Name, status.Plugin())
			if i > 0 && status == statuses[i] {
				s.Error("two nodes share a status, into which the framework writes")
			}
		}
	})
}

func TestFilterWithoutPreFilter(t *testing.T) {
	play(t, online(1), func(s *scene) {
		status := s.pl.Filter(s.ctx, framework.NewCycleState(), makePod("db", "data").Obj(), s.nodeInfos()[0])
		same(s, "code", fwk.Error, status.Code())
		same(s, "message", errNoDecision.Error(), status.Message())
	})
}

func TestAllocationsPerNode(t *testing.T) {
	play(t, setting{nodes: []string{"", "Offline", ""}}, func(s *scene) {
		s.data("data", 1, 2)
		pod := makePod("db", "data").Obj()
		state, _, _ := s.preFilter(pod)
		nodes := s.nodeInfos()
		for _, tc := range []struct {
			name string
			call func()
			want float64
		}{
			{name: "Filter of a feasible node", call: func() { s.pl.Filter(s.ctx, state, pod, nodes[2]) }},
			{name: "Filter of a node that is rejected, for its status", call: func() { s.pl.Filter(s.ctx, state, pod, nodes[1]) }, want: 1},
			{name: "Score", call: func() { _, _ = s.pl.Score(s.ctx, state, pod, nodes[0]) }},
		} {
			same(s, "allocations: "+tc.name, tc.want, testing.AllocsPerRun(100, tc.call))
		}
	})
}
