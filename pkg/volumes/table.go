package volumes

import (
	"hash/maphash"
	"iter"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// key names a followed handle without keeping the text of a numeric one.
type key struct {
	number uint64
	text   string // where the handle is no decimal number
}

func keyOf(handle string) key {
	if number, ok := parseID(handle); ok {
		return key{number: number}
	}
	return key{text: handle}
}

// handle returns the handle as it is followed.
func (k key) handle() string {
	if k.number != 0 {
		return strconv.FormatUint(k.number, 10)
	}
	return k.text
}

// keysOf yields the keys under which the volume of this id and name may be
// followed. A name that looks like an id is none: another volume may have that
// id.
func keysOf(id, name string) iter.Seq[key] {
	return func(yield func(key) bool) {
		if !yield(keyOf(id)) || name == id {
			return
		}
		if k := keyOf(name); k.number == 0 {
			yield(k)
		}
	}
}

// volumeTable holds the records of all followed handles. It is cut into shards so
// that a walk over everything never holds up a lookup for long.
type volumeTable struct {
	shards [numShards]shard
	seed   maphash.Seed

	// nextSweep is the index time at which a record may become overdue; 0 when none
	// can.
	nextSweep atomic.Int64
	// unclaimed is the number of records that no PV names.
	unclaimed atomic.Int64
}

const (
	shardBits = 6
	numShards = 1 << shardBits
)

type shard struct {
	sync.RWMutex
	byNumber map[uint64]*record // decimal volume id -> record
	byText   map[string]*record // volume name, or id of another shape -> record
}

func newVolumeTable() *volumeTable {
	t := &volumeTable{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].byNumber = map[uint64]*record{}
		t.shards[i].byText = map[string]*record{}
	}
	return t
}

// shard returns the shard that has the key, if any has.
func (t *volumeTable) shard(k key) *shard {
	hash := k.number * 0x9e3779b97f4a7c15 // 2^64 / golden ratio
	if k.number == 0 {
		hash = maphash.String(t.seed, k.text)
	}
	return &t.shards[hash>>(64-shardBits)]
}

// get returns nil for a handle that is not followed. The caller holds the lock,
// as for all that follows.
func (s *shard) get(k key) *record {
	if k.number != 0 {
		return s.byNumber[k.number]
	}
	return s.byText[k.text]
}

// add makes the record of a handle that has none.
func (s *shard) add(k key, now int64) *record {
	r := &record{firstSeen: now}
	if k.number != 0 {
		s.byNumber[k.number] = r
	} else {
		s.byText[strings.Clone(k.text)] = r
	}
	return r
}

func (s *shard) remove(k key) {
	if k.number != 0 {
		delete(s.byNumber, k.number)
	} else {
		delete(s.byText, k.text)
	}
}

func (s *shard) all() iter.Seq2[key, *record] {
	return func(yield func(key, *record) bool) {
		for number, r := range s.byNumber {
			if !yield(key{number: number}, r) {
				return
			}
		}
		for text, r := range s.byText {
			if !yield(key{text: text}, r) {
				return
			}
		}
	}
}

// read yields all records, one shard after the other under its read lock.
func (t *volumeTable) read() iter.Seq2[key, *record] {
	return func(yield func(key, *record) bool) {
		for i := range t.shards {
			if !t.shards[i].read(yield) {
				return
			}
		}
	}
}

func (s *shard) read(yield func(key, *record) bool) bool {
	s.RLock()
	defer s.RUnlock()
	for k, r := range s.all() {
		if !yield(k, r) {
			return false
		}
	}
	return true
}

// recordCopy is a handle with a copy of its record.
type recordCopy struct {
	key    key
	record record
}

// copied returns copies of all records, for work that would hold up a writer.
func (s *shard) copied() []recordCopy {
	s.RLock()
	defer s.RUnlock()
	records := make([]recordCopy, 0, len(s.byNumber)+len(s.byText))
	for k, r := range s.all() {
		records = append(records, recordCopy{key: k, record: *r})
	}
	return records
}

// sweepAt makes sure that sweep runs at the given time or before. It reports
// whether that is sooner than it would have been.
func (t *volumeTable) sweepAt(at int64) bool {
	for {
		next := t.nextSweep.Load()
		if next != 0 && next <= at {
			return false
		}
		if t.nextSweep.CompareAndSwap(next, at) {
			return true
		}
	}
}
