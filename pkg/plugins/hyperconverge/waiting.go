package hyperconverge

import (
	"maps"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// waitingPods are the pods that have been through PreFilter and are not placed
// yet, each with the decision that it got. A change in storage is no cluster
// event, so it is compared here with the decisions: the pods that it helps go
// back into the active queue at once, and no others. This file keeps the list,
// waking.go works on it.
type waitingPods struct {
	decider  *decider
	lister   corelisters.PodLister
	activate func(klog.Logger, map[string]*v1.Pod)

	mu sync.Mutex
	// pods: UID of a pod → what it waits with.
	pods map[types.UID]*waitingPod
	// change collects what the index has told since run looked last.
	change indexChange
	// questions are about single pods, and for run to answer.
	questions []question
	// signal holds one token while there is something for run to look at.
	signal chan struct{}
}

// waitingPod is one pod between two scheduling attempts, or in one.
type waitingPod struct {
	pod *v1.Pod
	// decision is nil while PreFilter is at work.
	decision *decision
	// missed collects the changes that come in that time.
	missed indexChange
	// wakeAt is when to wake the pod (again); zero if nothing has helped it.
	wakeAt time.Time
	// nudge is the time from that to the next waking.
	nudge time.Duration
	// woken is set from the first waking to the last nudge.
	woken bool
	// requested are the handles that the index follows for the pod's sake.
	requested sets.Set[string]
}

// question is whether a pod would fare better now than by its decision.
type question struct {
	pod      *v1.Pod
	decision *decision
	// nodes are the Kubernetes nodes that have changed. The map is shared.
	nodes changedNodes
}

func newWaitingPods(decider *decider, lister corelisters.PodLister, activate func(klog.Logger, map[string]*v1.Pod)) *waitingPods {
	return &waitingPods{
		decider: decider, lister: lister, activate: activate,
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
	*p = waitingPod{pod: pod, requested: p.requested}
}

// settle notes the decision of the attempt. Pods that the decision does not
// concern wait for nothing.
//
// The scheduler and this list have event handlers of their own, and either may be
// ahead. The pod of the attempt may have got its annotations before, or be gone;
// the lister is ahead of all handlers.
func (w *waitingPods) settle(pod *v1.Pod, d *decision) {
	present, err := w.lister.Pods(pod.Namespace).Get(pod.Name)
	gone := err != nil || present.UID != pod.UID || !pending(present)

	w.mu.Lock()
	defer w.mu.Unlock()
	p, found := w.pods[pod.UID]
	if !found {
		return
	}
	if gone || (d.Rejection == nil && !d.Concerned) {
		w.release(p)
		delete(w.pods, pod.UID)
		return
	}
	p.decision = d
	held(d, +1)
	if !d.HeldUntil.IsZero() {
		p.wakeAt, p.nudge = d.HeldUntil, firstNudge
		w.wakeRun()
	}
	annotated := !maps.Equal(present.Annotations, pod.Annotations)
	if annotated {
		p.pod = present
	}
	if annotated || p.missed.concerns(d) {
		w.ask(question{pod: p.pod, decision: d, nodes: p.missed.nodes})
	}
	p.missed = indexChange{}
}

// request looks a volume up for a pod that has been entered. One that the index does
// not know it is to follow for the pod's sake, once for each handle.
func (w *waitingPods) request(pod *v1.Pod, handle string) volumes.Entry {
	entry := w.decider.index.Lookup(handle)
	if entry.Volume != nil && entry.Freshness != volumes.Stale {
		return entry
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p, found := w.pods[pod.UID]
	if !found || p.requested.Has(handle) {
		return entry
	}
	entry = w.decider.index.Request(handle)
	if !entry.FirstSeen.IsZero() {
		if p.requested == nil {
			p.requested = sets.New[string]()
		}
		p.requested.Insert(handle)
	}
	return entry
}

// release takes the requests of a pod back.
func (w *waitingPods) release(p *waitingPod) {
	for handle := range p.requested {
		w.decider.index.Release(handle)
	}
}

// pending reports whether a pod still wants a node. One that is evicted before it
// has a node does not.
func pending(pod *v1.Pod) bool {
	return pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil &&
		pod.Status.Phase != v1.PodFailed && pod.Status.Phase != v1.PodSucceeded
}

// leave takes a pod out that is placed or gone.
func (w *waitingPods) leave(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p, found := w.pods[uid]; found {
		held(p.decision, -1)
		w.release(p)
		delete(w.pods, uid)
	}
}

// leaveAll takes all pods out, so that the metric does not count them any more.
func (w *waitingPods) leaveAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pods {
		held(p.decision, -1)
		w.release(p)
	}
	clear(w.pods)
}

// refresh takes over a pod with changed annotations, and asks whether they help
// it: the queue does not retry a pod because of an annotation.
func (w *waitingPods) refresh(pod *v1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, found := w.pods[pod.UID]
	if !found || p.decision == nil {
		return // settle will see it
	}
	p.pod = pod
	w.ask(question{pod: pod, decision: p.decision})
}

// changed takes a change of the index. It is called by the index and returns at
// once.
func (w *waitingPods) changed(change volumes.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pods) == 0 {
		return
	}
	w.change.note(change)
	w.wakeRun()
}

// ask leaves a question to run. The caller holds the lock.
func (w *waitingPods) ask(q question) {
	w.questions = append(w.questions, q)
	w.wakeRun()
}

// wakeRun has run look at the list again.
func (w *waitingPods) wakeRun() {
	select {
	case w.signal <- struct{}{}:
	default: // run will look anyway
	}
}

// held keeps the metric of the pods that storage holds back on all nodes.
func held(d *decision, by float64) {
	if d != nil && d.Rejection != nil {
		metrics.HeldPods.WithLabelValues(d.Rejection.Reason).Add(by)
	}
}

// indexChange is a set of changes of the index.
type indexChange struct {
	// volumes are handles.
	volumes map[string]struct{}
	nodes   changedNodes
	// cluster is set when the age of all data has changed its meaning.
	cluster bool
}

func (c *indexChange) empty() bool { return len(c.volumes) == 0 && len(c.nodes) == 0 && !c.cluster }

// note adds what the index tells. Nodes that are gone help nobody.
func (c *indexChange) note(change volumes.Change) {
	for _, handle := range change.Volumes {
		c.putVolume(handle)
	}
	for _, n := range change.Nodes {
		if n.New != nil {
			c.nodes.put(n.New.Name, n.Old == nil)
		}
	}
	c.cluster = c.cluster || change.Cluster
}

// add adds another set of changes, and keeps nothing of it.
func (c *indexChange) add(other *indexChange) {
	for handle := range other.volumes {
		c.putVolume(handle)
	}
	for node, isNew := range other.nodes {
		c.nodes.put(node, isNew)
	}
	c.cluster = c.cluster || other.cluster
}

func (c *indexChange) putVolume(handle string) {
	if c.volumes == nil {
		c.volumes = make(map[string]struct{})
	}
	c.volumes[handle] = struct{}{}
}

// changedNodes: name of a Kubernetes node → whether it is new.
type changedNodes map[string]bool

func (c *changedNodes) put(node string, isNew bool) {
	if *c == nil {
		*c = make(changedNodes)
	}
	(*c)[node] = isNew || (*c)[node]
}

// concerns reports whether the change can matter to a decision at all: volumes
// matter to the pods that use them, nodes to all.
func (c *indexChange) concerns(d *decision) bool {
	if c.cluster || len(c.nodes) > 0 {
		return true
	}
	if len(c.volumes) == 0 {
		return false
	}
	for _, handle := range d.handles {
		if _, found := c.volumes[handle]; found {
			return true
		}
	}
	return false
}
