package hyperconverge

import (
	"maps"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"

	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/strategies"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

const (
	// candidatesKept is for how many rules the nodes are remembered.
	candidatesKept = 256
	// peersLooked bounds the volumes that the rules of one pod's strategies are compared with.
	peersLooked = 1024
)

// newVolumes tells what may be expected of volumes that do not exist yet (section 12).
type newVolumes struct {
	store    *strategies.Store
	bookings *bookings
	// candidates are the nodes for rules, by candidatesKey; nil where only verdicts are asked
	// for, which depend on rules alone.
	candidates *lru.Cache
}

// brief tells no more than verdicts need. It is for who decides about a great many pods:
// tenants can have each of them look at all nodes in its own way, by templates.
func (p *newVolumes) brief() *newVolumes { return &newVolumes{store: p.store, bookings: p.bookings} }

type candidatesKey struct {
	rules *placement.StrategyRules
	view  uint64
}

func makeNewVolumes(store *strategies.Store, bookings *bookings) *newVolumes {
	return &newVolumes{store: store, bookings: bookings, candidates: lru.New(candidatesKept)}
}

// expect gathers what can be told of the volume of a claim that is not bound.
func (dec *decider) expect(d *decision, pod *v1.Pod, c *claims.Claim, policy placement.Policy, look lookup) {
	if dec.newVolumes == nil || c.PVC == nil || len(d.pod.Expected) >= placement.MaxExpected {
		return
	}
	size := c.PVC.Spec.Resources.Requests[v1.ResourceStorage]
	e := placement.Expected{Name: c.String(), Policy: policy, Size: size.Value()}
	store := dec.newVolumes.store
	source, problem := store.Source(c.PVC)
	if source != nil {
		problem = dec.locateSource(d, &e, c.PVC, source, look)
	}
	if problem == nil && !strategies.IsCopy(c.PVC) {
		if e.Rules, problem = store.Rules(c.PVC, c.Parameters(), pod); e.Rules != nil {
			if dec.newVolumes.candidates != nil {
				e.Candidates = dec.newVolumes.candidatesFor(e.Rules, d.view)
				e.Peers = dec.peers(d, e.Rules)
			}
		}
	}
	if problem != nil {
		d.complain(c.PVC, *problem)
	}
	d.pod.Expected = append(d.pod.Expected, e)
}

// newTraits are what a class says of the kind of volume that it makes.
func newTraits(c *claims.Claim) placement.Traits {
	p := c.Parameters()
	return placement.Traits{
		Service: p["sharedv4_svc_type"] != "",
		Direct:  p["backend"] != "" || p["proxy_endpoint"] != "",
	}
}

// candidatesFor finds the nodes for rules, once for each view.
func (p *newVolumes) candidatesFor(rules *placement.StrategyRules, view *volumes.View) *placement.Candidates {
	key := candidatesKey{rules, view.Generation()}
	if kept, found := p.candidates.Get(key); found {
		if c, ok := kept.(*placement.Candidates); ok {
			return c
		}
	}
	c := placement.NewCandidates(rules, view.All())
	p.candidates.Add(key, c)
	return c
}

// locateSource fills in the volume that a new one is a copy of, if its replicas are known,
// or else since when they may come to be.
func (dec *decider) locateSource(d *decision, e *placement.Expected, pvc *v1.PersistentVolumeClaim, s *strategies.CopySource, look lookup) *placement.Problem {
	if s.Claim != "" {
		c := dec.claims.Claim(s.Namespace, s.Claim)
		switch {
		case c.State == placement.ClaimMissing:
			return strategies.SourceProblem(pvc, "does not exist")
		case c.State != placement.ClaimBound:
			return strategies.SourceProblem(pvc, "is not bound to a volume")
		case c.Driver == "":
			return strategies.SourceProblem(pvc, "is no volume of the storage driver")
		}
		dec.locateCopied(d, e, c.Handle, look)
		return nil
	}
	if !dec.claims.Ours(s.Driver) {
		return strategies.SourceProblem(pvc, "is no snapshot of the storage driver")
	}
	for _, handle := range s.Handles {
		if handle != "" && len(handle) <= claims.MaxHandle && e.Source == nil {
			dec.locateCopied(d, e, handle, look)
		}
	}
	return nil
}

// locateCopied makes a volume the source of a new one if the index knows its replicas.
func (dec *decider) locateCopied(d *decision, e *placement.Expected, handle string, look lookup) {
	if slices.Contains(d.handles, handle) {
		look = dec.index.Lookup // the pod has it already
	} else {
		d.handles = append(d.handles, handle)
	}
	entry := look(handle)
	switch {
	case entry.Volume == nil:
		// Whether there is a volume of a handle that no PV names is for storage to say.
		if entry.Claimed && entry.FirstSeen.After(e.UnknownSince) {
			e.UnknownSince = entry.FirstSeen
		}
	case entry.Freshness != volumes.Stale && entry.Volume.NumSets() > 0:
		e.Source = &placement.Volume{Name: handle}
		locate(e.Source, d.view, entry.Volume)
	}
}

// peers finds the volumes that rules about other volumes speak of. A rule of which not all
// can be found has no say.
func (dec *decider) peers(d *decision, rules *placement.StrategyRules) (peers []placement.Peers) {
	for anti, list := range [...][]placement.StrategyRule{rules.VolumeAffinity, rules.VolumeAntiAffinity} {
		for i := range list {
			p := placement.Peers{Rule: &list[i], Anti: anti == 1}
			found, all := dec.newVolumes.store.Matches(p.Rule)
			if d.peers += len(found); !all || d.peers > peersLooked {
				continue
			}
			for _, pvc := range found {
				dec.holders(d, pvc, &p, &all)
			}
			if all && len(p.Nodes) > 0 {
				peers = append(peers, p)
			}
		}
	}
	return peers
}

// holders adds the nodes of a claim's volume. All becomes false if they are not known.
func (dec *decider) holders(d *decision, pvc *v1.PersistentVolumeClaim, p *placement.Peers, all *bool) {
	c := dec.claims.Claim(pvc.Namespace, pvc.Name)
	if c.Handle == "" {
		return // no volume yet, or none of ours
	}
	entry := dec.index.Lookup(c.Handle)
	if entry.Volume == nil {
		*all = false
		return
	}
	for i := range entry.Volume.NumSets() {
		for _, ref := range entry.Volume.Set(i) {
			switch node, _ := d.view.Holder(ref); {
			case node == nil:
				*all = *all && p.Rule.TopologyKey == "" // its labels are not known
			case !slices.Contains(p.Nodes, node):
				p.Nodes = append(p.Nodes, node)
			}
		}
	}
}

// bookings are the bytes that new volumes will take on the nodes that their pods have got,
// until storage has listed its nodes since.
type bookings struct {
	// linger is how long a booking counts after the pod has been bound.
	linger time.Duration

	mu    sync.Mutex
	byPod map[types.UID]*booking
}

type booking struct {
	node  string
	bytes int64
	until time.Time // zero while the pod is being bound
}

func newBookings(linger time.Duration) *bookings {
	return &bookings{linger: linger, byPod: map[types.UID]*booking{}}
}

// book notes the new volumes of a pod that has got a node.
func (b *bookings) book(pod *v1.Pod, node string, expected []placement.Expected) {
	var bytes int64
	for i := range expected {
		bytes = placement.AddBytes(bytes, expected[i].Size)
	}
	if bytes == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.byPod[pod.UID] = &booking{node: node, bytes: bytes}
}

// bound has a booking end some time after the pod was bound: its volumes exist by now.
func (b *bookings) bound(uid types.UID, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if booked, found := b.byPod[uid]; found {
		booked.until = now.Add(b.linger)
	}
}

// cancel takes a booking back.
func (b *bookings) cancel(uid types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.byPod, uid)
}

// onNodes sums up what is booked for other pods, nil if nothing is.
func (b *bookings) onNodes(uid types.UID, now time.Time) (bytes map[string]int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.byPod, func(_ types.UID, booked *booking) bool { return !booked.until.IsZero() && now.After(booked.until) })
	for pod, booked := range b.byPod {
		if pod == uid {
			continue
		}
		if bytes == nil {
			bytes = make(map[string]int64, len(b.byPod))
		}
		bytes[booked.node] = placement.AddBytes(bytes[booked.node], booked.bytes)
	}
	return bytes
}
