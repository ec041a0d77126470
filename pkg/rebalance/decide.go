package rebalance

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// HomePlan is what a look at the cluster comes to. A candidate is a pod whose locality is remote
// or partly; each is in one of the two lists.
type HomePlan struct {
	// Held is why nothing goes now, whatever else is decided; Detail says more.
	Held   StayReason
	Detail string
	// Moves are the pods that would land nearer, in the order in which they go.
	Moves []Move
	// Kept are the candidates that stay.
	Kept []Kept
}

// Move is a pod that goes home.
type Move struct {
	Pod *RunningPod
	Landing
	// Now says that the budgets and the owner allow it at once. What is false goes later,
	// if it still helps then.
	Now bool
}

// Kept is a candidate that stays.
type Kept struct {
	Pod    *RunningPod
	Reason StayReason
	// Detail names the volume or what else the reason is about; may be empty.
	Detail string
}

// Memory is what simulations have found before, so that a cluster with many pods that find
// no room at home does not pay for all of them at every look: UID → what was found. Nil
// remembers nothing.
type Memory map[types.UID]Finding

// Finding is a simulation that has spoken against a move.
type Finding struct {
	At     time.Time
	Reason StayReason
	Detail string
}

const (
	// simulations is how many landings are simulated at a look at most, unless all are
	// asked for.
	simulations = 100
	// looksRemembered is for how many intervals a Finding counts.
	looksRemembered = 10
	// maxGrace bounds how long one pod keeps a place of MaxConcurrent.
	maxGrace = time.Hour
)

// Demand says what Decide is asked for.
type Demand struct {
	// All has every candidate simulated that nothing else speaks against, for a report; the
	// moves that the budgets do not allow yet are in the plan then.
	All bool
	// Memory may be nil. Decide keeps it current.
	Memory Memory
}

// Decide decides about all pods. It asks the world about those that nothing cheaper speaks
// against, in their order, and stops when the budgets are spent. The journal is read only.
func Decide(now time.Time, c *Configuration, s *ClusterState, j *Journal, w World, demand Demand) *HomePlan {
	d := &decision{Demand: demand, now: now, c: c, s: s, j: j, w: w, owners: countByOwner(s), chosen: map[types.UID]bool{}, disruptions: map[string]int{}, plan: &HomePlan{}}
	maps.Copy(d.disruptions, s.Disruptions)
	d.plan.Held, d.plan.Detail = held(now, c, s, j)
	var eligible []*RunningPod
	seen := map[types.UID]bool{}
	for i := range s.Pods {
		p := &s.Pods[i]
		if p.Locality != placement.LocalityRemote && p.Locality != placement.LocalityPartly {
			continue
		}
		seen[p.UID] = true
		if reason, detail := d.cheap(p); reason != "" {
			d.keep(p, reason, detail)
		} else {
			eligible = append(eligible, p)
		}
	}
	for uid := range d.Memory {
		if !seen[uid] {
			delete(d.Memory, uid)
		}
	}
	slices.SortFunc(eligible, d.first)
	d.spend(eligible)
	slices.SortFunc(d.plan.Kept, func(a, b Kept) int {
		return cmp.Or(strings.Compare(a.Pod.Namespace, b.Pod.Namespace), strings.Compare(a.Pod.Name, b.Pod.Name))
	})
	return d.plan
}

type decision struct {
	Demand
	now    time.Time
	c      *Configuration
	s      *ClusterState
	j      *Journal
	w      World
	owners map[types.UID]*count
	// chosen are the owners of which a pod goes: one at a time.
	chosen map[types.UID]bool
	// disruptions are those of the state, less the pods that go.
	disruptions map[string]int
	// contested: node → the highest priority of a pending pod that would go there; nil
	// until it is known.
	contested map[string]int32
	plan      *HomePlan
}

func (d *decision) keep(p *RunningPod, reason StayReason, detail string) {
	d.plan.Kept = append(d.plan.Kept, Kept{Pod: p, Reason: reason, Detail: detail})
}

// held is what keeps all pods where they are.
func held(now time.Time, c *Configuration, s *ClusterState, j *Journal) (StayReason, string) {
	switch {
	case s.Paused:
		return Paused, ""
	case j.Halt != nil:
		return Halted, j.Halt.Message
	case len(s.Storage.Conditions) > 0:
		return StorageProblem, strings.Join(s.Storage.Conditions, ", ")
	case s.Storage.NodeList.IsZero():
		return NodeListOld, "it has never done so"
	case now.Sub(s.Storage.NodeList) > s.Storage.MaxAge:
		return NodeListOld, "the last time was " + now.Sub(s.Storage.NodeList).Round(time.Second).String() + " ago"
	case !c.Window.Open(now):
		return WindowClosed, ""
	case j.full():
		return JournalFull, ""
	default:
		return "", ""
	}
}

// Kinds of owners.
const (
	kindReplicaSet  = "ReplicaSet.apps"
	kindDeployment  = "Deployment.apps"
	kindStatefulSet = "StatefulSet.apps"
	kindController  = "ReplicationController"
	kindMachine     = "VirtualMachineInstance.kubevirt.io"
)

// Listed reports whether all owners of a kind are among the owners of a State as long as
// they are there: one that is not has been deleted.
func Listed(kind string) bool {
	return kind == kindReplicaSet || kind == kindDeployment || kind == kindStatefulSet || kind == kindController
}

// makesAnew reports whether an owner of the kind makes a pod anew, wherever there is room.
func (c *Configuration) makesAnew(kind string) bool {
	switch kind {
	case kindReplicaSet, kindDeployment, kindStatefulSet, kindController, kindMachine:
		return true
	default:
		return slices.Contains(c.OwnerKinds, kind)
	}
}

// cheap is what speaks against moving a pod without asking where it would land.
func (d *decision) cheap(p *RunningPod) (StayReason, string) {
	owner := d.s.Owners[p.Owner]
	switch {
	case d.s.system(p):
		return OfTheSystem, ""
	case p.Consent == Invalid:
		return OptInInvalid, ""
	case p.Consent == No, p.Consent == Unsaid && d.c.OptIn != OptInAll:
		return NotOptedIn, ""
	case p.Terminating:
		return Leaving, ""
	case p.Mirror, owner == nil:
		return NoOwner, ""
	case !d.c.makesAnew(owner.Kind):
		return OwnerKind, owner.Kind
	case owner.Gone:
		return OwnerGone, owner.Kind + " " + owner.Name
	case p.Foreign:
		return OtherScheduler, ""
	case p.Machine == Immovable, p.Machine == NoMachine && owner.Kind == kindMachine:
		return MachineStays, ""
	case p.LocalData && !d.c.AllowLocalData:
		return LocalData, ""
	case p.ReadySince.IsZero():
		return NotReady, ""
	case d.now.Sub(p.ReadySince) < d.c.MinAge.Duration:
		return TooYoung, "for " + d.now.Sub(p.ReadySince).Round(time.Second).String()
	case p.Grace > maxGrace && p.Machine == NoMachine: // a machine migrates while it runs
		return LongGrace, ""
	}
	if reason, volume := unquiet(p.Volumes); reason != "" {
		return reason, volume
	}
	if cooldown := d.j.cooldown(p.Owner); cooldown != nil && d.now.Before(cooldown.Until) {
		return CoolingDown, "until " + cooldown.Until.UTC().Format(time.RFC3339)
	}
	if d.j.underWay(p.Owner) || d.owners[p.Owner].busy(p, owner) {
		return OwnerBusy, ""
	}
	if !owner.Known && p.Machine == NoMachine && len(p.Budgets) == 0 {
		return NoBudget, owner.Kind
	}
	if budget := d.spent(p); budget != "" {
		return BudgetOfPods, budget
	}
	return "", ""
}

// spent is a PodDisruptionBudget that does not let the pod go, empty if there is none. KubeVirt
// makes one for each machine that allows nothing, ever, and migrates the machine instead.
func (d *decision) spent(p *RunningPod) string {
	if p.Machine == NoMachine && len(p.Budgets) > 1 { // the eviction API answers for one budget at the most
		return strings.Join(p.Budgets[:2], ", ") // a tenant may make thousands
	}
	for _, budget := range p.Budgets {
		if p.Machine == NoMachine && d.disruptions[budget] <= 0 {
			return budget
		}
	}
	return ""
}

// unquiet is the first volume that is not quiet.
func unquiet(volumes []VolumeState) (StayReason, string) {
	for i := range volumes {
		switch v := &volumes[i]; {
		case !v.Certain:
			return VolumeUnknown, v.Name
		case !v.AllOnline:
			return ReplicaDown, v.Name
		case v.Resyncing:
			return Resyncing, v.Name
		}
	}
	return "", ""
}

// count is how the pods of one owner are.
type count struct {
	pods, ready, leaving int
	// newest is when the youngest of them was made.
	newest time.Time
}

func countByOwner(s *ClusterState) map[types.UID]*count {
	owners := map[types.UID]*count{}
	for i := range s.Pods {
		p := &s.Pods[i]
		n := owners[p.Owner]
		if n == nil {
			n = &count{}
			owners[p.Owner] = n
		}
		n.pods++
		if p.Terminating {
			n.leaving++
		} else if !p.ReadySince.IsZero() {
			n.ready++
		}
		if p.Created.After(n.newest) {
			n.newest = p.Created
		}
	}
	return owners
}

// busy reports whether any pod of an owner but p, which is ready, is not as it should be, or
// the successor would be another pod than p. Of a pod too many p may be the one that is kept. A
// machine that has two pods is migrating.
func (n *count) busy(p *RunningPod, o *Owner) bool {
	return n.ready < n.pods || n.leaving > 0 || o.Unplaced > 0 || o.Known && n.ready != o.Wanted || p.Machine != NoMachine && n.pods > 1 ||
		o.Changing || p.Outdated
}

// first is the order in which pods go: remote ones before those that have a part of their
// data, then the more important, then those that have run far from it for longest. Those
// against which a simulation has spoken come after the others, unless a report is made.
func (d *decision) first(a, b *RunningPod) int {
	spoken := 0
	if !d.All {
		spoken = d.Memory[a.UID].At.Compare(d.Memory[b.UID].At)
	}
	return cmp.Or(spoken, cmp.Compare(b.Locality, a.Locality), cmp.Compare(b.Priority, a.Priority), a.ReadySince.Compare(b.ReadySince),
		strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// spend asks the world about pods in their order until the budgets are spent.
func (d *decision) spend(eligible []*RunningPod) {
	places := min(d.c.Budgets.MaxConcurrent-len(d.j.Evictions), d.c.Budgets.MaxPerHour-d.j.withinHour(d.now))
	if d.plan.Held != "" {
		places = 0
	}
	asked := 0
	for _, p := range eligible {
		old, known := d.Memory[p.UID]
		remembered := known && d.now.Sub(old.At) < looksRemembered*d.c.Interval.Duration
		switch {
		case d.All:
		case d.plan.Held != "":
			d.keep(p, d.plan.Held, d.plan.Detail)
			continue
		case remembered:
			d.keep(p, old.Reason, old.Detail)
			continue
		case places <= 0, d.chosen[p.Owner], d.spent(p) != "", asked == simulations:
			d.keep(p, WaitsForTurn, "")
			continue
		}
		asked++
		landing, reason, detail := d.land(p)
		if reason != "" {
			d.keep(p, reason, detail)
			if d.Memory != nil {
				d.Memory[p.UID] = Finding{At: d.now, Reason: reason, Detail: detail}
			}
			continue
		}
		delete(d.Memory, p.UID)
		atOnce := places > 0 && !d.chosen[p.Owner] && d.spent(p) == ""
		if atOnce {
			places--
			d.chosen[p.Owner] = true
			for _, budget := range p.Budgets {
				d.disruptions[budget]--
			}
		}
		d.w.Keep(p, &landing)
		d.plan.Moves = append(d.plan.Moves, Move{Pod: p, Landing: landing, Now: atOnce})
	}
}

// land simulates the successor of a pod, and compares.
func (d *decision) land(p *RunningPod) (landing Landing, reason StayReason, detail string) {
	if d.contested == nil {
		d.contested = landPending(d.w, d.s)
	}
	landing, err := d.w.Land(p)
	switch {
	case err != nil:
		return landing, Unsimulated, err.Error()
	case landing.Node == "":
		return landing, NoRoom, landing.Message
	case !landing.Nearer():
		return landing, NotNearer, "it would go to " + landing.Node
	}
	for _, node := range append([]string{landing.Node}, landing.Equals...) {
		if priority, contested := d.contested[node]; contested && priority > p.Priority {
			return landing, PendingFirst, "on " + node
		}
	}
	return landing, "", ""
}

// Nearer reports whether the landing is worth an eviction: better by one tier at least, on
// the worst of the nodes that may come of it.
func (l *Landing) Nearer() bool { return l.After > l.Before && l.After >= l.Needed }

// landPending finds where the most important pending pods would go, each beside those before
// it, and has them stand there.
func landPending(w World, s *ClusterState) map[string]int32 {
	contested := map[string]int32{}
	for i := range s.Pending {
		p := &s.Pending[i]
		// One that cannot be simulated cannot be scheduled either.
		if node, err := w.LandPending(p); err == nil && node != "" {
			contested[node] = max(contested[node], p.Priority)
			w.KeepPending(p, node)
		}
	}
	return contested
}
