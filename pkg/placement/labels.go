package placement

import (
	"cmp"
	"slices"
	"unique"
)

// Label is one key and its value.
type Label struct{ Key, Value string }

// LabelSet is the labels of a node or pool, sorted by key. Thousands of nodes have nearly all
// of theirs in common, so that their texts are stored once.
type LabelSet []Label

// Map returns the labels as a map, nil if there are none.
func (l LabelSet) Map() map[string]string {
	if len(l) == 0 {
		return nil
	}
	m := make(map[string]string, len(l))
	for _, label := range l {
		m[label.Key] = label.Value
	}
	return m
}

// LabelsOf returns the labels of a map.
func LabelsOf(m map[string]string) LabelSet {
	if len(m) == 0 {
		return nil
	}
	labels := make(LabelSet, 0, len(m))
	for key, value := range m {
		labels = append(labels, Label{unique.Make(key).Value(), unique.Make(value).Value()})
	}
	slices.SortFunc(labels, func(a, b Label) int { return cmp.Compare(a.Key, b.Key) })
	return labels
}

// Get returns the value of a key, and whether it is there.
func (l LabelSet) Get(key string) (value string, found bool) {
	i, found := slices.BinarySearchFunc(l, key, func(l Label, key string) int { return cmp.Compare(l.Key, key) })
	if !found {
		return "", false
	}
	return l[i].Value, true
}

// Site is where and what a Kubernetes node is.
type Site struct {
	// Labels are those of the Kubernetes node.
	Labels LabelSet
	// Zone and Rack are the values of the labels that count for tiers.
	Zone, Rack string
}

// Equal reports whether two sites say the same; nil says nothing.
func (s *Site) Equal(o *Site) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.Zone == o.Zone && s.Rack == o.Rack && slices.Equal(s.Labels, o.Labels)
}

// Disks are what a storage node has to put replicas on.
type Disks struct {
	// ID is the id of the storage node.
	ID string
	// Labels are those that the storage system has for the node, where they differ from
	// those of Kubernetes.
	Labels LabelSet
	// Pools is empty for a storageless node.
	Pools []Pool
}

// Pool is a storage pool.
type Pool struct {
	UUID   string
	Labels LabelSet
	// Free is how many bytes are free at least; negative if storage does not say.
	Free int64
}

// sameLabels is Equal but for the room.
func (d *Disks) sameLabels(o *Disks) bool {
	return d.ID == o.ID && slices.Equal(d.Labels, o.Labels) && slices.EqualFunc(d.Pools, o.Pools, func(a, b Pool) bool {
		return a.UUID == b.UUID && slices.Equal(a.Labels, b.Labels)
	})
}

// Equal reports whether two nodes have the same disks; nil is not known.
func (d *Disks) Equal(o *Disks) bool {
	if d == nil || o == nil {
		return d == o
	}
	return d.ID == o.ID && slices.Equal(d.Labels, o.Labels) && slices.EqualFunc(d.Pools, o.Pools, func(a, b Pool) bool {
		return a.UUID == b.UUID && a.Free == b.Free && slices.Equal(a.Labels, b.Labels)
	})
}
