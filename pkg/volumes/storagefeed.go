package volumes

import (
	"errors"
	"fmt"
)

// ErrNoReplicas says that an answer names no holder of a volume that must have
// some. The last good content stands.
var ErrNoReplicas = errors.New("storage names no replica of the volume")

// The methods of this file are for the one storage source of the index, and for
// tests. Each of them stands for an answer from storage.

// MarkContact notes that storage has answered something of use.
func (ix *Index) MarkContact() { ix.markContact(ix.now()) }

func (ix *Index) markContact(now int64) {
	ix.contact.Store(now)
	if !ix.view.Load().fresh {
		ix.signal()
	}
}

// SetStorageNodes takes the node list of storage. A node that it misses keeps its
// last state as long as a CSINode names it. An empty list is not believed at all,
// nor taken for a contact: a token without rights gets one.
func (ix *Index) SetStorageNodes(list []StorageNode) {
	believed, changed := ix.nodes.setRecords(list)
	if !believed {
		return
	}
	now := ix.now()
	ix.markContact(now)
	ix.listed.Store(now)
	if changed || !ix.view.Load().nodesFresh {
		ix.signal()
	}
}

// Notice takes what a watch message says about a volume. Messages may be old,
// doubled or out of order, so they teach only what is not known at all. One that
// confirms what is held verifies it; one that differs puts the volume in doubt.
// Notice reports whether the volume is followed, and which handles of it should
// be inspected.
func (ix *Index) Notice(o *Observation) (followed bool, inspect []string) {
	now := ix.now()
	ix.markContact(now)
	for k := range keysOf(o.ID, o.Name) {
		known, doubted := ix.notice(k, o, now)
		followed = followed || known
		if doubted {
			inspect = append(inspect, k.handle())
		}
	}
	return followed, inspect
}

func (ix *Index) notice(k key, o *Observation, now int64) (followed, doubted bool) {
	shard := ix.volumes.shard(k)
	shard.Lock()
	defer shard.Unlock()
	r := shard.get(k)
	if r == nil {
		return false, false
	}
	volume, ok := newVolume(o, ix.ids)
	switch {
	case ok && r.volume == nil:
		ix.set(k, r, volume, now)
	case ok && r.volume.sameContent(&volume):
		if r.dirtySince == 0 {
			ix.set(k, r, volume, now)
		}
	default:
		ix.doubt(r, now)
		return true, true
	}
	return true, false
}

// MarkDirty puts the volume of this id and name in doubt, and returns the handles
// of it that should be inspected. Either may be empty.
func (ix *Index) MarkDirty(id, name string) (inspect []string) {
	now := ix.now()
	for k := range keysOf(id, name) {
		shard := ix.volumes.shard(k)
		shard.Lock()
		if r := shard.get(k); r != nil {
			ix.doubt(r, now)
			inspect = append(inspect, k.handle())
		}
		shard.Unlock()
	}
	return inspect
}

// BeginInspect is called before a volume is inspected, so that doubts that come
// up meanwhile outlive the answer. It returns false if the handle is not followed
// any more. Of one handle, only one inspect may be under way.
func (ix *Index) BeginInspect(handle string) bool {
	k := keyOf(handle)
	shard := ix.volumes.shard(k)
	shard.Lock()
	defer shard.Unlock()
	r := shard.get(k)
	if r == nil {
		return false
	}
	r.redirtied = false
	return true
}

// Verdict is what an answer meant for the index.
type Verdict uint8

const (
	// Dropped means that nobody follows the handle any more, or the answer was of no use.
	Dropped Verdict = iota
	// Learned means that the volume was unknown, stale, suspect or in doubt before.
	Learned
	// Confirmed means that nothing cast doubt on the entry, and it was right.
	Confirmed
	// Diverged means that nothing cast doubt on the entry, but it was wrong.
	Diverged
)

// Resolve takes the answer to an inspect of a handle. It returns an error that
// wraps ErrNoReplicas, or one that says that the answer is about another volume;
// such answers make the entry suspect, and change nothing else.
func (ix *Index) Resolve(handle string, o *Observation) (Verdict, error) {
	now := ix.now()
	ix.markContact(now)
	k := keyOf(handle)
	shard := ix.volumes.shard(k)
	shard.Lock()
	defer shard.Unlock()
	r := shard.get(k)
	if r == nil {
		return Dropped, nil
	}
	if handle != o.ID && handle != o.Name {
		ix.suspect(k, r, now)
		return Dropped, fmt.Errorf("asked for volume %q, storage answered about id %q, name %q", handle, o.ID, o.Name)
	}
	volume, ok := newVolume(o, ix.ids)
	if !ok {
		ix.suspect(k, r, now)
		return Dropped, fmt.Errorf("volume %q: %w", handle, ErrNoReplicas)
	}
	verdict := Learned
	if r.dirtySince == 0 && r.freshness(ix.view.Load()) == Fresh {
		verdict = Diverged
		if r.volume.sameContent(&volume) {
			verdict = Confirmed
		}
	}
	ix.set(k, r, volume, now)
	return verdict, nil
}

// MarkMissing takes the answer that there is no such volume. What was known
// stands, as suspect.
func (ix *Index) MarkMissing(handle string) {
	now := ix.now()
	ix.markContact(now)
	k := keyOf(handle)
	shard := ix.volumes.shard(k)
	shard.Lock()
	defer shard.Unlock()
	if r := shard.get(k); r != nil {
		ix.suspect(k, r, now)
	}
}

// set gives a record new content, or verifies the one it has.
func (ix *Index) set(k key, r *record, volume Volume, now int64) {
	view := ix.view.Load()
	before := r.freshness(view)
	changed := r.volume == nil || !r.volume.sameContent(&volume)
	if changed {
		volume.Revision = ix.revision.Add(1)
		r.store(volume)
	}
	r.verified = now
	r.suspect = false
	ix.answered(r, now)
	if changed || (before == Stale) != (r.freshness(view) == Stale) {
		ix.changed(k)
	}
}

// suspect keeps what a record has, after an answer that did not.
func (ix *Index) suspect(k key, r *record, now int64) {
	view := ix.view.Load()
	before := r.freshness(view)
	r.suspect = true
	ix.answered(r, now)
	if (before == Stale) != (r.freshness(view) == Stale) {
		ix.changed(k)
	}
}

// answered ends the doubts of a record, but for those that came up after its
// inspect had begun.
func (ix *Index) answered(r *record, now int64) {
	r.dirtySince, r.overdue = 0, false
	if r.redirtied {
		ix.doubt(r, now)
	}
}

// changed notes a change of a volume for the subscribers.
func (ix *Index) changed(k key) {
	if ix.changes.volume(k) {
		ix.signal()
	}
}

// doubt marks a record as in need of an inspect.
func (ix *Index) doubt(r *record, now int64) {
	r.redirtied = true
	if r.dirtySince == 0 {
		r.dirtySince = now
		if ix.volumes.sweepAt(now + ix.maxStaleness + 1) {
			ix.signal()
		}
	}
}
