package hyperconverge

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/component-base/metrics/testutil"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// pending creates a pod and runs its first scheduling attempt.
func (s *scene) pending(pod *v1.Pod) *v1.Pod {
	s.Helper()
	s.create(pod)
	s.attempt(pod)
	return pod
}

// attempt runs the PreFilter of one scheduling attempt.
func (s *scene) attempt(pod *v1.Pod) {
	s.Helper()
	s.preFilter(pod)
	s.settle()
}

// pass lets time go by.
func (s *scene) pass(d time.Duration) {
	time.Sleep(d)
	s.settle()
}

// unknown adds a volume that storage says nothing about.
func (s *scene) unknown(name string) (handle string) {
	s.Helper()
	return s.add(volume{name: name, silent: true})
}

const (
	grace     = 5 * time.Second
	staleness = 10 * time.Minute
)

func TestVolumeBoundAMomentAgo(t *testing.T) {
	const notKnown = placement.ReasonVolumeUnknown + ": shop/data"

	t.Run("section 7: a soft pod is held back, activated at the end of the grace period, and scheduled with one event", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.unknown("data")
			pod := s.pending(makePod("db", "data").Obj())
			same(s, "rejection", notKnown, s.rejection(pod))
			s.pass(grace - time.Millisecond)
			same(s, "activated early", nil, s.queue.taken())
			same(s, "rejection at the last moment", notKnown, s.rejection(pod))
			s.pass(time.Millisecond)
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
			same(s, "verdicts", everywhere, s.verdicts(pod))
			same(s, "scores", nil, s.scores(pod))
			same(s, "events", []string{
				"Pod db VolumeUnknown: Scheduling without regard to the volume of shop/data: its replicas are not known",
			}, s.events.taken())
		})
	})
	t.Run("section 7: a soft pod is activated the moment the answer is in", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			handle := s.unknown("data")
			pod := s.pending(makePod("db", "data").Obj())
			s.pass(time.Second)
			s.replicas(handle, 2)
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
			same(s, "scores", []int64{0, 100, 0}, s.scores(pod))
			same(s, "events", nil, s.events.taken())
		})
	})
	t.Run("section 7: a pod with two unknown volumes is activated by the second answer", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			a, b := s.unknown("a"), s.unknown("b")
			s.pending(makePod("db", "a", "b").Obj())
			s.replicas(a, 1)
			same(s, "activated by the first", nil, s.queue.taken())
			s.replicas(b, 1)
			same(s, "activated by the second", []string{"shop/db"}, s.queue.taken())
		})
	})
	t.Run("section 7: the grace period of a volume that is still unknown ends when it would without the others", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.unknown("old")
			s.pass(time.Second)
			young := s.unknown("young")
			s.pending(makePod("db", "old", "young").Obj())
			s.replicas(young, 1)
			s.pass(grace - time.Second)
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
		})
	})
	t.Run("section 7: the grace period begins with the PV, not with the pod", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.unknown("data")
			s.pass(grace)
			same(s, "verdicts", everywhere, s.verdicts(s.pending(makePod("db", "data").Obj())))
		})
	})
	t.Run("section 7: an in-tree volume that nobody has heard of is asked for and held back for", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			pod := s.pending(makePod("db").Volume(inTree("accounts")).Obj())
			same(s, "rejection", placement.ReasonVolumeUnknown+": accounts", s.rejection(pod))
			s.pass(grace)
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
			same(s, "verdicts", everywhere, s.verdicts(pod))
		})
	})
	t.Run("section 7: a strict pod is held back until the volume is known, however long that takes", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			handle := s.unknown("data")
			pod := s.pending(strict(makePod("db", "data")))
			same(s, "rejection", placement.ReasonStrictUnknown+": shop/data", s.rejection(pod))
			s.pass(time.Hour)
			same(s, "activated early", nil, s.queue.taken())
			same(s, "events", nil, s.events.taken())
			s.replicas(handle, 2)
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
			same(s, "verdicts", []string{"left out", "ok", "left out"}, s.verdicts(pod))
		})
	})
	t.Run("section 7: a volume that is still unknown is asked for with every attempt", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			handle := s.unknown("data")
			s.pass(time.Hour)
			s.storage.mu.Lock() // storage learns of it, and nobody tells the index
			s.storage.volumes[handle] = volumes.Observation{ID: handle, ReplicaSets: [][]string{{storageID(2)}}}
			s.storage.mu.Unlock()
			pod := s.pending(strict(makePod("db", "data")))
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
			same(s, "verdicts", []string{"left out", "ok", "left out"}, s.verdicts(pod))
		})
	})
	t.Run("section 7: the grace period is configurable", func(t *testing.T) {
		set := online(3)
		set.args = func(a *config.HyperconvergeArgs) { a.UnknownVolumeGracePeriod.Duration = time.Minute }
		play(t, set, func(s *scene) {
			s.unknown("data")
			pod := s.pending(makePod("db", "data").Obj())
			s.pass(time.Minute - time.Millisecond)
			same(s, "rejection", notKnown, s.rejection(pod))
			s.pass(time.Millisecond)
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
		})
	})
	t.Run("section 7: replicas that have no say are not waited for", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.unknown("data")
			s.add(volume{name: "neutral", silent: true, claim: func(c *v1.PersistentVolumeClaim) { c.Annotations[placement.VolumeSkipScoring] = "true" }})
			same(s, "neutral volume", everywhere, s.verdicts(makePod("a", "neutral").Obj()))
			same(s, "disableHyperconvergence", everywhere, s.verdicts(makePod("b", "data").Annotation(placement.PodDisableHyperconvergence, "true").Obj()))
			same(s, "events", nil, s.events.taken())
		})
	})
}

// outage lets all data grow too old, and takes the storage API out of reach.
func (s *scene) outage() {
	s.storage.mu.Lock()
	s.storage.down = true
	s.storage.mu.Unlock()
	s.pass(staleness + time.Millisecond)
}

func TestStorageAPIDown(t *testing.T) {
	stale := func() float64 {
		value, err := testutil.GetCounterMetricValue(metrics.UnknownVolumes.WithLabelValues("stale"))
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	t.Run("section 7: data younger than maxStaleness is used by soft and by strict pods", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.data("data", 1)
			s.pass(staleness - time.Millisecond)
			same(s, "scores", atFirst, s.scores(makePod("a", "data").Obj()))
			same(s, "verdicts", []string{"ok", "left out", "left out"}, s.verdicts(strict(makePod("b", "data"))))
			same(s, "events", nil, s.events.taken())
		})
	})
	t.Run("section 7: with older data a soft pod is scheduled as if it were unknown, with an event and a metric", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			before := stale()
			s.data("data", 1)
			s.outage()
			pod := s.pending(makePod("db", "data").Obj())
			same(s, "verdicts", everywhere, s.verdicts(pod))
			same(s, "scores", nil, s.scores(pod))
			same(s, "events", []string{
				"Pod db VolumeUnknown: Scheduling without regard to the volume of shop/data: what is known of its replicas is too old",
			}, s.events.taken())
			same(s, "metric", 1, stale()-before)
		})
	})
	t.Run("section 7: of two volumes only the one that was known once is too old", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			before := stale()
			s.data("old", 1)
			s.outage()
			s.unknown("never")
			s.pass(grace)
			s.preFilter(makePod("db", "old", "never").Obj())
			same(s, "events", []string{
				"Pod db VolumeUnknown: Scheduling without regard to the volume of shop/never: its replicas are not known; " +
					"and to the volume of shop/old: what is known of its replicas is too old",
			}, s.events.taken())
			same(s, "metric", 1, stale()-before)
		})
	})
	t.Run("section 7: data that has grown old is not waited for, however long the grace period is", func(t *testing.T) {
		set := online(3)
		set.args = func(a *config.HyperconvergeArgs) { a.UnknownVolumeGracePeriod.Duration = time.Hour }
		play(t, set, func(s *scene) {
			s.data("data", 1)
			s.outage()
			same(s, "verdicts", everywhere, s.verdicts(makePod("db", "data").Obj()))
		})
	})
	t.Run("section 7: maxStaleness is configurable", func(t *testing.T) {
		set := online(3)
		set.args = func(a *config.HyperconvergeArgs) { a.MaxStaleness.Duration = time.Minute }
		play(t, set, func(s *scene) {
			s.data("data", 1)
			s.pass(time.Minute + time.Millisecond)
			same(s, "rejection", placement.ReasonStrictStale+": shop/data", s.rejection(strict(makePod("db", "data"))))
		})
	})
	t.Run("section 7: with older data a strict pod is held back with a reason that says so, and activated when storage is back", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			handle := s.data("data", 1)
			s.outage()
			pod := s.pending(strict(makePod("db", "data")))
			same(s, "rejection", placement.ReasonStrictStale+": shop/data", s.rejection(pod))
			s.settle() // nobody answers what PreFilter has asked for
			s.storage.tellNodes()
			s.settle()
			same(s, "activated by contact alone", nil, s.queue.taken())
			s.replicas(handle, 1)
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
		})
	})
	t.Run("section 7: what kind of volume it is does not grow old", func(t *testing.T) {
		play(t, setting{nodes: []string{"", "NoDriver"}}, func(s *scene) {
			s.service("away", nil, 1)
			s.add(volume{name: "direct", stored: func(o *volumes.Observation) { o.Direct = true }})
			s.add(volume{name: "windows", sets: on(1), stored: func(o *volumes.Observation) { o.Winshare = true }})
			s.outage()
			same(s, "F6 exempts away volumes", []string{"ok", placement.ReasonNoDriver}, s.verdicts(strict(makePod("a", "away"))))
			s.events.taken()
			same(s, "F6 exempts neutral volumes", []string{"ok", placement.ReasonNoDriver}, s.verdicts(strict(makePod("b", "direct"))))
			same(s, "F9 frees from the driver", []string{"ok", "ok"}, s.verdicts(makePod("c", "windows").Obj()))
			same(s, "events about volumes that have no say", nil, s.events.taken())
		})
	})
	t.Run("section 7: what is not named any more keeps its last replicas", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			handle := s.data("data", 1)
			inspection, followed := s.factory.shared.index.Begin(handle)
			if !followed {
				s.Fatal("the volume is not followed")
			}
			inspection.Missing()
			if _, err := inspection.Found(&volumes.Observation{ID: handle}); err == nil {
				s.Error("an answer without replicas is accepted")
			}
			s.settle()
			same(s, "scores", atFirst, s.scores(makePod("a", "data").Obj()))
			same(s, "verdicts", []string{"ok", "left out", "left out"}, s.verdicts(strict(makePod("b", "data"))))
		})
	})
	t.Run("section 7: never reached since the start, the drivers of the CSINodes decide F5, and strict pods wait", func(t *testing.T) {
		set := setting{nodes: []string{"", "NoDriver", "Offline"}, neverReached: true}
		play(t, set, func(s *scene) {
			s.unknown("data")
			s.pass(grace)
			same(s, "soft", []string{"ok", placement.ReasonNoDriver, "ok"}, s.verdicts(s.pending(makePod("a", "data").Obj())))
			same(s, "strict", placement.ReasonStrictUnknown+": shop/data", s.rejection(strict(makePod("b", "data"))))
		})
	})
}

func TestVolumeThatOnlyAPodNamesIsForgottenWithIt(t *testing.T) {
	followed := func(s *scene) bool { return !s.pl.decider.index.Lookup("4242").FirstSeen.IsZero() }
	for _, test := range []struct {
		name string
		ends func(s *scene, pod *v1.Pod)
	}{
		{"when the pod is placed or gone", func(s *scene, pod *v1.Pod) { s.pl.waiting.leave(pod.UID) }},
		{"when the plugin is closed", func(s *scene, _ *v1.Pod) { s.pl.waiting.leaveAll() }},
	} {
		t.Run("section 7: "+test.name, func(t *testing.T) {
			play(t, online(3), func(s *scene) {
				pod := s.pending(makePod("a").Volume(inTree("4242")).Obj())
				for range 3 {
					s.attempt(pod)
				}
				if !followed(s) {
					s.Fatal("the volume is not followed while the pod waits")
				}
				test.ends(s, pod)
				if followed(s) {
					s.Error("the volume is still followed")
				}
			})
		})
	}
}
