package volumes

import (
	"math/rand/v2"

	"github.com/hyperconverge/scheduler/pkg/claims"
)

// The methods of this file say which handles Kubernetes has, and which of them the
// storage source has to inspect.

// MaxUnclaimed is how many handles are followed at a time that pods name and no PV
// does. Each in-tree volume that stands in a pod is one: everybody who may create
// pods can make them up.
const MaxUnclaimed = 4096

// follow counts one more PV with the handle.
func (ix *Index) follow(handle string, inspect bool) {
	if handle == "" {
		return
	}
	now, k := ix.now(), keyOf(handle)
	shard := ix.volumes.shard(k)
	shard.Lock()
	r := shard.get(k)
	if r == nil {
		r = shard.add(k, now)
	} else if r.pvs == 0 {
		ix.leaveRoom()
	}
	r.pvs++
	inspect = inspect && r.volume == nil
	shard.Unlock()
	if inspect {
		ix.request(k)
	}
}

// forget counts one PV less. The handle is followed on while pods wait for it.
func (ix *Index) forget(handle string) {
	k := keyOf(handle)
	shard := ix.volumes.shard(k)
	shard.Lock()
	defer shard.Unlock()
	r := shard.get(k)
	if r == nil || r.pvs == 0 {
		return
	}
	r.pvs--
	if r.pvs > 0 {
		return
	}
	if r.pods > 0 {
		ix.volumes.unclaimed.Add(1)
		return
	}
	shard.remove(k)
}

// Request says that one more pod waits for a volume, and returns what is known of
// it. If that is not enough, the volume is inspected next. It never waits.
//
// A handle that no PV names is followed, and not for longer than pods wait for it.
// FirstSeen of the entry is the zero time if it is not followed, because it is
// longer than [claims.MaxHandle] or there are MaxUnclaimed already. Such a request
// need not be taken back, and may be made again: in the latter case when a [Change]
// names the handle, which says that there is room.
func (ix *Index) Request(handle string) Entry {
	if handle == "" {
		return Entry{}
	}
	k := keyOf(handle)
	view := ix.view.Load()
	shard := ix.volumes.shard(k)
	shard.Lock()
	r := shard.get(k)
	inspect := false
	if r == nil {
		if len(handle) > claims.MaxHandle {
			shard.Unlock()
			return Entry{}
		}
		if !ix.volumes.admitUnclaimed() {
			shard.Unlock()
			ix.refuse(k)
			return Entry{}
		}
		r, inspect = shard.add(k, ix.now()), true
	}
	// An unclaimed handle is asked for once. If that failed, it will be repeated.
	inspect = inspect || r.pvs > 0 && r.needsInspect(view)
	r.pods++
	copied := *r
	shard.Unlock()
	if inspect {
		ix.request(k)
	}
	return ix.entryOf(&copied)
}

// Release takes back one Request whose entry had a FirstSeen.
func (ix *Index) Release(handle string) {
	k := keyOf(handle)
	shard := ix.volumes.shard(k)
	shard.Lock()
	defer shard.Unlock()
	r := shard.get(k)
	if r == nil || r.pods == 0 {
		return
	}
	r.pods--
	if r.pods == 0 && r.pvs == 0 {
		shard.remove(k)
		ix.leaveRoom()
	}
}

// admitUnclaimed counts one more unclaimed record, if there may be one more.
func (t *volumeTable) admitUnclaimed() bool {
	if t.unclaimed.Add(1) > MaxUnclaimed {
		t.unclaimed.Add(-1)
		return false
	}
	return true
}

// request tells the source of a handle to be inspected.
func (ix *Index) request(k key) {
	if ix.changes.request(k) {
		ix.signal()
	}
}

// Selection says which handles are meant.
type Selection uint8

const (
	// Claimed are the handles that PVs name.
	Claimed Selection = iota
	// Verifiable are all handles but those without a PV of which storage has said
	// that it has no such volume.
	Verifiable
	// NeedsInspect are those of them that are unknown, stale or dirty.
	NeedsInspect
)

// Handles returns the selected handles, in no order. They take about 16 bytes each.
func (ix *Index) Handles(which Selection) Handles {
	view := ix.view.Load()
	var h Handles
	for k, r := range ix.volumes.read() {
		if which == Claimed && r.pvs == 0 || which == Verifiable && r.absent() ||
			which == NeedsInspect && !r.needsInspect(view) {
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
