package volumes

import (
	"maps"
	"slices"
	"sync"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// Change says what may now be decided otherwise than before. It is delivered
// after the new state is visible to Lookup and View.
type Change struct {
	// Volumes are followed handles whose answer changed: content, being known or
	// stale, or the Kubernetes node behind one of their holders. With them are handles
	// that Request has refused, and that it would take now.
	Volumes []string
	// Nodes are the Kubernetes nodes that changed from the view that was told of
	// last to the present one, in the order of their names.
	Nodes []NodeChange
	// Cluster says that the storage API has been reached for the first time, has
	// been out of reach for longer than MaxStaleness, or has come back.
	Cluster bool
	// Problems are those that the view before did not have.
	Problems []NodeProblem
	// Requested are the handles that a new PV or a pod has just come up with, and
	// whose replicas are not known: the source inspects them next.
	Requested []string
}

// NodeChange is one Kubernetes node before and after. Old is nil for a new node,
// New for one that is gone. Their topology domains can be compared.
type NodeChange struct {
	Old, New *placement.Node
}

// changes collects what subscribers have not been told yet.
type changes struct {
	mu        sync.Mutex
	volumes   map[key]struct{}
	requested map[key]struct{}

	subscribers map[int]func(Change)
	last        int // number of the last subscriber
}

func newChanges() *changes {
	return &changes{volumes: map[key]struct{}{}, requested: map[key]struct{}{}, subscribers: map[int]func(Change){}}
}

func (c *changes) subscribe(f func(Change)) (unsubscribe func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	number := c.last
	c.subscribers[number] = f
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.subscribers, number)
	}
}

// volume notes a changed volume and reports whether anyone wants to know.
func (c *changes) volume(k key) bool { return c.note(&c.volumes, k) }

// request notes a handle to be inspected, likewise.
func (c *changes) request(k key) bool { return c.note(&c.requested, k) }

func (c *changes) note(set *map[key]struct{}, k key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.subscribers) == 0 {
		return false
	}
	(*set)[k] = struct{}{}
	return true
}

// take empties the collection. The subscribers come in the order in which they
// subscribed.
func (c *changes) take() (volumes, requested []string, subscribers []func(Change)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	volumes, requested = takeAll(&c.volumes), takeAll(&c.requested)
	for _, number := range slices.Sorted(maps.Keys(c.subscribers)) {
		subscribers = append(subscribers, c.subscribers[number])
	}
	return volumes, requested, subscribers
}

func takeAll(set *map[key]struct{}) (handles []string) {
	for k := range *set {
		handles = append(handles, k.handle())
	}
	if len(*set) > 0 {
		// A map never shrinks; a burst must not be paid for for ever.
		*set = map[key]struct{}{}
	}
	return handles
}
