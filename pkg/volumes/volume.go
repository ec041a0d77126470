package volumes

import (
	"math"
	"slices"
	"strconv"
	"unique"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// Keys of volume labels that decide placement (behaviour.md §2). No other label
// is kept.
const (
	LabelPreferRemoteNode     = placement.VolumePreferRemote
	LabelPreferRemoteNodeOnly = placement.VolumePreferRemoteOnly
	LabelSkipScoring          = placement.VolumeSkipScoring
	LabelWinshare             = placement.VolumeWindows
	LabelWeight               = placement.VolumeWeight
)

var labelKeys = placement.VolumeLabelKeys

// NodeRef stands for the id of one storage node, or for an address of one, which
// is how storage may say what a volume is attached to. Zero stands for none. A
// number is never reused while the process lives.
type NodeRef uint32

// Observation is what storage says about one volume at one moment.
type Observation struct {
	ID, Name string
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
	// Labels are the locator's labels, SpecLabels those of the spec. The former
	// win where both have a key (§2).
	Labels, SpecLabels map[string]string
}

// Volume is what the index holds about one volume. It is immutable.
//
// A hundred thousand of them must fit beside a scheduler, hence the shape: 48
// bytes, without a pointer to follow for an ordinary volume with up to three
// replicas.
type Volume struct {
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

// largeVolume holds what does not fit into a Volume.
type largeVolume struct {
	id   string      // where it is not a decimal number
	sets [][]NodeRef // slices of one array
}

// attributes are shared between all volumes that have the same ones.
type attributes struct {
	service, direct, winshare bool
	labels                    [len(labelKeys)]label
}

type label struct {
	value string
	set   bool
}

// ID returns the storage system's id of the volume.
func (v *Volume) ID() string {
	if v.number != 0 {
		return strconv.FormatUint(v.number, 10)
	}
	return v.large.id
}

// NumSets returns the number of replica sets: 1 for an ordinary volume, more for
// an aggregated one, 0 for one without replicas by design.
func (v *Volume) NumSets() int {
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
// not be changed. It is empty when storage named no holder of this set.
func (v *Volume) Set(i int) []NodeRef {
	if v.large != nil {
		return v.large.sets[i]
	}
	n := inlineReplicas
	for n > 0 && v.replicas[n-1] == 0 {
		n--
	}
	return v.replicas[:n:n]
}

// Service reports whether this is a service volume (behaviour.md §1).
func (v *Volume) Service() bool { return v.attributes.Value().service }

// Direct reports whether the volume has no replicas by design.
func (v *Volume) Direct() bool { return v.attributes.Value().direct }

// Winshare reports whether the volume's spec marks it as a Windows volume.
func (v *Volume) Winshare() bool { return v.attributes.Value().winshare }

// Attached returns the storage node that the volume is attached to, if any.
func (v *Volume) Attached() (NodeRef, bool) { return v.attached, v.attached != 0 }

// Label returns the volume label of one of the Label keys above. The locator's
// label beats that of the spec.
func (v *Volume) Label(key string) (string, bool) {
	i := slices.Index(labelKeys[:], key)
	if i < 0 {
		return "", false
	}
	l := v.attributes.Value().labels[i]
	return l.value, l.set
}

// holds reports whether any replica set lists one of the nodes.
func (v *Volume) holds(nodes map[NodeRef]struct{}) bool {
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
func (v *Volume) sameContent(o *Volume) bool {
	if v.number != o.number || v.attributes != o.attributes ||
		v.replicas != o.replicas || v.attached != o.attached ||
		(v.large == nil) != (o.large == nil) {
		return false
	}
	return v.large == nil || v.large.id == o.large.id &&
		slices.EqualFunc(v.large.sets, o.large.sets, slices.Equal[[]NodeRef])
}

// newVolume converts an observation. It returns false when the observation does
// not say where the replicas are although the volume must have some: that is an
// empty answer, not knowledge.
func newVolume(o *Observation, nodes *nodeIDs) (Volume, bool) {
	v := Volume{attributes: newAttributes(o), attached: nodes.ref(o.Attached)}
	v.number, _ = parseID(o.ID)

	if len(o.ReplicaSets) == 1 && len(o.ReplicaSets[0]) <= inlineReplicas && v.number != 0 {
		n := 0
		for _, id := range o.ReplicaSets[0] {
			ref := nodes.ref(id)
			if ref != 0 && !slices.Contains(v.replicas[:n], ref) {
				v.replicas[n] = ref
				n++
			}
		}
		return v, n > 0 || o.Direct || o.Winshare
	}

	total := 0
	for _, set := range o.ReplicaSets {
		total += len(set)
	}
	flat := make([]NodeRef, 0, total)
	sets := make([][]NodeRef, 0, len(o.ReplicaSets))
	for _, set := range o.ReplicaSets {
		start := len(flat)
		for _, id := range set {
			ref := nodes.ref(id)
			if ref != 0 && !slices.Contains(flat[start:], ref) {
				flat = append(flat, ref)
			}
		}
		sets = append(sets, flat[start:len(flat):len(flat)])
	}
	known := len(flat) > 0
	if !known {
		sets = nil
	}
	if v.number == 0 || known {
		v.large = &largeVolume{sets: sets}
		if v.number == 0 {
			v.large.id = o.ID
		}
	}
	return v, known || o.Direct || o.Winshare
}

func newAttributes(o *Observation) unique.Handle[attributes] {
	a := attributes{service: o.Service, direct: o.Direct, winshare: o.Winshare}
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
