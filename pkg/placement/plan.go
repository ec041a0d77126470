package placement

import "time"

// Machine says whether a pod runs a KubeVirt virtual machine (S8).
type Machine uint8

const (
	// NoMachine is any other pod.
	NoMachine Machine = iota
	// MachineStarting is a virt-launcher pod without a running sibling.
	MachineStarting
	// MachineMigrating is the target of a live migration: another virt-launcher
	// pod of the same virtual machine runs.
	MachineMigrating
)

// Pod is all that placement needs to know of a pod.
type Pod struct {
	PodPolicy
	// Claims are all claims of the pod, those of other drivers included, in the order
	// of the pod's spec.
	Claims []PodClaim
	// Volumes are the bound volumes of the driver, in the same order, each once.
	Volumes []Volume
	// Expected are the volumes of the driver that do not exist yet (section 12).
	Expected []Expected
	// Booked are the bytes that new volumes of other pods will take, by the name of the
	// node; nil if there are none.
	Booked map[string]int64
	// Created is when the pod was created.
	Created time.Time
	// Hopeless are the replica nodes that can never take the pod, whatever leaves them. They
	// matter while the pod waits (F16).
	Hopeless map[*Node]struct{}
	// StoragePod is set for the storage system's own CSI pods (F11).
	StoragePod bool
	Machine    Machine
}

// Insisted are the volumes on whose replica nodes alone the pod runs (F6, F14).
func (p *Pod) Insisted() []*Volume {
	var insisted []*Volume
	for i := range p.Volumes {
		if v := &p.Volumes[i]; p.insistsOn(v) {
			insisted = append(insisted, v)
		}
	}
	return insisted
}

// Tiers is what a node is worth by its nearest relation to a replica node,
// each from 0 to 100 and none greater than the one before it.
type Tiers struct {
	Local, Rack, Zone, Region, Remote int64
}

// DefaultTiers are the scores of rule S2.
var DefaultTiers = Tiers{Local: 100, Rack: 50, Zone: 25, Region: 10, Remote: 0}

// Plan is everything that is decided about a pod before a node is looked at. It
// is immutable; its nodes are those of one view.
type Plan struct {
	tiers      Tiers
	storagePod bool
	windows    bool
	machine    Machine
	off        bool

	// confined pods have the nodes of local only: strict ones (F6), for the sake of volumes
	// with fastpath alone (F14), or for a while (F16).
	confined, fast bool
	// waits says that the pod is confined for a while only (F16).
	waits bool
	local nodeSet
	// forbidden are the replica nodes of remote-only volumes (F7).
	forbidden nodeSet

	// near are the volumes that draw the pod to their replica nodes, or turn a
	// migrating machine away from them (S8): those of kind Near, and all disks of a
	// virtual machine.
	near []*Volume
	// away are the nodes that hold a replica of some away volume (S5); hasAway
	// tells an empty list from no away volume.
	away    nodeSet
	hasAway bool

	// expected are the new volumes that tell nodes apart (S10), and required the rules of
	// those that turn nodes down (F15).
	expected []*Expected
	required []*StrategyRules
	booked   map[string]int64
}

// NewPlan decides all that does not depend on a single node. A rejection means
// that no node can take the pod, whatever it is; the plan is then nil.
//
// The pod's volumes are kept, not copied, and must not be changed afterwards.
func NewPlan(pod Pod, tiers Tiers) (*Plan, *Rejection) {
	p := &Plan{tiers: tiers, storagePod: pod.StoragePod, machine: pod.Machine, off: pod.Off}
	if p.storagePod {
		return p, nil
	}
	for i := range pod.Volumes {
		if pod.Volumes[i].Windows {
			p.windows = true
		}
	}
	if !p.windows {
		if rejection := p.confine(pod); rejection != nil {
			return nil, rejection
		}
	}
	if !p.off {
		p.attract(pod.Volumes)
	}
	p.expect(&pod)
	return p, nil
}

// confine applies F6, F7, F8, F10 and F14.
func (p *Plan) confine(pod Pod) *Rejection {
	for i := range pod.Volumes {
		if v := &pod.Volumes[i]; !v.usable() {
			return &Rejection{Reason: ReasonNoOnlineReplica, Blame: v.Name}
		}
	}
	if rejection := p.confineToReplicas(&pod); rejection != nil {
		return rejection
	}
	if pod.Off {
		return nil // S1: F7 does not apply
	}
	return p.forbidReplicas(pod.Volumes)
}

// confineToReplicas applies F6 and F14.
func (p *Plan) confineToReplicas(pod *Pod) *Rejection {
	unknown, stale, nowhere := ReasonStrictUnknown, ReasonStrictStale, ReasonStrictNowhere
	if p.fast = !pod.Strict; p.fast {
		unknown, stale, nowhere = ReasonFastUnknown, ReasonFastStale, ReasonFastNowhere
	}
	for i := range pod.Volumes {
		v := &pod.Volumes[i]
		if !pod.insistsOn(v) {
			continue
		}
		if v.Unknown {
			reason := unknown
			if v.Stale {
				reason = stale
			}
			return &Rejection{Reason: reason, Blame: v.Name}
		}
		if !p.confined {
			p.confined = true
			p.local = v.replicaNodes()
		} else {
			p.local = p.local.keep(v.HeldBy)
		}
		if len(p.local.list) == 0 {
			return &Rejection{Reason: nowhere, Blame: v.Name}
		}
	}
	return nil
}

// forbidReplicas applies F7, and F10 where F6 leaves nothing else.
func (p *Plan) forbidReplicas(volumes []Volume) *Rejection {
	for i := range volumes {
		v := &volumes[i]
		if v.Kind != Away || !v.RemoteOnly || v.Unknown {
			continue
		}
		p.forbidden.addAll(v.replicaNodes().list)
		if p.confined && p.forbidden.hasAll(p.local.list) {
			return &Rejection{Reason: ReasonStrictRemoteOnly, Blame: v.Name}
		}
	}
	return nil
}

// attract collects what scores need.
func (p *Plan) attract(volumes []Volume) {
	for i := range volumes {
		v := &volumes[i]
		if v.Unknown || len(v.Sets) == 0 {
			continue // S7
		}
		switch {
		case v.draws(p.machine):
			if p.near == nil {
				p.near = make([]*Volume, 0, len(volumes)-i)
			}
			p.near = append(p.near, v)
		case v.Kind == Away:
			p.hasAway = true
			v.eachHolderNode(p.away.add)
		}
	}
}

// Near are the near volumes.
func (p *Plan) Near() []*Volume { return p.near }

// Confined returns the nodes that F6, F14 or F16 leave a pod, of which other rules
// may still turn some down, and false if they leave it all.
func (p *Plan) Confined() ([]*Node, bool) { return p.local.list, p.confined }

// NoRoom is the reason of a confined pod whose nodes other plugins turn down.
func (p *Plan) NoRoom() string {
	if p.waits {
		return ReasonWaitNoRoom
	}
	if p.fast {
		return ReasonFastNoRoom
	}
	return ReasonStrictNoRoom
}

// Indifferent reports whether all nodes would get the same score, so that
// scoring can be left out: the shared fast path of S1.
func (p *Plan) Indifferent() bool {
	return !p.storagePod && len(p.near) == 0 && !p.hasAway && len(p.expected) == 0
}

// Lacking returns the near volumes that the node does not serve: it is no replica node
// of them, or one whose storage is down. A nil node lacks all of them.
func (p *Plan) Lacking(n *Node) []*Volume {
	var lacking []*Volume
	for _, v := range p.near {
		if n == nil || !v.servedBy(n) && !v.spreadsTo(n) {
			lacking = append(lacking, v)
		}
	}
	return lacking
}

// Migrating reports whether the pod is the target of a live migration (S8).
func (p *Plan) Migrating() bool { return p.machine == MachineMigrating }

// Forbidden returns the nodes that F7 rules out, each once.
func (p *Plan) Forbidden() []*Node { return p.forbidden.list }

// Required are the rules of new volumes that turn nodes down (F15), each once.
func (p *Plan) Required() []*StrategyRules { return p.required }
