package volumes

import (
	"cmp"
	"slices"
	"time"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// Snapshot is all that an index holds: for people who ask a scheduler, and for an index
// of another process (Restore). As JSON it is an interface: fields are only added.
type Snapshot struct {
	// Time is when it was taken.
	Time time.Time `json:"time"`
	// Synced says that the informers' initial lists were in.
	Synced bool `json:"synced"`
	// LastContact is when storage last gave an answer of use, LastNodeList when it last
	// listed its nodes; zero if it never did.
	LastContact  time.Time `json:"lastContact,omitzero"`
	LastNodeList time.Time `json:"lastNodeList,omitzero"`
	// Volumes are sorted by handle.
	Volumes []VolumeSnapshot `json:"volumes"`
	// StorageNodes are sorted by id.
	StorageNodes []StorageNodeSnapshot `json:"storageNodes"`
	// Nodes are the Kubernetes nodes, sorted by name.
	Nodes []NodeSnapshot `json:"nodes"`
}

// VolumeSnapshot is one handle that the index follows, with what is known of it.
type VolumeSnapshot struct {
	// Handle is the volume's id or name, as the PersistentVolume has it.
	Handle string `json:"handle"`
	// ID is empty if nothing is known.
	ID string `json:"id,omitempty"`
	// Freshness is fresh, suspect, stale or unknown.
	Freshness string `json:"freshness"`
	// ReplicaSets are the storage nodes that hold each stripe.
	ReplicaSets [][]ReplicaSnapshot `json:"replicaSets,omitempty"`
	// Attached is the storage node that the volume is attached to, by id or address.
	Attached string `json:"attached,omitempty"`
	// Service, Direct and Windows are the traits of placement.Traits.
	Service bool `json:"service,omitempty"`
	Direct  bool `json:"direct,omitempty"`
	Windows bool `json:"windows,omitempty"`
	// Resyncing says that a replica is being synchronized, or missing.
	Resyncing bool `json:"resyncing,omitempty"`
	// Labels are the volume's labels that decide placement.
	Labels map[string]string `json:"labels,omitempty"`
	// FirstSeen is when the index heard of the handle, Verified when storage last
	// confirmed the content.
	FirstSeen time.Time `json:"firstSeen,omitzero"`
	Verified  time.Time `json:"verified,omitzero"`
	// Dirty says that something contradicts what is held, and an inspect is due.
	Dirty bool `json:"dirty,omitempty"`
	// Claimed says that a PersistentVolume names the handle.
	Claimed bool `json:"claimed"`
}

// ReplicaSnapshot is one holder of a replica.
type ReplicaSnapshot struct {
	// StorageNode is its id in the storage system.
	StorageNode string `json:"storageNode"`
	// Node is the Kubernetes node, empty if none is known to be that storage node.
	Node string `json:"node,omitempty"`
	// State is that of the storage node's own record.
	State string `json:"state"`
}

// StorageNodeSnapshot is one record of the storage system's node list.
type StorageNodeSnapshot struct {
	ID string `json:"id"`
	// Node is the Kubernetes node, empty if none is known to be that storage node.
	Node string `json:"node,omitempty"`
	// State is what storage has said of it last.
	State             string `json:"state"`
	SchedulerNodeName string `json:"schedulerNodeName,omitempty"`
	Hostname          string `json:"hostname,omitempty"`
	ManagementIP      string `json:"managementIP,omitempty"`
	DataIP            string `json:"dataIP,omitempty"`
	// Listed says that the last node list had it.
	Listed bool `json:"listed"`
	// Labels are those that storage has for the node, Pools what replicas are put on; both
	// are null if storage does not tell of any pool.
	Labels map[string]string `json:"labels,omitempty"`
	Pools  []PoolSnapshot    `json:"pools"`
}

// PoolSnapshot is one storage pool.
type PoolSnapshot struct {
	UUID   string            `json:"uuid"`
	Labels map[string]string `json:"labels,omitempty"`
	// Free is how many bytes are free at least; negative if storage does not say.
	Free int64 `json:"free"`
}

// NodeSnapshot is one Kubernetes node.
type NodeSnapshot struct {
	Name string `json:"name"`
	// State is the one that decides (F5).
	State string `json:"state"`
	// Unschedulable says that the storage operator has closed it (F4).
	Unschedulable bool `json:"unschedulable,omitempty"`
	// Region, Zone and Rack are the values of the labels that count.
	Region string `json:"region,omitempty"`
	Zone   string `json:"zone,omitempty"`
	Rack   string `json:"rack,omitempty"`
	// Problems are what cannot be taken as written on it.
	Problems []string `json:"problems,omitempty"`
}

// SnapshotOf copies what an index holds, shard by shard.
func SnapshotOf(ix *Index) *Snapshot {
	view := ix.view.Load()
	s := &Snapshot{
		Time:         ix.clock.Now(),
		Synced:       ix.HasSynced(),
		LastContact:  ix.dateOf(ix.contact.Load()),
		LastNodeList: ix.dateOf(ix.listed.Load()),
		Volumes:      []VolumeSnapshot{},
	}
	for i := range ix.volumes.shards {
		for _, r := range ix.volumes.shards[i].copied() {
			s.Volumes = append(s.Volumes, ix.volumeSnapshot(view, r.key, &r.record))
		}
	}
	slices.SortFunc(s.Volumes, func(a, b VolumeSnapshot) int { return cmp.Compare(a.Handle, b.Handle) })
	s.StorageNodes, s.Nodes = ix.nodes.snapshot(view)
	return s
}

// StorageNodesOf copies the records of the storage system's node list, sorted by id.
func StorageNodesOf(ix *Index) []StorageNodeSnapshot {
	storage, _ := ix.nodes.snapshot(ix.view.Load())
	return storage
}

func (ix *Index) volumeSnapshot(view *View, k key, r *record) VolumeSnapshot {
	s := VolumeSnapshot{
		Handle: k.handle(), Freshness: r.freshness(view).String(), Claimed: r.pvs > 0, Dirty: r.dirtySince != 0,
		FirstSeen: ix.dateOf(r.firstSeen), Verified: ix.dateOf(r.verified),
	}
	v := r.volume
	if v == nil {
		return s
	}
	a := v.attributes.Value()
	s.ID, s.Service, s.Direct, s.Windows, s.Resyncing = v.ID(), a.service, a.direct, a.winshare, a.resyncing
	for i, l := range a.labels {
		if l.set {
			if s.Labels == nil {
				s.Labels = map[string]string{}
			}
			s.Labels[labelKeys[i]] = l.value
		}
	}
	if ref, attached := v.Attached(); attached {
		s.Attached = view.StorageNodeID(ref)
	}
	for i := range v.NumSets() {
		set := make([]ReplicaSnapshot, 0, len(v.Set(i)))
		for _, ref := range v.Set(i) {
			node, state := view.Holder(ref)
			set = append(set, ReplicaSnapshot{StorageNode: view.StorageNodeID(ref), Node: nameOf(node), State: state.String()})
		}
		s.ReplicaSets = append(s.ReplicaSets, set)
	}
	return s
}

func (t *nodeTable) snapshot(view *View) (storage []StorageNodeSnapshot, nodes []NodeSnapshot) {
	problems := map[string][]string{}
	for _, p := range view.problems {
		problems[p.Node] = append(problems[p.Node], p.Key+": "+p.Value+" "+p.Detail)
	}
	storage, nodes = []StorageNodeSnapshot{}, []NodeSnapshot{}
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, r := range t.records {
		node, _ := view.Holder(view.ids.ref(id))
		s := StorageNodeSnapshot{
			ID: id, Node: nameOf(node), State: r.State.String(), Listed: r.listed,
			SchedulerNodeName: r.SchedulerNodeName, Hostname: r.Hostname, ManagementIP: r.MgmtIP, DataIP: r.DataIP,
		}
		if d := r.Disks; d != nil {
			s.Labels, s.Pools = d.Labels.Map(), make([]PoolSnapshot, 0, len(d.Pools))
			for _, p := range d.Pools {
				s.Pools = append(s.Pools, PoolSnapshot{UUID: p.UUID, Labels: p.Labels.Map(), Free: p.Free})
			}
		}
		storage = append(storage, s)
	}
	for name, n := range view.nodes {
		s := NodeSnapshot{Name: name, State: n.State.String(), Unschedulable: n.Unschedulable, Problems: problems[name]}
		if kube := t.nodes[name]; kube != nil {
			s.Region, s.Zone, s.Rack = kube.place.region, kube.place.zone, kube.place.rack
		}
		nodes = append(nodes, s)
	}
	slices.SortFunc(storage, func(a, b StorageNodeSnapshot) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(nodes, func(a, b NodeSnapshot) int { return cmp.Compare(a.Name, b.Name) })
	return storage, nodes
}

// Restore takes what another index has learned from storage, in place of a source. Nodes
// and PersistentVolumes come from informers, as ever; handles that no PersistentVolume
// names stay for good.
func (ix *Index) Restore(s *Snapshot) error {
	list := make([]StorageNode, 0, len(s.StorageNodes))
	for i := range s.StorageNodes {
		n := &s.StorageNodes[i]
		state, err := placement.StorageStateOf(n.State)
		if err != nil {
			return err
		}
		list = append(list, StorageNode{
			ID: n.ID, SchedulerNodeName: n.SchedulerNodeName, Hostname: n.Hostname, MgmtIP: n.ManagementIP, DataIP: n.DataIP, State: state,
			Disks: n.disks(),
		})
	}
	if s.LastContact.IsZero() {
		return nil // nothing has been learned
	}
	for i := range s.Volumes {
		if err := ix.restore(&s.Volumes[i], s.Time); err != nil {
			return err
		}
	}
	ix.nodes.setRecords(list)
	if !s.LastNodeList.IsZero() {
		ix.listed.Store(ix.ago(s.Time, s.LastNodeList))
	}
	ix.contact.Store(ix.ago(s.Time, s.LastContact))
	ix.signal()
	return nil
}

// disks are what the snapshot says of the node's pools.
func (n *StorageNodeSnapshot) disks() *placement.Disks {
	if n.Pools == nil {
		return nil
	}
	d := &placement.Disks{ID: n.ID, Labels: placement.LabelsOf(n.Labels)}
	for _, p := range n.Pools {
		d.Pools = append(d.Pools, placement.Pool{UUID: p.UUID, Labels: placement.LabelsOf(p.Labels), Free: p.Free})
	}
	return d
}

// ago is the index time of a date in a snapshot, never zero: as long ago as it was when
// the snapshot was taken, by the clock that has taken it. It is negative for what was
// before the index was made.
func (ix *Index) ago(taken, date time.Time) int64 {
	if at := ix.now() - int64(taken.Sub(date)); at != 0 {
		return at
	}
	return 1
}

// restore takes one volume.
func (ix *Index) restore(s *VolumeSnapshot, taken time.Time) error {
	o := Observation{ID: s.ID, Attached: s.Attached, Service: s.Service, Direct: s.Direct, Winshare: s.Windows, Resyncing: s.Resyncing, Labels: s.Labels}
	for _, set := range s.ReplicaSets {
		ids := make([]string, 0, len(set))
		for _, replica := range set {
			ids = append(ids, replica.StorageNode)
		}
		o.ReplicaSets = append(o.ReplicaSets, ids)
	}
	var volume StorageVolume
	if s.ID != "" {
		var err error
		if volume, err = newVolume(&o, ix.ids); err != nil {
			return err
		}
	}
	now, k := ix.now(), keyOf(s.Handle)
	shard := ix.volumes.shard(k)
	shard.Lock()
	defer shard.Unlock()
	r := shard.get(k)
	if r == nil {
		r = shard.add(k, now)
		r.pods = 1
		ix.volumes.unclaimed.Add(1)
	}
	r.firstSeen = ix.ago(taken, s.FirstSeen)
	if s.ID == "" {
		return nil
	}
	ix.set(k, r, volume, now, true)
	r.verified = ix.ago(taken, s.Verified)
	r.suspect = s.Freshness == Suspect.String()
	r.overdue = s.Freshness == Stale.String()
	return nil
}
