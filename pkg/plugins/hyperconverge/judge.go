package hyperconverge

import (
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// storagePodPrefix begins the names of the storage system's own CSI pods (F11).
const storagePodPrefix = "px-csi-ext"

// judge turns a pod into a decision. It reads listers and the index, waits for
// nothing and changes nothing.
type judge struct {
	claims   *claims.Finder
	index    *volumes.Index
	machines *machines
	// grace is how long a pod is held back for a volume that was bound a moment
	// ago (docs/behaviour.md, section 7).
	grace time.Duration
	tiers placement.TierScores
}

// decision is what is decided about a pod before any node is looked at. It is
// immutable, and everything in it belongs to one view of the nodes.
type decision struct {
	view *volumes.View
	// concerned is false for pods that are none of our business unless they are
	// rejected (F1).
	concerned bool
	// plan is nil when the pod is rejected on all nodes, or not concerned.
	plan      *placement.Plan
	rejection *placement.Rejection
	// heldUntil is set when the rejection lasts only until then (unknown volumes).
	heldUntil time.Time
	// handles are the volumes that the decision depends on.
	handles []string
	// unknown are the volumes that were left out of the plan because their replicas
	// are not known.
	unknown []unknownVolume
	// wanted are the handles whose replicas are not known: the index is to have them
	// inspected next.
	wanted []string
	// complaints are what users wrote and cannot be taken as written.
	complaints []complaint
}

// unknownVolume is a volume whose replicas are not known.
type unknownVolume struct {
	name string
	// stale tells that they once were.
	stale bool
}

// complaint is a problem with the object on which it was found.
type complaint struct {
	object  runtime.Object
	problem placement.Problem
}

func (d *decision) complain(object runtime.Object, problems ...placement.Problem) {
	for _, p := range problems {
		d.complaints = append(d.complaints, complaint{object: object, problem: p})
	}
}

func (d *decision) reject(reason, blame string) *decision {
	d.rejection = &placement.Rejection{Reason: reason, Blame: blame}
	return d
}

// verdict is what the filter rules say of a node, by its name.
func (d *decision) verdict(node string) placement.Verdict {
	return d.plan.Verdict(d.view.Node(node))
}

// concerned reports whether the pod has a volume of the driver, or is one of the
// storage system's own pods (F11). All other pods are skipped (F1), unless F2 or
// F3 turns them down.
func concerned(pod *v1.Pod, found []claims.Claim) bool {
	for i := range found {
		if found[i].Driver != "" {
			return true
		}
	}
	return isStoragePod(pod)
}

func isStoragePod(pod *v1.Pod) bool { return strings.HasPrefix(pod.Name, storagePodPrefix) }

// broken returns the reason of F3, or nothing. A lost claim of another driver is
// left to that driver; where the driver cannot be told, the pod cannot run.
func broken(c *claims.Claim) string {
	switch c.State {
	case claims.ClaimMissing:
		return placement.ReasonClaimMissing
	case claims.ClaimNotOwned:
		return placement.ReasonClaimNotOwned
	case claims.ClaimLost:
		if c.Driver != "" || c.Class == nil {
			return placement.ReasonClaimLost
		}
	}
	return ""
}

// of judges a pod as it stands.
func (j *judge) of(pod *v1.Pod) *decision { return j.decide(pod, j.claims.Of(pod)) }

// decide judges a pod by its claims.
func (j *judge) decide(pod *v1.Pod, found []claims.Claim) *decision {
	d := &decision{view: j.index.View(), concerned: concerned(pod, found)}
	if isStoragePod(pod) {
		d.plan, d.rejection = placement.NewPlan(placement.Pod{StoragePod: true}, j.tiers)
		return d
	}
	for i := range found {
		c := &found[i]
		if reason := broken(c); reason != "" {
			return d.reject(reason, c.String())
		}
		restoring, problem := placement.Restoring(c.Annotations())
		if problem != nil {
			d.complain(c.PVC, *problem)
		}
		if restoring {
			return d.reject(placement.ReasonRestoring, c.String())
		}
	}
	if !d.concerned {
		return d
	}

	policy, problems := placement.PodPolicyOf(pod.Annotations)
	d.complain(pod, problems...)
	p := placement.Pod{
		PodPolicy: policy,
		Machine:   j.machines.of(pod),
		Volumes:   make([]placement.Volume, 0, len(found)),
	}
	d.handles = make([]string, 0, len(found))
	heldBy := ""
	for i := range found {
		c := &found[i]
		if c.Driver == "" || (c.Handle != "" && slices.Contains(d.handles, c.Handle)) {
			continue // of another driver, or a volume that is there already
		}
		var entry volumes.Entry
		if c.Handle != "" {
			d.handles = append(d.handles, c.Handle)
			entry = j.index.Lookup(c.Handle)
		}
		v := j.volumeOf(d, pod, c, &entry)
		if c.Handle != "" || v.Windows {
			p.Volumes = append(p.Volumes, v)
		}
		if v.Unknown {
			if until := j.missing(d, c.Handle, entry.FirstSeen, &p, &v); until.After(d.heldUntil) {
				d.heldUntil, heldBy = until, v.Name
			}
		}
	}
	if heldBy != "" {
		return d.reject(placement.ReasonVolumeUnknown, heldBy)
	}
	d.plan, d.rejection = placement.NewPlan(p, j.tiers)
	return d
}

// volumeOf is the volume of a claim of the driver, with what the index knows of
// it. A volume that is not bound has nothing but wishes.
func (j *judge) volumeOf(d *decision, pod *v1.Pod, c *claims.Claim, entry *volumes.Entry) placement.Volume {
	v := placement.Volume{Name: c.String()}
	sources := placement.Sources{Claim: c.Annotations(), Class: c.Parameters()}
	var traits placement.Traits
	if c.Handle != "" {
		v.Stale = entry.Freshness == volumes.Stale
		v.Unknown = v.Stale || entry.Volume == nil
	}
	if stored := entry.Volume; stored != nil {
		// Replicas move. What kind of volume it is does not change by itself, so that
		// it is believed however old it is.
		sources.Volume = stored
		traits = placement.Traits{Service: stored.Service(), Direct: stored.Direct(), Windows: stored.Winshare()}
		if !v.Unknown {
			v.Sets = replicaSets(d.view, stored)
			if ref, attached := stored.Attached(); attached {
				v.Attached, _ = d.view.Holder(ref)
			}
		}
	}
	var problems []placement.Problem
	v.Policy, problems = placement.PolicyOf(traits, sources)
	for _, p := range problems {
		d.complain(bearer(pod, c, p.Origin), p)
	}
	return v
}

// bearer is the object on which a problem with a volume is told: the claim or the
// StorageClass that has the value. A volume is no object of Kubernetes: what its
// labels alone say is told on its claim, or on the pod if there is none.
func bearer(pod *v1.Pod, c *claims.Claim, origin placement.Origin) runtime.Object {
	switch {
	case origin == placement.FromClass:
		return c.Class
	case c.PVC != nil:
		return c.PVC
	default:
		return pod
	}
}

// missing deals with a volume whose replicas are not known. It returns the time
// until which the pod is held back for it, zero if it is not.
func (j *judge) missing(d *decision, handle string, firstSeen time.Time, p *placement.Pod, v *placement.Volume) time.Time {
	now := time.Now()
	d.wanted = append(d.wanted, handle)
	if firstSeen.IsZero() {
		firstSeen = now // the index is about to follow it
	}
	if v.Kind == placement.Neutral || (p.Off && !p.Strict) {
		return time.Time{} // its replicas have no say
	}
	if until := firstSeen.Add(j.grace); !p.Strict && !v.Stale && now.Before(until) {
		return until
	}
	d.unknown = append(d.unknown, unknownVolume{name: v.Name, stale: v.Stale})
	return time.Time{}
}

// replicaSets resolves the replicas of a volume to nodes of the view.
func replicaSets(view *volumes.View, stored *volumes.Volume) []placement.ReplicaSet {
	sets := make([]placement.ReplicaSet, stored.NumSets())
	for i := range sets {
		refs := stored.Set(i)
		set := make(placement.ReplicaSet, len(refs))
		for k, ref := range refs {
			set[k].Node, set[k].State = view.Holder(ref)
		}
		sets[i] = set
	}
	return sets
}
