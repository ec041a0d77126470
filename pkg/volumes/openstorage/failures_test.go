package openstorage

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	sim "github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// neverSilent makes a cluster in which some volume changes all the time.
func neverSilent(r *rig) {
	r.volume("busy", "node-1")
	stop := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			if err := r.cluster.SetLabels("busy", map[string]string{"i": strconv.Itoa(i)}); err != nil {
				r.t.Error(err)
				return
			}
		}
	})
	r.t.Cleanup(func() {
		close(stop)
		changing.Wait()
	})
}

func TestWatchThatIsNeverSilentIsOpenAndAudited(t *testing.T) {
	r, id := startKnown(t, settings{
		config: Config{ResyncInterval: 200 * time.Millisecond},
		faults: sim.Faults{Watch: sim.WatchFaults{HideDeletes: true}},
		setUp:  neverSilent,
	})
	r.watching()
	r.eventually("the volume is audited", func() bool {
		current, last := r.source.audit.passes()
		return current.Audited+last.Audited > 0
	})
	r.must(r.cluster.DeleteVolume(id))
	r.eventuallyIs(id, volumes.Suspect)
}

func TestOneFailedInspectOfTheResyncIsMadeUpFor(t *testing.T) {
	r, id := startKnown(t, settings{})
	r.watching()
	r.must(r.server.SetFaults(failingCalls("Volume.Inspect", codes.Internal)))
	r.source.enqueue(id, routine)
	r.eventually("the volume is dirty", func() bool { return needsInspect(r.index, id) })
	r.must(r.server.SetFaults(sim.Faults{}))
	r.eventually("the volume is clean again", func() bool { return !needsInspect(r.index, id) })
}

func TestOutageWithAnErrorOfTheServerIsMadeUpFor(t *testing.T) {
	r, id := startKnown(t, settings{
		options: volumes.Options{MaxStaleness: 300 * time.Millisecond},
	})
	r.watching()
	r.must(r.server.SetFaults(failingCalls("*", codes.Internal)))
	r.eventuallyIs(id, volumes.Stale)
	r.must(r.server.SetFaults(sim.Faults{}))
	r.eventuallyIs(id, volumes.Fresh)
}

func TestWatchIsOpenedAnewWhenTheTokenShowsMore(t *testing.T) {
	tests := []struct {
		name    string
		before  string
		faults  sim.Faults
		problem string
	}{
		{"than nothing", blindToken, sim.Faults{}, ReasonTokenBlind},
		{"nodes", goodToken, sim.Faults{HideNodes: 1}, ReasonNoNodes},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var id string
			file := tokenPath(t, test.before)
			r := start(t, settings{
				config: Config{TokenFile: file, AllowPlaintextToken: true},
				server: sim.ServerOptions{Tokens: newTokens()},
				faults: test.faults,
				setUp:  withVolume(&id),
				tune:   func(s *Source) { s.token.maxAge = 10 * time.Millisecond },
			})
			r.addPV(pvOf("pv", id))
			r.watching()
			r.eventually("the volume is followed", func() bool { return !r.index.Lookup(id).FirstSeen.IsZero() })
			r.source.checkAccess.fire() // the check of the start may have come before the PV
			r.eventuallyProblem(test.problem, true)
			before := r.server.Calls(false)["Watch.Watch"]
			writeFile(t, file, goodToken)
			r.must(r.server.SetFaults(sim.Faults{}))
			r.eventuallyProblem(test.problem, false)
			r.eventuallyIs(id, volumes.Fresh)
			r.eventually("the watch is opened anew", func() bool { return r.server.Calls(false)["Watch.Watch"] > before })
			r.must(r.cluster.MoveReplica(id, "node-2", "node-3"))
			r.eventuallyOn(id, "node-1", "node-3") // by the watch: resyncs take an hour
		})
	}
}

func TestVolumesThatAGoodTokenHidesBecomeSuspectAndNotStale(t *testing.T) {
	file := tokenPath(t, goodToken)
	r, id := startKnown(t, settings{
		config:  Config{TokenFile: file, AllowPlaintextToken: true, ResyncInterval: 100 * time.Millisecond},
		options: volumes.Options{MaxStaleness: 300 * time.Millisecond},
		server:  sim.ServerOptions{Tokens: newTokens()},
		tune:    func(s *Source) { s.token.maxAge = time.Millisecond },
	})
	writeFile(t, file, blindToken)
	r.eventuallyProblem(ReasonTokenBlind, true)
	r.eventuallyIs(id, volumes.Suspect)
}

func TestStorageThatShowsTooFewVolumesIsTold(t *testing.T) {
	r := start(t, settings{config: Config{ResyncInterval: 100 * time.Millisecond}})
	for i := range 2 * visibleFew {
		name := fmt.Sprint("pvc-", i)
		r.addPV(pvOf(name, r.volume(name, "node-1")))
	}
	r.must(r.server.SetFaults(sim.Faults{HideVolumes: 0.4}))
	r.eventuallyProblem(ReasonShowsTooFew, true)
	r.must(r.server.SetFaults(sim.Faults{}))
	r.eventuallyProblem(ReasonShowsTooFew, false)
}

func TestRotatedTokenThatIsAsGoodCostsNoNewWatch(t *testing.T) {
	var id string
	tokens := newTokens()
	const next = "eyJ.next.token"
	tokens.Set(next, sim.Token{User: "scheduler", Roles: []string{sim.RoleView}, Groups: []string{sim.AdminGroup}})
	file := tokenPath(t, goodToken)
	r := start(t, settings{
		config: Config{TokenFile: file, AllowPlaintextToken: true, ResyncInterval: 100 * time.Millisecond},
		server: sim.ServerOptions{Tokens: tokens},
		setUp:  withVolume(&id),
		tune:   func(s *Source) { s.token.maxAge = time.Millisecond },
	})
	r.addPV(pvOf("pv", id))
	r.watching()
	r.eventuallyIs(id, volumes.Fresh)
	writeFile(t, file, next)
	checks := r.server.Calls(false)["Volume.Enumerate"]
	r.eventually("the new token has been used, and what it shows compared", func() bool {
		return r.server.Calls(false)["Volume.Enumerate"] > checks+2
	})
	if n := r.server.Calls(false)["Watch.Watch"]; n != 1 {
		t.Errorf("%d watches were opened", n)
	}
}

func TestTokenThatMayNotListVolumesIsRefused(t *testing.T) {
	var id string
	r := start(t, settings{faults: failingCalls("Volume.Enumerate", codes.PermissionDenied), setUp: withVolume(&id)})
	r.addPV(pvOf("pv", id))
	r.eventuallyProblem(ReasonTokenRefused, true)
	r.must(r.server.SetFaults(sim.Faults{}))
	r.eventuallyProblem(ReasonTokenRefused, false)
}

func TestWatchThatIsCutAfterEveryInitialListIsTold(t *testing.T) {
	r := start(t, settings{config: Config{WatchBackoff: 100 * time.Millisecond}})
	r.eventually("the problem is told", func() bool {
		if r.source.watchIs(watchOpen) {
			r.server.CutWatches()
		}
		return r.source.health.has(ReasonNoWatch)
	})
	r.watching()
	r.eventuallyProblem(ReasonNoWatch, false) // when it has lasted
}

func TestPauseOfTheWatchEndsWhenItWouldShowMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := bare(nil)
		start := time.Now()
		if s.pauseWatch(t.Context(), start.Add(time.Minute)) || time.Since(start) != time.Minute {
			t.Errorf("the pause took %v, want a minute", time.Since(start))
		}
		s.reopen.fire()
		start = time.Now()
		if !s.pauseWatch(t.Context(), start.Add(time.Minute)) || time.Since(start) != 0 {
			t.Errorf("the pause took %v, although a watch would show more", time.Since(start))
		}
	})
}

func TestWatchCountsAsGoodWhenItHasLasted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s, _ := bare(nil)
		s.health.set(ReasonNoWatch, "cut again and again", adviceWatch)
		var awaiting sync.WaitGroup
		awaiting.Go(func() { s.awaitInitialList(ctx, newInitialList(), time.Now()) })
		time.Sleep(provenAfter*defaultWatchBackoff - time.Second)
		if !s.watchIs(watchOpen) || !s.health.has(ReasonNoWatch) {
			t.Error("the watch is not open, or counts as good already")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if s.health.has(ReasonNoWatch) {
			t.Error("the watch does not count as good")
		}
		cancel()
		awaiting.Wait()
	})
}
