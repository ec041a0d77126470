package volumes

import (
	"cmp"
	"slices"
	"time"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// sweepGap is the least time between two walks over all records.
const sweepGap = int64(time.Second)

// step updates the view and tells the subscribers what changed. It
// returns the index time at which time alone will change something, 0 if never.
// Only Run calls it, so that changes are delivered in order.
func (ix *Index) step() (next int64) {
	now := ix.now()
	old := ix.view.Load()
	contact, contactDue := ix.contactAt(now, old)
	next = sooner(sooner(contactDue, ix.sweep(now)), ix.readmit(now))

	change := Change{Cluster: contact.reached != old.reached || contact.fresh != old.fresh}
	ix.nodes.mu.Lock()
	outdated := ix.nodes.generation != old.table
	ix.nodes.mu.Unlock()
	if outdated || change.Cluster || contact.nodesFresh != old.nodesFresh {
		view := ix.nodes.build(old, ix.ids, contact)
		ix.view.Store(view)
		change.Nodes = changedNodes(old, view)
		change.Problems = newProblems(old, view)
		ix.noteMovedHolders(old, view)
		if !view.fresh && ix.contact.Load() >= now || !view.nodesFresh && ix.listed.Load() >= now {
			ix.signal() // storage answered before it could see that this matters
		}
	}

	var subscribers []func(Change)
	change.Volumes, change.Requested, subscribers = ix.changes.take()
	if len(change.Volumes) > 0 || len(change.Requested) > 0 || len(change.Nodes) > 0 || len(change.Problems) > 0 || change.Cluster {
		for _, tell := range subscribers {
			tell(change)
		}
	}
	return next
}

// contactAt decides how recent the contact with storage is, and says when it, or the node list,
// will be too old.
func (ix *Index) contactAt(now int64, old *View) (state contactState, due int64) {
	contact := ix.contact.Load()
	state = contactState{reached: contact != 0, verifiedSince: old.verifiedSince}
	state.fresh, due = ix.recent(contact, now)
	if state.reached && !state.fresh && !old.stale {
		// What was learned until now counts no more, even when storage is back,
		// until each volume has been verified.
		state.verifiedSince = now
	}
	var listDue int64
	state.nodesFresh, listDue = ix.recent(ix.listed.Load(), now)
	return state, sooner(due, listDue)
}

// recent reports whether something happened within MaxStaleness, and when that
// will be over. Both times may be 0: never.
func (ix *Index) recent(at, now int64) (recent bool, due int64) {
	if at == 0 || now-at > ix.maxStaleness {
		return false, 0
	}
	return true, at + ix.maxStaleness + 1
}

// sooner returns the earlier of two times of which 0 is never.
func sooner(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// sweep finds the records that have been dirty for too long. It returns when it
// has to run again, 0 if never.
func (ix *Index) sweep(now int64) (due int64) {
	t, view := ix.volumes, ix.view.Load()
	if due = t.nextSweep.Load(); due == 0 || now < due {
		return due
	}
	t.nextSweep.Store(0)
	for i := range t.shards {
		ix.sweepShard(&t.shards[i], view, now)
	}
	return t.nextSweep.Load()
}

func (ix *Index) sweepShard(s *shard, view *View, now int64) {
	s.Lock()
	defer s.Unlock()
	for k, r := range s.all() {
		if r.dirtySince == 0 || r.overdue {
			continue
		}
		if now-r.dirtySince <= ix.maxStaleness {
			ix.volumes.sweepAt(max(r.dirtySince+ix.maxStaleness+1, now+sweepGap))
			continue
		}
		before := r.freshness(view)
		r.overdue = true
		if r.freshness(view) != before {
			ix.changes.volume(k)
		}
	}
}

func changedNodes(old, view *View) []NodeChange {
	var changed []NodeChange
	for name, node := range view.nodes {
		if before := old.nodes[name]; before != node {
			changed = append(changed, NodeChange{Old: before, New: node})
		}
	}
	for name, node := range old.nodes {
		if _, found := view.nodes[name]; !found {
			changed = append(changed, NodeChange{Old: node})
		}
	}
	slices.SortFunc(changed, func(a, b NodeChange) int {
		return cmp.Compare(a.name(), b.name())
	})
	return changed
}

func (c NodeChange) name() string {
	if c.New != nil {
		return c.New.Name
	}
	return c.Old.Name
}

func newProblems(old, view *View) []NodeProblem {
	if len(view.problems) == 0 {
		return nil
	}
	known := make(map[NodeProblem]struct{}, len(old.problems))
	for _, problem := range old.problems {
		known[problem] = struct{}{}
	}
	var added []NodeProblem
	for _, problem := range view.problems {
		if _, found := known[problem]; !found {
			added = append(added, problem)
		}
	}
	return added
}

// noteMovedHolders marks the volumes with a replica on a storage node that is
// another Kubernetes node than before, or that changed its state while its
// Kubernetes node, if it is one, kept its own: a change of that is told as such.
func (ix *Index) noteMovedHolders(old, view *View) {
	moved := map[NodeRef]struct{}{}
	for i := range max(len(old.holders), len(view.holders)) {
		ref := NodeRef(i)
		nodeBefore, stateBefore := old.Holder(ref)
		node, state := view.Holder(ref)
		if nameOf(nodeBefore) != nameOf(node) ||
			stateBefore != state && (node == nil || nodeBefore.State == node.State) {
			moved[ref] = struct{}{}
		}
	}
	if len(moved) == 0 {
		return
	}
	for k, r := range ix.volumes.read() {
		if r.volume != nil && r.volume.holds(moved) && !ix.changes.volume(k) {
			return // nobody listens
		}
	}
}

func nameOf(node *placement.Node) string {
	if node == nil {
		return ""
	}
	return node.Name
}
