package placement_test

import (
	"math/big"
	"slices"
	"strconv"
)

// This file states sections 1, 2, 4 and 5 of the behaviour contract a second
// time: slowly, in plain words, with exact fractions and with nothing of the
// package under test. Where the contract leaves something open, a comment that
// begins with "Open:" says how it is read.

// boolean reads a value as section 2 says.
func boolean(value string, fallback bool) bool {
	switch value {
	case "1", "t", "T", "true", "TRUE", "True":
		return true
	case "0", "f", "F", "false", "FALSE", "False":
		return false
	default:
		return fallback
	}
}

// lookUp finds a key of a volume: claim, then the volume's labels, then class.
func (v worldVolume) lookUp(key string) (string, bool) {
	for _, place := range []map[string]string{v.Claim, v.Labels, v.Class} {
		if value, found := place[key]; found {
			return value, true
		}
	}
	return "", false
}

func (v worldVolume) wants(key string, fallback bool) bool {
	value, found := v.lookUp(key)
	if !found {
		return fallback
	}
	return boolean(value, fallback)
}

func (v worldVolume) isWindows() bool { return !v.Foreign && v.wants("winshare", v.Windows) }

func (v worldVolume) isNeutral() bool {
	return v.Direct || v.isWindows() || v.wants("stork.libopenstorage.org/skipSchedulerScoring", false)
}

func (v worldVolume) isAway() bool {
	return !v.isNeutral() && v.Service && v.wants("stork.libopenstorage.org/preferRemoteNode", true)
}

func (v worldVolume) isNear() bool { return !v.isNeutral() && !v.isAway() }

func (v worldVolume) isFast() bool { return v.isNear() && v.wants("fastpath", false) }

func (v worldVolume) isRemoteOnly() bool {
	return v.isAway() && v.wants("stork.libopenstorage.org/preferRemoteNodeOnly", false)
}

func (v worldVolume) weight() int64 {
	value, _ := v.lookUp("hyperconverge.dev/volume-weight")
	for weight := int64(1); weight <= 100; weight++ {
		if value == strconv.FormatInt(weight, 10) {
			return weight
		}
	}
	return 1
}

func (v worldVolume) isKnown() bool {
	return v.Knowledge == "known" && slices.ContainsFunc(v.Sets, func(set []worldReplica) bool { return len(set) > 0 })
}

// holds: a replica counts on a node if its own record serves, or if the node has no
// record that does.
func (w world) holds(set []worldReplica, node string) bool {
	for _, r := range set {
		if r.Node == node && (serving(w.stateOf(r)) || !serving(w.node(node).State)) {
			return true
		}
	}
	return false
}

// isReplicaNode: a replica of every replica set (section 1).
func (w world) isReplicaNode(v worldVolume, node string) bool {
	for _, set := range v.Sets {
		if !w.holds(set, node) {
			return false
		}
	}
	return v.isKnown()
}

// hasPart: a replica of any replica set.
func (w world) hasPart(v worldVolume, node string) bool {
	for _, set := range v.Sets {
		if w.holds(set, node) {
			return v.isKnown()
		}
	}
	return false
}

// isOnData: an Online replica of every replica set.
func (w world) isOnData(v worldVolume, node string) bool {
	for _, set := range v.Sets {
		if !slices.ContainsFunc(set, func(r worldReplica) bool { return r.Node == node && w.stateOf(r) == "Online" }) {
			return false
		}
	}
	return v.isKnown()
}

func (w world) node(name string) worldNode {
	for _, n := range w.Nodes {
		if n.Name == name {
			return n
		}
	}
	panic("no node " + name)
}

func (w world) isStrict() bool {
	return boolean(w.Pod.Annotations["stork.libopenstorage.org/preferLocalNodeOnly"], false)
}

func (w world) isOff() bool {
	return boolean(w.Pod.Annotations["stork.libopenstorage.org/disableHyperconvergence"], false)
}

func (w world) hasWindows() bool {
	return slices.ContainsFunc(w.Pod.Volumes, worldVolume.isWindows)
}

// insists: F6 of all near volumes of a strict pod, F14 of those with fastpath of any pod.
func (w world) insists(v worldVolume) bool { return v.isNear() && (w.isStrict() || v.isFast()) }

// confining is the rule of what insists.
func (w world) confining() string {
	if w.isStrict() {
		return "F6"
	}
	return "F14"
}

// strictNodes are the nodes that F6 and F14 leave for the first count volumes of the
// pod, and false if none of those has a say.
func (w world) strictNodes(count int) (map[string]bool, bool) {
	nodes, applies := map[string]bool{}, false
	for _, n := range w.Nodes {
		nodes[n.Name] = true
	}
	for _, v := range w.Pod.Volumes[:count] {
		if !w.insists(v) || !v.isKnown() {
			continue
		}
		applies = true
		for name := range nodes {
			if !w.isReplicaNode(v, name) {
				delete(nodes, name)
			}
		}
	}
	return nodes, applies
}

// objection is a reason to turn a pod down on all nodes, with the volume to name.
type objection struct{ rule, volume string }

// objections are all that F6, F8 and F10 say against the pod; any of them is
// right to be told.
func (w world) objections() []objection {
	if w.Pod.StoragePod || w.hasWindows() {
		return nil // F11, F9
	}
	var all []objection
	for _, v := range w.Pod.Volumes { // F8
		// Open: a storage node without a Kubernetes node is a holder.
		if v.isKnown() && !w.hasOnlineHolders(v) {
			all = append(all, objection{"F8", v.Name})
		}
	}
	for i, v := range w.Pod.Volumes { // F6, F14
		if !w.insists(v) {
			continue
		}
		switch v.Knowledge {
		case "unknown":
			all = append(all, objection{w.confining() + " unknown", v.Name})
			continue
		case "stale":
			all = append(all, objection{w.confining() + " stale", v.Name})
			continue
		}
		// Open: the volume that rules all nodes out is the first, in the order of
		// the pod, after which nothing is left.
		before, _ := w.strictNodes(i)
		after, _ := w.strictNodes(i + 1)
		if len(before) > 0 && len(after) == 0 {
			all = append(all, objection{w.confining() + " nowhere", v.Name})
		}
	}
	local, applies := w.strictNodes(len(w.Pod.Volumes))
	if w.isOff() || !applies || len(local) == 0 {
		return all
	}
	var contradicting []objection // F10
	left := map[string]bool{}
	for name := range local {
		left[name] = true
	}
	for _, v := range w.Pod.Volumes {
		forbids := false
		for name := range local {
			if v.isRemoteOnly() && w.isReplicaNode(v, name) {
				forbids = true
				delete(left, name)
			}
		}
		if forbids {
			contradicting = append(contradicting, objection{"F10", v.Name})
		}
	}
	if len(left) == 0 {
		all = append(all, contradicting...)
	}
	return all
}

// hasOnlineHolders: each stripe of which storage names a holder has one that is
// Online.
func (w world) hasOnlineHolders(v worldVolume) bool {
	for _, set := range v.Sets {
		if len(set) > 0 && !slices.ContainsFunc(set, func(r worldReplica) bool { return w.stateOf(r) == "Online" }) {
			return false
		}
	}
	return true
}

// objectionTo is what the filter rules say against one node, "" if nothing. The
// rules are asked in the order of their numbers.
func (w world) objectionTo(n worldNode) string {
	if w.Pod.StoragePod {
		return "" // F11
	}
	if boolean(n.Annotations["operator.libopenstorage.org/unschedulable"], false) {
		return "F4"
	}
	if w.hasWindows() {
		return "" // F9
	}
	switch n.State {
	case "Online", "StorageDown":
	case "Degraded", "Offline":
		return "F5 " + n.State
	default:
		return "F5 NoDriver"
	}
	if local, applies := w.strictNodes(len(w.Pod.Volumes)); applies && !local[n.Name] {
		return w.confining()
	}
	for _, v := range w.Pod.Volumes {
		if !w.isOff() && v.isRemoteOnly() && w.isReplicaNode(v, n.Name) {
			return "F7"
		}
	}
	return ""
}

// scoring says which volumes count in scores; with none of them all nodes are
// equal (S1, S7).
func (w world) scoring() (near, away []worldVolume) {
	for _, v := range w.Pod.Volumes {
		switch {
		case w.isOff() || !v.isKnown():
		case v.isNear(), v.isAway() && w.Pod.Machine != "":
			// Open: S8 speaks of all disks, so that it holds for away volumes as well;
			// what F6 and F7 say of them stands.
			near = append(near, v)
		case v.isAway():
			away = append(away, v)
		}
	}
	return near, away
}

// score is S2 to S8 and F11 for one node, before the fraction is cut off.
func (w world) score(n worldNode) *big.Rat {
	if w.Pod.StoragePod { // Open: F11 gives an order, not numbers: 100, 50, 0.
		switch n.State {
		case "Online":
			return big.NewRat(100, 1)
		case "StorageDown":
			return big.NewRat(50, 1)
		}
		return new(big.Rat)
	}
	if !serves(n) {
		return new(big.Rat) // S6
	}
	near, away := w.scoring()
	sum, weights := new(big.Rat), new(big.Rat)
	if len(away) > 0 { // S5
		for _, v := range away {
			if w.hasPart(v, n.Name) {
				return new(big.Rat)
			}
		}
		if n.State == "Online" {
			sum.SetInt64(100)
		}
		weights.SetInt64(1)
	}
	for _, v := range near { // S4
		weight := big.NewRat(v.weight(), 1)
		sum.Add(sum, new(big.Rat).Mul(weight, w.nearScore(v, n)))
		weights.Add(weights, weight)
	}
	return sum.Quo(sum, weights)
}

func serves(n worldNode) bool { return serving(n.State) }

func serving(state string) bool { return state == "Online" || state == "StorageDown" }

// nearScore is one near volume on one node: S2, or S8 for virtual machines.
func (w world) nearScore(v worldVolume, n worldNode) *big.Rat {
	// Open: S8 gives an order, not numbers. A replica node with the attachment
	// scores 100. In a migration the other replica nodes score 0 and all others 50,
	// partial holders too. At the start all but the node with the
	// attachment score half of S2, if there is such a node. The halving of
	// StorageDown nodes (S2) holds here as well.
	onAttachment := v.Attached == n.Name && w.isReplicaNode(v, n.Name)
	var score *big.Rat
	switch w.Pod.Machine {
	case "migrating":
		switch {
		case onAttachment:
			score = big.NewRat(100, 1)
		case w.isReplicaNode(v, n.Name):
			score = new(big.Rat)
		default:
			score = big.NewRat(50, 1)
		}
	case "starting":
		switch {
		case onAttachment:
			score = big.NewRat(100, 1)
		case v.Attached != "" && w.isReplicaNode(v, v.Attached):
			score = half(w.tierScore(v, n))
		default:
			score = w.tierScore(v, n)
		}
	default:
		score = w.tierScore(v, n)
	}
	if n.State == "StorageDown" {
		score = half(score)
	}
	return score
}

func half(r *big.Rat) *big.Rat { return new(big.Rat).Mul(r, big.NewRat(1, 2)) }

// tierScore is the mean over the replica sets (S2), without the halving.
func (w world) tierScore(v worldVolume, n worldNode) *big.Rat {
	sum := new(big.Rat)
	for _, set := range v.Sets {
		best := remote
		for _, r := range set {
			if r.Node == "" || !serving(w.stateOf(r)) {
				continue
			}
			found := relation(n, w.node(r.Node))
			if found == local && w.stateOf(r) != "Online" {
				found = rack
			}
			best = min(best, found)
		}
		sum.Add(sum, big.NewRat(w.Tiers[best], 1))
	}
	return sum.Quo(sum, big.NewRat(int64(len(v.Sets)), 1))
}

// The relations of two nodes, as indexes of world.Tiers.
const (
	local = iota
	rack
	zone
	region
	remote
)

// relation is S3.
func relation(n, m worldNode) int {
	switch {
	case n.Name == m.Name:
		return local
	case matches(n, m, "rack", "zone", "region"):
		return rack
	case matches(n, m, "zone", "region"):
		return zone
	case matches(n, m, "region"):
		return region
	default:
		return remote
	}
}

// matches reports whether both nodes carry the label of the first level with the
// same value, and agree on the higher ones, absent on both included.
func matches(n, m worldNode, level string, higher ...string) bool {
	value, found := n.Labels[level]
	other, otherFound := m.Labels[level]
	if !found || !otherFound || value != other {
		return false
	}
	for _, level := range higher {
		value, found := n.Labels[level]
		other, otherFound := m.Labels[level]
		if found != otherFound || value != other {
			return false
		}
	}
	return true
}

// claimObjection is what F2, F3 and F13 say: of the first claim, in the order of the
// pod, against which one of them speaks.
func (w world) claimObjection() (reason, claim string, found bool) {
	for _, v := range w.Pod.Volumes {
		switch {
		case v.Progress == "missing":
			return "F3 missing", v.Name, true
		case v.Progress == "not owned":
			return "F3 not owned", v.Name, true
		case v.Progress == "lost" && (!v.Foreign || v.Classless):
			return "F3 lost", v.Name, true
		case v.Progress == "invalid":
			return "F13", v.Name, true
		case boolean(v.Restore, false):
			return "F2", v.Name, true
		}
	}
	return "", "", false
}

// isConcerned is F1.
func (w world) isConcerned() bool {
	return w.Pod.StoragePod || slices.ContainsFunc(w.Pod.Volumes, func(v worldVolume) bool { return !v.Foreign })
}

// unlocated are the volumes that should have a say and whose replicas are not known
// (section 7), by whether they hold the pod back.
func (w world) unlocated() (holding, ignored []worldVolume) {
	for _, v := range w.Pod.Volumes {
		switch {
		case v.Knowledge == "known", v.isNeutral(), w.isOff() && !w.isStrict() && !v.isFast():
		case !w.isStrict() && !v.isFast() && v.Knowledge == "unknown" && v.Age >= 0 && v.Age < 5000:
			holding = append(holding, v)
		default:
			ignored = append(ignored, v)
		}
	}
	return holding, ignored
}

// locality is section 11 for a pod that runs on a node.
func (w world) locality(node string) string {
	if w.Pod.StoragePod || w.isOff() {
		return ""
	}
	var near, away []worldVolume
	for _, v := range w.Pod.Volumes {
		switch {
		case v.isNeutral():
		case v.Knowledge != "known":
			return "unknown"
		case !v.isKnown(): // S7
		case v.isNear() || w.Pod.Machine != "":
			near = append(near, v)
		default:
			away = append(away, v)
		}
	}
	whole, part := 0, false
	for _, v := range near {
		if w.isOnData(v, node) {
			whole++
		}
		for _, set := range v.Sets {
			part = part || w.isOnData(worldVolume{Knowledge: "known", Sets: [][]worldReplica{set}}, node)
		}
	}
	switch {
	case len(near) == 0 && len(away) == 0:
		return ""
	case len(near) == 0 && !slices.ContainsFunc(away, func(v worldVolume) bool { return w.hasPart(v, node) }):
		return "away"
	case len(near) > 0 && whole == len(near):
		return "local"
	case part:
		return "partly"
	default:
		return "remote"
	}
}

// hasOffer: who is offered nodes at all (section 6).
func (w world) hasOffer() bool {
	near, _ := w.scoring()
	_, confined := w.strictNodes(len(w.Pod.Volumes))
	return len(near) > 0 && !w.Pod.StoragePod && w.Pod.Machine != "migrating" && (!confined || w.hasWindows())
}

// isNearReplica: the node holds, or stands in the rack, zone or region of a node that holds,
// a replica that serves.
func (w world) isNearReplica(n worldNode) bool {
	near, _ := w.scoring()
	for _, v := range near {
		for _, set := range v.Sets {
			for _, r := range set {
				if r.Node != "" && serving(w.stateOf(r)) && relation(n, w.node(r.Node)) <= region {
					return true
				}
			}
		}
	}
	return false
}

// holdsAny: the node holds a replica of some near volume.
func (w world) holdsAny(n worldNode) bool {
	near, _ := w.scoring()
	return slices.ContainsFunc(near, func(v worldVolume) bool { return w.hasPart(v, n.Name) })
}

// isCandidate: replica nodes are, whatever they score, and nodes near to them if they
// score more than any node of the cluster.
func (w world) isCandidate(n worldNode, score, anywhere int64) bool {
	return w.holdsAny(n) || w.isNearReplica(n) && score > anywhere
}
