package hyperconverge

import (
	"iter"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corelisters "k8s.io/client-go/listers/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/spelling"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// decider gathers what placement needs to know of a pod, and asks it to decide. It reads
// listers and the index, waits for nothing and changes nothing.
type decider struct {
	claims   *claims.Finder
	index    volumes.Reader
	machines *machines
	// newVolumes is nil where nobody asks about new volumes.
	newVolumes *newVolumes
	// nodes tells which nodes can never take a pod; nil where nobody asks.
	nodes    corelisters.NodeLister
	settings placement.Settings
	// spread is that of shared volumes which say none.
	spread placement.Spread
}

// decision is what is decided about a pod before any node is looked at. It is
// immutable, and everything in it belongs to one view of the nodes.
type decision struct {
	placement.Decision
	pod  placement.Pod
	view *volumes.View
	// handles are the volumes that the decision depends on.
	handles []string
	// complaints are what users wrote and cannot be taken as written.
	complaints []complaint
	// localFirst says that the nodes with the best scores are to be tried first.
	localFirst bool
	// avoided are the nodes on which the pod has failed a short while ago (S9).
	avoided avoidedNodes
	// began is when PreFilter was asked, and revision the number of changes of the index
	// that the decision has surely seen.
	began    time.Time
	revision uint64
	// seed varies which of many nodes in a rack are offered.
	seed uint64
	// peers is how many volumes rules have been compared with.
	peers int
	// plugin and object are those for which the decision is made, where its offer is read.
	plugin *Hyperconverge
	object *v1.Pod
	// offering is nil unless there are limits of allocation: only then has it a say in
	// scores as well.
	offering *offering
}

// complaint is a problem with the object on which it was found.
type complaint struct {
	object  runtime.Object
	problem placement.Problem
}

// stateKey is where PreFilter leaves the pod's decision in the cycle state.
const stateKey fwk.StateKey = Name

// Clone returns the decision itself: it is immutable.
func (d *decision) Clone() fwk.StateData { return d }

// verdict is what the filter rules say of a node, by its name.
func (d *decision) verdict(node string) placement.Verdict {
	return d.Plan.Verdict(d.view.Node(node))
}

// score is what the score rules say of a node, by its name, but for S11.
func (d *decision) score(node string) int64 {
	if d.avoided.has(node) {
		return 0
	}
	return d.Plan.Score(d.view.Node(node))
}

// overloadOf says which limit the pod would push a node over (S11), by its name; empty if
// none.
func (d *decision) overloadOf(name string) string {
	if d.offering == nil || !d.offering.limits.Limited() {
		return ""
	}
	node, err := d.offering.node(name)
	if err != nil {
		return ""
	}
	return d.offering.overload(node)
}

// Groups implements localfirst.Offer.
func (d *decision) Groups() iter.Seq[[]string] {
	o := d.offering
	if o == nil {
		o = newOffering(d.plugin, d.object, d)
	}
	return o.arrange(d.groups())
}

// groups are those of the plan, without the nodes that the pod avoids.
func (d *decision) groups() iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		if !d.localFirst {
			return
		}
		for group := range d.Plan.Offer(d.view, d.seed) {
			names := make([]string, 0, len(group))
			for _, n := range group {
				if !d.avoided.has(n.Name) {
					names = append(names, n.Name)
				}
			}
			if !yield(names) {
				return
			}
		}
	}
}

// Avoids implements localfirst.Offer.
func (d *decision) Avoids(node string) bool { return d.avoided.has(node) }

func (d *decision) complain(object runtime.Object, problems ...placement.Problem) {
	for _, p := range problems {
		d.complaints = append(d.complaints, complaint{object: object, problem: p})
	}
}

// ours reports whether the pod has a volume of the driver, or is one of the storage
// system's own pods. All other pods are skipped (F1), unless F2 or F3 turns them
// down.
func ours(pod *v1.Pod, found []claims.Claim) bool {
	for i := range found {
		if found[i].Driver != "" {
			return true
		}
	}
	return placement.IsStoragePod(pod.Name)
}

// lookup is how the index is asked about a volume.
type lookup func(handle string) volumes.Entry

// claimsOf are the claims of a pod, and of all disks of its machine (S8).
func (dec *decider) claimsOf(pod *v1.Pod) []claims.Claim {
	return dec.claims.Of(pod, dec.machines.disks(pod)...)
}

// decide decides about a pod by its claims.
func (dec *decider) decide(pod *v1.Pod, found []claims.Claim, look lookup, now time.Time) *decision {
	d := dec.gather(pod, found, look)
	if now.Before(d.pod.WaitsUntil(&dec.settings)) {
		d.pod.Hopeless = dec.hopeless(pod, d)
	}
	if len(d.pod.Expected) > 0 {
		d.pod.Booked = dec.newVolumes.bookings.onNodes(pod.UID, now)
	}
	d.Decision = placement.Decide(&d.pod, &dec.settings, now)
	return d
}

// locality tells how a pod that has a node stands to its data, and on which volumes
// that depends.
func (dec *decider) locality(pod *v1.Pod) (placement.Locality, []string) {
	d := dec.gather(pod, dec.claimsOf(pod), dec.index.Lookup)
	return placement.LocalityOf(&d.pod, d.view.Node(pod.Spec.NodeName)), d.handles
}

// gather collects all that placement needs to know of a pod.
func (dec *decider) gather(pod *v1.Pod, found []claims.Claim, look lookup) *decision {
	d := &decision{view: dec.index.View(), pod: placement.Pod{StoragePod: placement.IsStoragePod(pod.Name)}}
	if !d.pod.StoragePod {
		dec.gatherVolumes(d, pod, found, look)
	}
	return d
}

// gatherVolumes fills in the claims of a pod and, unless there are too many of them, its
// volumes.
func (dec *decider) gatherVolumes(d *decision, pod *v1.Pod, found []claims.Claim, look lookup) {
	p, concerned := &d.pod, 0
	p.Claims = make([]placement.PodClaim, len(found))
	for i := range found {
		c := &found[i]
		restoring, problem := placement.Restoring(c.Annotations())
		if problem != nil {
			d.complain(c.PVC, *problem)
		}
		p.Claims[i] = placement.PodClaim{
			Name: c.String(), State: c.State, Ours: c.Driver != "", HasClass: c.Class != nil, Restoring: restoring,
		}
		if c.Driver != "" {
			concerned++
		}
	}
	if concerned == 0 || concerned > placement.MaxVolumes {
		return
	}
	var problems []placement.Problem
	p.PodPolicy, problems = placement.PodPolicyOf(pod.Annotations)
	d.complain(pod, problems...)
	d.complain(pod, spelling.Misspelt(pod.Annotations)...)
	p.Off = p.Off || dec.machines.attachment(pod) // it has its node already (S8)
	p.Machine = dec.machines.roleOf(pod)
	p.Created = pod.CreationTimestamp.Time
	p.Volumes = make([]placement.Volume, 0, concerned)
	d.handles = make([]string, 0, concerned)
	for i := range found {
		c := &found[i]
		if c.Driver == "" || c.Repeated {
			continue
		}
		v := dec.volume(d, pod, c, p.Claims[i].Name, look)
		// A volume without replicas has no say, unless it is a Windows volume.
		if c.Handle != "" || v.Windows {
			p.Volumes = append(p.Volumes, v)
		}
		if c.State == placement.ClaimUnbound {
			dec.expect(d, pod, c, v.Policy, look)
		}
	}
}

// volume is the volume of a claim of the driver, with what the index knows of it. A
// volume that is not bound has nothing but wishes.
func (dec *decider) volume(d *decision, pod *v1.Pod, c *claims.Claim, name string, look lookup) placement.Volume {
	v := placement.Volume{Name: name}
	var stored *volumes.StorageVolume
	if c.Handle != "" {
		d.handles = append(d.handles, c.Handle)
		entry := look(c.Handle)
		v.Stale = entry.Freshness == volumes.Stale
		v.Unknown = v.Stale || entry.Volume == nil
		v.FirstSeen = entry.FirstSeen
		if stored = entry.Volume; !v.Unknown {
			locate(&v, d.view, stored)
		}
	}
	var problems []placement.Problem
	v.Policy, problems = placement.PolicyOf(policySources(c, stored))
	for _, p := range problems {
		d.complainOf(pod, c, p)
	}
	switch {
	case !c.Shared():
		if v.Spread != "" && v.Spread != placement.SpreadNone && c.Annotations()[placement.VolumeSpread] != "" {
			d.complainOf(pod, c, placement.Problem{Key: placement.VolumeSpread, Value: string(v.Spread), Detail: "has no effect on a volume that one pod uses at a time"})
		}
		v.Spread = placement.SpreadNone
	case v.Spread == "":
		v.Spread = dec.spread
	}
	if c.PVC != nil {
		d.complain(c.PVC, spelling.Misspelt(c.PVC.Annotations)...)
	}
	for _, p := range spelling.Misspelt(c.Parameters()) {
		p.Origin = placement.FromClass
		d.complainOf(pod, c, p)
	}
	return v
}

// policySources are what the policy of a claim's volume comes from; stored is what the
// index knows of the volume, nil if nothing. Replicas move. What kind of volume it is does
// not change by itself, so that it is believed however old it is.
func policySources(c *claims.Claim, stored *volumes.StorageVolume) (placement.Traits, placement.Sources) {
	sources := placement.Sources{Claim: c.Annotations(), Class: c.Parameters()}
	switch {
	case stored != nil:
		sources.Volume = stored
		return placement.Traits{Service: stored.Service(), Direct: stored.Direct(), Windows: stored.Winshare()}, sources
	case c.Handle == "":
		return newTraits(c), sources
	default:
		return placement.Traits{}, sources
	}
}

// locate resolves replicas and attachment of a volume to nodes of the view.
func locate(v *placement.Volume, view *volumes.View, stored *volumes.StorageVolume) {
	total := 0
	for i := range stored.NumSets() {
		total += len(stored.Set(i))
	}
	holders := make([]placement.Holder, total) // of all sets
	v.Sets = make([]placement.ReplicaSet, stored.NumSets())
	for i := range v.Sets {
		refs := stored.Set(i)
		set := holders[:len(refs):len(refs)]
		holders = holders[len(refs):]
		for k, ref := range refs {
			set[k].Node, set[k].State = view.Holder(ref)
		}
		v.Sets[i] = set
	}
	if ref, attached := stored.Attached(); attached {
		v.Attached, _ = view.Holder(ref)
	}
}

// complainOf tells a problem with a volume on the object that has the value. That of a
// StorageClass is told on the claim, too, where the owner of the pod looks. A volume is
// no object of Kubernetes: what its labels alone say is told on its claim, or on the pod
// if there is none.
func (d *decision) complainOf(pod *v1.Pod, c *claims.Claim, p placement.Problem) {
	if p.Origin == placement.FromClass {
		d.complain(c.Class, p)
		if c.PVC == nil {
			return
		}
		p.Detail += " (in StorageClass " + c.Class.Name + ")"
	}
	if c.PVC != nil {
		d.complain(c.PVC, p)
		return
	}
	d.complain(pod, p)
}
