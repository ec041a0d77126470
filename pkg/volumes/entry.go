package volumes

import (
	"time"
)

// Freshness says how far an entry can be trusted (docs/behaviour.md, section 7).
type Freshness uint8

const (
	// Unknown means that the replicas have not been learned yet.
	Unknown Freshness = iota
	// Fresh is as good as storage's own word.
	Fresh
	// Suspect means that the last answer did not mention the volume, or named no replicas,
	// although Kubernetes still has it. The last good replicas stand.
	Suspect
	// Stale is not verified for longer than MaxStaleness. Counts as unknown.
	Stale
)

// String returns the name used in logs, metrics and the debug view.
func (f Freshness) String() string {
	switch f {
	case Fresh:
		return "fresh"
	case Suspect:
		return "suspect"
	case Stale:
		return "stale"
	default:
		return "unknown"
	}
}

// Entry is what the index answers about one handle.
type Entry struct {
	// Volume is the last good content; nil when Freshness is Unknown.
	Volume    *StorageVolume
	Freshness Freshness
	// FirstSeen is when the index first heard of the handle from Kubernetes. It is
	// the zero time for a handle that it does not follow.
	FirstSeen time.Time
	// Verified is when storage last confirmed the content; zero if it never did.
	Verified time.Time
	// Claimed says that a PersistentVolume names the handle.
	Claimed bool
	// Dirty says that something contradicts what is held, and an inspect is due.
	Dirty bool
}

// record is the entry of one followed handle. All times are index times.
type record struct {
	volume     *StorageVolume
	firstSeen  int64
	verified   int64
	dirtySince int64  // 0 while the record is clean
	dirtied    uint32 // how often something has made it dirty, for an inspect that is under way
	pvs        int32  // PVs that name the handle
	pods       int32  // pods that wait for it
	suspect    bool   // the last answer did not have it
	overdue    bool   // dirty for longer than MaxStaleness
}

// store keeps the caller's volume from escaping to the heap where it is only
// compared.
func (r *record) store(volume StorageVolume) { r.volume = &volume }

// freshness is that of the record as the view's time has it.
func (r *record) freshness(v *View) Freshness {
	switch {
	case r.volume == nil:
		return Unknown
	case v.stale || r.overdue || v.verifiedSince != 0 && r.verified < v.verifiedSince:
		return Stale
	case r.suspect:
		return Suspect
	default:
		return Fresh
	}
}

// needsInspect reports whether an inspect would tell something new.
func (r *record) needsInspect(v *View) bool {
	return !r.absent() && (r.volume == nil || r.dirtySince != 0 || r.freshness(v) == Stale)
}

// absent reports that no PV names the handle, and storage has said that it has no
// such volume: whoever writes it into a pod has made it up. It is not asked for
// again as long as the pod is there; a volume that comes up later is told by the
// watch.
func (r *record) absent() bool {
	return r.pvs == 0 && r.suspect && r.volume == nil && r.dirtySince == 0
}
