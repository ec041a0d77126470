package openstorage

import (
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// maxTries is how often an inspect that finds no volume is repeated. Later the
	// resync tries again.
	maxTries = 6
	// firstRetry is the pause before the first repetition; it doubles each time.
	firstRetry = 500 * time.Millisecond
	// lastRetry is the longest pause before an inspect that failed is repeated, as
	// long as few volumes fail. It is well within MaxStaleness of the index, so that
	// a volume does not become stale because of one failure.
	lastRetry = time.Minute
	// retryGap is the least time between two such repetitions on average: when all
	// of many volumes fail, storage is asked 250 times per second at most.
	retryGap = 4 * time.Millisecond
)

// retries re-queues volumes whose inspect failed or found nothing.
//
// A volume that storage does not have is inspected a few times more, if somebody waits
// for it. One that storage fails to describe is dirty, and inspected until there is an
// answer: with the priority failing, where it does not stand in the way of others.
type retries struct {
	queue *queue
	// first and last are firstRetry and lastRetry, but for tests.
	first, last time.Duration

	mu      sync.Mutex
	tried   map[string]*tried // handle -> its failures so far
	failing int               // how many of them fail
}

// tried is a handle whose last inspect failed or found nothing.
type tried struct {
	priority priority // the most urgent one with which it was queued
	tries    int
	failing  bool
	timer    *time.Timer // adds it to the queue
}

func newRetries(q *queue) *retries {
	return &retries{queue: q, first: firstRetry, last: lastRetry, tried: map[string]*tried{}}
}

// failed re-queues a handle that storage failed to describe.
func (r *retries) failed(handle string, p priority) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tried[handle]
	if t == nil || !t.failing {
		t = r.begin(handle, p)
		t.failing = true
		r.failing++
	}
	longest := max(r.last, time.Duration(r.failing)*retryGap)
	again := failing
	if p == unclaimed {
		again = unclaimed
	}
	r.later(handle, t, again, longest)
}

// missed re-queues a handle that storage does not have, unless nobody waits for it or it
// has been inspected often enough.
func (r *retries) missed(handle string, p priority) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tried[handle]
	switch {
	case t == nil || t.failing:
		t = r.begin(handle, p)
	default:
		t.priority = min(t.priority, p)
	}
	if t.priority > dirty || t.tries+1 >= maxTries {
		r.end(handle)
		return
	}
	r.later(handle, t, t.priority, r.last)
}

// over ends the retries of a handle.
func (r *retries) over(handle string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end(handle)
}

// admit returns the priority with which to queue a handle for which somebody asks with
// priority p.
func (r *retries) admit(handle string, p priority) priority {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tried[handle]
	if t == nil || !t.failing {
		return p
	}
	t.priority = min(t.priority, p)
	if p == unclaimed {
		return unclaimed
	}
	return failing
}

// pending reports whether a handle fails, and will be queued again anyway.
func (r *retries) pending(handle string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tried[handle]
	return t != nil && t.failing
}

// stop ends all retries.
func (r *retries) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for handle := range r.tried {
		r.end(handle)
	}
}

// begin counts the tries of a handle from zero, and remembers how urgent they have
// been so far. The caller holds the lock, as for all that follows.
func (r *retries) begin(handle string, p priority) *tried {
	if before := r.tried[handle]; before != nil {
		if p == failing {
			p = before.priority
		}
		p = min(p, before.priority)
		r.end(handle)
	}
	t := &tried{priority: p}
	r.tried[handle] = t
	return t
}

func (r *retries) end(handle string) {
	t := r.tried[handle]
	if t == nil {
		return
	}
	if t.timer != nil {
		t.timer.Stop()
	}
	if t.failing {
		r.failing--
	}
	delete(r.tried, handle)
}

// later queues a handle after a pause, which varies by a fifth so that what failed
// together does not come again together.
func (r *retries) later(handle string, t *tried, p priority, longest time.Duration) {
	const doublings = 16 // more would be longer than any pause
	pause := min(r.first<<min(t.tries, doublings), longest)
	t.tries++
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timer = time.AfterFunc(pause+rand.N(pause/5+1), func() { r.queue.add(handle, p) })
}
