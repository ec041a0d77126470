package openstoragesim

import (
	"cmp"
	"fmt"
	"maps"
	"strconv"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// defaultVolumeSize is the size in bytes of volumes that ask for none.
const defaultVolumeSize = 1 << 30

// CreateRequest describes a volume to be made in-process.
type CreateRequest struct {
	// Name is unique; provisioners use pvc-<uid of the claim>.
	Name string
	// Size in bytes; default defaultVolumeSize.
	Size uint64
	// Parameters are those of a StorageClass.
	Parameters map[string]string
	// Labels are added to those that come from Parameters, and win.
	Labels map[string]string
	// Strategy says where replicas go, SelectedNode where the pod is that will use the
	// volume first.
	Strategy     *api.VolumePlacementStrategy
	SelectedNode string
}

// CreateVolume makes a volume and places its replicas. A volume of that name
// and size that exists already is returned as it is; of another size, it is
// ErrExists. Placement that is not possible is ErrExhausted or ErrInvalid, and
// never a volume with fewer replicas.
func (c *Cluster) CreateVolume(request CreateRequest) (*api.Volume, error) {
	spec, labels, err := ParseParameters(request.Parameters)
	if err != nil {
		return nil, err
	}
	maps.Copy(labels, request.Labels)
	spec.Size, spec.PlacementStrategy = request.Size, request.Strategy
	if request.SelectedNode != "" {
		spec.TopologyRequirement = &api.TopologyRequirement{Labels: map[string]string{LabelHostname: request.SelectedNode}}
	}
	spec.Ownership = &api.Ownership{Owner: owner}
	return c.create(request.Name, spec, labels)
}

// create owns spec and labels from here on.
func (c *Cluster) create(name string, spec *api.VolumeSpec, labels map[string]string) (*api.Volume, error) {
	if name == "" {
		return nil, fmt.Errorf("volume without a name: %w", ErrInvalid)
	}
	spec.Size = cmp.Or(spec.Size, defaultVolumeSize)
	demand, err := newDemand(spec, labels)
	if err != nil {
		return nil, fmt.Errorf("volume %q: %w", name, err)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.byName[name]; ok {
		return r.volume, sameVolume(r.volume, spec)
	}
	var sets []*api.ReplicaSet
	if hasReplicas(spec) {
		if sets, err = c.place(demand, spec.GetPlacementStrategy(), labels); err != nil {
			return nil, fmt.Errorf("volume %q: %w", name, err)
		}
		spec.HaLevel, spec.AggregationLevel = int64(demand.replicas), uint32(demand.stripes)
	}
	v := &api.Volume{
		Id:            c.newVolumeID(),
		Locator:       &api.VolumeLocator{Name: name, VolumeLabels: labels},
		Ctime:         timestamppb.Now(),
		Spec:          c.shared(spec),
		Format:        spec.GetFormat(),
		Status:        api.VolumeStatus_VOLUME_STATUS_UP,
		State:         api.VolumeState_VOLUME_STATE_DETACHED,
		AttachedState: api.AttachState_ATTACH_STATE_INTERNAL,
		ReplicaSets:   sets,
		RuntimeState:  cleanRuntimeState,
	}
	c.insert(v)
	return v, nil
}

// Clone makes a volume with the replicas of another, which a snapshot is as well. Labels are
// added to those of the parent, but for the ones that name its claim. It is idempotent by
// name.
func (c *Cluster) Clone(name, parent string, labels map[string]string) (*api.Volume, error) {
	return c.copied(name, parent, labels, false)
}

// Snapshot likewise makes a volume that nobody can write to.
func (c *Cluster) Snapshot(name, parent string, labels map[string]string) (*api.Volume, error) {
	return c.copied(name, parent, labels, true)
}

func (c *Cluster) copied(name, parent string, labels map[string]string, readonly bool) (*api.Volume, error) {
	if name == "" {
		return nil, fmt.Errorf("volume without a name: %w", ErrInvalid)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.find(parent)
	if err != nil {
		return nil, err
	}
	if r, ok := c.byName[name]; ok {
		if r.volume.GetSource().GetParent() != p.volume.GetId() {
			return nil, fmt.Errorf("volume %q is no copy of %q: %w", name, parent, ErrExists)
		}
		return r.volume, nil
	}
	v := shallow(p.volume)
	v.Id, v.Ctime, v.Source = c.newVolumeID(), timestamppb.Now(), &api.Source{Parent: p.volume.GetId()}
	v.Readonly = readonly
	all := maps.Clone(p.volume.GetLocator().GetVolumeLabels())
	maps.DeleteFunc(all, func(key, _ string) bool { return key == LabelPVC || key == LabelNamespace })
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, labels)
	v.Locator = &api.VolumeLocator{Name: name, VolumeLabels: all}
	v.AttachedOn, v.State, v.AttachedState = "", api.VolumeState_VOLUME_STATE_DETACHED, api.AttachState_ATTACH_STATE_INTERNAL
	c.insert(v)
	return v, nil
}

// fillNamespaces is the number of namespaces that Fill spreads claims over.
const fillNamespaces = 100

// Fill makes that many volumes with these StorageClass parameters, named and
// labelled as provisioned ones are. It stops at the first that is not possible.
func (c *Cluster) Fill(count int, parameters map[string]string) error {
	for i := range count {
		labels := map[string]string{
			LabelNamespace: fmt.Sprintf("namespace-%02d", i%fillNamespaces),
			LabelPVC:       fmt.Sprintf("data-database-%d", i),
		}
		request := CreateRequest{Name: c.newVolumeName(), Parameters: parameters, Labels: labels}
		if _, err := c.CreateVolume(request); err != nil {
			return fmt.Errorf("volume %d of %d: %w", i+1, count, err)
		}
	}
	return nil
}

func (c *Cluster) newVolumeName() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return "pvc-" + c.derivedUUID("volume", strconv.FormatUint(c.random.Uint64(), 10))
}

// cleanRuntimeState is shared by all volumes. Nothing reads it, but it makes
// volumes on the wire as heavy as real ones are.
var cleanRuntimeState = []*api.RuntimeStateMap{{RuntimeState: map[string]string{
	"RuntimeState":         "clean",
	"ReplicaSetCurr":       "[0 1 2]",
	"ReplicaSetCurrMid":    "[00000000-0000-0000-0000-000000000000 00000000-0000-0000-0000-000000000001]",
	"ReplicaSetCreateMid":  "[00000000-0000-0000-0000-000000000000 00000000-0000-0000-0000-000000000001]",
	"ReplNodePools":        "[0 0 0]",
	"ReadQuorum":           "1",
	"ReadSet":              "[0 1 2]",
	"ReplRemoveMids":       "",
	"PXReplReAddNodeMid":   "",
	"PXReplReAddPools":     "",
	"PXReplNewNodeMid":     "",
	"PXReplNewPools":       "",
	"PXReplSetCreateMid":   "",
	"WriteQuorum":          "1",
	"WriteSet":             "[0 1 2]",
	"FullResyncBlocks":     "[{0 0} {-1 0} {-1 0} {-1 0} {-1 0}]",
	"ResyncBlocks":         "[{0 0} {-1 0} {-1 0} {-1 0} {-1 0}]",
	"RequestedReplicaSets": "0",
}}}

// sameVolume makes creation idempotent by name, with the checks of real servers.
func sameVolume(existing *api.Volume, asked *api.VolumeSpec) error {
	name := existing.GetLocator().GetName()
	if existing.GetSpec().GetSize() != asked.GetSize() {
		return fmt.Errorf("volume %q has %d bytes, %d were asked for: %w",
			name, existing.GetSpec().GetSize(), asked.GetSize(), ErrExists)
	}
	if existing.GetSpec().GetShared() != asked.GetShared() {
		return fmt.Errorf("volume %q has shared=%t, shared=%t was asked for: %w",
			name, existing.GetSpec().GetShared(), asked.GetShared(), ErrExists)
	}
	return nil
}

// DeleteVolume forgets a volume. One that does not exist is ErrNotFound, one
// that is attached is ErrConflict.
func (c *Cluster) DeleteVolume(idOrName string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.find(idOrName)
	if err != nil {
		return err
	}
	if on := r.volume.GetAttachedOn(); on != "" {
		return fmt.Errorf("volume %q is attached on %s, detach it first: %w", idOrName, on, ErrConflict)
	}
	c.remove(r)
	return nil
}

// SetLabels adds labels to a volume. An empty value removes the label.
func (c *Cluster) SetLabels(idOrName string, labels map[string]string) error {
	return c.changeVolume(idOrName, func(v *api.Volume) error {
		changed := map[string]string{}
		maps.Copy(changed, v.GetLocator().GetVolumeLabels())
		maps.Copy(changed, labels)
		maps.DeleteFunc(changed, func(_, value string) bool { return value == "" })
		v.Locator = shallow(v.GetLocator())
		v.Locator.VolumeLabels = changed
		return nil
	})
}

// changeVolume replaces a volume by an edited copy and tells subscribers. edit may
// set the fields of the copy, except for id and name, but must not write to anything
// they point to, nor call the cluster's methods. If it fails, the volume stays as it is.
func (c *Cluster) changeVolume(idOrName string, edit func(*api.Volume) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.find(idOrName)
	if err != nil {
		return err
	}
	v := shallow(r.volume)
	if err := edit(v); err != nil {
		return fmt.Errorf("volume %q: %w", idOrName, err)
	}
	c.replace(r, v)
	return nil
}

// newVolumeID returns an unused id of the whole uint64 range, as real ones are.
// It needs c.mu for writing.
func (c *Cluster) newVolumeID() string {
	for {
		id := strconv.FormatUint(c.random.Uint64(), 10)
		if _, taken := c.byID[id]; !taken && id != "0" {
			return id
		}
	}
}

// shared returns the one copy of a spec. Volumes of a StorageClass and size
// have equal specs, and a spec is the biggest part of a volume. Specs that fall
// out of use are kept. It needs c.mu for writing.
func (c *Cluster) shared(spec *api.VolumeSpec) *api.VolumeSpec {
	wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(spec)
	if err != nil { // text that is not UTF-8: it cannot be shared by its wire form
		return spec
	}
	if known, ok := c.specs[string(wire)]; ok {
		return known
	}
	c.specs[string(wire)] = spec
	return spec
}

// shallow copies a message whose fields are then shared with the original.
func shallow[M any, P interface {
	*M
	proto.Message
}](original P) P {
	copied := P(new(M))
	fields := copied.ProtoReflect()
	original.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		fields.Set(field, value)
		return true
	})
	return copied
}

// VolumeSummary is a volume as people and tests want to see it.
type VolumeSummary struct {
	ID     string
	Name   string
	Size   uint64 // bytes
	Labels map[string]string
	// ReplicaSets has one list of replicas per set; none for volumes whose data
	// is elsewhere.
	ReplicaSets [][]Replica
	// AttachedOn is the id of a node, or empty.
	AttachedOn string
}

// Replica is one copy of a replica set's data.
type Replica struct {
	NodeID string
	// Node is the node's scheduler name; empty if it has none or left.
	Node string
	Pool string
}

// summarize puts the names of nodes to the replicas of a volume.
func (c *Cluster) summarize(v *api.Volume) VolumeSummary {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := VolumeSummary{
		ID:         v.GetId(),
		Name:       v.GetLocator().GetName(),
		Size:       v.GetSpec().GetSize(),
		Labels:     v.GetLocator().GetVolumeLabels(),
		AttachedOn: v.GetAttachedOn(),
	}
	for _, set := range v.GetReplicaSets() {
		replicas := make([]Replica, len(set.GetNodes()))
		for i, id := range set.GetNodes() {
			replicas[i] = Replica{NodeID: id, Pool: poolOf(set, i)}
			if n, ok := c.nodesByID[id]; ok {
				replicas[i].Node = n.SchedulerNodeName
			}
		}
		s.ReplicaSets = append(s.ReplicaSets, replicas)
	}
	return s
}
