package hyperconverge

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/component-base/metrics/legacyregistry"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// counted are the series of the metric of running pods, such as "shop local 2".
func (s *scene) counted() []string {
	s.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	s.must(err)
	var series []string
	for _, family := range families {
		if family.GetName() != "scheduler_hyperconverge_pods" {
			continue
		}
		for _, m := range family.GetMetric() {
			if m.GetGauge().GetValue() == 0 {
				s.Errorf("a series of nothing: %v", m)
			}
			labels := map[string]string{}
			for _, pair := range m.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
			}
			series = append(series, strings.TrimSpace(fmt.Sprintf("%s %s %v", labels["namespace"], labels["locality"], m.GetGauge().GetValue())))
		}
	}
	slices.Sort(series)
	return series
}

func running(node string, pod *st.PodWrapper) *v1.Pod {
	return pod.Node(node).Phase(v1.PodRunning).Obj()
}

func TestRunningPods(t *testing.T) {
	lead := func(t *testing.T, set setting, test func(s *scene)) {
		t.Helper()
		play(t, set, func(s *scene) {
			s.factory.StartLeading()
			s.factory.StartLeading() // at each scheduling cycle
			s.settle()
			test(s)
		})
	}
	for _, tc := range []struct {
		name string
		set  setting
		pod  func(s *scene) *v1.Pod
		want []string
	}{
		{
			name: "section 11: on a replica node of every near volume it is local", set: online(2),
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				s.data("b", 1, 2)
				return running("n1", makePod("db", "a", "b"))
			},
			want: []string{"shop local 1"},
		},
		{
			name: "section 11: on a replica node of some near volumes it is partly", set: online(2),
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				s.data("b", 2)
				return running("n1", makePod("db", "a", "b"))
			},
			want: []string{"shop partly 1"},
		},
		{
			name: "section 11: on a node with nothing of its near volumes it is remote", set: online(2),
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				return running("n2", makePod("db", "a"))
			},
			want: []string{"shop remote 1"},
		},
		{
			name: "section 11: on a node that is gone it is remote", set: online(1),
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				return running("n7", makePod("db", "a"))
			},
			want: []string{"shop remote 1"},
		},
		{
			name: "section 11: off the nodes of its away volume it is away", set: online(2),
			pod: func(s *scene) *v1.Pod {
				s.service("a", nil, 1)
				return running("n2", makePod("web", "a"))
			},
			want: []string{"shop away 1"},
		},
		{
			name: "section 11: with a volume that is not known it is unknown", set: online(1),
			pod: func(s *scene) *v1.Pod {
				s.unknown("a")
				return running("n1", makePod("db", "a"))
			},
			want: []string{"shop unknown 1"},
		},
		{
			name: "section 11: without volumes of the driver it is not counted", set: online(1),
			pod: func(*scene) *v1.Pod { return running("n1", makePod("web")) },
		},
		{
			name: "section 11: one that has finished is not counted", set: online(1),
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				return makePod("job", "a").Node("n1").Phase(v1.PodSucceeded).Obj()
			},
		},
		{
			name: "section 11: one that waits for a node is not counted", set: online(1),
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				return makePod("db", "a").Obj()
			},
		},
		{
			name: "section 11: namespaces are not counted where that is turned off",
			set:  setting{nodes: []string{""}, args: func(a *config.HyperconvergeArgs) { a.CountPodsByNamespace = false }},
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				return running("n1", makePod("db", "a"))
			},
			want: []string{"local 1"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lead(t, tc.set, func(s *scene) {
				s.create(tc.pod(s))
				same(s, "series", tc.want, s.counted())
			})
		})
		t.Run(tc.name+", also if it ran before this process led", func(t *testing.T) {
			play(t, tc.set, func(s *scene) {
				s.create(tc.pod(s))
				same(s, "series before", nil, s.counted())
				s.factory.StartLeading()
				s.settle()
				same(s, "series", tc.want, s.counted())
			})
		})
	}

	for _, tc := range []struct {
		name   string
		change func(s *scene, pod *v1.Pod, handle string)
		want   []string
	}{
		{
			name:   "section 11: a replica that moves away makes its pod remote",
			change: func(s *scene, _ *v1.Pod, handle string) { s.replicas(handle, 2) }, want: []string{"shop remote 1"},
		},
		{
			name:   "section 11: storage that goes down on the node makes its pod remote",
			change: func(s *scene, _ *v1.Pod, _ string) { s.nodeState(1, placement.StorageDown) }, want: []string{"shop remote 1"},
		},
		{
			name:   "section 11: storage that goes down elsewhere changes nothing",
			change: func(s *scene, _ *v1.Pod, _ string) { s.nodeState(2, placement.Offline) }, want: []string{"shop local 1"},
		},
		{
			name:   "section 11: a pod that is deleted is counted no more",
			change: func(s *scene, pod *v1.Pod, _ string) { s.remove(pod) },
		},
		{
			name: "section 11: a pod that fails is counted no more",
			change: func(s *scene, pod *v1.Pod, _ string) {
				update(s, pod, func(p *v1.Pod) { p.Status.Phase = v1.PodFailed })
			},
		},
		{
			name: "section 11: a pod that turns locality off is counted no more",
			change: func(s *scene, pod *v1.Pod, _ string) {
				update(s, pod, func(p *v1.Pod) { p.Annotations = map[string]string{placement.PodDisableHyperconvergence: "true"} })
			},
		},
		{
			name: "section 11: another annotation of the claim is seen within ten minutes",
			change: func(s *scene, _ *v1.Pod, _ string) {
				claim, err := s.informers.Core().V1().PersistentVolumeClaims().Lister().PersistentVolumeClaims(namespace).Get("a")
				s.must(err)
				update(s, claim, func(c *v1.PersistentVolumeClaim) { c.Annotations[placement.VolumeSkipScoring] = "true" })
				same(s, "series at once", []string{"shop local 1"}, s.counted())
				s.pass(10 * time.Minute)
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lead(t, online(2), func(s *scene) {
				handle := s.data("a", 1)
				pod := running("n1", makePod("db", "a"))
				s.create(pod)
				same(s, "series before", []string{"shop local 1"}, s.counted())
				tc.change(s, pod, handle)
				same(s, "series", tc.want, s.counted())
			})
		})
	}

	t.Run("section 11: a plugin that is closed leaves nothing counted", func(t *testing.T) {
		var s *scene
		lead(t, online(1), func(begun *scene) {
			s = begun
			s.data("a", 1)
			s.create(running("n1", makePod("db", "a")))
			same(s, "series", []string{"shop local 1"}, s.counted())
		})
		s.TB = t
		same(s, "series afterwards", nil, s.counted())
	})
}

// runningPodsOf makes running pods, each with a volume of its own, without an API server
// that has them, and looks at all of them.
func (s *scene) runningPodsOf(n int) []*v1.Pod {
	s.manyVolumes(n, 1, 2, 3)
	r := s.factory.shared.running
	r.begin()
	pods := make([]*v1.Pod, n)
	for i := range pods {
		pods[i] = running(nodeName(1+i%4), makePod(fmt.Sprintf("runs-%d", i), fmt.Sprintf("own-%d", i)))
	}
	return pods
}

// What a running pod costs beside itself, in bytes.
func BenchmarkRunningPodHeap(b *testing.B) {
	const pods = 20_000
	s, _ := clusterOf(b, 1000, 1, (*st.PodWrapper).Obj)
	all := s.runningPodsOf(pods)
	r := s.factory.shared.running
	heap := func() uint64 {
		var stats runtime.MemStats
		for range 3 {
			runtime.GC()
		}
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	for _, pod := range all {
		r.observe(nil, pod)
	}
	for r.lookAtOne() {
	}
	after := heap()
	for b.Loop() {
	}
	b.ReportMetric(float64(after-before)/pods, "B/pod")
	runtime.KeepAlive(all)
}

// What a change costs while 100 000 pods run: of a pod, and of a volume.
func BenchmarkRunningPodChange(b *testing.B) {
	s, _ := clusterOf(b, 1000, 1, (*st.PodWrapper).Obj)
	const pods = 20_000
	all := s.runningPodsOf(pods)
	r := s.factory.shared.running
	for _, pod := range all {
		r.observe(nil, pod)
	}
	for r.lookAtOne() {
	}
	b.Run("pod", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			old := all[i%pods]
			pod := *old
			pod.Annotations = maps.Clone(old.Annotations)
			if pod.Annotations == nil {
				pod.Annotations = map[string]string{}
			}
			pod.Annotations["changed"] = strconv.Itoa(i)
			all[i%pods] = &pod
			r.observe(old, &pod)
			for r.lookAtOne() {
			}
		}
	})
	b.Run("status", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			r.observe(all[i%pods], all[i%pods])
		}
	})
}
