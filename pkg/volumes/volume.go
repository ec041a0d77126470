package volumes

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unique"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// labelKeys are the keys of volume labels that decide placement (docs/behaviour.md,
// section 2). No other label is kept.
var labelKeys = placement.VolumeKeys

// NodeRef stands for the id of one storage node, or for an address of one, which
// is how storage may say what a volume is attached to. Zero stands for none. A
// number is never reused while the process lives.
type NodeRef uint32

// Observation is what storage says about one volume at one moment.
type Observation struct {
	ID, Name string
	// Gone says that the volume is deleted. Nothing else of it counts then.
	Gone bool
	// ReplicaSets lists the storage node ids of each stripe. An ordinary volume
	// has one set.
	ReplicaSets [][]string
	// Attached is the storage node that the volume is attached to, or "": its id,
	// or its management or data address as the node list spells it.
	Attached string
	// Service says that this is a sharedv4 volume with a service of a type other
	// than NONE. A service spec whose type is left unspecified counts.
	Service bool
	// Direct says that the volume has no replicas by design: direct access and
	// other proxy volumes.
	Direct bool
	// Winshare says that this is a Windows volume.
	Winshare bool
	// Resyncing says that a replica is being synchronized, or missing.
	Resyncing bool
	// Labels are the locator's labels, SpecLabels those of the spec. The former
	// win where both have a key (section 2).
	Labels, SpecLabels map[string]string
}

// StorageVolume is what the index holds about one volume. It is immutable.
//
// A hundred thousand of them must fit beside a scheduler, hence the shape: 48
// bytes, without a pointer to follow for an ordinary volume with up to three
// replicas.
type StorageVolume struct {
	// Revision grows with every change of this volume's content. No two contents
	// of the index share one.
	Revision uint64

	number     uint64 // the id where it is a decimal number, otherwise 0
	attributes unique.Handle[attributes]
	large      *largeVolume // nil for one replica set of at most inlineReplicas
	replicas   [inlineReplicas]NodeRef
	attached   NodeRef
}

const inlineReplicas = 3

// largeVolume holds what does not fit into a StorageVolume.
type largeVolume struct {
	id   string      // where it is not a decimal number
	sets [][]NodeRef // slices of one array
}

// attributes are shared between all volumes that have the same ones.
type attributes struct {
	service, direct, winshare, resyncing bool
	labels                               [len(labelKeys)]label
}

type label struct {
	value string
	set   bool
}

// ID returns the storage system's id of the volume.
func (v *StorageVolume) ID() string {
	if v.number != 0 {
		return strconv.FormatUint(v.number, 10)
	}
	return v.large.id
}

// NumSets returns the number of replica sets: 1 for an ordinary volume, more for
// an aggregated one, 0 for one without replicas by design.
func (v *StorageVolume) NumSets() int {
	switch {
	case v.large != nil:
		return len(v.large.sets)
	case v.replicas[0] != 0:
		return 1
	default:
		return 0
	}
}

// Set returns the holders of replica set i, each of them once. The slice must
// not be changed. It is empty only in a volume that may have no replicas.
func (v *StorageVolume) Set(i int) []NodeRef {
	if v.large != nil {
		return v.large.sets[i]
	}
	n := inlineReplicas
	for n > 0 && v.replicas[n-1] == 0 {
		n--
	}
	return v.replicas[:n:n]
}

// Service reports whether this is a service volume (docs/behaviour.md, section 1).
func (v *StorageVolume) Service() bool { return v.attributes.Value().service }

// Direct reports whether the volume has no replicas by design.
func (v *StorageVolume) Direct() bool { return v.attributes.Value().direct }

// Winshare reports whether the volume's spec marks it as a Windows volume.
func (v *StorageVolume) Winshare() bool { return v.attributes.Value().winshare }

// Resyncing reports whether a replica is being synchronized, or missing.
func (v *StorageVolume) Resyncing() bool { return v.attributes.Value().resyncing }

// Attached returns the storage node that the volume is attached to, if any.
func (v *StorageVolume) Attached() (NodeRef, bool) { return v.attached, v.attached != 0 }

// Label returns the volume label of one of the Label keys above. The locator's
// label beats that of the spec.
func (v *StorageVolume) Label(key string) (string, bool) {
	i := slices.Index(labelKeys[:], key)
	if i < 0 {
		return "", false
	}
	l := v.attributes.Value().labels[i]
	return l.value, l.set
}

// holds reports whether any replica set lists one of the nodes.
func (v *StorageVolume) holds(nodes map[NodeRef]struct{}) bool {
	for i := range v.NumSets() {
		for _, ref := range v.Set(i) {
			if _, found := nodes[ref]; found {
				return true
			}
		}
	}
	return false
}

// sameContent compares all but the revision.
func (v *StorageVolume) sameContent(o *StorageVolume) bool {
	if v.number != o.number || v.attributes != o.attributes ||
		v.replicas != o.replicas || v.attached != o.attached ||
		(v.large == nil) != (o.large == nil) {
		return false
	}
	return v.large == nil || v.large.id == o.large.id &&
		slices.EqualFunc(v.large.sets, o.large.sets, slices.Equal[[]NodeRef])
}

const (
	// MaxReplicas is how many holders the replica sets of a volume may name in all. A
	// storage system keeps up to three replicas of each stripe.
	MaxReplicas = 1024
	// MaxID is the greatest length in bytes of the id of a volume or a storage node.
	// Volumes have decimal numbers of 64 bits, nodes UUIDs.
	MaxID = 256
	// MaxNodeIDs is how many ids of storage nodes are taken from answers about volumes.
	// The node list is not bound by it, so that the nodes that are really there are
	// known whatever was made up before.
	MaxNodeIDs = 1 << 15
)

// newVolume converts an observation. It takes no lock of the table, and its cost is
// linear. It returns ErrNoReplicas when the observation does not name a holder of
// each replica set although the volume must have some: an answer that is empty in
// part is as little knowledge as an empty one. It returns ErrTooLarge for what no
// storage system means.
func newVolume(o *Observation, nodes *nodeIDs) (StorageVolume, error) {
	total := 0
	for _, set := range o.ReplicaSets {
		total += len(set)
	}
	if total > MaxReplicas || len(o.ReplicaSets) > MaxReplicas || len(o.ID) > MaxID {
		return StorageVolume{}, ErrTooLarge
	}
	v := StorageVolume{attributes: newAttributes(o)}
	var ok bool
	if v.attached, ok = nodes.intern(o.Attached); !ok {
		return StorageVolume{}, ErrTooLarge
	}
	v.number, _ = parseID(o.ID)

	var inline [inlineReplicas]NodeRef
	flat := inline[:0]
	if total > inlineReplicas {
		flat = make([]NodeRef, 0, total)
	}
	var ends [1]int
	bounds := ends[:0]
	complete := len(o.ReplicaSets) > 0
	for _, set := range o.ReplicaSets {
		start := len(flat)
		var seen seenRefs
		for _, id := range set {
			ref, ok := nodes.intern(id)
			if !ok {
				return StorageVolume{}, ErrTooLarge
			}
			if ref != 0 && !seen.before(flat[start:], ref) {
				flat = append(flat, ref)
			}
		}
		complete = complete && len(flat) > start
		bounds = append(bounds, len(flat))
	}
	if !complete && !o.Direct && !o.Winshare {
		return StorageVolume{}, ErrNoReplicas
	}
	switch {
	case len(flat) == 0:
		bounds = nil
	case len(bounds) == 1 && len(flat) <= inlineReplicas && v.number != 0:
		copy(v.replicas[:], flat)
		return v, nil
	}
	if v.number == 0 || len(bounds) > 0 {
		v.large = newLargeVolume(flat, bounds)
		if v.number == 0 {
			v.large.id = strings.Clone(o.ID)
		}
	}
	return v, nil
}

// newLargeVolume copies the holders of the replica sets, which end at these bounds.
func newLargeVolume(flat []NodeRef, bounds []int) *largeVolume {
	large := &largeVolume{sets: make([][]NodeRef, 0, len(bounds))}
	holders := make([]NodeRef, len(flat)) // a clone would have the caller's array escape
	copy(holders, flat)
	start := 0
	for _, end := range bounds {
		large.sets = append(large.sets, holders[start:end:end])
		start = end
	}
	return large
}

// seenRefs keeps a node from counting twice in a replica set. Up to a few holders,
// comparing them is cheaper than a set.
type seenRefs map[NodeRef]struct{}

const comparedHolders = 16

// before reports whether a holder is among those before it.
func (h *seenRefs) before(set []NodeRef, ref NodeRef) bool {
	if len(set) < comparedHolders {
		return slices.Contains(set, ref)
	}
	if *h == nil {
		*h = make(seenRefs, 4*comparedHolders)
		for _, other := range set {
			(*h)[other] = struct{}{}
		}
	}
	_, found := (*h)[ref]
	(*h)[ref] = struct{}{}
	return found
}

func newAttributes(o *Observation) unique.Handle[attributes] {
	a := attributes{service: o.Service, direct: o.Direct, winshare: o.Winshare, resyncing: o.Resyncing}
	for i, key := range labelKeys {
		value, set := o.Labels[key]
		if !set {
			value, set = o.SpecLabels[key]
		}
		a.labels[i] = label{value: value, set: set}
	}
	return unique.Make(a)
}

// parseID returns the number of a handle that is a volume id: a decimal uint64
// without sign or leading zero. Everything else is a name, or an id of a shape
// unknown to us, and is kept as text. It does not allocate, as an error of
// strconv would.
func parseID(handle string) (uint64, bool) {
	if handle == "" || handle[0] == '0' {
		return 0, false
	}
	var n uint64
	for i := range len(handle) {
		digit := uint64(handle[i] - '0')
		if digit > 9 || n > (math.MaxUint64-digit)/10 {
			return 0, false
		}
		n = n*10 + digit
	}
	return n, true
}
