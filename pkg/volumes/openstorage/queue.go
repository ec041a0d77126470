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
	unsettled              // not known, or not for long; skipped if it is by then
	routine                // resync
	levels
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
}

type task struct {
	level   level
	waiting bool
	// again says that the handle was added while it was under way.
	again bool
	// tries counts the inspects that brought nothing.
	tries int
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
	q.addTry(handle, l, 0)
}

// addTry is add for a handle that has been tried before. The caller holds the
// lock.
func (q *queue) addTry(handle string, l level, tries int) {
	if q.closed {
		return
	}
	t := q.tasks[handle]
	switch {
	case t == nil:
		q.tasks[handle] = &task{level: l, waiting: true, tries: tries}
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
func (q *queue) next() (handle string, l level, tries int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.closed {
			return "", 0, 0, false
		}
		for l := range levels {
			if handle, found := q.pop(l); found {
				t := q.tasks[handle]
				t.waiting = false
				q.waiting--
				metrics.InspectQueue.Set(float64(q.waiting))
				return handle, l, t.tries, true
			}
		}
		q.cond.Wait()
	}
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
	if !t.again {
		delete(q.tasks, handle)
		return
	}
	t.again, t.waiting, t.tries = false, true, 0
	q.waiting++
	q.push(handle, t.level)
}

// retry adds a handle once more, on a level and with the number of tries so far.
func (q *queue) retry(handle string, l level, tries int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addTry(handle, l, tries)
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
