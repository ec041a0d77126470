package hyperconverge

import (
	"context"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

const (
	// firstNudge is the time after which a pod that was woken and has not come
	// through PreFilter is woken again. The queue cannot activate a pod that is
	// in a scheduling cycle at that very moment, and does not say so.
	firstNudge = 100 * time.Millisecond
	// lastNudge bounds the doubling of that time.
	lastNudge = 5 * time.Second
)

// waitingPods are the pods that have been through PreFilter and are not placed
// yet, each with the decision that it got. A change in storage is no cluster
// event, so it is compared here with each decision: the pods that it helps go
// back into the active queue at once, and no others.
type waitingPods struct {
	clock    clock.WithTicker
	decide   func(*v1.Pod) *decision
	activate func(klog.Logger, map[string]*v1.Pod)

	mu sync.Mutex
	// pods: UID of a pod → what it waits with.
	pods map[types.UID]*waitingPod
	// change collects what the index tells until run has looked at it.
	change indexChange
	// signal holds one token while there is something for run to look at.
	signal chan struct{}
}

// waitingPod is one pod between two scheduling attempts, or in one.
type waitingPod struct {
	pod *v1.Pod
	// decision is nil while PreFilter is at work.
	decision *decision
	// missed collects the changes that came in that time.
	missed indexChange
	// nudgeAt is when to wake the pod (again); zero if nothing has helped it yet.
	nudgeAt time.Time
	nudge   time.Duration
}

// indexChange is a set of changes of the index.
type indexChange struct {
	// volumes are handles, nodes are names of Kubernetes nodes.
	volumes map[string]struct{}
	nodes   map[string]struct{}
	// cluster is set when the age of all data changed its meaning.
	cluster bool
}

func (c *indexChange) empty() bool { return len(c.volumes) == 0 && len(c.nodes) == 0 && !c.cluster }

func (c *indexChange) add(other *indexChange) {
	c.volumes = union(c.volumes, other.volumes)
	c.nodes = union(c.nodes, other.nodes)
	c.cluster = c.cluster || other.cluster
}

func union(to, from map[string]struct{}) map[string]struct{} {
	if to == nil && len(from) > 0 {
		to = make(map[string]struct{}, len(from))
	}
	for key := range from {
		to[key] = struct{}{}
	}
	return to
}

func newWaitingPods(clock clock.WithTicker, decide func(*v1.Pod) *decision, activate func(klog.Logger, map[string]*v1.Pod)) *waitingPods {
	return &waitingPods{
		clock: clock, decide: decide, activate: activate,
		pods:   make(map[types.UID]*waitingPod),
		signal: make(chan struct{}, 1),
	}
}

// enter begins a scheduling attempt: from now on no change of the index is lost
// on the pod.
func (w *waitingPods) enter(pod *v1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, found := w.pods[pod.UID]
	if !found {
		p = &waitingPod{}
		w.pods[pod.UID] = p
	}
	held(p.decision, -1)
	*p = waitingPod{pod: pod}
}

// settle notes the decision of the attempt. Pods that the decision does not
// concern wait for nothing.
func (w *waitingPods) settle(pod *v1.Pod, d *decision) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, found := w.pods[pod.UID]
	if !found {
		return // deleted in the meantime
	}
	if d.rejection == nil && !d.concerned {
		delete(w.pods, pod.UID)
		return
	}
	p.decision = d
	held(d, +1)
	if !d.heldUntil.IsZero() {
		p.nudgeAt, p.nudge = d.heldUntil, firstNudge
		w.wakeRun()
	}
	if !p.missed.empty() {
		w.change.add(&p.missed)
		p.missed = indexChange{}
		w.wakeRun()
	}
}

// leave takes a pod out that is placed or gone.
func (w *waitingPods) leave(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p, found := w.pods[uid]; found {
		held(p.decision, -1)
		delete(w.pods, uid)
	}
}

// held keeps the metric of pods that storage holds back.
func held(d *decision, by float64) {
	if d != nil && d.rejection != nil {
		metrics.HeldPods.WithLabelValues(d.rejection.Reason).Add(by)
	}
}

// refresh takes over a changed pod, and looks whether its own change helps it:
// the queue does not retry a pod because of an annotation.
func (w *waitingPods) refresh(pod *v1.Pod) {
	w.mu.Lock()
	p, found := w.pods[pod.UID]
	if !found || p.decision == nil {
		w.mu.Unlock()
		return
	}
	p.pod = pod
	d := p.decision
	w.mu.Unlock()
	if w.helped(pod, d, &indexChange{cluster: true}) {
		w.wake(pod.UID, d)
	}
}

// changed takes a change of the index. It is called by the index and returns at
// once.
func (w *waitingPods) changed(change volumes.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pods) == 0 {
		return
	}
	c := indexChange{cluster: change.Cluster}
	if len(change.Volumes) > 0 {
		c.volumes = make(map[string]struct{}, len(change.Volumes))
		for _, handle := range change.Volumes {
			c.volumes[handle] = struct{}{}
		}
	}
	if len(change.Nodes) > 0 {
		c.nodes = make(map[string]struct{}, len(change.Nodes))
		for _, n := range change.Nodes {
			if n.New != nil { // a node that is gone helps nobody
				c.nodes[n.New.Name] = struct{}{}
			}
		}
	}
	w.change.add(&c)
	w.wakeRun()
}

func (w *waitingPods) wakeRun() {
	select {
	case w.signal <- struct{}{}:
	default: // run will look anyway
	}
}

// helps reports whether a pod that waits would fare better now than at its last
// attempt; it answers true for a pod that it does not know.
func (w *waitingPods) helps(pod *v1.Pod, node string) bool {
	w.mu.Lock()
	p, found := w.pods[pod.UID]
	var d *decision
	if found {
		d = p.decision
	}
	w.mu.Unlock()
	return d == nil || w.helped(pod, d, &indexChange{nodes: map[string]struct{}{node: {}}})
}

// run wakes pods until the context ends.
func (w *waitingPods) run(ctx context.Context) {
	logger := klog.FromContext(ctx)
	timer := w.clock.NewTimer(lastNudge)
	defer timer.Stop()
	for {
		w.lookAtChange()
		next := w.nudgeDue(logger)
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-w.signal:
		case <-timer.C():
		}
	}
}

// lookAtChange compares all changes since the last call with the decisions of
// the pods that wait. Pods are judged without the lock: PreFilter must not wait.
func (w *waitingPods) lookAtChange() {
	type candidate struct {
		pod      *v1.Pod
		decision *decision
	}
	w.mu.Lock()
	change := w.change
	w.change = indexChange{}
	var candidates []candidate
	if !change.empty() {
		for _, p := range w.pods {
			if p.decision == nil {
				p.missed.add(&change)
			} else if change.concerns(p.decision) {
				candidates = append(candidates, candidate{pod: p.pod, decision: p.decision})
			}
		}
	}
	w.mu.Unlock()

	for _, c := range candidates {
		if w.helped(c.pod, c.decision, &change) {
			w.wake(c.pod.UID, c.decision)
		}
	}
}

// concerns reports whether the change can matter to a decision at all: volumes
// matter to the pods that use them, nodes to all.
func (c *indexChange) concerns(d *decision) bool {
	if c.cluster || len(c.nodes) > 0 {
		return true
	}
	for _, handle := range d.handles {
		if _, found := c.volumes[handle]; found {
			return true
		}
	}
	return false
}

// wake makes a pod due, unless it has been through PreFilter since.
func (w *waitingPods) wake(uid types.UID, judged *decision) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p, found := w.pods[uid]; found && p.decision == judged {
		p.nudgeAt, p.nudge = w.clock.Now(), firstNudge
		w.wakeRun()
	}
}

// nudgeDue activates the pods that are due and returns the time until the next
// one is. A pod stays due, at growing intervals, until it comes through PreFilter
// again: activation says nothing about its success.
func (w *waitingPods) nudgeDue(logger klog.Logger) time.Duration {
	now := w.clock.Now()
	next := lastNudge
	var due map[string]*v1.Pod
	w.mu.Lock()
	for _, p := range w.pods {
		if p.nudgeAt.IsZero() {
			continue
		}
		if !p.nudgeAt.After(now) {
			if due == nil {
				due = make(map[string]*v1.Pod)
			}
			due[p.pod.Namespace+"/"+p.pod.Name] = p.pod
			p.nudgeAt = now.Add(p.nudge)
			p.nudge = min(2*p.nudge, lastNudge)
		}
		next = min(next, p.nudgeAt.Sub(now))
	}
	w.mu.Unlock()
	if len(due) > 0 {
		logger.V(4).Info("Waking pods that storage has held", "pods", len(due))
		metrics.WokenPods.Add(float64(len(due)))
		w.activate(logger, due)
	}
	return next
}

// helped reports whether the pod, judged anew, is better off than by its last
// decision: it is no longer rejected, or a node that storage had ruled out has
// become feasible.
func (w *waitingPods) helped(pod *v1.Pod, old *decision, change *indexChange) bool {
	now := w.decide(pod)
	if now.rejection != nil {
		return false
	}
	if old.rejection != nil || !now.concerned {
		return true
	}
	for node := range change.nodes {
		if old.verdict(node) != placement.Feasible && now.verdict(node) == placement.Feasible {
			return true
		}
	}
	return (len(change.volumes) > 0 || change.cluster) && freed(old, now)
}

// freed reports whether F6 and F7 rule out less than before.
func freed(old, now *decision) bool {
	confined, isConfined := now.plan.Confined()
	if _, wasConfined := old.plan.Confined(); wasConfined && !isConfined {
		return true
	}
	for _, nodes := range [][]*placement.Node{confined, old.plan.Forbidden()} {
		for _, n := range nodes {
			if old.verdict(n.Name) != placement.Feasible && now.verdict(n.Name) == placement.Feasible {
				return true
			}
		}
	}
	return false
}
