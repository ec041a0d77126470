package openstorage

import (
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// about reports whether a pause is what it should be, or up to a fifth more.
func about(got, want time.Duration) bool { return got >= want && got <= want+want/5+1 }

// awaitRetry returns the pause until the next handle, and its level.
func awaitRetry(q *queue) (time.Duration, priority) {
	start := time.Now()
	handle, l, _ := q.next()
	q.done(handle)
	return time.Since(start), l
}

func TestFailedInspectIsRepeatedForEverWithGrowingPauses(t *testing.T) {
	for _, asked := range []priority{requested, dirty, unverified, routine} {
		t.Run(fmt.Sprint("level ", asked), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(all)
				r := newRetries(q)
				defer r.stop()
				l := asked
				for i, want := range []time.Duration{firstRetry, 2 * firstRetry, 4 * firstRetry, 8 * firstRetry, 16 * firstRetry,
					32 * firstRetry, 64 * firstRetry, lastRetry, lastRetry, lastRetry} {
					r.failed("1", l)
					var pause time.Duration
					if pause, l = awaitRetry(q); !about(pause, want) || l != failing {
						t.Errorf("try %d comes after %v on level %d, want %v on level %d", i+1, pause, l, want, failing)
					}
				}
				r.over("1")
				r.failed("1", asked)
				if pause, _ := awaitRetry(q); !about(pause, firstRetry) {
					t.Errorf("after an answer the first pause is %v, want %v", pause, firstRetry)
				}
			})
		})
	}
}

func TestManyFailingVolumesAreAskedForSlowly(t *testing.T) {
	const count = 30000
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(all)
		r := newRetries(q)
		defer r.stop()
		for range 12 { // so that all have reached the longest pause
			for i := range count {
				r.failed(strconv.Itoa(i), routine)
			}
		}
		time.Sleep(lastRetry + lastRetry/5)
		if q.len() != 0 {
			t.Errorf("%d come again after a minute", q.len())
		}
		time.Sleep(count*retryGap + count*retryGap/5)
		if q.len() != count {
			t.Errorf("%d come again in time, want %d", q.len(), count)
		}
	})
}

func TestMissedVolumeIsAskedForAFewTimesIfSomebodyWaits(t *testing.T) {
	tests := []struct {
		name string
		do   func(r *retries)
		want []priority // of the repetitions
	}{
		{"a volume that a pod waits for", func(r *retries) { r.missed("1", requested) }, []priority{requested, requested, requested, requested, requested}},
		{"a dirty volume", func(r *retries) { r.missed("1", dirty) }, []priority{dirty, dirty, dirty, dirty, dirty}},
		{"a volume that nobody waits for", func(r *retries) { r.missed("1", unverified) }, nil},
		{"a volume of the resync", func(r *retries) { r.missed("1", routine) }, nil},
		{"a volume that failed before, when a pod waits for it", func(r *retries) {
			r.failed("1", requested)
			r.missed("1", failing)
		}, []priority{requested, requested, requested, requested, requested}},
		{"a volume that failed before, when nobody waits for it", func(r *retries) {
			r.failed("1", routine)
			r.missed("1", failing)
		}, nil},
		{"a volume that a pod came to request while it failed", func(r *retries) {
			r.failed("1", routine)
			r.admit("1", requested)
			r.missed("1", failing)
		}, []priority{requested, requested, requested, requested, requested}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(all)
				r := newRetries(q)
				test.do(r)
				var got []priority
				for time.Sleep(time.Hour); q.len() > 0; time.Sleep(time.Hour) {
					_, l := awaitRetry(q)
					got = append(got, l)
					r.missed("1", l)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("repetitions differ (-want +got):\n%s", diff)
				}
				if len(r.tried) != 0 || r.failing != 0 {
					t.Errorf("%d handles are left behind, %d failing", len(r.tried), r.failing)
				}
			})
		})
	}
}

func TestFailingVolumeStaysBackUntilItIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(all)
		r := newRetries(q)
		admitted := func(want priority, when string) {
			t.Helper()
			if got := r.admit("1", requested); got != want {
				t.Errorf("%s a requested volume is admitted on level %d, want %d", when, got, want)
			}
		}
		admitted(requested, "at first")
		r.failed("1", requested)
		admitted(failing, "after it failed")
		if !r.pending("1") {
			t.Error("no repetition is pending")
		}
		r.over("1")
		admitted(requested, "after an answer")
		if r.pending("1") {
			t.Error("a repetition is pending after an answer")
		}
		r.failed("1", requested)
		r.stop()
		time.Sleep(time.Hour)
		if q.len() != 0 {
			t.Error("a repetition comes after the end")
		}
	})
}
