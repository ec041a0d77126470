package openstorage

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// answers is a server whose Inspect does to each volume what the test wants.
type answers struct {
	api.OpenStorageVolumeClient
	inspect func(ctx context.Context, id string) error
}

func (a answers) Inspect(ctx context.Context, request *api.SdkVolumeInspectRequest, _ ...grpc.CallOption) (*api.SdkVolumeInspectResponse, error) {
	if err := a.inspect(ctx, request.VolumeId); err != nil {
		return nil, err
	}
	return &api.SdkVolumeInspectResponse{Volume: &api.Volume{Id: request.VolumeId, ReplicaSets: []*api.ReplicaSet{{Nodes: []string{"s1"}}}}}, nil
}

// hanging is a server on which volumes with an id of four digits hang, as those do
// whose coordinator is gone.
func hanging(ctx context.Context, id string) error {
	if len(id) < 4 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, defaultRequestTimeout)
	defer cancel()
	<-ctx.Done()
	return status.FromContextError(ctx.Err()).Err()
}

func TestVolumesThatHangHoldUpNoOthers(t *testing.T) {
	const many = 100
	all := []priority{requested, dirty, unverified, routine}
	tests := []struct {
		name     string
		priority priority
		after    time.Duration
		free     []priority // on which no other volume is held up then
	}{
		{"while they are asked for the first time because they are dirty", dirty, time.Second, []priority{requested}},
		{"while they are asked for again", dirty, 10 * time.Minute, all},
		{"while pods wait for them, once each has been asked for", requested, many / inspectWorkers * defaultRequestTimeout, all},
		{"when pods have waited for them for long", requested, time.Hour, all},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				s, index := bare(answers{inspect: hanging})
				defer s.queue.closeWith(ctx)()
				defer s.retries.stop()
				for range inspectWorkers {
					go s.inspectLoop(ctx)
				}
				for i := range many {
					hangs := strconv.Itoa(1000 + i)
					index.Request(hangs)
					s.enqueue(hangs, test.priority)
				}
				time.Sleep(test.after)
				synctest.Wait()
				start := time.Now()
				for _, l := range test.free {
					well := fmt.Sprint(1 + l)
					index.Request(well)
					s.enqueue(well, l)
					for index.Lookup(well).Volume == nil && time.Since(start) < time.Minute {
						time.Sleep(time.Millisecond)
					}
				}
				if took := time.Since(start); took > 100*time.Millisecond {
					t.Errorf("volumes that are well are inspected after %v", took)
				}
				cancel()
			})
		})
	}
}

func TestVolumesThatStorageFailsToDescribeHoldUpNoOthers(t *testing.T) {
	const many, samples = 200, 50
	for _, code := range []codes.Code{codes.Internal, codes.Unavailable, codes.ResourceExhausted} {
		t.Run(code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				s, index := bare(answers{inspect: func(_ context.Context, id string) error {
					if len(id) < 4 {
						return nil
					}
					return status.Error(code, "the coordinator of the volume is gone")
				}})
				defer s.queue.closeWith(ctx)()
				defer s.retries.stop()
				for range inspectWorkers {
					go s.inspectLoop(ctx)
				}
				go func() { // the node list is well
					for sleep(ctx, defaultNodePollInterval) {
						s.health.observeNodes(s.health.observe(nil), nil)
					}
				}()
				for i := range many {
					fails := strconv.Itoa(1000 + i)
					index.Request(fails)
					s.enqueue(fails, dirty)
				}
				time.Sleep(2 * time.Minute)
				for i := range samples {
					well := strconv.Itoa(1 + i)
					start := time.Now()
					index.Request(well)
					s.enqueue(well, requested)
					for index.Lookup(well).Volume == nil && time.Since(start) < time.Minute {
						time.Sleep(time.Millisecond)
					}
					if took := time.Since(start); took > 100*time.Millisecond {
						t.Errorf("volume %s, which is well, is inspected after %v", well, took)
					}
					time.Sleep(time.Duration(3000+i*613%7000) * time.Millisecond)
				}
				if !s.retries.pending("1000") {
					t.Error("a volume that fails is not asked for again")
				}
				cancel()
			})
		})
	}
}

func TestWhatTripsTheBreaker(t *testing.T) {
	unavailable := status.Error(codes.Unavailable, "no")
	tests := []struct {
		name string
		// before is what happened before one inspect is answered with Unavailable.
		before func(h *health)
		trips  bool
	}{
		{"storage has never answered", func(*health) {}, true},
		{"storage answers otherwise", func(h *health) { h.observe(nil) }, false},
		{"storage says otherwise that something is not there", func(h *health) { h.observe(status.Error(codes.NotFound, "no")) }, false},
		{"the connection is lost", func(h *health) {
			h.observe(nil)
			h.connected = func() bool { return false }
		}, true},
		{"the node list fails", func(h *health) {
			h.observe(nil)
			h.observeNodes(unreachable, unavailable)
		}, true},
		{"the node list is well again", func(h *health) {
			h.observeNodes(unreachable, unavailable)
			h.observeNodes(h.observe(nil), nil)
		}, false},
		{"nothing has been answered for as long as two node polls take", func(h *health) {
			h.observe(nil)
			time.Sleep(2*defaultNodePollInterval + 1)
		}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := bare(nil)
				test.before(s.health)
				if k := s.health.observe(unavailable); k != unreachable {
					t.Errorf("the outcome is %d, want %d", k, unreachable)
				}
				if trips := s.health.breaker.reset(); trips != test.trips {
					t.Errorf("all others wait: %v, want %v", trips, test.trips)
				}
			})
		})
	}
}

func TestInspectThatBringsNothing(t *testing.T) {
	tests := []struct {
		name         string
		code         codes.Code
		nodesRefused bool
		freshness    volumes.Freshness
		// dirty volumes become stale if nothing is done.
		dirty bool
		shut  bool
	}{
		{"one call fails", codes.Internal, false, volumes.Fresh, true, false},
		{"one call is aborted", codes.Aborted, false, volumes.Fresh, true, false},
		{"one call takes too long", codes.DeadlineExceeded, false, volumes.Fresh, true, false},
		{"the server is not there", codes.Unavailable, false, volumes.Fresh, true, true},
		{"the volume is not there", codes.NotFound, false, volumes.Suspect, false, false},
		{"the token does not show the volume", codes.PermissionDenied, false, volumes.Suspect, false, false},
		{"the token is bad for all", codes.PermissionDenied, true, volumes.Fresh, true, true},
	}
	for _, test := range tests {
		for _, l := range []priority{requested, dirty, unverified, routine} {
			t.Run(fmt.Sprint(test.name, " on level ", l), func(t *testing.T) {
				s, index := bare(answers{inspect: func(context.Context, string) error { return status.Error(test.code, "no") }})
				defer s.retries.stop()
				s.health.nodesRefused = test.nodesRefused
				index.Request("1")
				index.Notice(&volumes.Observation{ID: "1", ReplicaSets: [][]string{{"s1"}}})
				if l == unverified {
					index.Notice(&volumes.Observation{ID: "1", Gone: true}) // what is clean is not inspected on this priority
				}
				s.inspect(t.Context(), "1", l)
				if f := index.Lookup("1").Freshness; f != test.freshness {
					t.Errorf("the volume is %v, want %v", f, test.freshness)
				}
				if dirty := needsInspect(index, "1"); dirty != test.dirty {
					t.Errorf("the volume is dirty: %v", dirty)
				}
				if pending := s.retries.pending("1"); pending != test.dirty {
					t.Errorf("a volume that is dirty %v is to be inspected again %v", test.dirty, pending)
				}
				if shut := s.health.breaker.reset(); shut != test.shut {
					t.Errorf("all others wait: %v, want %v", shut, test.shut)
				}
			})
		}
	}
}

func TestFailingVolumeThatIsLearnedOtherwiseIsResyncedAgain(t *testing.T) {
	s, index := bare(unasked{t: t})
	defer s.retries.stop()
	index.Request("1")
	s.retries.failed("1", requested)
	index.Notice(&volumes.Observation{ID: "1", ReplicaSets: [][]string{{"s1"}}})
	s.inspect(t.Context(), "1", failing)
	if s.retries.pending("1") {
		t.Error("a volume that is known is still taken for failing, and left out of the resync")
	}
}

func TestFailingInspectShutsTheGateOnlyWhenTheNodeListFailsToo(t *testing.T) {
	s := newSource(Config{}.withDefaults(), volumes.NewIndex(volumes.Options{}))
	late := status.Error(codes.DeadlineExceeded, "too late")
	s.health.observe(late)
	if s.health.breaker.reset() {
		t.Error("one call that takes too long keeps all others away")
	}
	s.health.observeNodes(failed, late)
	s.health.observe(late)
	if !s.health.breaker.reset() {
		t.Error("many calls run against a storage API that fails altogether")
	}
}

func TestVolumesThatAreNotThereDoNotFillTheLog(t *testing.T) {
	for _, code := range []codes.Code{codes.NotFound, codes.PermissionDenied, codes.Internal} {
		t.Run(code.String(), func(t *testing.T) {
			var log lockedBuffer
			shipped := textlogger.NewLogger(textlogger.NewConfig(textlogger.Verbosity(2), textlogger.Output(&log)))
			s, index := bare(answers{inspect: func(context.Context, string) error { return status.Error(code, "no") }})
			defer s.retries.stop()
			const count = 20
			s.audit.begin(count)
			for i := range count {
				handle := strconv.Itoa(1 + i)
				index.Request(handle)
				s.inspect(klog.NewContext(t.Context(), shipped), handle, routine)
			}
			pass, _ := s.audit.passes()
			pass.log(shipped, "Resync of the volumes is over")
			if lines := strings.Count(log.String(), "\n"); lines != 1 {
				t.Errorf("%d lines are logged, want one:\n%s", lines, log.String())
			}
			if pass.Missing+pass.Refused+pass.Failed != count || len(pass.Lacking) != auditExamples {
				t.Errorf("the pass counts %d missing, %d refused, %d failed and names %d; want %d, and %d named",
					pass.Missing, pass.Refused, pass.Failed, len(pass.Lacking), count, auditExamples)
			}
		})
	}
}

func TestResyncLeavesOutWhatIsAskedForAgainAnyway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, index := bare(nil)
		defer s.retries.stop()
		index.Request("1")
		index.Request("2")
		s.retries.first, s.retries.last = 24*time.Hour, 24*time.Hour
		s.retries.failed("1", routine)
		s.audit.begin(2)
		if !s.resync(t.Context(), index.Handles(volumes.Verifiable)) {
			t.Error("the resync did not come to its end")
		}
		pass, _ := s.audit.passes()
		if handle, l, _ := s.queue.next(); handle != "2" || l != routine || s.queue.len() != 0 || pass.Failed != 1 {
			t.Errorf("volume %s is inspected on level %d, %d more wait, %d are told to fail; want volume 2 only, and one",
				handle, l, s.queue.len(), pass.Failed)
		}
	})
}

func TestResyncDoesNotWaitForEverForTheStartToBeVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s, index := bare(nil)
		index.Request("1")
		go s.resyncLoop(ctx)
		time.Sleep(3 * defaultResyncInterval / pollFactor)
		synctest.Wait()
		if s.queue.len() != 1 {
			t.Error("no resync has begun")
		}
		cancel()
		synctest.Wait()
	})
}
