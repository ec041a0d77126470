package volumes

import (
	"iter"
	"strconv"
	"strings"
	"sync"
)

// handle returns the handle as it is followed.
func (k key) handle() string {
	if k.number != 0 {
		return strconv.FormatUint(k.number, 10)
	}
	return k.text
}

// volumeTable holds the records of all followed handles.
type volumeTable struct {
	mu       sync.RWMutex
	byNumber map[uint64]*record // decimal volume id -> record
	byText   map[string]*record // volume name, or id of another shape -> record

	// nextSweep is the index time at which a record may become overdue or an
	// unclaimed one expire; 0 when none can.
	nextSweep int64
}

func newVolumeTable() *volumeTable {
	return &volumeTable{byNumber: map[uint64]*record{}, byText: map[string]*record{}}
}

func (t *volumeTable) get(k key) *record {
	if k.number != 0 {
		return t.byNumber[k.number]
	}
	return t.byText[k.text]
}

// ensure returns the record of a handle, a new one if need be.
func (t *volumeTable) ensure(k key, now int64) *record {
	r := t.get(k)
	if r != nil {
		return r
	}
	r = &record{firstSeen: now}
	if k.number != 0 {
		t.byNumber[k.number] = r
	} else {
		t.byText[strings.Clone(k.text)] = r
	}
	return r
}

func (t *volumeTable) remove(k key) {
	if k.number != 0 {
		delete(t.byNumber, k.number)
	} else {
		delete(t.byText, k.text)
	}
}

func (t *volumeTable) all() iter.Seq2[key, *record] {
	return func(yield func(key, *record) bool) {
		for number, r := range t.byNumber {
			if !yield(key{number: number}, r) {
				return
			}
		}
		for text, r := range t.byText {
			if !yield(key{text: text}, r) {
				return
			}
		}
	}
}

// named yields the records that an answer about the volume of this id and name
// concerns. A name that looks like an id is no evidence: another volume may have
// that id.
func (t *volumeTable) named(id, name string) iter.Seq2[key, *record] {
	return func(yield func(key, *record) bool) {
		k := keyOf(id)
		if r := t.get(k); r != nil && !yield(k, r) {
			return
		}
		if len(t.byText) == 0 || name == id {
			return
		}
		if r := t.byText[name]; r != nil {
			yield(key{text: name}, r)
		}
	}
}

// sweepAt makes sure that sweep runs at the given time or before.
func (t *volumeTable) sweepAt(at int64) {
	if t.nextSweep == 0 || at < t.nextSweep {
		t.nextSweep = at
	}
}
