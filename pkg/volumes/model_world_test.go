package volumes

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

var (
	modelDrivers  = []string{"pxd.portworx.com", "com.openstorage.pxd", claims.InTreeDriver}
	modelTopology = LabelKeys{Region: []string{"region"}, Zone: []string{"zone", "old-zone"}, Rack: []string{"rack"}}

	modelNodes    = []string{"n1", "n2.example.com", "N3", "n4", "n4.example.com"}
	modelIDs      = []string{"s1", "s2", "s3", "s4", "s5", "s6"}
	modelHandles  = []string{"101", "102", "103", "104", "pvc-101", "pvc-102", "vol-x", "105"}
	modelPVs      = []string{"pv1", "pv2", "pv3", "pv4", "pv5", "pv6"}
	modelPVCs     = []string{"pvc0", "pvc1", "pvc2"}
	modelUIDs     = []types.UID{"", "a", "b"}
	modelHosts    = []string{"", "n1", "N1.example.com", "n2", "n2.example.com", "n3", "n4", "n4.other.com", "10.0.0.1"}
	modelIPs      = []string{"", "10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "nonsense"}
	modelBooleans = []string{"", "true", "false", "1", "maybe"}
)

const modelStaleness = 10 * time.Minute

// inspect is an inspect that is under way.
type inspect struct {
	Inspection
	answer *Observation // nil: no such volume
	begun  int          // how often the oracle's entry had become dirty
}

// world makes random things happen, to the index and to its oracle alike.
type world struct {
	*rand.Rand
	ix     *Index
	clock  *clocktesting.FakeClock
	oracle *oracle

	nodeFeed, csiFeed, pvFeed cache.ResourceEventHandler
	// The stores of the PV and PVC informers, and what pods' claims are found by.
	pvs, pvcs cache.Indexer
	claims    *claims.Finder

	volumes  map[string]*Observation // what storage really has, by id
	messages []*Observation          // what the watch still has to send, in any order
	inspects map[string]inspect      // answers that are on their way, by handle
	storage  map[string]StorageNode  // the storage cluster's nodes
	history  []string                // the last operations
}

func newWorld(seed uint64) *world {
	clock := clocktesting.NewFakeClock(time.Unix(1700000000, 0))
	w := &world{
		Rand:     rand.New(rand.NewPCG(seed, 0)),
		clock:    clock,
		oracle:   newOracle(modelStaleness),
		volumes:  map[string]*Observation{},
		inspects: map[string]inspect{},
		storage:  map[string]StorageNode{},
		ix: NewIndex(Options{Drivers: modelDrivers, TopologyKeys: modelTopology,
			MaxStaleness: modelStaleness, Clock: clock}),
	}
	newStore := func() cache.Indexer {
		return cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	}
	w.pvs, w.pvcs = newStore(), newStore()
	w.claims = claims.NewFinder(claims.Listers{
		PVCs: w.pvcs, PVs: corelisters.NewPersistentVolumeLister(w.pvs),
		Classes: storagelisters.NewStorageClassLister(newStore()),
	}, modelDrivers)
	w.nodeFeed, w.csiFeed, w.pvFeed = w.ix.nodeHandler(), w.ix.csiNodeHandler(), w.ix.pvHandler()
	return w
}

func pick[T any](w *world, from []T) T { return from[w.IntN(len(from))] }

// chance is true once in n times.
func (w *world) chance(n int) bool { return w.IntN(n) == 0 }

// operate does one random thing.
func (w *world) operate() {
	operations := []struct {
		weight int
		name   string
		do     func() string
	}{
		{10, "node", w.changeNode},
		{8, "csinode", w.changeCSINode},
		{14, "pv", w.changePV},
		{6, "pvc", w.changePVC},
		{6, "request", w.request},
		{4, "release", w.release},
		{14, "move", w.changeVolume},
		{22, "message", w.deliver},
		{10, "inspect", w.beginInspect},
		{12, "answer", w.answer},
		{8, "list", w.listNodes},
		{3, "contact", w.touch},
		{4, "time", w.passTime},
	}
	total := 0
	for _, op := range operations {
		total += op.weight
	}
	n := w.IntN(total)
	for _, op := range operations {
		if n -= op.weight; n < 0 {
			w.note(op.name + " " + op.do())
			return
		}
	}
}

func (w *world) note(text string) {
	w.history = append(w.history, text)
	if len(w.history) > 60 {
		w.history = slices.Clone(w.history[30:])
	}
}

// tombstone sometimes wraps a deleted object, as an informer does that missed the
// deletion.
func (w *world) tombstone(name string, obj any) any {
	if w.chance(3) {
		return cache.DeletedFinalStateUnknown{Key: name, Obj: obj}
	}
	return obj
}

func (w *world) changeNode() string {
	name := pick(w, modelNodes)
	old := w.oracle.nodes[name]
	if old != nil && w.chance(4) {
		w.oracle.setNode(name, nil)
		w.nodeFeed.OnDelete(w.tombstone(name, old))
		return "delete " + name
	}
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}, Annotations: map[string]string{}}}
	if old != nil {
		node = old.DeepCopy()
	}
	switch w.IntN(4) {
	case 0:
		for _, key := range []string{"region", "zone", "old-zone", "rack"} {
			node.Labels[key] = pick(w, []string{"", "a", "b"})
		}
	case 1:
		delete(node.Annotations, placement.NodeUnschedulable)
		if w.chance(2) {
			node.Annotations[placement.NodeUnschedulable] = pick(w, modelBooleans)
		}
	case 2:
		node.Status.Addresses = []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: pick(w, modelIPs)}}
		if w.chance(3) {
			node.Status.Addresses = append(node.Status.Addresses,
				v1.NodeAddress{Type: v1.NodeHostName, Address: pick(w, modelHosts)})
		}
	case 3:
		node.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Reason: strconv.Itoa(w.IntN(100))}}
	}
	w.oracle.setNode(name, node)
	if old == nil {
		w.nodeFeed.OnAdd(node, w.chance(2))
		return "add " + name
	}
	w.nodeFeed.OnUpdate(old, node)
	return "update " + name
}

func (w *world) changeCSINode() string {
	name := pick(w, modelNodes)
	old := w.oracle.csiNodes[name]
	if old != nil && w.chance(4) {
		w.oracle.setCSINode(name, nil)
		w.csiFeed.OnDelete(w.tombstone(name, old))
		return "delete " + name
	}
	node := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, driver := range []string{"pxd.portworx.com", "com.openstorage.pxd", "other.example.com"} {
		if w.chance(2) {
			id := pick(w, modelIDs)
			if w.chance(12) {
				id = "" // which the API server does not let pass
			}
			node.Spec.Drivers = append(node.Spec.Drivers, storagev1.CSINodeDriver{Name: driver, NodeID: id})
		}
	}
	w.oracle.setCSINode(name, node)
	if old == nil {
		w.csiFeed.OnAdd(node, w.chance(2))
		return fmt.Sprint("add ", name, driverIDs(node))
	}
	w.csiFeed.OnUpdate(old, node)
	return fmt.Sprint("update ", name, driverIDs(node))
}

func (w *world) changePV() string {
	name := pick(w, modelPVs)
	old := w.oracle.pvs[name]
	if old != nil && w.chance(3) {
		w.oracle.setPV(name, nil)
		must(w.pvs.Delete(old))
		w.pvFeed.OnDelete(w.tombstone(name, old))
		return "delete " + name
	}
	pv := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if old != nil {
		pv = old.DeepCopy()
	}
	if old == nil || w.chance(4) {
		handle := pick(w, modelHandles)
		pv.Spec.PersistentVolumeSource = v1.PersistentVolumeSource{}
		switch w.IntN(6) {
		case 0:
			pv.Spec.PortworxVolume = &v1.PortworxVolumeSource{VolumeID: handle}
		case 1:
			pv.Spec.CSI = &v1.CSIPersistentVolumeSource{Driver: "other.example.com", VolumeHandle: handle}
		case 2:
			pv.Spec.CSI = &v1.CSIPersistentVolumeSource{Driver: "pxd.portworx.com"}
		default:
			pv.Spec.CSI = &v1.CSIPersistentVolumeSource{Driver: "pxd.portworx.com", VolumeHandle: handle}
		}
	}
	// Free, bound, released, bound to another claim: all the same to the index.
	pv.Spec.ClaimRef = nil
	if !w.chance(6) {
		pv.Spec.ClaimRef = &v1.ObjectReference{Namespace: "default", Name: pick(w, modelPVCs), UID: pick(w, modelUIDs)}
	}
	pv.Status.Phase = pick(w, []v1.PersistentVolumePhase{v1.VolumeBound, v1.VolumeReleased, v1.VolumeAvailable})
	w.oracle.setPV(name, pv)
	must(w.pvs.Update(pv))
	if old == nil {
		w.pvFeed.OnAdd(pv, w.chance(2))
		return "add " + name + " " + oracleHandle(pv)
	}
	w.pvFeed.OnUpdate(old, pv)
	return "update " + name + " " + oracleHandle(old) + " to " + oracleHandle(pv)
}

// changePVC creates, binds, rebinds or deletes a claim.
func (w *world) changePVC() string {
	name := pick(w, modelPVCs)
	pvc := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: pick(w, modelUIDs[1:])}}
	delete(w.oracle.pvcs, name)
	if w.chance(4) {
		must(w.pvcs.Delete(pvc))
		return "delete " + name
	}
	if !w.chance(4) {
		pvc.Spec.VolumeName = pick(w, modelPVs)
	}
	w.oracle.pvcs[name] = pvc
	must(w.pvcs.Update(pvc))
	return "bind " + name + " to " + pvc.Spec.VolumeName
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (w *world) request() string {
	handle := pick(w, modelHandles)
	w.oracle.request(handle)
	if got := w.ix.Request(handle); got != w.ix.Lookup(handle) || got.FirstSeen.IsZero() {
		panic("Request answers otherwise than Lookup")
	}
	return handle
}

func (w *world) release() string {
	handle := pick(w, modelHandles)
	if w.oracle.release(handle) {
		w.ix.Release(handle)
	}
	return handle
}

// changeVolume creates, moves or deletes a volume in storage, which sends a
// message or forgets to.
func (w *world) changeVolume() string {
	id := pick(w, []string{"101", "102", "103", "104", "105", "vol-x", "999"})
	if w.chance(8) {
		delete(w.volumes, id)
		return "delete " + id
	}
	o := &Observation{ID: id, Name: "pvc-" + id, Attached: pick(w, []string{"", "s1", "s2", "gone", "10.0.0.1", "fd00::1"})}
	if w.chance(20) {
		o.Name = "101" // a name that looks like another volume's id
	}
	for range pick(w, []int{1, 1, 1, 1, 2, 3, 0}) {
		var set []string
		for range w.IntN(5) {
			set = append(set, pick(w, []string{"s1", "s2", "s3", "s4", "s5", "s6", "gone", ""}))
		}
		o.ReplicaSets = append(o.ReplicaSets, set)
	}
	o.Service, o.Direct, o.Winshare = w.chance(4), w.chance(12), w.chance(12)
	if w.chance(4) {
		o.Labels = map[string]string{pick(w, labelKeys[:]): pick(w, modelBooleans), "other": "x"}
	}
	if w.chance(4) {
		o.SpecLabels = map[string]string{pick(w, labelKeys[:]): pick(w, modelBooleans)}
	}
	w.volumes[id] = o
	if !w.chance(5) {
		w.messages = append(w.messages, o)
	}
	return id + fmt.Sprint(o.ReplicaSets)
}

// deliver sends a message of the watch: one of those that wait, not always the
// first, and sometimes again later; or one of an initial list.
func (w *world) deliver() string {
	if len(w.messages) == 0 || w.chance(3) {
		for _, id := range []string{"101", "102", "103", "104", "105", "vol-x"} {
			if o := w.volumes[id]; o != nil && w.chance(3) {
				return w.notice(o)
			}
		}
		handle := pick(w, modelHandles)
		w.ix.Notice(&Observation{ID: handle, Name: "pvc-" + handle, Gone: true})
		w.oracle.dirty(handle, "pvc-"+handle)
		return "deleted " + handle
	}
	i := w.IntN(len(w.messages))
	o := w.messages[i]
	if !w.chance(6) {
		w.messages = slices.Delete(w.messages, i, i+1)
	}
	if len(w.messages) > 50 {
		w.messages = nil // the server's buffer is full
	}
	if w.chance(10) {
		return "lost"
	}
	return w.notice(o)
}

func (w *world) notice(o *Observation) string {
	about := w.oracle.about(o.ID, o.Name)
	followed, _ := w.ix.Notice(o)
	w.oracle.notice(o)
	if followed != (len(about) > 0) {
		panic(fmt.Sprintf("Notice says followed=%v, the oracle has %v", followed, about))
	}
	return o.ID + fmt.Sprint(o.ReplicaSets)
}

// beginInspect has storage asked; what it sees at that moment is the answer.
func (w *world) beginInspect() string {
	handle := pick(w, modelHandles)
	if _, underWay := w.inspects[handle]; underWay {
		return "under way " + handle
	}
	inspection, ok := w.ix.Begin(handle)
	if want := w.oracle.asks(handle); ok != want {
		panic(fmt.Sprintf("Begin of %s says %v, want %v", handle, ok, want))
	}
	if ok {
		e := w.oracle.entries[handle]
		if want := w.oracle.needsInspect(e); inspection.Needed != want {
			panic(fmt.Sprintf("%s needs an inspect: %v, want %v", handle, inspection.Needed, want))
		}
		w.inspects[handle] = inspect{inspection, w.find(handle), e.dirtied}
	}
	return handle
}

func (w *world) find(handle string) *Observation {
	if o := w.volumes[handle]; o != nil {
		return o
	}
	for _, o := range w.volumes {
		if o.Name == handle {
			return o
		}
	}
	return nil
}

func (w *world) answer() string {
	handle := pick(w, modelHandles)
	i, underWay := w.inspects[handle]
	if !underWay {
		return "none " + handle
	}
	o := i.answer
	delete(w.inspects, handle)
	switch {
	case w.chance(10):
		i.Failed()
		w.oracle.failed(handle)
		return "outage " + handle
	case w.chance(20):
		o = &Observation{ID: "777", Name: "wrong", ReplicaSets: [][]string{{"s1"}}}
	case o == nil || w.chance(20):
		i.Missing()
		w.oracle.missing(handle, i.begun)
		return "not found " + handle
	}
	// Errors are part of the answer; the oracle knows what comes of it.
	_, _ = i.Found(o)
	w.oracle.resolve(handle, o, i.begun)
	return handle + fmt.Sprint(o.ReplicaSets)
}

// listNodes polls the node list after something happened to the storage nodes.
// The list may be empty, short, or name a node twice.
func (w *world) listNodes() string {
	id := pick(w, modelIDs)
	if w.chance(6) {
		delete(w.storage, id)
	} else {
		w.storage[id] = StorageNode{
			ID:                id,
			SchedulerNodeName: pick(w, []string{"", "", "n1", "n2.example.com", "N3", "n5"}),
			Hostname:          pick(w, modelHosts),
			MgmtIP:            pick(w, modelIPs),
			DataIP:            pick(w, modelIPs),
			State:             placement.Online + placement.StorageState(w.IntN(4)),
		}
	}
	var list []StorageNode
	short, twice := w.chance(5), w.chance(10)
	if !w.chance(8) {
		for _, id := range modelIDs {
			if s, found := w.storage[id]; found && (!short || !w.chance(2)) {
				list = append(list, s)
				if twice {
					s.State = placement.Online + placement.StorageState(w.IntN(4))
					list = append(list, s)
				}
			}
		}
	}
	w.ix.SetStorageNodes(list)
	w.oracle.list(list)
	var text strings.Builder
	for _, s := range list {
		fmt.Fprintf(&text, " %s:%v", s.ID, s.State)
	}
	return text.String()
}

func (w *world) touch() string {
	w.ix.markContact(w.ix.now())
	w.oracle.contact = w.oracle.now
	return ""
}

func (w *world) passTime() string {
	d := pick(w, []time.Duration{time.Second, 10 * time.Second, time.Minute, 5 * time.Minute,
		modelStaleness, modelStaleness + time.Second, time.Hour})
	w.clock.Step(d)
	w.oracle.now += d
	return d.String()
}
