package placement

// Reasons that a single node can be turned down for. They are constant, so that
// the scheduler can count nodes with the same reason in one message.
const (
	// ReasonNodeUnschedulable is F4.
	ReasonNodeUnschedulable = "node(s) are closed to pods with volumes by the storage operator"
	// ReasonNoDriver is F5 for a node without the driver.
	ReasonNoDriver = "node(s) do not run the storage driver"
	// ReasonDegraded is F5 for a node whose storage is degraded.
	ReasonDegraded = "node(s) have degraded storage"
	// ReasonOffline is F5 for a node whose storage is offline.
	ReasonOffline = "node(s) have offline storage"
	// ReasonNotLocal is F6.
	ReasonNotLocal = "node(s) do not hold a replica of every volume of a pod with preferLocalNodeOnly"
	// ReasonNotFast is F14.
	ReasonNotFast = "node(s) do not hold a replica of every volume with fastpath"
	// ReasonRemoteOnly is F7.
	ReasonRemoteOnly = "node(s) hold a replica of a volume with preferRemoteNodeOnly"
	// ReasonNoNewReplica is F15.
	ReasonNoNewReplica = "node(s) can hold no replica of a new volume of a pod with preferLocalNodeOnly, or of one with fastpath, by its placement strategy or class"
	// ReasonNotLocalYet is F16.
	ReasonNotLocalYet = "node(s) hold no replica, and the pod waits for one that does (wait-for-local)"
)

// Reasons that a pod can be turned down for on all nodes. The name of the claim
// or volume that is to blame follows after a colon.
const (
	// ReasonRestoring is F2.
	ReasonRestoring = "claim waits for its restore to finish"
	// ReasonClaimMissing is F3 for a claim that does not exist.
	ReasonClaimMissing = "claim does not exist"
	// ReasonClaimNotOwned is F3 for a generic ephemeral volume whose claim
	// belongs to something else.
	ReasonClaimNotOwned = "claim of an ephemeral volume was not made for this pod"
	// ReasonClaimLost is F3 for a claim that has lost its volume.
	ReasonClaimLost = "claim is bound to a volume that does not exist"
	// ReasonTooManyVolumes is F12.
	ReasonTooManyVolumes = "pod has more volumes of the storage driver than the scheduler looks at"
	// ReasonHandleInvalid is F13.
	ReasonHandleInvalid = "id of an in-tree volume is too long"
	// ReasonVolumeUnknown holds a pod back while the replicas of a volume that
	// was bound a moment ago are not known.
	ReasonVolumeUnknown = "replicas of the volume are not known yet"
	// ReasonStrictUnknown is F6 for a volume whose replicas are not known.
	ReasonStrictUnknown = "preferLocalNodeOnly: replicas of the volume are not known yet"
	// ReasonStrictStale is F6 for a volume whose replicas were known, but too
	// long ago.
	ReasonStrictStale = "preferLocalNodeOnly: what is known of the volume's replicas is too old"
	// ReasonStrictNowhere is F6 when no node holds all near volumes.
	ReasonStrictNowhere = "preferLocalNodeOnly: no node holds a replica of every volume, ruled out by"
	// ReasonStrictNoRoom is F6 when other plugins turn down every node that holds all
	// near volumes. It stands in the metric of held pods; the pod is told of each node.
	ReasonStrictNoRoom = "preferLocalNodeOnly: no node that holds a replica of every volume has room"
	// ReasonFastUnknown, ReasonFastStale, ReasonFastNowhere and ReasonFastNoRoom are F14
	// where F6 has those of a strict pod.
	ReasonFastUnknown = "fastpath: replicas of the volume are not known yet"
	ReasonFastStale   = "fastpath: what is known of the volume's replicas is too old"
	ReasonFastNowhere = "fastpath: no node holds a replica of every volume with fastpath, ruled out by"
	ReasonFastNoRoom  = "fastpath: no node that holds a replica of every volume with fastpath has room"
	// ReasonWaitNoRoom is F16 likewise.
	ReasonWaitNoRoom = "wait-for-local: no node that holds a replica of the volumes has room yet"
	// ReasonNoOnlineReplica is F8.
	ReasonNoOnlineReplica = "no node that holds a replica of the volume is online"
	// ReasonStrictRemoteOnly is F10.
	ReasonStrictRemoteOnly = "preferLocalNodeOnly and preferRemoteNodeOnly leave no node"
)

// Verdict is what the filter rules say of one node.
type Verdict uint8

const (
	// Feasible nodes may run the pod.
	Feasible Verdict = iota
	// RejectedUnschedulable is F4.
	RejectedUnschedulable
	// RejectedNoDriver is F5.
	RejectedNoDriver
	// RejectedDegraded is F5.
	RejectedDegraded
	// RejectedOffline is F5.
	RejectedOffline
	// RejectedNotLocal is F6.
	RejectedNotLocal
	// RejectedNotFast is F14.
	RejectedNotFast
	// RejectedRemoteOnly is F7.
	RejectedRemoteOnly
	// RejectedNoNewReplica is F15.
	RejectedNoNewReplica
	// RejectedNotLocalYet is F16.
	RejectedNotLocalYet

	// VerdictCount is the number of verdicts, for tables indexed by verdict.
	VerdictCount = int(RejectedNotLocalYet) + 1
)

// Reason returns the constant text of a rejection; it is empty for Feasible.
func (v Verdict) Reason() string {
	switch v {
	case RejectedUnschedulable:
		return ReasonNodeUnschedulable
	case RejectedNoDriver:
		return ReasonNoDriver
	case RejectedDegraded:
		return ReasonDegraded
	case RejectedOffline:
		return ReasonOffline
	case RejectedNotLocal:
		return ReasonNotLocal
	case RejectedNotFast:
		return ReasonNotFast
	case RejectedRemoteOnly:
		return ReasonRemoteOnly
	case RejectedNoNewReplica:
		return ReasonNoNewReplica
	case RejectedNotLocalYet:
		return ReasonNotLocalYet
	default:
		return ""
	}
}

// Rejection turns a pod down on every node.
type Rejection struct {
	// Reason is one of the constants above.
	Reason string
	// Blame names the claims or volumes that the reason speaks of.
	Blame string
}

// Message is the text for the pod's condition.
func (r *Rejection) Message() string { return r.Reason + ": " + r.Blame }

// NoRoom reports whether a reason is that of a confined pod whose nodes other plugins turn
// down.
func NoRoom(reason string) bool {
	return reason == ReasonStrictNoRoom || reason == ReasonFastNoRoom || reason == ReasonWaitNoRoom
}

// Verdict applies F4 to F7 and F15 to one node, in that order. A nil node is one that
// storage knows nothing about: no driver. Safe for concurrent use.
func (p *Plan) Verdict(n *Node) Verdict {
	if p.storagePod {
		return Feasible // F11: nothing is rejected
	}
	if n == nil {
		n = &absentNode
	}
	if n.Unschedulable {
		return RejectedUnschedulable
	}
	if p.windows {
		return Feasible // F9
	}
	switch n.State {
	case Online, StorageDown:
	case NoDriver:
		return RejectedNoDriver
	case Degraded:
		return RejectedDegraded
	default:
		return RejectedOffline
	}
	if p.confined && !p.local.has(n) {
		switch {
		case p.waits:
			return RejectedNotLocalYet
		case p.fast:
			return RejectedNotFast
		}
		return RejectedNotLocal
	}
	if p.forbidden.has(n) {
		return RejectedRemoteOnly
	}
	for _, rules := range p.required {
		if rules.Excludes(n) {
			return RejectedNoNewReplica
		}
	}
	return Feasible
}

// absentNode stands for a node that storage knows nothing about.
var absentNode = Node{State: NoDriver}
