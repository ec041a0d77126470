package openstorage

import (
	"context"
	"sync"

	"github.com/hyperconverge/scheduler/pkg/metrics"
)

// level says how urgent an inspect is.
type level uint8

const (
	wanted    level = iota // a pod or a new PV waits for it
	doubted                // something says that the index is wrong
	retried                // failed before; may hang again
	unsettled              // not known, or not for long; skipped if it is by then
	routine                // resync
	levels
)

const (
	// inspectWorkers is how many inspects are under way at most.
	inspectWorkers = 20
	// spareWorkers of them are kept for what is wanted.
	spareWorkers = 4
	// retryWorkers of them at most repeat what failed: inspects of volumes whose
	// node is gone may hang, each for as long as a request may take.
	retryWorkers = 6
)

// queue holds the handles to be inspected, each once: the most urgent first, and
// the oldest of those. A handle that is added while it is being inspected comes
// again afterwards; it is never inspected twice at a time.
type queue struct {
	mu     sync.Mutex
	cond   sync.Cond
	closed bool
	tasks  map[string]*task // handle -> task, waiting or under way
	// order has the handles of each level in the order in which they came. One
	// that was raised to another level since, or taken, is skipped.
	order   [levels][]string
	waiting int
	// underWay counts the handles that were handed out, by the level they had.
	underWay [levels]int
}

type task struct {
	level   level
	waiting bool
	// taken is the level on which a handle that is under way was handed out.
	taken level
	// again says that the handle was added while it was under way.
	again bool
}

func newQueue() *queue {
	q := &queue{tasks: map[string]*task{}}
	q.cond.L = &q.mu
	return q
}

// add queues a handle, or raises it to a more urgent level.
func (q *queue) add(handle string, l level) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	t := q.tasks[handle]
	switch {
	case t == nil:
		q.tasks[handle] = &task{level: l, waiting: true}
		q.waiting++
	case t.waiting:
		if l >= t.level {
			return
		}
		t.level = l
	case t.again:
		t.level = min(t.level, l)
		return
	default:
		t.again, t.level = true, l
		return
	}
	q.push(handle, l)
}

func (q *queue) push(handle string, l level) {
	q.order[l] = append(q.order[l], handle)
	metrics.InspectQueue.Set(float64(q.waiting))
	q.cond.Signal()
}

// next waits for a handle. It returns false when the queue is closed.
func (q *queue) next() (handle string, l level, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.closed {
			return "", 0, false
		}
		for l := range levels {
			if !q.admits(l) {
				continue
			}
			if handle, found := q.pop(l); found {
				t := q.tasks[handle]
				t.waiting, t.taken = false, l
				q.underWay[l]++
				q.waiting--
				metrics.InspectQueue.Set(float64(q.waiting))
				return handle, l, true
			}
		}
		q.cond.Wait()
	}
}

// admits reports whether a worker may take something of a level. None may be
// taken up by what others need more.
func (q *queue) admits(l level) bool {
	switch {
	case l == wanted:
		return true
	case l == retried && q.underWay[retried] >= retryWorkers:
		return false
	}
	ordinary := 0
	for other := wanted + 1; other < levels; other++ {
		ordinary += q.underWay[other]
	}
	return ordinary < inspectWorkers-spareWorkers
}

func (q *queue) pop(l level) (string, bool) {
	for len(q.order[l]) > 0 {
		handle := q.order[l][0]
		q.order[l][0] = ""
		q.order[l] = q.order[l][1:]
		if t := q.tasks[handle]; t != nil && t.waiting && t.level == l {
			return handle, true
		}
	}
	q.order[l] = nil
	return "", false
}

// done ends the inspect of a handle that next has returned.
func (q *queue) done(handle string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.tasks[handle]
	q.underWay[t.taken]--
	if !t.again {
		delete(q.tasks, handle)
		q.cond.Signal() // there may be room on its level now
		return
	}
	t.again, t.waiting = false, true
	q.waiting++
	q.push(handle, t.level)
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting
}

// closeWith closes the queue when ctx ends.
func (q *queue) closeWith(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.closed = true
		q.cond.Broadcast()
	})
}
