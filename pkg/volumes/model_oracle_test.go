package volumes

import (
	"slices"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// oracle restates the contract of the index in the plainest way: everything is
// searched for anew whenever it is asked for. Nothing is interned, counted,
// coalesced or cached.
type oracle struct {
	maxStaleness time.Duration
	now          time.Duration

	// What the informers have delivered.
	nodes    map[string]*v1.Node
	csiNodes map[string]*storagev1.CSINode
	pvs      map[string]*v1.PersistentVolume
	pvcs     map[string]*v1.PersistentVolumeClaim

	// What storage has said.
	records map[string]oracleRecord // storage node id -> record
	entries map[string]*oracleEntry // handle -> entry
	contact time.Duration           // negative: never
	listed  time.Duration           // likewise, the last list with a node in it
	// Decided when the index looks at the clock.
	reached, fresh, believed bool // believed: the states of records
	verifiedSince            time.Duration

	// picture answers for the nodes; nil after anything happened to them.
	picture *oraclePicture
}

type oracleRecord struct {
	StorageNode
	listed bool
}

type oracleEntry struct {
	firstSeen, verified time.Duration
	pods                int           // that wait for it
	dirty               time.Duration // since when, negative: it is clean
	dirtied             int           // how often
	suspect, known      bool
	content             content
}

// content is what is kept of an observation, in comparable text.
type content struct {
	ID, Attached              string
	Sets                      [][]string
	Service, Direct, Winshare bool
	Labels                    map[string]string
}

func newOracle(maxStaleness time.Duration) *oracle {
	return &oracle{
		maxStaleness: maxStaleness,
		nodes:        map[string]*v1.Node{},
		csiNodes:     map[string]*storagev1.CSINode{},
		pvs:          map[string]*v1.PersistentVolume{},
		pvcs:         map[string]*v1.PersistentVolumeClaim{},
		records:      map[string]oracleRecord{},
		entries:      map[string]*oracleEntry{},
		contact:      -1,
		listed:       -1,
	}
}

func oracleContent(o *Observation) (c content, ok bool) {
	c = content{ID: o.ID, Attached: o.Attached, Service: o.Service, Direct: o.Direct, Winshare: o.Winshare,
		Labels: map[string]string{}}
	complete := len(o.ReplicaSets) > 0
	holders := 0
	for _, set := range o.ReplicaSets {
		var unique []string
		for _, id := range set {
			if id != "" && !slices.Contains(unique, id) {
				unique = append(unique, id)
				holders++
			}
		}
		c.Sets = append(c.Sets, unique)
		complete = complete && len(unique) > 0
	}
	if holders == 0 {
		c.Sets = nil
	}
	for _, key := range labelKeys {
		if value, found := o.SpecLabels[key]; found {
			c.Labels[key] = value
		}
		if value, found := o.Labels[key]; found {
			c.Labels[key] = value
		}
	}
	return c, complete || o.Direct || o.Winshare
}

func oracleHandle(pv *v1.PersistentVolume) string {
	switch {
	case pv.Spec.CSI != nil && slices.Contains(modelDrivers, pv.Spec.CSI.Driver):
		return pv.Spec.CSI.VolumeHandle
	case pv.Spec.PortworxVolume != nil:
		return pv.Spec.PortworxVolume.VolumeID
	default:
		return ""
	}
}

// claim says how far a pod with this PVC is from its volume.
func (o *oracle) claim(name string) (state placement.ClaimState, handle string) {
	pvc := o.pvcs[name]
	if pvc == nil {
		return placement.ClaimMissing, ""
	}
	if pvc.Spec.VolumeName == "" {
		return placement.ClaimUnbound, ""
	}
	pv := o.pvs[pvc.Spec.VolumeName]
	if pv == nil {
		return placement.ClaimLost, ""
	}
	if ref := pv.Spec.ClaimRef; ref != nil && (ref.Name != name || ref.UID != "" && ref.UID != pvc.UID) {
		return placement.ClaimLost, ""
	}
	return placement.ClaimBound, oracleHandle(pv)
}

func (o *oracle) claimed(handle string) bool {
	for _, pv := range o.pvs {
		if oracleHandle(pv) == handle {
			return true
		}
	}
	return false
}

// setPV stores a PV, or removes it if it is nil.
func (o *oracle) setPV(name string, pv *v1.PersistentVolume) {
	var before, after string
	if old := o.pvs[name]; old != nil {
		before = oracleHandle(old)
	}
	delete(o.pvs, name)
	if pv != nil {
		o.pvs[name] = pv
		after = oracleHandle(pv)
	}
	if before != "" {
		o.drop(before)
	}
	if after != "" {
		o.entry(after)
	}
}

// drop forgets a handle that neither a PV nor a pod has.
func (o *oracle) drop(handle string) {
	if e := o.entries[handle]; e != nil && e.pods == 0 && !o.claimed(handle) {
		delete(o.entries, handle)
	}
}

func (o *oracle) request(handle string) { o.entry(handle).pods++ }

// release reports whether there was a pod to go.
func (o *oracle) release(handle string) bool {
	e := o.entries[handle]
	if e == nil || e.pods == 0 {
		return false
	}
	e.pods--
	o.drop(handle)
	return true
}

// asks reports whether storage is to be asked about a handle at all.
func (o *oracle) asks(handle string) bool {
	e := o.entries[handle]
	return e != nil && (o.claimed(handle) || e.known || !e.suspect || e.dirty >= 0)
}

func (o *oracle) needsInspect(e *oracleEntry) bool {
	return !e.known || e.dirty >= 0 || o.freshness(e) == Stale
}

func (o *oracle) entry(handle string) *oracleEntry {
	e := o.entries[handle]
	if e == nil {
		e = &oracleEntry{firstSeen: o.now, dirty: -1}
		o.entries[handle] = e
	}
	return e
}

// about returns the followed handles that an answer concerns.
func (o *oracle) about(id, name string) []string {
	var handles []string
	for handle := range o.entries {
		_, err := strconv.ParseUint(handle, 10, 64)
		if handle == id || handle == name && err != nil {
			handles = append(handles, handle)
		}
	}
	return handles
}

func (o *oracle) notice(obs *Observation) {
	o.contact = o.now
	c, ok := oracleContent(obs)
	for _, handle := range o.about(obs.ID, obs.Name) {
		e := o.entries[handle]
		switch {
		case ok && !e.known, ok && equalContent(e.content, c) && e.dirty < 0:
			o.learn(e, c, e.dirty < 0)
		case ok && equalContent(e.content, c):
		default:
			o.markDirty(e)
		}
	}
}

func (o *oracle) dirty(id, name string) {
	for _, handle := range o.about(id, name) {
		o.markDirty(o.entries[handle])
	}
}

func (o *oracle) failed(handle string) {
	if e := o.entries[handle]; e != nil {
		o.markDirty(e)
	}
}

// resolve takes the answer to an inspect that begun when the entry had become dirty
// so many times.
func (o *oracle) resolve(handle string, obs *Observation, begun int) {
	o.contact = o.now
	e := o.entries[handle]
	if e == nil {
		return
	}
	c, ok := oracleContent(obs)
	if ok && (obs.ID == handle || obs.Name == handle) {
		o.learn(e, c, e.dirtied == begun)
		return
	}
	e.suspect = true
	o.answered(e, e.dirtied == begun)
}

func (o *oracle) missing(handle string, begun int) {
	o.contact = o.now
	if e := o.entries[handle]; e != nil {
		e.suspect = true
		o.answered(e, e.dirtied == begun)
	}
}

func (o *oracle) learn(e *oracleEntry, c content, clean bool) {
	e.known, e.content, e.verified, e.suspect = true, c, o.now, false
	o.answered(e, clean)
}

func (o *oracle) answered(e *oracleEntry, clean bool) {
	e.dirty = -1
	if !clean {
		e.dirty = o.now
	}
}

func (o *oracle) markDirty(e *oracleEntry) {
	e.dirtied++
	if e.dirty < 0 {
		e.dirty = o.now
	}
}

// look is the moment at which the index looks at the clock.
func (o *oracle) step() {
	wasBelieved, wasStale := o.believed, o.reached && !o.fresh
	o.reached = o.contact >= 0
	o.fresh = o.reached && o.now-o.contact <= o.maxStaleness
	if !wasStale && o.reached && !o.fresh {
		o.verifiedSince = o.now
	}
	o.believed = o.listed >= 0 && o.now-o.listed <= o.maxStaleness
	if wasBelieved != o.believed {
		o.picture = nil
	}
	for id, r := range o.records {
		if !r.listed && !o.inCSINode(id) {
			delete(o.records, id)
			o.picture = nil
		}
	}
	if o.picture == nil {
		o.draw()
	}
}

func (o *oracle) freshness(e *oracleEntry) Freshness {
	switch {
	case !e.known:
		return Unknown
	case o.reached && !o.fresh, e.verified < o.verifiedSince, e.dirty >= 0 && o.now-e.dirty > o.maxStaleness:
		return Stale
	case e.suspect:
		return Suspect
	default:
		return Fresh
	}
}
