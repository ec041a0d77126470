package openstorage

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// journal is a server that has the volumes with a number below 1000, fails for
// those with a name that begins with "broken", and writes down what it is asked.
type journal struct {
	api.OpenStorageVolumeClient
	mu       sync.Mutex
	inspects map[string]int
	searches map[string]int
	calls    []time.Time // about names
}

func (j *journal) note(counts map[string]int, handle string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	counts[handle]++
	if !isNumber(handle) {
		j.calls = append(j.calls, time.Now())
	}
}

func (j *journal) Inspect(_ context.Context, request *api.SdkVolumeInspectRequest, _ ...grpc.CallOption) (*api.SdkVolumeInspectResponse, error) {
	j.note(j.inspects, request.VolumeId)
	switch {
	case len(request.VolumeId) >= 6 && request.VolumeId[:6] == "broken":
		return nil, status.Error(codes.Internal, "no")
	case !isNumber(request.VolumeId):
		return nil, status.Error(codes.NotFound, "no")
	}
	return &api.SdkVolumeInspectResponse{Volume: &api.Volume{Id: request.VolumeId, ReplicaSets: []*api.ReplicaSet{{Nodes: []string{"s1"}}}}}, nil
}

func (j *journal) InspectWithFilters(_ context.Context, request *api.SdkVolumeInspectWithFiltersRequest, _ ...grpc.CallOption) (*api.SdkVolumeInspectWithFiltersResponse, error) {
	j.note(j.searches, request.Name)
	return &api.SdkVolumeInspectWithFiltersResponse{}, nil
}

// strangers plays with a source whose handles count as those of PVs if they are
// numbers.
func strangers(t *testing.T, play func(s *Source, index *volumes.Index, j *journal)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		j := &journal{inspects: map[string]int{}, searches: map[string]int{}}
		s, index := bare(j)
		s.claimed = isNumber
		stop := s.queue.closeWith(ctx)
		var running sync.WaitGroup
		for range unclaimedWorkers {
			running.Go(func() { s.unclaimedLoop(ctx) })
		}
		for range inspectWorkers {
			running.Go(func() { s.inspectLoop(ctx) })
		}
		play(s, index, j)
		cancel()
		running.Wait()
		s.retries.stop()
		stop()
	})
}

func TestWhatPodsMakeUpIsAskedForOnceAndSlowly(t *testing.T) {
	strangers(t, func(s *Source, index *volumes.Index, j *journal) {
		const count = 500
		for i := range count {
			handle := fmt.Sprint("made-up-", i)
			index.Request(handle)
			s.enqueue(handle, requested)
		}
		index.Request("7")
		start := time.Now()
		s.enqueue("7", routine)
		synctest.Wait()
		for index.Lookup("7").Volume == nil {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(start); took > 10*time.Millisecond {
			t.Errorf("a volume of a PV waits for %v behind what pods have made up", took)
		}
		time.Sleep(2 * count / unclaimedRate * time.Second)
		s.queueUnverified()
		for range 3 { // pods that come later, and resyncs
			for i := range count {
				handle := fmt.Sprint("made-up-", i)
				index.Request(handle)
				s.enqueue(handle, routine)
			}
			time.Sleep(time.Hour)
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		if len(j.calls) != 2*count {
			t.Errorf("%d calls were made, want %d", len(j.calls), 2*count)
		}
		for i := range count {
			handle := fmt.Sprint("made-up-", i)
			if j.inspects[handle] != 1 || j.searches[handle] != 1 {
				t.Errorf("%s was inspected %d times and searched for %d times", handle, j.inspects[handle], j.searches[handle])
			}
		}
		for i := 10 * unclaimedRate; i < len(j.calls); i++ {
			if window := j.calls[i].Sub(j.calls[i-10*unclaimedRate]); window < 9*time.Second {
				t.Fatalf("%d calls were made in %v", 10*unclaimedRate, window)
			}
		}
	})
}

func TestWhatPodsMakeUpAndStorageFailsToTellStaysBehind(t *testing.T) {
	strangers(t, func(s *Source, index *volumes.Index, j *journal) {
		for i := range 50 {
			handle := fmt.Sprint("broken-", i)
			index.Request(handle)
			s.enqueue(handle, requested)
		}
		const hours = 1
		time.Sleep(hours * time.Hour)
		j.mu.Lock()
		defer j.mu.Unlock()
		if most := hours*3600*unclaimedRate + unclaimedBurst; len(j.calls) > most || len(j.calls) < 100 {
			t.Errorf("%d calls in an hour, want some, and at most %d", len(j.calls), most)
		}
	})
}

func TestWhatPodsMakeUpWaitsUntilNothingElseDoes(t *testing.T) {
	q := newQueue(all)
	q.add("made-up", unclaimed)
	for i := range 3 {
		q.add(strconv.Itoa(i), routine)
	}
	taken := make(chan string)
	go func() {
		handle, _ := q.nextUnclaimed()
		taken <- handle
	}()
	for range 3 {
		select {
		case handle := <-taken:
			t.Errorf("%s is taken while volumes of PVs wait", handle)
		default:
		}
		handle, p, _ := q.next()
		if p != routine {
			t.Errorf("%s is taken with priority %d", handle, p)
		}
		q.done(handle)
	}
	if handle := <-taken; handle != "made-up" {
		t.Errorf("%q is taken", handle)
	}
	q.done("made-up")
	q.add("made-up", unclaimed)
	q.add("made-up", requested) // a PV has come up with it
	if handle, p, _ := q.next(); handle != "made-up" || p != requested {
		t.Errorf("%s is taken with priority %d", handle, p)
	}
}

func TestWhatGonePodsHaveMadeUpDoesNotFillTheQueue(t *testing.T) {
	q := newQueue(func(handle string) bool { return handle == "kept" })
	q.add("kept", unclaimed)
	for i := range 10 * queuedUnclaimed {
		q.add(fmt.Sprint("gone-", i), unclaimed)
	}
	if n := q.len(); n > queuedUnclaimed+1 || len(q.tasks) > queuedUnclaimed+1 {
		t.Errorf("%d handles wait, %d are remembered", n, len(q.tasks))
	}
	if handle, _ := q.nextUnclaimed(); handle != "kept" {
		t.Errorf("the first is %q", handle)
	}
}
