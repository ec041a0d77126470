package volumes

import (
	"strings"
	"sync"
)

// nodeIDs interns the ids of storage nodes. An id is kept for the life of the
// process, about 100 bytes each and 16 in the view: ten thousand nodes that came
// and went cost a megabyte or two. To recycle their numbers, each volume and view
// that has one would have to be counted, on the path of every update.
type nodeIDs struct {
	mu   sync.RWMutex
	refs map[string]NodeRef // storage node id -> ref
	ids  []string           // ref -> storage node id; ids[0] is unused
}

func newNodeIDs() *nodeIDs {
	return &nodeIDs{refs: map[string]NodeRef{}, ids: []string{""}}
}

// ref returns the number of a storage node id, a new one if need be. The empty
// id has number 0.
func (n *nodeIDs) ref(id string) NodeRef {
	if id == "" {
		return 0
	}
	n.mu.RLock()
	ref, found := n.refs[id]
	n.mu.RUnlock()
	if found {
		return ref
	}

	n.mu.Lock()
	defer n.mu.Unlock()
	if ref, found = n.refs[id]; found {
		return ref
	}
	// The id may be a piece of a large message: do not keep that alive.
	id = strings.Clone(id)
	ref = NodeRef(len(n.ids))
	n.ids = append(n.ids, id)
	n.refs[id] = ref
	return ref
}

// len is one more than the greatest ref.
func (n *nodeIDs) len() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.ids)
}

// intern is ref for an id that an answer about a volume names. It returns false for
// one that is longer than MaxID, or is new when there are MaxNodeIDs.
func (n *nodeIDs) intern(id string) (NodeRef, bool) {
	if id == "" {
		return 0, true
	}
	n.mu.RLock()
	ref, found := n.refs[id]
	full := len(n.ids) > MaxNodeIDs
	n.mu.RUnlock()
	switch {
	case found:
		return ref, true
	case full || len(id) > MaxID:
		return 0, false
	}
	return n.ref(id), true
}

// id returns the storage node id of a ref, or "" for a ref that is none.
func (n *nodeIDs) id(ref NodeRef) string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if int(ref) >= len(n.ids) {
		return ""
	}
	return n.ids[ref]
}
