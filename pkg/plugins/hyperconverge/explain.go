package hyperconverge

import (
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// Explanation is what the plugin thinks of a pod now, for those who ask. It belongs to
// one view of the nodes.
type Explanation struct {
	// Mode is what the pod has asked for, Strict or Off, or else the preference of the
	// profile.
	Mode string
	// Locality is how the pod stands to its data on the node that it has.
	Locality placement.Locality
	// Rejection turns the pod down on all nodes, nil if it is not; HeldUntil is when that
	// ends by itself.
	Rejection *placement.Rejection
	HeldUntil time.Time
	// WaitsUntil is how long the pod waits for a node with its data (F16); zero if it does
	// not.
	WaitsUntil time.Time
	Volumes    []VolumeExplanation
	// Problems are what cannot be taken as written, on pod, claims and classes.
	Problems []placement.Problem

	decision *decision
}

// VolumeExplanation is one volume of a pod: of the driver, or a claim that is missing.
type VolumeExplanation struct {
	Claim claims.Claim
	// Known is false for volumes without a handle, which have no place yet. Expected tells
	// of where such a one will lie, nil if it is no volume of the driver.
	Known    bool
	Expected *placement.Expected
	placement.Volume
	Rule placement.Rule
	// Freshness is that of the index.
	Freshness volumes.Freshness
	Verified  time.Time
	Settings  []placement.Setting
}

// NodeExplanation is one node as the plugin sees it for a pod.
type NodeExplanation struct {
	State placement.StorageState
	// Verdict is Feasible for all nodes if the pod is turned down as a whole.
	Verdict placement.Verdict
	// Score is 0 to 100.
	Score int64
	// Relation is that to the nearest replica of any near volume; Related is false if
	// there is none.
	Relation placement.Relation
	Related  bool
	// Volumes are the relations to the volumes of the Explanation, in their order;
	// empty where the replicas are not known. Of new volumes it is the outlook.
	Volumes []string
	// Overload says which limit of allocation the pod would push the node over (S11); empty
	// if none.
	Overload string
	// Expected is the worst outlook for a new volume; empty if nothing is expected.
	Expected string
}

// Explain tells what the plugin thinks of a pod now. It changes nothing.
func (pl *Hyperconverge) Explain(pod *v1.Pod) *Explanation {
	found := pl.decider.claimsOf(pod)
	d := pl.decider.decide(pod, found, pl.decider.index.Lookup, time.Now())
	pl.arranges(pod, d)
	e := &Explanation{
		Mode:       d.mode(),
		Locality:   placement.LocalityNone,
		Rejection:  d.Rejection,
		HeldUntil:  d.HeldUntil,
		WaitsUntil: d.WaitsUntil,
		decision:   d,
	}
	if pod.Spec.NodeName != "" {
		e.Locality = placement.LocalityOf(&d.pod, d.view.Node(pod.Spec.NodeName))
	}
	for _, c := range d.complaints {
		e.Problems = append(e.Problems, c.problem)
	}
	volumesOf := make(map[string]*placement.Volume, len(d.pod.Volumes))
	for i := range d.pod.Volumes {
		volumesOf[d.pod.Volumes[i].Name] = &d.pod.Volumes[i]
	}
	expected := make(map[string]*placement.Expected, len(d.pod.Expected))
	for i := range d.pod.Expected {
		expected[d.pod.Expected[i].Name] = &d.pod.Expected[i]
	}
	for i := range found {
		c := &found[i]
		if c.Driver == "" && c.State == placement.ClaimBound || c.Repeated {
			continue
		}
		v := VolumeExplanation{Claim: *c}
		v.Name = c.String()
		entry := pl.decider.index.Lookup(c.Handle)
		v.Freshness, v.Verified = entry.Freshness, entry.Verified
		v.Settings = settingsOf(c, entry.Volume)
		if volume := volumesOf[v.Name]; volume != nil {
			v.Known, v.Volume = c.Handle != "", *volume
			v.Rule = volume.Rule(&d.pod)
		}
		if v.Expected = expected[v.Name]; v.Expected != nil && v.Rule.Number == "" {
			v.Rule = v.Expected.Rule(&d.pod)
		}
		e.Volumes = append(e.Volumes, v)
	}
	return e
}

// Locality tells how a pod that has a node stands to its data.
func (pl *Hyperconverge) Locality(pod *v1.Pod) placement.Locality {
	locality, _ := pl.decider.locality(pod)
	return locality
}

// Machine tells whether a pod launches a virtual machine, and whether that moves while it
// runs when the pod is evicted.
func (pl *Hyperconverge) Machine(pod *v1.Pod) (launches, migrates bool) {
	d := pl.decider.machines.instance(pod)
	return machineKey(pod) != "", d != nil && d.migrates
}

// NearerThan is the least score of a node that is nearer by one tier than one of a score.
func (pl *Hyperconverge) NearerThan(score int64) int64 {
	return pl.decider.settings.Tiers.NearerThan(score)
}

// ExplainClaim tells what the plugin knows of one claim, as a pod that mounts it and asks
// for nothing would meet it.
func (pl *Hyperconverge) ExplainClaim(namespace, name string) VolumeExplanation {
	pod := &v1.Pod{}
	pod.Namespace = namespace
	pod.Spec.Volumes = []v1.Volume{{VolumeSource: v1.VolumeSource{
		PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name},
	}}}
	if explained := pl.Explain(pod).Volumes; len(explained) > 0 {
		return explained[0]
	}
	return VolumeExplanation{Claim: pl.decider.claimsOf(pod)[0]}
}

// Claims are the claims of a pod.
func (pl *Hyperconverge) Claims(pod *v1.Pod) []claims.Claim { return pl.decider.claimsOf(pod) }

// Node tells of one node, by its name.
func (e *Explanation) Node(name string) NodeExplanation {
	d := e.decision
	n := d.view.Node(name)
	x := NodeExplanation{State: placement.NoDriver}
	if n != nil {
		x.State = n.State
	}
	if d.Plan != nil {
		x.Verdict, x.Score = d.Plan.Verdict(n), d.score(name)
		if x.Overload = d.overloadOf(name); x.Overload != "" {
			x.Score = 0
		}
		x.Relation, x.Related = d.Plan.Relation(n)
	}
	worst := placement.Preferred + 1
	for i := range e.Volumes {
		word := ""
		v := &e.Volumes[i]
		if v.Expected != nil && v.Expected.Known() {
			outlook, _ := v.Expected.Outlook(n, d.pod.Booked[name])
			worst, word = min(worst, outlook), outlook.String()
		}
		if v.Known {
			if relation, known := v.Relation(n); known {
				word = relation.String()
			}
		}
		x.Volumes = append(x.Volumes, word)
	}
	if worst <= placement.Preferred {
		x.Expected = worst.String()
	}
	return x
}

// ReplicaNodes are the nodes that hold a replica of every near volume that the node of
// this name does not serve, each once.
func (e *Explanation) ReplicaNodes(node string) []string {
	d := e.decision
	if d.Plan == nil {
		return nil
	}
	var names []string
	for _, n := range placement.ReplicaNodes(d.Plan.Lacking(d.view.Node(node))) {
		names = append(names, n.Name)
	}
	return names
}

// settingsOf are the keys in force for a claim of the driver.
func settingsOf(c *claims.Claim, stored *volumes.StorageVolume) []placement.Setting {
	if c.Driver == "" {
		return nil
	}
	return placement.SettingsOf(policySources(c, stored))
}

// Forget takes a pod off the list of those that wait. It is for who has asked the
// extension points about a pod that nobody schedules.
func (pl *Hyperconverge) Forget(uid types.UID) {
	pl.waiting.leave(uid)
	pl.waiting.bound(uid)
}
