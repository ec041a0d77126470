package openstorage

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestQueueHandsOutTheMostUrgentFirst(t *testing.T) {
	tests := []struct {
		name string
		do   func(q *queue)
		want []string // "handle level"
	}{
		{"the oldest of one level", func(q *queue) {
			q.add("a", dirty)
			q.add("b", dirty)
		}, []string{"a 1", "b 1"}},
		{"a more urgent level first", func(q *queue) {
			q.add("a", routine)
			q.add("b", unverified)
			q.add("c", dirty)
			q.add("d", requested)
			q.add("e", failing)
		}, []string{"d 0", "c 1", "e 2", "b 3", "a 4"}},
		{"each handle once", func(q *queue) {
			q.add("a", dirty)
			q.add("a", dirty)
			q.add("a", routine)
		}, []string{"a 1"}},
		{"a handle that became urgent", func(q *queue) {
			q.add("a", routine)
			q.add("b", dirty)
			q.add("a", requested)
		}, []string{"a 0", "b 1"}},
		{"a handle that is added while it is inspected comes again, once, as urgent as it was added", func(q *queue) {
			q.add("a", routine)
			q.next()
			q.add("a", routine)
			q.add("a", dirty)
			q.add("b", routine)
			q.done("a")
		}, []string{"a 1", "b 4"}},
		{"a handle that is done is forgotten", func(q *queue) {
			q.add("a", routine)
			q.next()
			q.done("a")
		}, nil},
		{"a handle that was raised and taken may come again on its old level", func(q *queue) {
			q.add("a", routine)
			q.add("a", requested)
			q.next()
			q.done("a")
			q.add("b", routine)
			q.add("a", routine)
		}, []string{"a 4", "b 4"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			q := newQueue(all)
			test.do(q)
			var got []string
			for q.len() > 0 {
				handle, l, _ := q.next()
				got = append(got, fmt.Sprint(handle, " ", l))
				q.done(handle)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("order differs (-want +got):\n%s", diff)
			}
			if len(q.tasks) != 0 {
				t.Errorf("%d handles are left behind", len(q.tasks))
			}
		})
	}
}

func TestQueueKeepsWorkersForWhatIsMoreUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(all)
		ctx, cancel := context.WithCancel(t.Context())
		defer q.closeWith(ctx)()
		var working [priorities]atomic.Int64
		finish := make(chan struct{})
		for range inspectWorkers {
			go func() {
				for {
					handle, l, ok := q.next()
					if !ok {
						return
					}
					working[l].Add(1)
					<-finish
					working[l].Add(-1)
					q.done(handle)
				}
			}()
		}
		const ordinary = inspectWorkers - spareWorkers
		for _, step := range []struct {
			added priority
			want  [priorities]int64
		}{
			{failing, [priorities]int64{failing: failingWorkers}},
			{routine, [priorities]int64{failing: failingWorkers, routine: ordinary - failingWorkers}},
			{dirty, [priorities]int64{failing: failingWorkers, routine: ordinary - failingWorkers}},
			{requested, [priorities]int64{requested: spareWorkers, failing: failingWorkers, routine: ordinary - failingWorkers}},
		} {
			for i := range 2 * inspectWorkers {
				q.add(fmt.Sprint(step.added, "-", i), step.added)
			}
			synctest.Wait()
			var got [priorities]int64
			for l := range priorities {
				got[l] = working[l].Load()
			}
			if diff := cmp.Diff(step.want, got); diff != "" {
				t.Errorf("with many of priority %d, workers differ (-want +got):\n%s", step.added, diff)
			}
		}
		close(finish)
		synctest.Wait()
		if n := q.len(); n != 0 {
			t.Errorf("%d handles are left waiting although all workers are idle", n)
		}
		cancel()
	})
}

func TestQueueWaitsAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(all)
		ctx, cancel := context.WithCancel(t.Context())
		defer q.closeWith(ctx)()
		got := make(chan string)
		go func() {
			defer close(got)
			for {
				handle, _, ok := q.next()
				if !ok {
					return
				}
				q.done(handle)
				got <- handle
			}
		}()
		synctest.Wait()
		q.add("a", routine)
		if handle := <-got; handle != "a" {
			t.Errorf("got %q", handle)
		}
		cancel()
		if _, open := <-got; open {
			t.Error("the queue hands out something after its end")
		}
		q.add("b", routine)
		if q.len() != 0 {
			t.Error("a closed queue grows")
		}
	})
}

func TestBreakerHoldsBackLongerEachTimeAndLetsThroughAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, start := newBreaker(), time.Now()
		passes := func() time.Duration {
			if err := b.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer func() { start = time.Now() }()
			return time.Since(start)
		}
		if d := passes(); d != 0 {
			t.Errorf("a new breaker held back for %v", d)
		}
		for _, want := range []time.Duration{firstPause, 2 * firstPause, 4 * firstPause, 8 * firstPause, lastPause, lastPause} {
			b.trip()
			b.trip() // of a call that was on its way, too
			if d := passes(); d != want {
				t.Errorf("held back for %v, want %v", d, want)
			}
		}
		b.trip()
		go func() {
			time.Sleep(time.Millisecond)
			if !b.reset() {
				t.Error("nothing is told of")
			}
		}()
		if d := passes(); d != time.Millisecond {
			t.Errorf("held back for %v after an answer came", d)
		}
		if b.reset() {
			t.Error("a failure is told of that is over")
		}
		b.trip()
		if d := passes(); d != firstPause {
			t.Errorf("held back for %v after failures that were over, want %v", d, firstPause)
		}
		b.trip()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.wait(ctx); err == nil {
			t.Error("nobody may pass when all is over")
		}
	})
}

func TestBreakerLetsAllThroughThatWait(t *testing.T) {
	const workers = 3
	tests := []struct {
		name   string
		end    func(b *breaker, cancel context.CancelFunc)
		after  time.Duration // from the trip
		passes bool
	}{
		{"when its pause is over", func(*breaker, context.CancelFunc) {}, firstPause, true},
		{"when something is answered", func(b *breaker, _ context.CancelFunc) { b.reset() }, time.Millisecond, true},
		{"when all is over, with an error", func(_ *breaker, cancel context.CancelFunc) { cancel() }, time.Millisecond, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				b, start := newBreaker(), time.Now()
				b.trip()
				var waiting sync.WaitGroup
				for range workers {
					waiting.Go(func() {
						if err := b.wait(ctx); (err == nil) != test.passes {
							t.Errorf("a worker passes with %v", err)
						}
						if d := time.Since(start); d != test.after {
							t.Errorf("a worker passes after %v, want %v", d, test.after)
						}
					})
				}
				time.Sleep(time.Millisecond)
				test.end(b, cancel)
				waiting.Wait()
			})
		})
	}
}
