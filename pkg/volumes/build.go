package volumes

import (
	"cmp"
	"slices"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// contactState is how the storage API stands when a view is built.
type contactState struct {
	reached, fresh, nodesFresh bool
	verifiedSince              int64
}

// build makes the view of the table's present content. Nodes that are as they
// were in the old view are shared with it. Its cost is linear in the number of
// nodes.
func (t *nodeTable) build(old *View, ids *nodeIDs, contact contactState) *View {
	t.mu.Lock()
	defer t.mu.Unlock()

	t.dropRecords()
	who := newIdentity(t.nodes, t.csi)
	nodeOf, vain := t.assign(who)
	v := &View{
		ids:           ids,
		generation:    old.generation + 1,
		table:         t.generation,
		reached:       contact.reached,
		fresh:         contact.fresh,
		stale:         contact.reached && !contact.fresh,
		nodesFresh:    contact.nodesFresh,
		verifiedSince: contact.verifiedSince,
	}
	v.nodes = t.picture(old, t.states(who, nodeOf, contact.nodesFresh), t.disks(nodeOf), contact.nodesFresh)
	v.problems = t.problems(nodeOf, vain)
	v.matched, v.unmatched = t.matches(nodeOf)
	v.holders = t.holders(v, who, nodeOf)
	return v
}

// dropRecords forgets the records that neither the last list nor a CSINode has.
func (t *nodeTable) dropRecords() {
	missing := map[string]struct{}{}
	for id, record := range t.records {
		if !record.listed {
			missing[id] = struct{}{}
		}
	}
	if len(missing) == 0 {
		return
	}
	for _, csi := range t.csi {
		for _, id := range csi.ids {
			delete(missing, id)
		}
	}
	for id := range missing {
		delete(t.records, id)
	}
}

// assign finds the Kubernetes node of every storage node that is one, be it known
// by a record or by a CSINode alone: storage node id -> Kubernetes node name. In vain
// means that some CSINode names an id that is not its node's.
func (t *nodeTable) assign(who *identity) (nodes map[string]string, vain bool) {
	nodes = make(map[string]string, len(t.records))
	for id, record := range t.records {
		if name := who.nodeOf(&record.StorageNode); name != "" {
			nodes[id] = name
		}
	}
	vain = len(who.rivals) > 0
	for id, claimant := range who.byID {
		name, found := nodes[id]
		if _, listed := t.records[id]; !found && !listed {
			if name = who.onlyClaimant(id); name != "" {
				nodes[id] = name
			}
		}
		vain = vain || name != claimant
	}
	return nodes, vain
}

// states finds how storage stands on each Kubernetes node. The best state of a
// node's records counts, so that an Online record wins over a stale duplicate
// whichever comes first. Without a record, or when the list is too old, the
// presence of the driver decides. A CSINode without the driver says that it is not
// there, however well storage is.
func (t *nodeTable) states(who *identity, nodeOf map[string]string, fresh bool) map[string]placement.StorageState {
	states := make(map[string]placement.StorageState, len(t.nodes))
	raise := func(name string, state placement.StorageState) {
		if best, found := states[name]; !found || state < best {
			states[name] = state
		}
	}
	for id, name := range nodeOf {
		if !who.lacksDriver(name) {
			raise(name, t.state(id, fresh))
		}
	}
	return states
}

// presence is the state of a node that no storage node is known to be. The driver
// may be there all the same, by an id that is another node's as far as can be told,
// or by none.
func (t *nodeTable) presence(name string, fresh bool) placement.StorageState {
	csi := t.csi[name]
	switch {
	case !csi.registered:
		return placement.NoDriver
	case len(csi.ids) == 0:
		return placement.Online
	}
	best := placement.Offline
	for _, id := range csi.ids {
		best = min(best, t.state(id, fresh))
	}
	return best
}

// state is that of a storage node that there is evidence of, be it a record or a
// CSINode. A record that the list is too old to vouch for proves no more than that
// the node is there.
func (t *nodeTable) state(id string, fresh bool) placement.StorageState {
	if record, found := t.records[id]; found && fresh {
		return record.State
	}
	return placement.Online
}

// disks finds what each Kubernetes node has to put replicas on: of several records of a
// node, the one that is best.
func (t *nodeTable) disks(nodeOf map[string]string) map[string]*placement.Disks {
	best := make(map[string]storageRecord, len(nodeOf))
	for id, name := range nodeOf {
		record := t.records[id]
		if other, found := best[name]; record.Disks != nil && (!found || cmp.Or(cmp.Compare(record.State, other.State), cmp.Compare(id, other.ID)) < 0) {
			best[name] = record
		}
	}
	disks := make(map[string]*placement.Disks, len(best))
	for name, record := range best {
		disks[name] = record.Disks
	}
	return disks
}

func (t *nodeTable) picture(old *View, states map[string]placement.StorageState, disks map[string]*placement.Disks, fresh bool) map[string]*placement.Node {
	nodes := make(map[string]*placement.Node, len(t.nodes))
	t.domains.begin()
	for name, node := range t.nodes {
		state, found := states[name]
		if !found {
			state = t.presence(name, fresh)
		}
		n := placement.Node{
			Name:          name,
			State:         state,
			Unschedulable: node.unschedulable,
			Topology:      t.domains.topology(node.place),
			Site:          node.site,
			Disks:         disks[name],
		}
		if before := old.nodes[name]; before != nil && *before == n {
			nodes[name] = before
		} else {
			made := n // so that no other is allocated
			nodes[name] = &made
		}
	}
	t.domains.commit()
	return nodes
}

// problems are the annotations that cannot be understood and the CSINodes that are
// not believed.
func (t *nodeTable) problems(nodeOf map[string]string, vain bool) []NodeProblem {
	var problems []NodeProblem
	for name, node := range t.nodes {
		if node.problem != (placement.Problem{}) {
			problems = append(problems, NodeProblem{Node: name, Problem: node.problem})
		}
		if !vain {
			continue
		}
		for _, id := range t.csi[name].ids {
			if nodeOf[id] == name {
				continue
			}
			detail := "is named by the CSINode of another node as well, and nothing else tells which node it is; replicas there are near to nothing"
			if other := nodeOf[id]; other != "" {
				detail = "is node " + other + " by what storage says of it; this CSINode is not believed"
			}
			problems = append(problems, NodeProblem{Node: name,
				Problem: placement.Problem{Key: CSINodeID, Value: id, Detail: detail}})
		}
	}
	slices.SortFunc(problems, func(a, b NodeProblem) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value))
	})
	return problems
}

// matches counts the storage nodes of the last list that are Kubernetes nodes, and
// returns those that are none.
func (t *nodeTable) matches(nodeOf map[string]string) (matched int, unmatched []StorageNode) {
	for id, record := range t.records {
		switch {
		case !record.listed:
		case nodeOf[id] != "":
			matched++
		default:
			unmatched = append(unmatched, record.StorageNode)
		}
	}
	slices.SortFunc(unmatched, func(a, b StorageNode) int { return cmp.Compare(a.ID, b.ID) })
	return matched, unmatched
}

// holders lists the storage nodes by their ref, those that only a CSINode knows
// included, and the addresses that stand for one. Each has the state of its own
// record, whatever other records its node has.
func (t *nodeTable) holders(v *View, who *identity, nodeOf map[string]string) []holder {
	holders := make([]holder, 0, v.ids.len())
	set := func(id string, h holder) {
		ref := int(v.ids.ref(id))
		if ref >= len(holders) {
			holders = append(holders, make([]holder, ref+1-len(holders))...)
		}
		holders[ref] = h
	}
	at := func(id string) holder {
		return holder{node: v.nodes[nodeOf[id]], state: t.state(id, v.nodesFresh)}
	}
	for address, name := range t.addresses(nodeOf) {
		if node := v.nodes[name]; node != nil {
			set(address, holder{node: node, state: node.State})
		}
	}
	// Ids come last: one that looks like an address is still an id.
	for id := range t.records {
		set(id, at(id))
	}
	for id := range who.byID {
		if _, found := t.records[id]; !found {
			set(id, at(id))
		}
	}
	return holders
}

// addresses finds the Kubernetes nodes by the addresses of their records, since
// storage may name the node that a volume is attached to by either address. An
// address that records of two nodes have leads to none.
func (t *nodeTable) addresses(nodeOf map[string]string) map[string]string {
	nodes := make(map[string]string, 2*len(t.records))
	for id, record := range t.records {
		for _, address := range [...]string{record.MgmtIP, record.DataIP} {
			if _, ok := nodeIP(address); ok {
				claim(nodes, address, nodeOf[id])
			}
		}
	}
	return nodes
}
