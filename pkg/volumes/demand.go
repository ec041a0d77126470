package volumes

import (
	"math/rand/v2"
	"sync"
)

// The methods of this file tell the storage source what it has to ask for.

// Followed returns all handles that Kubernetes has, in no order. The snapshot
// takes about 16 bytes per handle.
func (ix *Index) Followed() Handles {
	return ix.handles(func(*record) bool { return true })
}

// Unsettled returns the handles that need an inspect: unknown, stale or in doubt.
func (ix *Index) Unsettled() Handles {
	view := ix.view.Load()
	return ix.handles(func(r *record) bool { return r.unsettled(view) })
}

// NeedsInspect reports whether a handle is followed, and unknown, stale or in
// doubt.
func (ix *Index) NeedsInspect(handle string) bool {
	view, k := ix.view.Load(), keyOf(handle)
	shard := ix.volumes.shard(k)
	shard.RLock()
	defer shard.RUnlock()
	r := shard.get(k)
	return r != nil && r.unsettled(view)
}

func (ix *Index) handles(wanted func(*record) bool) Handles {
	var h Handles
	for k, r := range ix.volumes.read() {
		if !wanted(r) {
			continue
		}
		if k.number != 0 {
			h.numbers = append(h.numbers, k.number)
		} else {
			h.texts = append(h.texts, k.text)
		}
	}
	return h
}

// Handles is a list of handles that keeps numeric ones as numbers.
type Handles struct {
	numbers []uint64
	texts   []string
}

// Len returns the number of handles.
func (h *Handles) Len() int { return len(h.numbers) + len(h.texts) }

// At returns handle i.
func (h *Handles) At(i int) string {
	if i < len(h.numbers) {
		return key{number: h.numbers[i]}.handle()
	}
	return h.texts[i-len(h.numbers)]
}

// Shuffle brings the handles into a random order.
func (h *Handles) Shuffle() {
	rand.Shuffle(len(h.numbers), func(i, k int) { h.numbers[i], h.numbers[k] = h.numbers[k], h.numbers[i] })
	rand.Shuffle(len(h.texts), func(i, k int) { h.texts[i], h.texts[k] = h.texts[k], h.texts[i] })
}

// Wanted returns a channel that is readable when TakeWanted has something.
func (ix *Index) Wanted() <-chan struct{} { return ix.wanted.ready }

// TakeWanted returns the handles that are to be inspected before all others,
// because a PV or a pod has just come up with them, each once, oldest first.
func (ix *Index) TakeWanted() []string { return ix.wanted.take() }

// wantList is the handles to be inspected at once.
type wantList struct {
	mu      sync.Mutex
	handles []string
	queued  map[string]struct{}
	ready   chan struct{}
}

func newWantList() *wantList {
	return &wantList{queued: map[string]struct{}{}, ready: make(chan struct{}, 1)}
}

func (w *wantList) add(handle string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, found := w.queued[handle]; found {
		return
	}
	w.queued[handle] = struct{}{}
	w.handles = append(w.handles, handle)
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

func (w *wantList) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	handles := w.handles
	w.handles = nil
	w.queued = map[string]struct{}{}
	return handles
}
