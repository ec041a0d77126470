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

func (v worldVolume) isWindows() bool { return v.wants("winshare", v.Windows) }

func (v worldVolume) isNeutral() bool {
	return v.Direct || v.isWindows() || v.wants("stork.libopenstorage.org/skipSchedulerScoring", false)
}

func (v worldVolume) isAway() bool {
	return !v.isNeutral() && v.Service && v.wants("stork.libopenstorage.org/preferRemoteNode", true)
}

func (v worldVolume) isNear() bool { return !v.isNeutral() && !v.isAway() }

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

func setHas(set []worldReplica, node string) bool {
	for _, r := range set {
		if r.Node == node {
			return true
		}
	}
	return false
}

// isReplicaNode: a replica of every replica set (section 1).
func (v worldVolume) isReplicaNode(node string) bool {
	for _, set := range v.Sets {
		if !setHas(set, node) {
			return false
		}
	}
	return v.isKnown()
}

// hasPart: a replica of any replica set.
func (v worldVolume) hasPart(node string) bool {
	for _, set := range v.Sets {
		if setHas(set, node) {
			return v.isKnown()
		}
	}
	return false
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

// strictNodes are the nodes that F6 leaves for the first count volumes of the
// pod, and false if none of those has a say.
func (w world) strictNodes(count int) (map[string]bool, bool) {
	nodes, applies := map[string]bool{}, false
	for _, n := range w.Nodes {
		nodes[n.Name] = true
	}
	for _, v := range w.Pod.Volumes[:count] {
		if !v.isNear() || !v.isKnown() {
			continue
		}
		applies = true
		for name := range nodes {
			if !v.isReplicaNode(name) {
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
		// Open: "no holder" is no holder of any replica set, and a storage node
		// without a Kubernetes node is a holder.
		if v.isKnown() && !w.hasOnlineHolder(v) {
			all = append(all, objection{"F8", v.Name})
		}
	}
	if !w.isStrict() {
		return all
	}
	for i, v := range w.Pod.Volumes { // F6
		if !v.isNear() {
			continue
		}
		switch v.Knowledge {
		case "unknown":
			all = append(all, objection{"F6 unknown", v.Name})
			continue
		case "stale":
			all = append(all, objection{"F6 stale", v.Name})
			continue
		}
		// Open: the volume that rules all nodes out is the first, in the order of
		// the pod, after which nothing is left.
		before, _ := w.strictNodes(i)
		after, _ := w.strictNodes(i + 1)
		if len(before) > 0 && len(after) == 0 {
			all = append(all, objection{"F6 nowhere", v.Name})
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
			if v.isRemoteOnly() && v.isReplicaNode(name) {
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

func (w world) hasOnlineHolder(v worldVolume) bool {
	for _, set := range v.Sets {
		for _, r := range set {
			if r.Node == "" && r.State == "Online" || r.Node != "" && w.node(r.Node).State == "Online" {
				return true
			}
		}
	}
	return false
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
	if local, applies := w.strictNodes(len(w.Pod.Volumes)); w.isStrict() && applies && !local[n.Name] {
		return "F6"
	}
	for _, v := range w.Pod.Volumes {
		if !w.isOff() && v.isRemoteOnly() && v.isReplicaNode(n.Name) {
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
			if v.hasPart(n.Name) {
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

func serves(n worldNode) bool { return n.State == "Online" || n.State == "StorageDown" }

// nearScore is one near volume on one node: S2, or S8 for virtual machines.
func (w world) nearScore(v worldVolume, n worldNode) *big.Rat {
	// Open: S8 gives an order, not numbers. A replica node with the attachment
	// scores 100. In a migration the other replica nodes score 0 and all others 50,
	// partial holders too. At the start all but the node with the
	// attachment score half of S2, if there is such a node. The halving of
	// StorageDown nodes (S2) holds here as well.
	onAttachment := v.Attached == n.Name && v.isReplicaNode(n.Name)
	var score *big.Rat
	switch w.Pod.Machine {
	case "migrating":
		switch {
		case onAttachment:
			score = big.NewRat(100, 1)
		case v.isReplicaNode(n.Name):
			score = new(big.Rat)
		default:
			score = big.NewRat(50, 1)
		}
	case "starting":
		switch {
		case onAttachment:
			score = big.NewRat(100, 1)
		case v.Attached != "" && v.isReplicaNode(v.Attached):
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
			if r.Node == "" || !serves(w.node(r.Node)) {
				continue
			}
			best = min(best, relation(n, w.node(r.Node)))
		}
		if best == local && n.State == "StorageDown" {
			best = rack
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

// preferred are the nodes of section 6 that the filter rules accept and whose
// storage serves, by whether they hold a whole near volume or a part of one.
func (w world) preferred() (whole, part map[string]bool) {
	whole, part = map[string]bool{}, map[string]bool{}
	near, _ := w.scoring()
	_, confined := w.strictNodes(len(w.Pod.Volumes))
	if w.Pod.StoragePod || w.Pod.Machine == "migrating" || w.isStrict() && confined && !w.hasWindows() {
		return whole, part
	}
	for _, n := range w.Nodes {
		if w.objectionTo(n) != "" || !serves(n) {
			continue
		}
		switch {
		case slices.ContainsFunc(near, func(v worldVolume) bool { return v.isReplicaNode(n.Name) }):
			whole[n.Name] = true
		case slices.ContainsFunc(near, func(v worldVolume) bool { return v.hasPart(n.Name) }):
			part[n.Name] = true
		}
	}
	return whole, part
}
