package hyperconverge

import (
	"fmt"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// benchScene is a cluster of 1000 nodes in racks and zones, with a pod that has
// volumes with three replicas each. The pod is created, since PreFilter looks for
// it.
func benchScene(b *testing.B, volumes int, finish func(*st.PodWrapper) *v1.Pod) (*scene, *v1.Pod) {
	b.Helper()
	set := online(1000)
	for i := range set.nodes {
		set.nodes[i] = fmt.Sprintf("px/rack=r%d topology.kubernetes.io/zone=z%d topology.kubernetes.io/region=eu", i/20, i/200)
	}
	s := newScene(b, set)
	pods := 0
	s.settle = func() {
		for !s.quiet(len(set.nodes), pods) {
			time.Sleep(time.Millisecond)
		}
	}
	s.begin(set)
	b.Cleanup(s.end)
	var claims []string
	for i := range volumes {
		claims = append(claims, fmt.Sprintf("data-%d", i))
		s.data(claims[i], 1+i, 300+i, 700) // all on node 700, for strict pods
	}
	pod := finish(makePod("db", claims...))
	pods = 1
	s.create(pod)
	return s, pod
}

// quiet reports whether everybody knows what there is.
func (s *scene) quiet(nodes, pods int) bool {
	index := s.pl.decider.index
	summary := index.Summary(0)
	claims, err := s.informers.Core().V1().PersistentVolumeClaims().Lister().List(labels.Everything())
	s.must(err)
	known, err := s.pl.waiting.lister.List(labels.Everything())
	s.must(err)
	return index.HasSynced() && index.View().NumNodes() == nodes && index.View().Fresh() &&
		summary.Volumes[volumes.Fresh] == s.handles && len(claims) == s.handles && len(known) == pods
}

func BenchmarkPreFilter(b *testing.B) {
	for _, kind := range []struct {
		name   string
		finish func(*st.PodWrapper) *v1.Pod
	}{{"soft", (*st.PodWrapper).Obj}, {"strict", strict}} {
		for _, n := range []int{0, 1, 8, 64} {
			b.Run(fmt.Sprintf("%s/volumes=%d", kind.name, n), func(b *testing.B) {
				s, pod := benchScene(b, n, kind.finish)
				state := framework.NewCycleState()
				b.ReportAllocs()
				for b.Loop() {
					s.pl.PreFilter(s.ctx, state, pod, nil)
				}
			})
		}
	}
}

// benchNodes runs a call for each of the nodes in turn.
func benchNodes(b *testing.B, volumes int, call func(s *scene, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo)) {
	s, pod := benchScene(b, volumes, (*st.PodWrapper).Obj)
	state, _, status := s.preFilter(pod)
	s.must(status.AsError())
	nodes := s.nodeInfos()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		call(s, state, pod, nodes[i])
		if i++; i == len(nodes) {
			i = 0
		}
	}
}

func BenchmarkFilter(b *testing.B) {
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprintf("volumes=%d", n), func(b *testing.B) {
			benchNodes(b, n, func(s *scene, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) {
				s.pl.Filter(s.ctx, state, pod, node)
			})
		})
	}
}

func BenchmarkScore(b *testing.B) {
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprintf("volumes=%d", n), func(b *testing.B) {
			benchNodes(b, n, func(s *scene, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) {
				_, _ = s.pl.Score(s.ctx, state, pod, node)
			})
		})
	}
}

// waitFor enters pods into the list as PreFilter does, without an API server that has
// them.
func (s *scene) waitFor(pods ...*v1.Pod) {
	indexer := s.informers.Core().V1().Pods().Informer().GetIndexer()
	for _, pod := range pods {
		s.must(indexer.Add(pod))
		s.pl.PreFilter(s.ctx, framework.NewCycleState(), pod, nil)
	}
}

// What a change of the index costs while 1000 pods wait.
func BenchmarkChangeWith1000PodsWaiting(b *testing.B) {
	for _, bm := range []struct {
		name   string
		change volumes.Change
	}{
		{"volume of no pod", volumes.Change{Volumes: []string{"99"}}},
		{"volume of one pod", volumes.Change{Volumes: []string{"1001"}}},
		{"node", volumes.Change{Nodes: []volumes.NodeChange{{New: &placement.Node{Name: nodeName(900)}}}}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			s, _ := benchScene(b, 8, (*st.PodWrapper).Obj)
			s.pl.waiting = newWaitingPods(s.pl.decider, s.pl.waiting.lister, nil) // nobody else works on it
			for i := range 1000 {
				pod := makePod(fmt.Sprintf("db-%d", i), fmt.Sprintf("data-%d", 1+i%7)).Obj()
				if i == 0 {
					pod = makePod("db-0", "data-0").Obj()
				}
				s.waitFor(pod)
			}
			b.ReportAllocs()
			for b.Loop() {
				s.pl.waiting.changed(bm.change)
				for s.pl.waiting.judgeBatch() {
				}
			}
		})
	}
}
