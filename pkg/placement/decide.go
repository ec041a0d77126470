package placement

import (
	"strconv"
	"strings"
	"time"
)

// ClaimState says how far a pod's volume has come on its way to a volume handle.
type ClaimState uint8

const (
	// ClaimBound has a PV, or needs none (in-tree volume in the pod).
	ClaimBound ClaimState = iota
	// ClaimUnbound has no PV yet.
	ClaimUnbound
	// ClaimMissing means that the PVC does not exist.
	ClaimMissing
	// ClaimNotOwned means that the PVC of a generic ephemeral volume exists, but
	// was not made for this pod.
	ClaimNotOwned
	// ClaimLost means that the PVC names a PV that does not exist or belongs to
	// another claim.
	ClaimLost
	// ClaimInline is a CSI inline volume of the driver: it has no replicas to be near
	// to, but needs a node that runs the driver.
	ClaimInline
	// ClaimInvalid is an in-tree volume in the pod whose id is longer than any that
	// storage has.
	ClaimInvalid
)

// MaxVolumes is how many volumes of the driver a pod may have (F12). A node of the
// storage system takes a few hundred; what is beyond that is a mistake, or meant to
// keep the scheduler busy.
const MaxVolumes = 1024

// PodClaim is what the rules F1 to F3, F12 and F13 need to know of one claim of a pod.
type PodClaim struct {
	// Name is what messages call it.
	Name  string
	State ClaimState
	// Ours is set for volumes of the driver.
	Ours bool
	// HasClass tells that the StorageClass of the claim is known.
	HasClass bool
	// Restoring is what Restoring reports of the claim's annotations.
	Restoring bool
}

// storagePodPrefix begins the names of the storage system's own CSI pods (F11).
const storagePodPrefix = "px-csi-ext"

// IsStoragePod tells the storage system's own CSI pods by their name (F11).
func IsStoragePod(name string) bool { return strings.HasPrefix(name, storagePodPrefix) }

// Settings are what an administrator decides about placement.
type Settings struct {
	Tiers Tiers
	// Wait is how long soft pods wait for a replica node that do not say it themselves (F16);
	// 0 for not at all.
	Wait time.Duration
	// Grace is how long a pod is held back for a volume that was bound a moment ago
	// (section 7).
	Grace time.Duration
}

// Decision is all that is decided about a pod before a node is looked at.
type Decision struct {
	// Concerned is false for pods that are none of our business (F1).
	Concerned bool
	// Plan is nil when the pod is rejected on all nodes, or not concerned.
	Plan *Plan
	// Rejection turns the pod down on all nodes.
	Rejection *Rejection
	// HeldUntil is set when the rejection lasts only until then, unless the replicas
	// become known before (section 7).
	HeldUntil time.Time
	// WaitsUntil is set while the pod waits for a replica node (F16).
	WaitsUntil time.Time
	// Ignored are the volumes that were left out of the plan although they should
	// have a say, because their replicas are not known (section 7).
	Ignored []*Volume
}

// Decide applies the rules F1 to F16 and section 7 to a pod.
//
// The pod's volumes are kept, not copied, and must not be changed afterwards.
func Decide(pod *Pod, settings *Settings, now time.Time) Decision {
	d := Decision{Concerned: pod.StoragePod || concerns(pod.Claims)}
	if !pod.StoragePod {
		if d.Rejection = rejectionOf(pod.Claims); d.Rejection != nil {
			return d
		}
	}
	if !d.Concerned {
		return d
	}
	if !pod.StoragePod {
		if d.hold(pod, settings.Grace, now); d.Rejection != nil {
			return d
		}
	}
	if d.Plan, d.Rejection = NewPlan(*pod, settings.Tiers); d.Plan != nil {
		d.wait(pod, settings, now)
	}
	return d
}

// concerns is F1: only pods with volumes of the driver are our business.
func concerns(claims []PodClaim) bool {
	for i := range claims {
		if claims[i].Ours {
			return true
		}
	}
	return false
}

// rejectionOf applies the rules about claims in the order of the pod: a pod is told
// of the first that stands in its way.
func rejectionOf(claims []PodClaim) *Rejection {
	ours := 0
	for i := range claims {
		if claims[i].Ours {
			ours++
		}
	}
	if ours > MaxVolumes { // F12
		return &Rejection{Reason: ReasonTooManyVolumes, Blame: strconv.Itoa(MaxVolumes) + " at most"}
	}
	for i := range claims {
		if reason := claims[i].objection(); reason != "" {
			return &Rejection{Reason: reason, Blame: claims[i].Name}
		}
	}
	return nil
}

// objection is F2, F3 and F13, or nothing. A lost claim of another driver is left to
// that driver; where the driver cannot be told, the pod cannot run.
func (c *PodClaim) objection() string {
	switch {
	case c.State == ClaimMissing:
		return ReasonClaimMissing
	case c.State == ClaimNotOwned:
		return ReasonClaimNotOwned
	case c.State == ClaimLost && (c.Ours || !c.HasClass):
		return ReasonClaimLost
	case c.State == ClaimInvalid:
		return ReasonHandleInvalid
	case c.Restoring:
		return ReasonRestoring
	}
	return ""
}

// insistsOn reports whether the pod runs on replica nodes of the volume only (F6, F14).
func (p *Pod) insistsOn(v *Volume) bool { return v.Kind == Near && (p.Strict || v.Fast) }

// hold is the grace period of section 7: a pod waits a moment for the replicas of
// volumes that were bound just now and of the sources of new ones, and goes without them
// afterwards. Volumes whose replicas have no say hold nobody, nor do those that the index
// does not follow.
func (d *Decision) hold(pod *Pod, grace time.Duration, now time.Time) {
	holder := ""
	wait := func(name string, since time.Time) bool {
		until := since.Add(grace)
		if since.IsZero() || !now.Before(until) {
			return false
		}
		if until.After(d.HeldUntil) {
			d.HeldUntil, holder = until, name
		}
		return true
	}
	for i := range pod.Volumes {
		v := &pod.Volumes[i]
		if !v.Unknown || v.Kind == Neutral || pod.Off && !pod.Strict && !v.Fast {
			continue
		}
		if pod.Strict || v.Fast || v.Stale || !wait(v.Name, v.FirstSeen) {
			d.Ignored = append(d.Ignored, v)
		}
	}
	for i := range pod.Expected {
		if e := &pod.Expected[i]; e.Source == nil && e.Kind == Near && (!pod.Off || pod.Strict || e.Fast) {
			wait(e.Name, e.UnknownSince)
		}
	}
	if holder != "" {
		d.Rejection = &Rejection{Reason: ReasonVolumeUnknown, Blame: holder}
	}
}
