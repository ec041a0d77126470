package volumes

import (
	"errors"
	"fmt"
)

var (
	// ErrNoReplicas says that an answer does not name a holder of every replica set
	// of a volume that must have some. The last good content stands.
	ErrNoReplicas = errors.New("storage does not say where the replicas of the volume are")
	// ErrTooLarge says that an answer is beyond MaxReplicas, MaxID or MaxNodeIDs. The
	// last good content stands.
	ErrTooLarge = errors.New("storage says more of the volume than can be true")
)

// The methods of this file are for the one storage source of the index, and for
// tests. Each of them stands for an answer from storage.

// markContact notes that storage has answered something of use.
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
// confirms what is held verifies it; one that differs, or says that the volume is
// gone, makes it dirty. Notice reports whether the volume is followed, and which
// handles of it should be inspected.
func (ix *Index) Notice(o *Observation) (followed bool, inspect []string) {
	now := ix.now()
	if !o.Gone {
		ix.markContact(now)
	}
	var volume StorageVolume
	var known, converted bool
	for k := range keysOf(o.ID, o.Name) {
		if !ix.follows(k) {
			continue
		}
		// The message may be large: it is taken apart before the lock is taken.
		if !converted && !o.Gone {
			var err error
			volume, err = newVolume(o, ix.ids)
			known, converted = err == nil, true
		}
		found, dirty := ix.notice(k, volume, known, now)
		followed = followed || found
		if dirty {
			inspect = append(inspect, k.handle())
		}
	}
	return followed, inspect
}

func (ix *Index) follows(k key) bool {
	shard := ix.volumes.shard(k)
	shard.RLock()
	defer shard.RUnlock()
	return shard.get(k) != nil
}

func (ix *Index) notice(k key, volume StorageVolume, known bool, now int64) (followed, dirty bool) {
	shard := ix.volumes.shard(k)
	shard.Lock()
	defer shard.Unlock()
	r := shard.get(k)
	if r == nil {
		return false, false
	}
	switch {
	case known && r.volume == nil:
		ix.set(k, r, volume, now, r.dirtySince == 0)
	case known && r.volume.sameContent(&volume):
		if r.dirtySince == 0 {
			ix.set(k, r, volume, now, true)
		}
	default:
		ix.dirty(r, now)
		return true, true
	}
	return true, false
}

// Inspection is one inspect of a volume, from before storage is asked until its
// answer is in.
type Inspection struct {
	// Needed says that the volume was unknown, stale or dirty.
	Needed bool

	index   *Index
	handle  string
	dirtied uint32
}

// Begin is called before a volume is inspected, so that what makes it dirty
// meanwhile outlives the answer. It returns false if there is nothing to ask:
// nobody follows the handle, or it is one that no PV names and storage does not
// have.
func (ix *Index) Begin(handle string) (Inspection, bool) {
	view, k := ix.view.Load(), keyOf(handle)
	shard := ix.volumes.shard(k)
	shard.RLock()
	defer shard.RUnlock()
	r := shard.get(k)
	if r == nil || r.absent() {
		return Inspection{}, false
	}
	return Inspection{index: ix, handle: handle, dirtied: r.dirtied, Needed: r.needsInspect(view)}, true
}

// Result is what an answer meant for the index.
type Result uint8

const (
	// Dropped means that nobody follows the handle any more, or the answer was of no use.
	Dropped Result = iota
	// Learned means that the volume was unknown, stale, suspect or dirty before.
	Learned
	// Confirmed means that the entry was clean, and right.
	Confirmed
	// Diverged means that the entry was clean, but wrong.
	Diverged
)

// Found takes the answer of storage. It returns an error that wraps ErrNoReplicas
// or ErrTooLarge, or one that says that the answer is about another volume; such
// answers make the entry suspect, and change nothing else.
func (i *Inspection) Found(o *Observation) (Result, error) {
	ix, k := i.index, keyOf(i.handle)
	now := ix.now()
	ix.markContact(now)
	if !ix.follows(k) {
		return Dropped, nil
	}
	var volume StorageVolume
	var err error
	if i.handle != o.ID && i.handle != o.Name {
		err = fmt.Errorf("asked for volume %q, storage answered about id %.64q, name %.64q", i.handle, o.ID, o.Name)
	} else if volume, err = newVolume(o, ix.ids); err != nil {
		err = fmt.Errorf("volume %q: %w", i.handle, err)
	}

	shard := ix.volumes.shard(k)
	shard.Lock()
	defer shard.Unlock()
	r := shard.get(k)
	switch {
	case r == nil:
		return Dropped, nil
	case err != nil:
		ix.suspect(k, r, now, r.dirtied == i.dirtied)
		return Dropped, err
	}
	result := Learned
	if r.dirtySince == 0 && r.freshness(ix.view.Load()) == Fresh {
		result = Diverged
		if r.volume.sameContent(&volume) {
			result = Confirmed
		}
	}
	ix.set(k, r, volume, now, r.dirtied == i.dirtied)
	return result, nil
}

// Missing takes the answer that there is no such volume. What was known stands, as
// suspect.
func (i *Inspection) Missing() {
	ix, k := i.index, keyOf(i.handle)
	now := ix.now()
	ix.markContact(now)
	shard := ix.volumes.shard(k)
	shard.Lock()
	defer shard.Unlock()
	if r := shard.get(k); r != nil {
		ix.suspect(k, r, now, r.dirtied == i.dirtied)
	}
}

// Failed says that storage gave no answer. The volume is dirty.
func (i *Inspection) Failed() {
	ix, k := i.index, keyOf(i.handle)
	shard := ix.volumes.shard(k)
	shard.Lock()
	defer shard.Unlock()
	if r := shard.get(k); r != nil {
		ix.dirty(r, ix.now())
	}
}

// set gives a record new content, or verifies the one it has. The record is clean
// then, or goes on being dirty.
func (ix *Index) set(k key, r *record, volume StorageVolume, now int64, clean bool) {
	view := ix.view.Load()
	before := r.freshness(view)
	changed := r.volume == nil || !r.volume.sameContent(&volume)
	if changed {
		volume.Revision = ix.revision.Add(1)
		r.store(volume)
	}
	r.verified = now
	r.suspect = false
	ix.answered(r, now, clean)
	if changed || (before == Stale) != (r.freshness(view) == Stale) {
		ix.changed(k)
	}
}

// suspect keeps what a record has, after an answer that did not.
func (ix *Index) suspect(k key, r *record, now int64, clean bool) {
	view := ix.view.Load()
	before := r.freshness(view)
	r.suspect = true
	ix.answered(r, now, clean)
	if (before == Stale) != (r.freshness(view) == Stale) {
		ix.changed(k)
	}
}

// answered ends the time for which a record has been dirty, and begins another
// unless it is clean.
func (ix *Index) answered(r *record, now int64, clean bool) {
	r.dirtySince, r.overdue = 0, false
	if !clean {
		ix.dirtyFrom(r, now)
	}
}

// changed notes a change of a volume for the subscribers.
func (ix *Index) changed(k key) {
	if ix.changes.volume(k) {
		ix.signal()
	}
}

// dirty marks a record as in need of an inspect.
func (ix *Index) dirty(r *record, now int64) {
	r.dirtied++
	ix.dirtyFrom(r, now)
}

func (ix *Index) dirtyFrom(r *record, now int64) {
	if r.dirtySince == 0 {
		r.dirtySince = now
		if ix.volumes.sweepAt(now + ix.maxStaleness + 1) {
			ix.signal()
		}
	}
}
