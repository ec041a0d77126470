package hyperconverge

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// requeue is what a change in storage does to a pod that waits.
type requeue struct {
	name string
	// set is three Online nodes if it has none.
	set setting
	pod func(s *scene) *v1.Pod
	// change is made after the pod's first attempt.
	change    func(s *scene)
	activated bool
}

func TestRequeue(t *testing.T) {
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
	for _, w := range []requeue{
		{
			name: "F8: the only replica node back Online activates", set: offline, activated: true,
			pod: soft, change: func(s *scene) { s.nodeState(1, placement.Online) },
		},
		{
			name: "F8: another node back Online activates nobody", set: setting{nodes: []string{"Offline", "Offline", ""}},
			pod: soft, change: func(s *scene) { s.nodeState(2, placement.Online) },
		},
		{
			name: "F8: StorageDown is not enough", set: offline,
			pod: soft, change: func(s *scene) { s.nodeState(1, placement.StorageDown) },
		},
		{
			name: "F8: a replica on an Online node activates", set: offline, activated: true,
			pod: soft, change: func(s *scene) { s.replicas("1001", 1, 2) },
		},
		{
			name: "F5: a node back Online activates the soft pod that it was ruled out for", set: setting{nodes: []string{"", "Degraded", ""}}, activated: true,
			pod: soft, change: func(s *scene) { s.nodeState(2, placement.Online) },
		},
		{
			name: "F5: a node that goes Offline activates nobody",
			pod:  soft, change: func(s *scene) { s.nodeState(2, placement.Offline) },
		},
		{
			name: "F5: a node that is as feasible as before activates nobody",
			pod:  soft, change: func(s *scene) { s.nodeState(2, placement.StorageDown) },
		},
		{
			name: "F5: a node that is gone activates nobody", set: offline,
			pod: soft, change: func(s *scene) { s.remove(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}) },
		},
		{
			name: "F6: a replica node that was gone and is back activates a strict pod", activated: true,
			pod: strictOn(1), change: func(s *scene) {
				node, _, _ := makeNode(1, "")
				s.remove(node)
				s.create(node)
			},
		},
		{
			name: "F6: another node that was gone and is back does not activate a strict pod",
			pod:  strictOn(1), change: func(s *scene) {
				node, _, _ := makeNode(2, "")
				s.remove(node)
				s.create(node)
			},
		},
		{
			name: "F4: the operator opens a node", set: setting{nodes: []string{"closed", ""}}, activated: true,
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
			name: "F6: a replica node back Online activates a strict pod", set: setting{nodes: []string{"Offline", "", ""}}, activated: true,
			pod: strictOn(1, 2), change: func(s *scene) { s.nodeState(1, placement.Online) },
		},
		{
			name: "F6: another node back Online does not activate a strict pod", set: setting{nodes: []string{"", "Offline", ""}},
			pod: strictOn(1), change: func(s *scene) { s.nodeState(2, placement.Online) },
		},
		{
			name: "F6: a replica that moves activates a strict pod", activated: true,
			pod: strictOn(1), change: func(s *scene) { s.replicas("1001", 2) },
		},
		{
			name: "F6: a replica that is taken away does not activate a strict pod",
			pod:  strictOn(1, 2), change: func(s *scene) { s.replicas("1001", 1) },
		},
		{
			name: "F6: two volumes that come together on one node activate the pod that no node had both for", activated: true,
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				s.data("b", 2)
				return strict(makePod("db", "a", "b"))
			},
			change: func(s *scene) { s.replicas("1002", 1) },
		},
		{
			name: "F6: a near volume that becomes neutral activates a strict pod", activated: true,
			pod: strictOn(1), change: label(placement.VolumeSkipScoring, "true"),
		},
		{
			name: "F7: a remote-only volume that is no longer so activates", activated: true,
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: on(1), stored: func(o *volumes.Observation) {
					o.Service, o.Labels = true, map[string]string{placement.VolumePreferRemoteOnly: "true"}
				}})
				return makePod("db", "data").Obj()
			},
			change: label(placement.VolumePreferRemoteOnly, "false"),
		},
		{
			name: "F7, section 7: replicas that have become too old to be believed forbid nothing any more", activated: true,
			pod: func(s *scene) *v1.Pod {
				s.service("data", map[string]string{placement.VolumePreferRemoteOnly: "true"}, 1)
				return makePod("db", "data").Obj()
			},
			change: func(s *scene) { s.outage() },
		},
		{
			name: "F7: a remote-only volume that moves frees a node and activates the pod", activated: true,
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
			name: "F9: a volume that becomes a Windows one activates a pod that wanted the driver", set: setting{nodes: []string{"", "NoDriver"}}, activated: true,
			pod: soft, change: func(s *scene) {
				o := observation("1001", on(1))
				o.Winshare = true
				s.storage.put(o)
				s.settle()
			},
		},
		{
			name: "F10: the contradiction ends when one of the volumes moves", activated: true,
			pod: func(s *scene) *v1.Pod {
				s.service("b", map[string]string{placement.VolumePreferRemoteOnly: "true"}, 1)
				s.data("a", 1)
				return strict(makePod("db", "a", "b"))
			},
			change: func(s *scene) { s.replicas("1002", 1, 2) },
		},
		{
			name: "section 10: a pod that is held for another reason now is tried, for the sake of its condition", set: offline, activated: true,
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				s.data("b", 2)
				return strict(makePod("db", "a", "b"))
			},
			change: func(s *scene) { s.nodeState(1, placement.Online) },
		},
		{
			name: "a volume of another pod activates nobody",
			pod:  strictOn(1), change: func(s *scene) { s.data("other", 3); s.replicas("1002", 1, 2, 3) },
		},
		{
			name: "a storage record finds its Kubernetes node and activates the pod", set: setting{nodes: []string{"", "NoDriver"}}, activated: true,
			pod: func(s *scene) *v1.Pod {
				s.data("data", 2)
				s.nodeState(2, placement.Online)
				return strict(makePod("db", "data"))
			},
			change: func(s *scene) { s.create(makeCSINode(2)) },
		},
		{
			name: "section 2: the pod is no longer strict", activated: true,
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
			name: "section 2: disableHyperconvergence frees the pod from F7", activated: true,
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
				if w.activated {
					want = []string{"shop/db"}
				}
				same(s, "activated", want, s.queue.taken())
			})
		})
	}
}

func TestActivation(t *testing.T) {
	t.Run("a pod that does not come through PreFilter is activated once for each improvement", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline", "Offline", "Offline"}}, func(s *scene) {
			s.data("data", 1, 2)
			s.pending(makePod("db", "data").Obj())
			s.nodeState(1, placement.Online)
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
			s.pass(time.Minute)
			s.nodeState(3, placement.Degraded)
			s.replicas("1001", 1, 2, 3)
			same(s, "activated by what helps no more than before", nil, s.queue.taken())
			s.nodeState(2, placement.Online)
			same(s, "activated by another node", []string{"shop/db"}, s.queue.taken())
		})
	})
	t.Run("a pod that fares worse again before it was tried is activated by the next improvement", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline", ""}}, func(s *scene) {
			s.data("data", 1)
			s.pending(makePod("db", "data").Obj())
			s.nodeState(1, placement.Online)
			s.nodeState(1, placement.Offline)
			same(s, "activated at first", []string{"shop/db"}, s.queue.taken())
			s.nodeState(1, placement.Online)
			same(s, "activated again", []string{"shop/db"}, s.queue.taken())
		})
	})
	t.Run("the metric counts activations", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline"}}, func(s *scene) {
			before, err := testutil.GetCounterMetricValue(metrics.ActivatedPods)
			s.must(err)
			s.data("data", 1)
			s.pending(makePod("db", "data").Obj())
			s.nodeState(1, placement.Online)
			s.pass(time.Minute)
			after, err := testutil.GetCounterMetricValue(metrics.ActivatedPods)
			s.must(err)
			same(s, "activated", 1, after-before)
		})
	})
	t.Run("when storage comes back for very many pods, they are activated over seconds, by priority and age", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline"}}, func(s *scene) {
			s.data("data", 1)
			const pods = helpedAtOnce + 2*helpedPerSecond
			start := time.Now()
			made := map[string]*v1.Pod{}
			for i := range pods {
				pod := makePod(fmt.Sprintf("db-%04d", i), "data").Priority(int32(i % 2)).CreationTimestamp(metav1.NewTime(start.Add(time.Duration(i) * time.Second))).Obj()
				made[namespace+"/"+pod.Name] = pod
				s.must(s.client.Tracker().Add(pod))
				s.settle()
				s.attempt(pod)
			}
			try := func(names []string) {
				for _, name := range names {
					s.attempt(made[name])
				}
			}
			s.nodeState(1, placement.Online)
			activated := s.queue.taken()
			same(s, "activated without delay", helpedAtOnce, len(activated))
			s.pass(underWayAtMost / 2)
			same(s, "activated before those are tried", nil, s.queue.taken())
			for begun := time.Now(); time.Since(begun) < time.Second; {
				try(activated[max(0, len(activated)-underWayAtOnce):])
				s.pass(activationInterval)
				activated = append(activated, s.queue.taken()...)
			}
			if got := len(activated) - helpedAtOnce; got < helpedPerSecond*9/10 || got > helpedPerSecond*13/10 {
				s.Errorf("%d pods are activated in a second, want about %d", got, helpedPerSecond)
			}
			for len(activated) < pods && time.Since(start) < time.Minute {
				try(activated[max(0, len(activated)-underWayAtOnce):])
				s.pass(activationInterval)
				activated = append(activated, s.queue.taken()...)
			}
			if i := slices.IndexFunc(activated, func(name string) bool { return !strings.ContainsAny(name[len(name)-1:], "13579") }); i < pods/2 {
				s.Errorf("pod %s of low priority is activated as number %d", activated[i], i)
			}
			same(s, "activated", pods, len(activated))
		})
	})
	t.Run("pods that are not tried keep the others back for two seconds at most", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline"}}, func(s *scene) {
			s.data("data", 1)
			for i := range 2 * underWayAtOnce {
				s.pending(makePod(fmt.Sprintf("db-%d", i), "data").Obj())
			}
			s.nodeState(1, placement.Online)
			same(s, "activated without delay", helpedAtOnce, len(s.queue.taken()))
			s.pass(underWayAtMost + 2*activationInterval)
			same(s, "activated after that", underWayAtOnce, len(s.queue.taken()))
		})
	})
	t.Run("a node that closes and opens again and again activates a pod at intervals that grow", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.data("data", 1)
			pod := s.pending(makePod("db", "data").Obj()) // and it fits nowhere
			activations := func(during time.Duration) (n int) {
				for begun := time.Now(); time.Since(begun) < during; s.pass(100 * time.Millisecond) {
					s.nodeState(3, placement.Offline)
					s.nodeState(3, placement.Online)
					if len(s.queue.taken()) > 0 {
						n++
						s.attempt(pod)
					}
				}
				return n
			}
			// At once, at once, after 1 s, 2 s and 4 s; then every 10 s.
			if n := activations(8 * time.Second); n < 4 || n > 6 {
				s.Errorf("%d activations in 8 s, want about 5", n)
			}
			if n := activations(time.Minute); n < 5 || n > 8 {
				s.Errorf("%d activations in a minute after that, want about 6", n)
			}
			s.pass(4 * maxGap)
			if n := activations(time.Second); n < 2 {
				s.Errorf("%d activations after a while without any, want 2", n)
			}
		})
	})
	t.Run("a pod that is tried while it waits for its activation is not activated any more", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline"}}, func(s *scene) {
			s.data("data", 1)
			var last *v1.Pod
			for i := range helpedAtOnce + 1 {
				last = s.pending(makePod(fmt.Sprintf("db-%04d", i), "data").CreationTimestamp(metav1.NewTime(time.Unix(int64(i), 0))).Obj())
			}
			s.nodeState(1, placement.Online)
			same(s, "activated without delay", helpedAtOnce, len(s.queue.taken()))
			s.attempt(last)
			s.pass(time.Minute)
			same(s, "activated afterwards", nil, s.queue.taken())
		})
	})
}

// The pod's attempt is cut in two: PreFilter decides, and enters the pod.
func TestChangeDuringPreFilter(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*scene)
		want   []string
	}{
		{name: "a node that helps", change: func(s *scene) { s.nodeState(1, placement.Online) }, want: []string{"shop/db"}},
		{name: "a node that helps nobody", change: func(s *scene) { s.nodeState(2, placement.Online) }},
		{name: "a volume that moves to where it helps", change: func(s *scene) { s.replicas("1001", 3) }, want: []string{"shop/db"}},
		{name: "a volume that moves to where it helps nobody", change: func(s *scene) { s.replicas("1001", 2) }},
		{name: "a node that is gone and back", change: func(s *scene) {
			node, _, _ := makeNode(2, "")
			s.remove(node)
			s.create(node)
		}},
		{name: "the pod is deleted", change: func(s *scene) {
			s.remove(makePod("db").Obj())
			s.nodeState(1, placement.Online)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			play(t, setting{nodes: []string{"Offline", "Offline", ""}}, func(s *scene) {
				s.data("data", 1)
				pod := makePod("db", "data").Obj()
				s.create(pod)
				enter := s.beginAttempt(pod)
				tc.change(s)
				same(s, "activated before the pod is entered", nil, s.queue.taken())
				enter()
				same(s, "activated", tc.want, s.queue.taken())
			})
		})
	}
	t.Run("an annotation that the queue had not heard of at the attempt is not lost", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.data("a", 1)
			s.data("b", 2)
			before := strict(makePod("db", "a", "b"))
			s.create(before)
			update(s, before, func(p *v1.Pod) { p.Annotations = nil })
			s.attempt(before)
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
		})
	})
	t.Run("an annotation that is removed while PreFilter is at work is not lost", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.data("a", 1)
			s.data("b", 2)
			pod := strict(makePod("db", "a", "b"))
			s.create(pod)
			enter := s.beginAttempt(pod)
			update(s, pod, func(p *v1.Pod) { p.Annotations = nil })
			enter()
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
		})
	})
	t.Run("an annotation that is removed between the lister and the lock is not lost", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.data("a", 1)
			s.data("b", 2)
			pod := strict(makePod("db", "a", "b"))
			s.create(pod)
			// The annotation goes when the list has just asked for the pod. The handlers
			// are told when the informer has it, whether anybody listens to them yet.
			lister := s.pl.waiting.lister
			s.pl.waiting.lister = &hookedLister{PodLister: lister, then: sync.OnceFunc(func() {
				bare := pod.DeepCopy()
				bare.Annotations, bare.ResourceVersion = nil, "1"
				s.must(s.client.Tracker().Update(resourceOf(bare), bare, bare.Namespace))
				for present := pod; present.Annotations != nil; runtime.Gosched() {
					var err error
					present, err = lister.Pods(namespace).Get("db")
					s.must(err)
				}
			})}
			s.attempt(pod)
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
		})
	})
	t.Run("what was decided for an earlier attempt is decided again for this one", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline"}}, func(s *scene) {
			s.data("data", 1)
			pod := s.pending(makePod("db", "data").Obj())
			w := s.pl.waiting
			earlier := w.compare(w.pods[pod.UID])
			w.decide(&earlier)
			s.attempt(pod)
			same(s, "valid", false, w.conclude(&earlier))
		})
	})
}

// hookedLister does something after it was asked for a pod, before it answers.
type hookedLister struct {
	corelisters.PodLister
	then func()
}

func (l *hookedLister) Pods(namespace string) corelisters.PodNamespaceLister {
	return &hookedNamespace{PodNamespaceLister: l.PodLister.Pods(namespace), then: l.then}
}

type hookedNamespace struct {
	corelisters.PodNamespaceLister
	then func()
}

func (l *hookedNamespace) Get(name string) (*v1.Pod, error) {
	defer l.then()
	return l.PodNamespaceLister.Get(name)
}

// beginAttempt does what PreFilter does before it enters the pod, and returns the rest.
func (s *scene) beginAttempt(pod *v1.Pod) (enter func()) {
	w := s.pl.waiting
	since := w.received.Load()
	requests := requests{index: s.pl.decider.index}
	d := s.pl.decider.decide(pod, s.pl.decider.claimsOf(pod), requests.request, time.Now())
	return func() {
		w.enter(pod, d, since, requests.followed(d.handles))
		s.settle()
	}
}

func TestConditionsTellTheTruth(t *testing.T) {
	restoring := func(s *scene) (*v1.Pod, *v1.PersistentVolumeClaim) {
		s.add(volume{name: "data", sets: on(1), claim: func(c *v1.PersistentVolumeClaim) {
			c.Annotations[placement.ClaimRestoreInProgress] = "true"
		}})
		claim, err := s.client.CoreV1().PersistentVolumeClaims(namespace).Get(s.ctx, "data", metav1.GetOptions{})
		s.must(err)
		return s.pending(makePod("db", "data").Obj()), claim
	}
	held := func(s *scene, reason string) float64 {
		value, err := testutil.GetGaugeMetricValue(metrics.HeldPods.WithLabelValues(reason))
		s.must(err)
		return value
	}
	t.Run("another volume is to blame", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline", "Offline"}}, func(s *scene) {
			s.data("a", 1)
			s.data("b", 2)
			pod := s.pending(makePod("db", "a", "b").Obj())
			s.nodeState(1, placement.Online)
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
			s.pass(time.Minute)
			s.nodeState(1, placement.StorageDown)
			s.nodeState(1, placement.Online)
			same(s, "activated by the way back to what it will be told", 2, len(s.queue.taken()))
			s.attempt(pod)
			s.nodeState(2, placement.Degraded)
			same(s, "activated though it would be told the same", nil, s.queue.taken())
		})
	})
	t.Run("the claim of a pod that waits for its restore is deleted", func(t *testing.T) {
		play(t, online(1), func(s *scene) {
			before := held(s, placement.ReasonRestoring)
			pod, claim := restoring(s)
			same(s, "held", 1, held(s, placement.ReasonRestoring)-before)
			s.remove(claim)
			ask := func() []string {
				hint, err := s.pl.isSchedulableAfterPersistentVolumeClaimChange(klog.Background(), pod, claim, nil)
				s.must(err)
				same(s, "hint", fwk.QueueSkip, hint) // the pod is activated instead
				s.settle()
				return s.queue.taken()
			}
			same(s, "activated", []string{"shop/db"}, ask())
			same(s, "held for the restore of a claim that does not exist", 0, held(s, placement.ReasonRestoring)-before)
			same(s, "activated for the second time", nil, ask())
		})
	})
	t.Run("a pod that this plugin has not turned down is not tried to be turned down", func(t *testing.T) {
		play(t, online(2), func(s *scene) {
			s.data("data", 1)
			s.pending(makePod("db", "data").Obj())
			s.nodeState(1, placement.Offline)
			same(s, "activated", nil, s.queue.taken())
		})
	})
	t.Run("very many pods are told something else over time", func(t *testing.T) {
		play(t, setting{nodes: []string{"Offline", "Offline"}}, func(s *scene) {
			s.data("a", 1)
			s.data("b", 2)
			for i := range 3 * outdatedAtOnce {
				s.pending(makePod(fmt.Sprintf("db-%d", i), "a", "b").Obj())
			}
			s.nodeState(1, placement.Online)
			same(s, "activated without delay", outdatedAtOnce, len(s.queue.taken()))
			s.nodeState(1, placement.Offline)
			s.pass(time.Minute)
			same(s, "activated for what they would not be told any more", outdatedAtOnce, len(s.queue.taken()))
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
				same(s, "activated", nil, s.queue.taken())
			})
		})
	}
}

func TestUnrelatedChangeActivatesNoneOf1000Pods(t *testing.T) {
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
		same(s, "activated by what does not concern them", nil, s.queue.taken())
		s.replicas("1500", 2)
		same(s, "activated by what helps one", []string{"shop/db-data-499"}, s.queue.taken())
		s.nodeState(1, placement.Online)
		s.pass(time.Minute)
		activated := s.queue.taken()
		same(s, "activated by what helps all", 1000, len(activated))
		slices.Sort(activated)
		same(s, "activated, each once", 1000, len(slices.Compact(activated)))
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

// A volume that stands in the pod itself is followed for the sake of the pods alone.
func TestRequestsEndWithThePod(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(s *scene, pod *v1.Pod)
	}{
		{name: "deleted", end: func(s *scene, pod *v1.Pod) { s.remove(pod) }},
		{name: "deleted before PreFilter comes to it again", end: func(s *scene, pod *v1.Pod) {
			s.remove(pod)
			s.attempt(pod)
		}},
		{name: "reserved", end: func(s *scene, pod *v1.Pod) {
			s.profile.RunReservePluginsReserve(s.ctx, s.reservable(pod), pod, "n1")
		}},
		{name: "left behind by a plugin that is closed", end: func(s *scene, _ *v1.Pod) { s.must(s.pl.Close()) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			play(t, online(1), func(s *scene) {
				followed := func() bool { return !s.pl.decider.index.Lookup("accounts").FirstSeen.IsZero() }
				first, second := s.pending(makePod("first").Volume(inTree("accounts")).Obj()), s.pending(makePod("second").Volume(inTree("accounts")).Obj())
				for range 3 {
					s.attempt(first)
					s.pass(grace) // in which it is decided about once more
				}
				same(s, "followed while two pods wait", true, followed())
				s.remove(second)
				same(s, "followed while one pod waits", true, followed())
				tc.end(s, first)
				same(s, "followed afterwards", false, followed())
			})
		})
	}
}

func (s *scene) reservable(pod *v1.Pod) fwk.CycleState {
	state, _, status := s.preFilter(pod)
	s.must(status.AsError())
	return state
}

// A pod whose handle was one too many must not take back the request of another.
func TestRefusedRequestIsNotReleased(t *testing.T) {
	index := volumes.NewIndex(volumes.Options{})
	for i := range volumes.MaxUnclaimed {
		index.Request(fmt.Sprint("invented-", i))
	}
	refused, accepted := requests{index: index}, requests{index: index}
	refused.request("late")
	index.Release("invented-0")
	accepted.request("late")
	same(t, "to be released of the refused", nil, refused.followed([]string{"late"}))
	same(t, "to be released of the accepted", []string{"late"}, accepted.followed([]string{"late"}))
	same(t, "to be released of a pod with both", []string{"1001"}, refused.followed([]string{"1001", "late"}))
}

func TestRequeueForWhatElseDecides(t *testing.T) {
	t.Run("section 3: a class that is deleted and made anew with other parameters helps the pods whose claims name it", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			class := st.MakeStorageClass().Name("fast").Provisioner(driver).Obj()
			s.create(class)
			s.data("a", 1)
			s.add(volume{name: "b", sets: on(2), claim: className("fast")})
			pod := s.pending(strict(makePod("db", "a", "b")))
			s.remove(class)
			anew := class.DeepCopy()
			anew.UID, anew.Parameters = "another", map[string]string{placement.VolumeSkipScoring: "true"}
			s.create(anew)
			runHints(s, s.pl.isSchedulableAfterStorageClassAdd, pod, []hint{{name: "the class", now: anew, want: fwk.Queue}})
		})
	})
	t.Run("S8: a label by which a pod turns out to bring a disk to a machine helps it", func(t *testing.T) {
		play(t, online(2), func(s *scene) {
			s.service("shared", map[string]string{placement.VolumePreferRemoteOnly: "true"}, 1, 2)
			pod := s.pending(makePod("hp-volume", "shared").Obj())
			update(s, pod, func(p *v1.Pod) { p.Labels = map[string]string{"app": "other"} })
			same(s, "activated by a label of nobody", nil, s.queue.taken())
			pod, err := s.pl.waiting.lister.Pods(namespace).Get(pod.Name)
			s.must(err)
			update(s, pod, func(p *v1.Pod) { p.Labels = map[string]string{kubevirtLabel: kubevirtAttachment} })
			same(s, "activated", []string{"shop/hp-volume"}, s.queue.taken())
		})
	})
	t.Run("section 7: a handle that the index had no room for is followed when there is room", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.storage.put(volumes.Observation{ID: "77", Name: "accounts", ReplicaSets: [][]string{{storageID(1)}}})
			index := s.factory.shared.index
			for i := range volumes.MaxUnclaimed {
				index.Request(fmt.Sprint("filler-", i))
			}
			pod := s.pending(strict(makePod("db").Volume(inTree("accounts"))))
			s.attempt(pod)
			s.pass(time.Minute)
			same(s, "activated without room", nil, s.queue.taken())
			index.Release("filler-0")
			s.pass(time.Minute)
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
		})
	})
}
