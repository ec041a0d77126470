package hyperconverge

import (
	"fmt"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/metrics/testutil"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// waking is what a change in storage does to a pod that waits.
type waking struct {
	name string
	// set is three Online nodes if it has none.
	set setting
	pod func(s *scene) *v1.Pod
	// change is made after the pod's first attempt.
	change func(s *scene)
	woken  bool
}

func TestWaking(t *testing.T) {
	label := func(key, value string) func(*scene) {
		return func(s *scene) {
			o := observation("1001", on(1))
			o.Service, o.Labels = true, map[string]string{key: value}
			s.storage.put(o)
			s.settle()
		}
	}
	strictOn := func(nodes ...int) func(*scene) *v1.Pod {
		return func(s *scene) *v1.Pod {
			s.data("data", nodes...)
			return strict(makePod("db", "data"))
		}
	}
	soft := func(s *scene) *v1.Pod {
		s.data("data", 1)
		return makePod("db", "data").Obj()
	}
	offline := setting{nodes: []string{"Offline", "", ""}}
	for _, w := range []waking{
		{
			name: "F8: the only replica node back Online wakes", set: offline, woken: true,
			pod: soft, change: func(s *scene) { s.nodeState(1, placement.Online) },
		},
		{
			name: "F8: another node back Online wakes nobody", set: setting{nodes: []string{"Offline", "Offline", ""}},
			pod: soft, change: func(s *scene) { s.nodeState(2, placement.Online) },
		},
		{
			name: "F8: StorageDown is not enough", set: offline,
			pod: soft, change: func(s *scene) { s.nodeState(1, placement.StorageDown) },
		},
		{
			name: "F8: a replica on an Online node wakes", set: offline, woken: true,
			pod: soft, change: func(s *scene) { s.replicas("1001", 1, 2) },
		},
		{
			name: "F5: a node back Online wakes the soft pod that it was ruled out for", set: setting{nodes: []string{"", "Degraded", ""}}, woken: true,
			pod: soft, change: func(s *scene) { s.nodeState(2, placement.Online) },
		},
		{
			name: "F5: a node that goes Offline wakes nobody",
			pod:  soft, change: func(s *scene) { s.nodeState(2, placement.Offline) },
		},
		{
			name: "F5: a node that is as feasible as before wakes nobody",
			pod:  soft, change: func(s *scene) { s.nodeState(2, placement.StorageDown) },
		},
		{
			name: "F5: a node that is gone wakes nobody", set: offline,
			pod: soft, change: func(s *scene) { s.remove(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}) },
		},
		{
			name: "F6: a replica node that was gone and is back wakes a strict pod", woken: true,
			pod: strictOn(1), change: func(s *scene) {
				node, _, _ := makeNode(1, "")
				s.remove(node)
				s.create(node)
			},
		},
		{
			name: "F6: another node that was gone and is back does not wake a strict pod",
			pod:  strictOn(1), change: func(s *scene) {
				node, _, _ := makeNode(2, "")
				s.remove(node)
				s.create(node)
			},
		},
		{
			name: "F4: the operator opens a node", set: setting{nodes: []string{"closed", ""}}, woken: true,
			pod: strictOn(1), change: func(s *scene) {
				node, _, _ := makeNode(1, "closed")
				update(s, node, func(n *v1.Node) { n.Annotations = nil })
			},
		},
		{
			name: "F4: a label of a node changes no verdict", set: setting{nodes: []string{"closed", ""}},
			pod: strictOn(1), change: func(s *scene) {
				node, _, _ := makeNode(1, "closed")
				update(s, node, func(n *v1.Node) { n.Labels = map[string]string{v1.LabelTopologyZone: "a"} })
			},
		},
		{
			name: "F6: a replica node back Online wakes a strict pod", set: setting{nodes: []string{"Offline", "", ""}}, woken: true,
			pod: strictOn(1, 2), change: func(s *scene) { s.nodeState(1, placement.Online) },
		},
		{
			name: "F6: another node back Online does not wake a strict pod", set: setting{nodes: []string{"", "Offline", ""}},
			pod: strictOn(1), change: func(s *scene) { s.nodeState(2, placement.Online) },
		},
		{
			name: "F6: a replica that moves wakes a strict pod", woken: true,
			pod: strictOn(1), change: func(s *scene) { s.replicas("1001", 2) },
		},
		{
			name: "F6: a replica that is taken away does not wake a strict pod",
			pod:  strictOn(1, 2), change: func(s *scene) { s.replicas("1001", 1) },
		},
		{
			name: "F6: two volumes that come together on one node wake the pod that no node had both for", woken: true,
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				s.data("b", 2)
				return strict(makePod("db", "a", "b"))
			},
			change: func(s *scene) { s.replicas("1002", 1) },
		},
		{
			name: "F6: a near volume that becomes neutral wakes a strict pod", woken: true,
			pod: strictOn(1), change: label(placement.VolumeSkipScoring, "true"),
		},
		{
			name: "F7: a remote-only volume that is no longer so wakes", woken: true,
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: on(1), stored: func(o *volumes.Observation) {
					o.Service, o.Labels = true, map[string]string{placement.VolumePreferRemoteOnly: "true"}
				}})
				return makePod("db", "data").Obj()
			},
			change: label(placement.VolumePreferRemoteOnly, "false"),
		},
		{
			name: "F7, section 7: replicas that have become too old to be believed forbid nothing any more", woken: true,
			pod: func(s *scene) *v1.Pod {
				s.service("data", map[string]string{placement.VolumePreferRemoteOnly: "true"}, 1)
				return makePod("db", "data").Obj()
			},
			change: func(s *scene) { s.outage() },
		},
		{
			name: "F7: a remote-only volume that moves frees a node and wakes", woken: true,
			pod: func(s *scene) *v1.Pod {
				s.service("data", map[string]string{placement.VolumePreferRemoteOnly: "true"}, 1, 2)
				return makePod("db", "data").Obj()
			},
			change: func(s *scene) {
				o := observation("1001", on(1, 3))
				o.Service = true
				s.storage.put(o)
				s.settle()
			},
		},
		{
			name: "F9: a volume that becomes a Windows one wakes a pod that wanted the driver", set: setting{nodes: []string{"", "NoDriver"}}, woken: true,
			pod: soft, change: func(s *scene) {
				o := observation("1001", on(1))
				o.Winshare = true
				s.storage.put(o)
				s.settle()
			},
		},
		{
			name: "F10: the contradiction ends when one of the volumes moves", woken: true,
			pod: func(s *scene) *v1.Pod {
				s.service("b", map[string]string{placement.VolumePreferRemoteOnly: "true"}, 1)
				s.data("a", 1)
				return strict(makePod("db", "a", "b"))
			},
			change: func(s *scene) { s.replicas("1002", 1, 2) },
		},
		{
			name: "section 10: a pod that is held for another reason now is tried, for the sake of its condition", set: offline, woken: true,
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				s.data("b", 2)
				return strict(makePod("db", "a", "b"))
			},
			change: func(s *scene) { s.nodeState(1, placement.Online) },
		},
		{
			name: "a volume of another pod wakes nobody",
			pod:  strictOn(1), change: func(s *scene) { s.data("other", 3); s.replicas("1002", 1, 2, 3) },
		},
		{
			name: "a storage record finds its Kubernetes node and wakes", set: setting{nodes: []string{"", "NoDriver"}}, woken: true,
			pod: func(s *scene) *v1.Pod {
				s.data("data", 2)
				s.nodeState(1, placement.Online)
				return strict(makePod("db", "data"))
			},
			change: func(s *scene) {
				s.storage.nodes[storageID(2)] = volumes.StorageNode{ID: storageID(2), State: placement.Online}
				s.storage.tellNodes()
				s.create(makeCSINode(2))
			},
		},
		{
			name: "section 2: the pod is no longer strict", woken: true,
			pod: strictOn(1), change: func(s *scene) {
				update(s, strict(makePod("db", "data")), func(p *v1.Pod) { p.Annotations = nil })
			},
		},
		{
			name: "section 2: the pod becomes strict, which helps it to nothing",
			pod:  soft, change: func(s *scene) {
				update(s, makePod("db", "data").Obj(), func(p *v1.Pod) { p.Annotations = map[string]string{placement.PodPreferLocalOnly: "true"} })
			},
		},
		{
			name: "section 2: another annotation of the pod helps it to nothing",
			pod:  strictOn(1), change: func(s *scene) {
				update(s, strict(makePod("db", "data")), func(p *v1.Pod) { p.Annotations["team"] = "blue" })
			},
		},
		{
			name: "section 2: disableHyperconvergence frees the pod from F7", woken: true,
			pod: func(s *scene) *v1.Pod {
				s.service("data", map[string]string{placement.VolumePreferRemoteOnly: "true"}, 1)
				return makePod("db", "data").Obj()
			},
			change: func(s *scene) {
				update(s, makePod("db", "data").Obj(), func(p *v1.Pod) {
					p.Annotations = map[string]string{placement.PodDisableHyperconvergence: "true"}
				})
			},
		},
	} {
		t.Run(w.name, func(t *testing.T) {
			if len(w.set.nodes) == 0 {
				w.set.nodes = make([]string, 3)
			}
			play(t, w.set, func(s *scene) {
				s.pending(w.pod(s))
				s.queue.taken()
				w.change(s)
				var want []string
				if w.woken {
					want = []string{"shop/db"}
				}
				same(s, "woken", want, s.queue.taken())
			})
		})
	}
}

func TestWakingOnesWhoCameTooEarly(t *testing.T) {
	t.Run("a pod that was woken is nudged until it comes through PreFilter", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline"}}, func(s *scene) {
			s.data("data", 1)
			pod := s.pending(makePod("db", "data").Obj())
			s.nodeState(1, placement.Online)
			same(s, "woken at once", []string{"shop/db"}, s.queue.taken())
			s.pass(firstNudge)
			same(s, "nudged", []string{"shop/db"}, s.queue.taken())
			s.pass(firstNudge)
			same(s, "nudged too soon", nil, s.queue.taken())
			s.pass(firstNudge)
			same(s, "nudged again after twice the time", []string{"shop/db"}, s.queue.taken())
			s.attempt(pod)
			s.pass(time.Hour)
			same(s, "nudged after PreFilter", nil, s.queue.taken())
		})
	})
	t.Run("a pod that another plugin keeps from coming is nudged a few times and then left alone", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline"}}, func(s *scene) {
			s.data("data", 1)
			s.pending(makePod("db", "data").Obj())
			s.nodeState(1, placement.Online)
			s.pass(time.Minute)
			same(s, "nudges", 6, len(s.queue.taken()))
		})
	})
	t.Run("a pod that is awake already is not woken by the next change, one that was given up is", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline", "Offline", "Offline"}}, func(s *scene) {
			s.data("data", 1, 2, 3)
			s.pending(makePod("db", "data").Obj())
			s.nodeState(1, placement.Online)
			same(s, "woken", 1, len(s.queue.taken()))
			s.nodeState(2, placement.Online)
			same(s, "woken by the next change", 0, len(s.queue.taken()))
			s.pass(time.Minute)
			s.queue.taken()
			s.nodeState(3, placement.Online)
			same(s, "woken after it was given up", 1, len(s.queue.taken()))
		})
	})
	t.Run("the metric counts a pod once, however often it is nudged", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline"}}, func(s *scene) {
			before, err := testutil.GetCounterMetricValue(metrics.WokenPods)
			s.must(err)
			s.data("data", 1)
			s.pending(makePod("db", "data").Obj())
			s.nodeState(1, placement.Online)
			s.pass(time.Minute)
			after, err := testutil.GetCounterMetricValue(metrics.WokenPods)
			s.must(err)
			same(s, "woken", 1, after-before)
		})
	})
	t.Run("a change while PreFilter is at work is not lost", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline"}}, func(s *scene) {
			s.data("data", 1)
			pod := makePod("db", "data").Obj()
			s.create(pod)
			s.pl.waiting.enter(pod)
			d := s.pl.decider.again(pod)
			s.nodeState(1, placement.Online)
			same(s, "woken before there is a decision", nil, s.queue.taken())
			s.pl.waiting.settle(pod, d)
			s.settle()
			same(s, "woken", []string{"shop/db"}, s.queue.taken())
		})
	})
	t.Run("a change while PreFilter is at work wakes nobody whom it does not help", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline", "Offline"}}, func(s *scene) {
			s.data("data", 1)
			pod := makePod("db", "data").Obj()
			s.create(pod)
			s.pl.waiting.enter(pod)
			d := s.pl.decider.again(pod)
			s.nodeState(2, placement.Online)
			s.pl.waiting.settle(pod, d)
			s.settle()
			same(s, "woken", nil, s.queue.taken())
		})
	})
	t.Run("an answer about an earlier attempt wakes nobody", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline"}}, func(s *scene) {
			s.data("data", 1)
			pod := s.pending(makePod("db", "data").Obj())
			earlier := question{pod: pod, decision: s.pl.waiting.pods[pod.UID].decision}
			s.attempt(pod)
			s.pl.waiting.wake(earlier, time.Now())
			s.pl.waiting.wakeRun()
			s.settle()
			same(s, "woken", nil, s.queue.taken())
		})
	})
	t.Run("an annotation that the queue had not heard of at the attempt is not lost", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.data("a", 1)
			s.data("b", 2)
			before := strict(makePod("db", "a", "b"))
			s.create(before)
			update(s, before, func(p *v1.Pod) { p.Annotations = nil })
			s.attempt(before)
			same(s, "woken", []string{"shop/db"}, s.queue.taken())
		})
	})
}

func TestLeavingTheList(t *testing.T) {
	waits := func(s *scene) int {
		s.pl.waiting.mu.Lock()
		defer s.pl.waiting.mu.Unlock()
		return len(s.pl.waiting.pods)
	}
	for _, tc := range []struct {
		name  string
		leave func(s *scene, pod *v1.Pod)
		waits int
	}{
		{name: "a pod that is deleted", leave: func(s *scene, pod *v1.Pod) { s.remove(pod) }},
		{name: "a pod that is being deleted", leave: func(s *scene, pod *v1.Pod) {
			now := metav1.Now()
			update(s, pod, func(p *v1.Pod) { p.DeletionTimestamp = &now })
		}},
		{name: "a pod that another scheduler has bound", leave: func(s *scene, pod *v1.Pod) {
			update(s, pod, func(p *v1.Pod) { p.Spec.NodeName = "n3" })
		}},
		{name: "a pod that was evicted before it had a node", leave: func(s *scene, pod *v1.Pod) {
			update(s, pod, func(p *v1.Pod) { p.Status.Phase = v1.PodFailed })
		}},
		{name: "a pod that had ended before PreFilter came to it", leave: func(s *scene, pod *v1.Pod) {
			update(s, pod, func(p *v1.Pod) { p.Status.Phase = v1.PodSucceeded })
			s.attempt(pod)
		}},
		{name: "a pod that was made anew while nobody looked", leave: func(s *scene, pod *v1.Pod) {
			update(s, pod, func(p *v1.Pod) { p.UID = "another" })
		}},
		{name: "a pod that gets its node reserved", leave: func(s *scene, pod *v1.Pod) {
			state, _, _ := s.preFilter(pod)
			s.profile.RunReservePluginsReserve(s.ctx, state, pod, "n1")
		}},
		{name: "a pod that was deleted before PreFilter came to it", leave: func(s *scene, pod *v1.Pod) {
			s.remove(pod)
			s.attempt(pod)
		}},
		{name: "a pod that was bound before PreFilter came to it", leave: func(s *scene, pod *v1.Pod) {
			update(s, pod, func(p *v1.Pod) { p.Spec.NodeName = "n3" })
			s.attempt(pod)
		}},
		{name: "a pod whose volume turns out to be another driver's", leave: func(s *scene, pod *v1.Pod) {
			update(s, makePV("data", "1001"), func(pv *v1.PersistentVolume) { pv.Spec.CSI.Driver = "ebs.csi.aws.com" })
			s.attempt(pod)
		}},
		{name: "but not a pod whose status has changed", waits: 1, leave: func(s *scene, pod *v1.Pod) {
			update(s, pod, func(p *v1.Pod) { p.Status.Conditions = []v1.PodCondition{{Type: v1.PodScheduled}} })
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			play(t, online(3), func(s *scene) {
				s.data("data", 1)
				pod := s.pending(makePod("db", "data").Obj())
				same(s, "pods that wait before", 1, waits(s))
				tc.leave(s, pod)
				same(s, "pods that wait after", tc.waits, waits(s))
				s.replicas("1001", 2)
				same(s, "woken", nil, s.queue.taken())
			})
		})
	}
}

func TestUnrelatedChangeWakesNoneOf1000Pods(t *testing.T) {
	play(t, setting{nodes: []string{"Offline", "", "Offline"}}, func(s *scene) {
		for i := range 1000 {
			name := fmt.Sprintf("data-%d", i)
			s.data(name, 1)
			s.pending(makePod("db-"+name, name).Obj())
		}
		s.data("other", 2)
		s.replicas("2001", 1, 2)
		s.nodeState(3, placement.Online)
		s.pass(time.Minute)
		same(s, "woken by what does not concern them", nil, s.queue.taken())
		s.replicas("1500", 2)
		same(s, "woken by what helps one", []string{"shop/db-data-499"}, s.queue.taken())
		s.nodeState(1, placement.Online)
		same(s, "woken by what helps all, without the one that is awake", 999, len(s.queue.taken()))
	})
}

func TestMetricOfHeldPods(t *testing.T) {
	held := func(s *scene) float64 {
		value, err := testutil.GetGaugeMetricValue(metrics.HeldPods.WithLabelValues(placement.ReasonNoOnlineReplica))
		s.must(err)
		return value
	}
	play(t, setting{nodes: []string{"Offline"}}, func(s *scene) {
		before := held(s)
		s.data("data", 1)
		a, b := s.pending(makePod("a", "data").Obj()), s.pending(makePod("b", "data").Obj())
		s.attempt(a)
		same(s, "two pods are held", 2, held(s)-before)
		s.remove(b)
		same(s, "one is deleted", 1, held(s)-before)
		s.nodeState(1, placement.Online)
		s.attempt(a)
		same(s, "one is let go", 0, held(s)-before)
		s.nodeState(1, placement.Offline)
		s.attempt(a)
		same(s, "it is held again", 1, held(s)-before)
		s.must(s.pl.Close())
		same(s, "a plugin that is closed holds nobody", 0, held(s)-before)
	})
}
