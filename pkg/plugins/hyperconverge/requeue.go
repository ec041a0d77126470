package hyperconverge

import (
	"context"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// How a change comes to a pod that waits:
//
//	changed, observe         note what may have changed for whom (backlog)
//	decide                   decides anew, and compares with the baseline
//	conclude                 makes that the baseline, and schedules the pod if it
//	                         fares better or would be told something else (agenda)
//	activateScheduled        activates, at a limited rate (activate.go)
//
// Whatever was decided is the next baseline, better or not, so that a pod is
// activated once for each improvement, and not again by every change if another plugin
// keeps it from coming through PreFilter. Improvements that come and go, such as those of
// storage that flaps, activate it at intervals that grow.
//
// A pod that is in a scheduling cycle when it is activated is not lost: the scheduling
// queue notes that for the pod, tries it again when it comes back, and lets it wait out
// its backoff only while other pods are there to be tried.

const (
	// batchSize bounds what is looked at in one go under the lock.
	batchSize = 64
	// openingsKept bounds the memory of nodes that have opened.
	openingsKept = 1024
)

// backlog is what has to be looked at.
type backlog struct {
	// rechecks are single pods.
	rechecks []*waitingPod
	// changes are volumes that have changed, oldest first.
	changes []volumeChange
	// walked is the last change that concerns all pods and that the walk under way
	// began after; latest is the last one of all. cursor is how many pods of the list
	// are left of the walk.
	walked, latest uint64
	cursor         int
	openings       openings
}

// volumeChange is a change of the index, as far as it is about volumes.
type volumeChange struct {
	number  uint64
	handles []string
	// ring has the pods of the volume at work, and left is how many of them are to
	// come.
	ring *podRing[waitingPod]
	left int
}

// openings are the nodes that have become feasible for some pod, by the number of the
// change. A list is not changed, but it is appended to.
type openings struct {
	list []opening
	// forgotten is the number of the last one that is not there any more.
	forgotten uint64
}

type opening struct {
	number uint64
	volumes.NodeChange
}

// changed takes a change of the index. It is called by the index and returns at once.
func (w *waitingPods) changed(change volumes.Change) {
	opened, matters, sites := opened(change.Nodes)
	matters = matters || change.Cluster
	if !matters && !sites && len(change.Volumes) == 0 {
		return // no decision depends on it
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	number := w.received.Add(1)
	w.openings.add(number, opened)
	if len(change.Volumes) > 0 && len(w.pods) > 0 {
		w.changes = append(w.changes, volumeChange{number: number, handles: change.Volumes})
	}
	if matters || sites && w.ruled > 0 {
		w.latest = number
	}
	w.notifyRun()
}

// strategiesChanged has all pods decided about anew: a required rule of a placement strategy
// may have kept them off some node (F15), or what their claims name may be gone.
func (w *waitingPods) strategiesChanged() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latest = w.received.Add(1)
	w.strategyChange = w.latest
	w.notifyRun()
}

// opened returns the changes that may make a node feasible, and whether any of all
// changes can alter a decision: topology alone cannot. Sites says that the rules of
// placement strategies may see a node in another way, which matters to few pods.
func opened(changes []volumes.NodeChange) (opened []volumes.NodeChange, matters, sites bool) {
	for _, c := range changes {
		if c.Old != nil && c.New != nil && c.Old.State == c.New.State && c.Old.Unschedulable == c.New.Unschedulable {
			if !c.Old.SameSite(c.New) {
				sites = true
				opened = append(opened, c)
			}
			continue
		}
		matters = true
		if c.New != nil && (c.Old == nil || c.Old.Unschedulable && !c.New.Unschedulable || !c.Old.State.Serves() && c.New.State.Serves()) {
			opened = append(opened, c)
		}
	}
	return opened, matters, sites
}

func (o *openings) add(number uint64, changes []volumes.NodeChange) {
	for _, c := range changes {
		o.list = append(o.list, opening{number: number, NodeChange: c})
	}
	if surplus := len(o.list) - openingsKept; surplus > 0 {
		surplus += openingsKept / 2 // not at every turn
		surplus = min(surplus, len(o.list))
		o.forgotten = o.list[surplus-1].number
		o.list = append([]opening(nil), o.list[surplus:]...)
	}
}

// recheck queues a pod to be decided about anew. The caller holds the lock.
func (w *waitingPods) recheck(p *waitingPod) {
	if !p.rechecked {
		p.rechecked = true
		w.rechecks = append(w.rechecks, p)
		w.notifyRun()
	}
}

// notifyRun starts another round of run.
func (w *waitingPods) notifyRun() {
	select {
	case w.signal <- struct{}{}:
	default: // a round is due already
	}
}

// run decides about pods and activates them until the context ends.
func (w *waitingPods) run(ctx context.Context) {
	logger := klog.FromContext(ctx)
	var last time.Time
	for ctx.Err() == nil {
		// Of many pods, first those are found that go first.
		if more := w.compareBatch(); more && time.Since(last) < activationInterval {
			continue
		} else if more {
			w.notifyRun()
		}
		next := w.activateScheduled(logger)
		last = time.Now()
		var due <-chan time.Time
		if !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
		case <-w.signal:
		case <-due:
		}
	}
}

// compareBatch decides about some of the pods that the changes may concern, and reports
// whether there are more. It decides without the lock: PreFilter must not wait.
func (w *waitingPods) compareBatch() (more bool) {
	w.mu.Lock()
	batch, more := w.take()
	w.mu.Unlock()
	for i := range batch {
		c := &batch[i]
		w.decide(c)
		if c.strategies {
			w.complain(c.decision)
		}
		w.mu.Lock()
		if !w.conclude(c) && w.waits(c.waitingPod) {
			w.recheck(c.waitingPod) // somebody else was faster, who may have seen less
		}
		w.mu.Unlock()
	}
	return more
}

// comparison is one pod whose decision of now is to be compared with its baseline.
type comparison struct {
	*waitingPod
	pod      *v1.Pod
	baseline *baseline
	// since and openings are as the list had them when the comparison began.
	since    uint64
	openings openings
	// strategies says that a placement strategy has changed since the baseline.
	strategies bool

	// decision is the one of now, improved whether the pod fares better by it, and
	// next what later decisions are to be compared with.
	decision *decision
	improved bool
	next     *baseline
}

func (w *waitingPods) compare(p *waitingPod) comparison {
	return comparison{waitingPod: p, pod: p.pod, baseline: p.baseline, since: w.received.Load(), openings: w.openings,
		strategies: p.baseline.since < w.strategyChange}
}

// take takes a batch off the backlog: single pods first, then those of volumes, then
// all others. A pod that has seen a change already is left out.
func (w *waitingPods) take() (batch []comparison, more bool) {
	w.takeDue(time.Now())
	for steps := 0; steps < batchSize; steps++ {
		p, behind, found := w.next()
		if !found {
			return batch, false
		}
		if p != nil && w.waits(p) && p.baseline.since < behind {
			batch = append(batch, w.compare(p))
		}
	}
	return batch, true
}

// next is one step through the backlog: a pod, which may be nil, and the number of the
// change for which it is to be decided about anew, unless it has seen that.
func (w *waitingPods) next() (p *waitingPod, behind uint64, found bool) {
	switch {
	case len(w.rechecks) > 0:
		p, w.rechecks = w.rechecks[0], tail(w.rechecks)
		p.rechecked = false
		return p, ^uint64(0), true
	case len(w.changes) > 0:
		c := &w.changes[0]
		if c.left > 0 && c.ring.size > 0 {
			c.left--
			p, c.ring.next = c.ring.next.pod, c.ring.next.next
			return p, c.number, true
		}
		if len(c.handles) == 0 {
			w.changes = tail(w.changes)
			return nil, 0, true
		}
		c.ring, c.left = w.byHandle[c.handles[0]], 0
		if c.ring != nil {
			c.left = c.ring.size
		}
		c.handles = c.handles[1:]
		return nil, 0, true
	}
	// From the end to the start: a pod that leaves is replaced by the last one, and
	// those that come in the meantime have seen the change.
	if w.cursor = min(w.cursor, len(w.list)); w.cursor == 0 {
		if w.walked == w.latest {
			return nil, 0, false
		}
		w.walked, w.cursor = w.latest, len(w.list)
		return nil, 0, true
	}
	w.cursor--
	return w.list[w.cursor], w.walked, true
}

// tail is a list without its first element, and lets go of the array behind it when
// nothing is left.
func tail[T any](list []T) []T {
	if len(list) == 1 {
		return nil
	}
	return list[1:]
}

// decide decides about a pod anew, without the lock. It requests no volumes: PreFilter
// has done that.
func (w *waitingPods) decide(c *comparison) {
	c.decision = w.decider.decide(c.pod, w.decider.claimsOf(c.pod), w.decider.index.Lookup, time.Now())
	c.improved = c.improves()
	c.next = newBaseline(c.decision, c.since)
}

// conclude makes what was decided the baseline, and schedules the pod if it is to be tried
// again. It is not valid if the pod has another baseline by now, or waits no more. The
// caller holds the lock.
func (w *waitingPods) conclude(c *comparison) (valid bool) {
	p := c.waitingPod
	if p.baseline != c.baseline || !w.waits(p) {
		return false
	}
	// One that the index had no room for is requested again: the index tells when it has.
	if handles := c.decision.handles; !slices.Equal(p.handles, handles) || len(p.requested) < len(handles) {
		requests := requests{index: w.decider.index}
		for _, handle := range handles {
			requests.request(handle)
		}
		w.release(p.requested)
		p.requested = requests.followed(handles)
	}
	w.rebase(p, c.next, c.decision.handles)
	rejected := p.baseline.rejected()
	switch {
	case !rejected && (c.improved || p.queue == &w.helped.podHeap || p.queue == &w.early):
		w.schedule(p, w.help(p, time.Now()))
	// At the end of the grace period the pod is tried anyway.
	case rejected && p.baseline.heldUntil.IsZero() && p.told.Reason != "" && p.told != p.baseline.rejection:
		w.schedule(p, &w.outdated.podHeap)
	default:
		w.schedule(p, w.grace(p))
	}
	return true
}

// improves reports whether the pod fares better than by its baseline: it is no longer
// rejected everywhere, or may have a node that storage had ruled out.
func (c *comparison) improves() bool {
	d, was := c.decision, c.baseline
	if d.Rejection != nil {
		return false
	}
	if was.rejected() {
		return true
	}
	if !d.Concerned {
		return was.concerned // PreFilter will see that it waits for nothing
	}
	nodes, confined := d.Plan.Confined()
	if was.confined && !confined || !was.anywhere && d.Plan.Verdict(nil) == placement.Feasible {
		return true
	}
	if was.confined {
		for _, n := range nodes {
			if d.Plan.Verdict(n) == placement.Feasible && !contains(was.open, n.Name) {
				return true
			}
		}
		return false
	}
	for _, name := range was.forbidden {
		if d.verdict(name) == placement.Feasible {
			return true
		}
	}
	return c.admitted() || c.opens()
}

// admitted reports whether the rules of new volumes leave the pod a node that those of
// the baseline did not.
func (c *comparison) admitted() bool {
	was, d := c.baseline.required, c.decision
	if len(was) == 0 || slices.Equal(was, d.Plan.Required()) {
		return false
	}
	for n := range d.view.All() {
		if excludes(was, n) && d.Plan.Verdict(n) == placement.Feasible {
			return true
		}
	}
	return false
}

func excludes(rules []*placement.StrategyRules, n *placement.Node) bool {
	return slices.ContainsFunc(rules, func(r *placement.StrategyRules) bool { return r.Excludes(n) })
}

// opens reports whether a node has opened since the baseline that is feasible now. A
// new node counts whatever the baseline says of it.
func (c *comparison) opens() bool {
	d := c.decision
	for i := len(c.openings.list) - 1; i >= 0 && c.openings.list[i].number > c.baseline.since; i-- {
		o := &c.openings.list[i]
		if d.verdict(o.New.Name) == placement.Feasible && (o.Old == nil || d.Plan.Verdict(o.Old) != placement.Feasible) {
			return true
		}
	}
	return c.baseline.since < c.openings.forgotten
}

// reconsider has a pod decided about anew, and reports whether it is known. It is called
// under the lock of the scheduling queue, for each pod that an event may concern, so that
// it decides nothing itself.
func (w *waitingPods) reconsider(uid types.UID) (known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, waits := w.pods[uid]
	if waits {
		w.recheck(p)
	}
	return waits
}

// baselineOf returns what a pod is compared with, nil for a pod that is not known.
func (w *waitingPods) baselineOf(uid types.UID) *baseline {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p, waits := w.pods[uid]; waits {
		return p.baseline
	}
	return nil
}
