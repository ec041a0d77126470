package openstorage

import (
	"context"
	"sync"

	"github.com/hyperconverge/scheduler/pkg/metrics"
)

// priority says how urgent an inspect is. The lowest number comes first.
type priority uint8

const (
	requested  priority = iota // a pod or a new PV waits for it
	dirty                      // something says that the index is wrong
	failing                    // failed before; may hang again
	unverified                 // not known, or not for long; skipped if it is by then
	routine                    // resync
	unclaimed                  // no PV names it
	priorities
	none = priorities
)

const (
	// inspectWorkers is how many inspects of volumes with a PV are under way at most.
	inspectWorkers = 20
	// spareWorkers of them are kept for what is requested.
	spareWorkers = 4
	// failingWorkers of them at most repeat what failed: inspects of volumes whose
	// node is gone may hang, each for as long as a request may take.
	failingWorkers = 6
	// unclaimedWorkers inspect what no PV names, and nothing else.
	unclaimedWorkers = 2
	// queuedUnclaimed is how long the list of what no PV names may grow before what
	// pods have taken with them is thrown out.
	queuedUnclaimed = 16384
)

// queue holds the handles to be inspected, each once: the most urgent first, and
// the oldest of those. A handle that is added while it is being inspected comes
// again afterwards; it is never inspected twice at a time. Whether anything made the
// volume dirty meanwhile is not the queue's to know: the index does.
type queue struct {
	// followed tells whether a handle is worth to be kept.
	followed func(handle string) bool

	mu sync.Mutex
	// work is signalled for the workers, and idle for those that wait until there is
	// nothing else.
	work, idle sync.Cond
	closed     bool
	tasks      map[string]*task // handle -> task, waiting or under way
	// order has the handles of each priority in the order in which they came. One
	// that was raised to another priority since, or taken, is skipped.
	order [priorities][]string
	// waiting and underWay count the handles by priority: those in the queue, and
	// those that were handed out with it.
	waiting, underWay [priorities]int
}

type task struct {
	// waiting is false while the handle is under way.
	waiting bool
	// priority is the most urgent one with which the handle has been added since it was
	// handed out last; none if it has not.
	priority priority
	// taken is the priority with which a handle that is under way was handed out.
	taken priority
}

func newQueue(followed func(handle string) bool) *queue {
	q := &queue{followed: followed, tasks: map[string]*task{}}
	q.work.L, q.idle.L = &q.mu, &q.mu
	return q
}

// add queues a handle, or raises it to a more urgent priority.
func (q *queue) add(handle string, p priority) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	t := q.tasks[handle]
	switch {
	case t == nil:
		t = &task{}
		q.tasks[handle] = t
	case t.waiting:
		if p >= t.priority {
			return
		}
		q.waiting[t.priority]--
	default:
		t.priority = min(t.priority, p)
		return
	}
	q.push(handle, t, p)
}

// push puts a task into the order. The caller holds the lock, as for all that follows.
func (q *queue) push(handle string, t *task, p priority) {
	t.priority, t.waiting = p, true
	q.waiting[p]++
	q.order[p] = append(q.order[p], handle)
	if p == unclaimed && len(q.order[p]) > queuedUnclaimed {
		q.compactUnclaimed()
	}
	metrics.InspectQueue.Set(float64(q.length()))
	q.signal()
}

func (q *queue) signal() {
	q.work.Signal()
	if q.waiting[unclaimed] > 0 {
		q.idle.Signal()
	}
}

// compactUnclaimed throws out what nobody follows any more. Pods that come and go
// make up handles faster than they are inspected.
func (q *queue) compactUnclaimed() {
	var kept []string
	for _, handle := range q.order[unclaimed] {
		t := q.tasks[handle]
		switch {
		case t == nil || !t.waiting || t.priority != unclaimed:
		case q.followed(handle):
			kept = append(kept, handle)
		default:
			delete(q.tasks, handle)
			q.waiting[unclaimed]--
		}
	}
	q.order[unclaimed] = kept
}

// next waits for a handle that a PV names. It returns false when the queue is
// closed.
func (q *queue) next() (handle string, p priority, ok bool) {
	return q.await(&q.work, func() (string, priority, bool) {
		for p := range unclaimed {
			if q.admits(p) {
				if handle, found := q.pop(p); found {
					return handle, p, true
				}
			}
		}
		return "", 0, false
	})
}

// nextUnclaimed waits for a handle that no PV names, and until none that a PV names
// waits for its turn.
func (q *queue) nextUnclaimed() (handle string, ok bool) {
	handle, _, ok = q.await(&q.idle, func() (string, priority, bool) {
		for p := range unclaimed {
			if q.waiting[p] > 0 && q.admits(p) {
				return "", 0, false
			}
		}
		handle, found := q.pop(unclaimed)
		return handle, unclaimed, found
	})
	return handle, ok
}

// await hands out what choose finds.
func (q *queue) await(cond *sync.Cond, choose func() (string, priority, bool)) (handle string, p priority, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.closed {
			return "", 0, false
		}
		if handle, p, ok = choose(); ok {
			break
		}
		cond.Wait()
	}
	t := q.tasks[handle]
	t.waiting, t.taken, t.priority = false, p, none
	q.underWay[p]++
	q.waiting[p]--
	metrics.InspectQueue.Set(float64(q.length()))
	q.signal() // what no PV names may have waited for this one
	return handle, p, true
}

// admits reports whether a worker may take something of a priority. None may be
// taken up by what others need more.
func (q *queue) admits(p priority) bool {
	switch {
	case p == requested:
		return true
	case p == failing && q.underWay[failing] >= failingWorkers:
		return false
	}
	ordinary := 0
	for other := requested + 1; other < unclaimed; other++ {
		ordinary += q.underWay[other]
	}
	return ordinary < inspectWorkers-spareWorkers
}

func (q *queue) pop(p priority) (string, bool) {
	for len(q.order[p]) > 0 {
		handle := q.order[p][0]
		q.order[p][0] = ""
		q.order[p] = q.order[p][1:]
		if t := q.tasks[handle]; t != nil && t.waiting && t.priority == p {
			return handle, true
		}
	}
	q.order[p] = nil
	return "", false
}

// done ends the inspect of a handle that was handed out.
func (q *queue) done(handle string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.tasks[handle]
	q.underWay[t.taken]--
	if t.priority != none {
		q.push(handle, t, t.priority)
		return
	}
	delete(q.tasks, handle)
	q.signal() // there may be room for its priority now
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.length()
}

func (q *queue) length() int {
	n := 0
	for _, waiting := range q.waiting {
		n += waiting
	}
	return n
}

// closeWith closes the queue when ctx ends.
func (q *queue) closeWith(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.closed = true
		q.work.Broadcast()
		q.idle.Broadcast()
	})
}
