package hyperconverge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// fail takes a pod through a cycle that ends with a failure after Reserve.
func (s *scene) fail(pod *v1.Pod, node string) {
	s.Helper()
	state, _, status := s.preFilter(pod)
	s.must(status.AsError())
	s.must(s.profile.RunReservePluginsReserve(s.ctx, state, pod, node).AsError())
	s.profile.RunReservePluginsUnreserve(s.ctx, state, pod, node)
}

// failForgiven has a pod fail as often as a node is forgiven.
func (s *scene) failForgiven(pod *v1.Pod, node string) {
	s.Helper()
	for range failuresForgiven {
		s.fail(pod, node)
	}
}

func TestAvoidanceOfNodesOnWhichAPodHasFailed(t *testing.T) {
	t.Run("S9: a node on which a pod has failed is not offered to it, and scores 0", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.data("data", 1, 2)
			pod := makePod("db", "data").Obj()
			s.failForgiven(pod, "n1")
			s.fail(pod, "n1")
			same(s, "offer", [][]string{{"n2"}}, s.offer(pod))
			same(s, "scores", []int64{0, 100, 0}, s.scores(pod))
			same(s, "verdicts", everywhere[:3], s.verdicts(pod))
			same(s, "offer to another pod", [][]string{{"n1", "n2"}}, s.offer(makePod("other", "data").Obj()))
		})
	})
	t.Run("S9: the time doubles with each failure, and ends", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.data("data", 1)
			pod := makePod("db", "data").Obj()
			s.failForgiven(pod, "n1")
			for _, pause := range []time.Duration{10, 20, 40, 80} {
				s.fail(pod, "n1")
				time.Sleep(pause*time.Second - time.Millisecond)
				same(s, "score at the last moment", []int64{0, 0, 0}, s.scores(pod))
				time.Sleep(time.Millisecond)
				same(s, "score afterwards", []int64{100, 0, 0}, s.scores(pod))
			}
		})
	})
	t.Run("S9: the time does not grow for ever", func(t *testing.T) {
		avoid, pod, now := newAvoidance(), makePod("db").Obj(), time.Now()
		for range 100 {
			avoid.note(pod, "n1", now)
		}
		same(t, "at the last moment", avoidedNodes{"n1"}, avoid.nodes(pod.UID, now.Add(lastAvoidance-1)))
		same(t, "afterwards", nil, avoid.nodes(pod.UID, now.Add(lastAvoidance)))
	})
	t.Run("S9: a failure or two say nothing of a node: the API server may refuse writes, a gang be incomplete", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.data("data", 1)
			pod := makePod("db", "data").Obj()
			s.failForgiven(pod, "n1")
			same(s, "scores", []int64{100, 0, 0}, s.scores(pod))
			same(s, "offer", [][]string{{"n1"}}, s.offer(pod))
		})
	})
	t.Run("S9: a strict pod is confined all the same", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.data("data", 1, 2)
			pod := makePod("db", "data").Annotation(placement.PodPreferLocalOnly, "true").Obj()
			s.failForgiven(pod, "n1")
			s.fail(pod, "n1")
			same(s, "scores", []int64{0, 100, 0}, s.scores(pod))
		})
	})
	t.Run("S9: what is remembered ends with the pod, or when it is bound", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.data("data", 1)
			pod := makePod("db", "data").Obj()
			s.create(pod)
			s.fail(pod, "n1")
			same(s, "remembered", 1, s.pl.avoid.pods.Len())
			s.bind(pod, "n1")
			same(s, "remembered of a pod that is bound", 0, s.pl.avoid.pods.Len())
			s.fail(pod, "n1")
			s.remove(pod)
			same(s, "remembered of a pod that is gone", 0, s.pl.avoid.pods.Len())
		})
	})
}

// inTreePod names count volumes in its own spec.
func inTreePod(count int, id func(int) string) *v1.Pod {
	pod := makePod("db").Obj()
	for i := range count {
		pod.Spec.Volumes = append(pod.Spec.Volumes, inTree(id(i)))
	}
	return pod
}

func distinct(i int) string { return fmt.Sprintf("volume-%d", i) }

func TestVolumesThatATenantMayInvent(t *testing.T) {
	play(t, online(1), func(s *scene) {
		same(s, "F12: one volume too many", placement.ReasonTooManyVolumes+": 1024 at most",
			s.rejection(inTreePod(placement.MaxVolumes+1, distinct)))
		same(s, "F12: as many as are looked at", placement.ReasonVolumeUnknown,
			strings.Split(s.rejection(inTreePod(placement.MaxVolumes, distinct)), ":")[0])
		same(s, "F12: a volume that is mounted often counts once", placement.ReasonVolumeUnknown+": twin",
			s.rejection(inTreePod(45_000, func(int) string { return "twin" })))
		same(s, "F13: an id longer than any", placement.ReasonHandleInvalid+": in-tree",
			s.rejection(inTreePod(1, func(int) string { return strings.Repeat("x", claims.MaxHandle+1) })))
	})
	play(t, setting{nodes: []string{"", "NoDriver", "Offline"}}, func(s *scene) {
		inline := makePod("db").Volume(v1.Volume{Name: "scratch", VolumeSource: v1.VolumeSource{CSI: &v1.CSIVolumeSource{Driver: driver}}}).Obj()
		same(s, "F5: nodes for a CSI inline volume", []string{"ok", placement.ReasonNoDriver, placement.ReasonOffline}, s.verdicts(inline))
	})
}

func BenchmarkPreFilterOfTenThousandVolumes(b *testing.B) {
	s, _ := benchScene(b, 0, (*st.PodWrapper).Obj)
	pod := inTreePod(10_000, distinct)
	b.ReportAllocs()
	for b.Loop() {
		s.pl.PreFilter(s.ctx, framework.NewCycleState(), pod, nil)
	}
}
