package volumes

import (
	"strings"
	"sync"
	"time"
)

const (
	// maxRefused is how many refused handles are remembered. More than fit at a time
	// are never told at a time.
	maxRefused = MaxUnclaimed
	// readmitGap is the least time between two changes that tell of refused handles:
	// the pods of those that were told first must have had time to take the room.
	readmitGap = int64(time.Second)
)

// refused holds the handles that Request has refused because there were MaxUnclaimed,
// each once, until they are told: their pods would wait for ever otherwise. Pods leave
// without a word about them, so a handle may be nobody's any more.
type refused struct {
	mu    sync.Mutex
	noted map[key]struct{}
	// order has the same handles, the oldest first.
	order []key
}

// add notes a handle. Of too many, the newest are kept: their pods are the likeliest
// to be still there.
func (r *refused) add(k key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, found := r.noted[k]; found {
		return
	}
	if len(r.order) >= maxRefused {
		r.takeOldest()
	}
	if r.noted == nil {
		r.noted = map[key]struct{}{}
	}
	k.text = strings.Clone(k.text) // it may be a piece of a large pod
	r.noted[k] = struct{}{}
	r.order = append(r.order, k)
}

// take removes up to n handles, the oldest first.
func (r *refused) take(n int) []key {
	r.mu.Lock()
	defer r.mu.Unlock()
	var taken []key
	for len(taken) < n && len(r.order) > 0 {
		taken = append(taken, r.takeOldest())
	}
	if len(r.order) == 0 {
		r.noted, r.order = nil, nil // neither would shrink otherwise
	}
	return taken
}

// takeOldest removes one handle. The caller holds the lock.
func (r *refused) takeOldest() key {
	k := r.order[0]
	r.order[0] = key{}
	r.order = r.order[1:]
	delete(r.noted, k)
	return k
}

func (r *refused) any() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.order) > 0
}

// refuse remembers a handle that was not admitted.
func (ix *Index) refuse(k key) {
	ix.refused.add(k)
	if ix.volumes.room() > 0 {
		ix.signal() // it was made before the handle was noted
	}
}

// leaveRoom counts one unclaimed record less.
func (ix *Index) leaveRoom() {
	ix.volumes.unclaimed.Add(-1)
	if ix.refused.any() {
		ix.signal()
	}
}

// room is how many more unclaimed records there may be. It may be negative: handles
// that lose their PV are kept.
func (t *volumeTable) room() int { return MaxUnclaimed - int(t.unclaimed.Load()) }

// readmit notes refused handles for the subscribers, as many as there is room for. It
// returns when it has to run again, 0 if not before more room is made.
func (ix *Index) readmit(now int64) (due int64) {
	room := ix.volumes.room()
	if room <= 0 || !ix.refused.any() {
		return 0
	}
	if now < ix.readmitAt {
		return ix.readmitAt
	}
	for _, k := range ix.refused.take(room) {
		ix.changes.volume(k)
	}
	ix.readmitAt = now + readmitGap
	if ix.refused.any() {
		return ix.readmitAt
	}
	return 0
}
