package hyperconverge

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// waitingPods are the pods that have been through PreFilter and are not placed yet,
// each with what was decided about it last. This file is about what is kept, requeue.go
// about whom a change helps, and activate.go about when those are tried again.
//
// Nothing holds the lock for longer than it takes to look at a batch of pods, however
// many wait: PreFilter takes it, too.
type waitingPods struct {
	decider  *decider
	lister   corelisters.PodLister
	activate func(klog.Logger, map[string]*v1.Pod)
	// complain tells what users have written wrong.
	complain func(*decision)

	// received counts the changes of the index. It is written under the lock, and read
	// before anything is decided: a decision that is put down when the count has moved
	// may lack a change, and is made again.
	received atomic.Uint64
	// signal holds one token while there is something for run to look at.
	signal chan struct{}

	mu   sync.Mutex
	pods map[types.UID]*waitingPod
	// list has the same pods in no order, for walks that let go of the lock.
	list     []*waitingPod
	byHandle podsByHandle[waitingPod]
	// ruled is how many pods have required rules of new volumes in their baselines, and
	// strategyChange the number of the last change of a placement strategy.
	ruled          int
	strategyChange uint64
	backlog
	agenda
}

// waitingPod is one pod and all that is kept of it. It is small, and of the same size
// in every cluster: no node, no view of nodes and no decision is reachable from it.
type waitingPod struct {
	pod *v1.Pod
	// baseline is what was decided last, by PreFilter or since.
	baseline *baseline
	// handles are the volumes that baseline depends on, and requested are those of them
	// that the index follows for the pod's sake, once each, until it leaves. The slices
	// are not changed.
	handles, requested []string
	// links are the pod's places in byHandle, one for each handle.
	links []podLink[waitingPod]
	// told is the rejection that stands in the pod's condition, or will when the pod
	// has been tried; zero if this plugin has not turned it down.
	told placement.Rejection
	// counted is the reason under which the pod counts as held; empty if it does not.
	counted string
	// place is where the pod stands in the list.
	place int
	// queue is the part of the agenda that the pod is in, nil if it is in none, and
	// rank its place there.
	queue *podHeap
	rank  int
	// activations counts those for the sake of the pod that came one after another, and
	// notBefore is when the next one may come.
	activations uint8
	notBefore   time.Time
	// activatedAt is zero if the pod has been tried since it was activated.
	activatedAt time.Time
	// rechecked is set while the pod is to be decided about anew.
	rechecked bool
}

func newWaitingPods(decider *decider, lister corelisters.PodLister, activate func(klog.Logger, map[string]*v1.Pod), complain func(*decision)) *waitingPods {
	return &waitingPods{
		decider: decider, lister: lister, activate: activate, complain: complain,
		pods:     make(map[types.UID]*waitingPod),
		byHandle: make(podsByHandle[waitingPod]),
		agenda:   newAgenda(),
		signal:   make(chan struct{}, 1),
	}
}

// requests are the volumes that are requested for one pod.
type requests struct {
	index volumes.Reader
	// refused are the handles that the index does not follow, nil for nearly all pods.
	refused sets.Set[string]
}

// request looks a volume up for a pod that comes to wait for it, so that the index
// follows it, and requests its inspect if it is not known.
func (r *requests) request(handle string) volumes.Entry {
	entry := r.index.Request(handle)
	if entry.FirstSeen.IsZero() {
		if r.refused == nil {
			r.refused = sets.New[string]()
		}
		r.refused.Insert(handle)
	}
	return entry
}

// followed returns those of the requested handles that have to be released.
func (r *requests) followed(handles []string) []string {
	if r.refused == nil {
		return handles
	}
	var followed []string
	for _, handle := range handles {
		if !r.refused.Has(handle) {
			followed = append(followed, handle)
		}
	}
	return followed
}

// release takes requests back.
func (w *waitingPods) release(requested []string) {
	for _, handle := range requested {
		w.decider.index.Release(handle)
	}
}

// enter notes what PreFilter has decided about a pod; since is what received was
// before, and requested are the handles to be released when the pod leaves. Pods that
// the decision does not concern wait for nothing.
func (w *waitingPods) enter(pod *v1.Pod, d *decision, since uint64, requested []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, waits := w.pods[pod.UID]
	// The lister is asked under the lock. What it does not know yet reaches observe
	// afterwards, and finds the pod here.
	present := w.present(pod)
	if present == nil || d.Rejection == nil && !d.Concerned {
		if waits {
			w.remove(p)
		}
		w.release(requested)
		return
	}
	if !waits {
		p = &waitingPod{place: len(w.list)}
		w.pods[pod.UID] = p
		w.list = append(w.list, p)
	}
	p.pod, p.activatedAt = present, time.Time{}
	w.release(p.requested)
	p.requested = requested
	w.rebase(p, newBaseline(d, since), d.handles)
	p.told = p.baseline.rejection
	if noRoom := placement.NoRoom(p.counted); !noRoom || p.told.Reason != "" {
		w.count(p, p.told.Reason)
	} // else PostFilter has said so, and will again unless the pod gets a node
	w.schedule(p, w.grace(p))
	if since != w.received.Load() || !sameWords(present, pod) {
		w.recheck(p)
	}
}

// present is the pod as the API server has it, nil if it is gone or needs no node any
// more. The lister is ahead of all event handlers, those of the scheduler included, so
// that it does not matter which of them comes first.
func (w *waitingPods) present(pod *v1.Pod) *v1.Pod {
	present, err := w.lister.Pods(pod.Namespace).Get(pod.Name)
	if err != nil || present.UID != pod.UID || !pending(present) {
		return nil
	}
	return present
}

// pending reports whether a pod still wants a node. One that is evicted before it
// has a node does not.
func pending(pod *v1.Pod) bool {
	return pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil &&
		pod.Status.Phase != v1.PodFailed && pod.Status.Phase != v1.PodSucceeded
}

// sameWords reports whether two versions of a pod say the same of what decides about it.
func sameWords(a, b *v1.Pod) bool {
	return maps.Equal(a.Annotations, b.Annotations) &&
		a.Labels[kubevirtLabel] == b.Labels[kubevirtLabel] && a.Labels[kubevirtCreatedLabel] == b.Labels[kubevirtCreatedLabel]
}

// observe takes over what has become of a pod outside of this scheduler. One that is
// gone leaves; one that says something else is decided about anew, because the scheduling
// queue does not retry a pod for that.
func (w *waitingPods) observe(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, waits := w.pods[uid]
	if !waits {
		return
	}
	present := w.present(p.pod)
	if present == nil {
		w.remove(p)
		return
	}
	if !sameWords(present, p.pod) {
		w.recheck(p)
	}
	p.pod = present // in any case, to let go of the version before
}

// leave takes a pod out that gets a node.
func (w *waitingPods) leave(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p, waits := w.pods[uid]; waits {
		w.remove(p)
		if p.activations > 0 {
			w.binding[uid] = time.Now()
		}
	}
}

// bound notes that the binding of a pod has come to an end, good or bad.
func (w *waitingPods) bound(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.binding, uid)
}

// hasNoRoom notes of a confined pod that other plugins turn down all its replica nodes.
func (w *waitingPods) hasNoRoom(uid types.UID, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p, waits := w.pods[uid]; waits {
		w.count(p, reason)
	}
}

// WaitingPod is a waiting pod for those who ask. As JSON it is an interface: fields are
// only added.
type WaitingPod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Profile   string `json:"profile"`
	// Volumes are the handles that the pod waits with.
	Volumes []string `json:"volumes,omitempty"`
	// Reason is why storage holds it back on all nodes, with what is to blame; empty if
	// storage does not, and other plugins or nobody have turned it down.
	Reason string `json:"reason,omitempty"`
	// HeldUntil is when the reason ends by itself.
	HeldUntil time.Time `json:"heldUntil,omitzero"`
}

// snapshot lists the pods for those who ask, in batches: PreFilter waits for the lock.
// A pod that comes or goes meanwhile may be missing.
func (w *waitingPods) snapshot(profile string) []WaitingPod {
	list := []WaitingPod{}
	for from, more := 0, true; more; from += batchSize {
		list, more = w.appendBatch(list, profile, from)
	}
	return list
}

// appendBatch adds the pods of a batch, and reports whether there are more.
func (w *waitingPods) appendBatch(list []WaitingPod, profile string, from int) ([]WaitingPod, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	end := min(from+batchSize, len(w.list))
	for i := from; i < end; i++ {
		p := w.list[i]
		waiting := WaitingPod{Namespace: p.pod.Namespace, Name: p.pod.Name, Profile: profile, Volumes: p.handles, HeldUntil: p.baseline.heldUntil}
		switch {
		case p.baseline.rejected():
			waiting.Reason = p.baseline.rejection.Message()
		case p.counted != "":
			waiting.Reason = p.counted
		}
		list = append(list, waiting)
	}
	return list, end < len(w.list)
}

// leaveAll takes all pods out.
func (w *waitingPods) leaveAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.list) > 0 {
		w.remove(w.list[len(w.list)-1])
	}
}

// remove takes a pod out. The caller holds the lock, as for all that follows.
func (w *waitingPods) remove(p *waitingPod) {
	w.count(p, "")
	w.ruled -= ruledBy(p.baseline)
	w.schedule(p, nil)
	w.byHandle.unlink(p.links)
	w.release(p.requested)
	delete(w.pods, p.pod.UID)
	end := len(w.list) - 1
	last := w.list[end]
	w.list[p.place], last.place = last, p.place
	w.list[end] = nil
	w.list = w.list[:end]
}

// waits reports whether a pod is still in the list.
func (w *waitingPods) waits(p *waitingPod) bool { return w.pods[p.pod.UID] == p }

// rebase makes a decision the one that later ones are compared with.
func (w *waitingPods) rebase(p *waitingPod, b *baseline, handles []string) {
	if p.baseline != nil && p.baseline.rejection != b.rejection {
		w.count(p, "") // what it was counted for is no longer true
	}
	w.ruled += ruledBy(b) - ruledBy(p.baseline)
	p.baseline = b
	if !slices.Equal(p.handles, handles) {
		w.byHandle.unlink(p.links)
		p.handles, p.links = handles, w.byHandle.link(p, handles)
	}
}

// ruledBy is 1 for a baseline that rules of new volumes have a part in, else 0.
func ruledBy(b *baseline) int {
	if b == nil || len(b.required) == 0 {
		return 0
	}
	return 1
}

// count keeps the metric of the pods that storage holds back on all nodes: those that
// were told so, as long as it is true.
func (w *waitingPods) count(p *waitingPod, reason string) {
	if p.counted != "" {
		metrics.HeldPods.WithLabelValues(p.counted).Dec()
	}
	if p.counted = reason; reason != "" {
		metrics.HeldPods.WithLabelValues(reason).Inc()
	}
}

// baseline is what remains of a decision to compare a later one with. It is immutable.
type baseline struct {
	// since counts the changes of the index that the decision has surely seen.
	since uint64
	// rejection is zero if the pod was not turned down on all nodes.
	rejection placement.Rejection
	// heldUntil is when the rejection ends by itself, or the wait for a replica node; zero if
	// neither does.
	heldUntil time.Time
	// concerned pods have a volume of the driver.
	concerned bool
	// anywhere says that storage rules out no node, whether it runs the driver or not
	// (F1, F9, F11).
	anywhere bool
	// confined pods have the nodes of open, and no others (F6).
	confined bool
	// open are the names of the nodes that a confined pod could take, sorted.
	open []string
	// forbidden are the names of the nodes that F7 rules out, sorted.
	forbidden []string
	// required are the rules of new volumes that rule out others (F15).
	required []*placement.StrategyRules
}

func newBaseline(d *decision, since uint64) *baseline {
	b := &baseline{since: since, heldUntil: d.HeldUntil, concerned: d.Concerned}
	if !d.WaitsUntil.IsZero() {
		b.heldUntil = d.WaitsUntil
	}
	if d.Rejection != nil {
		b.rejection = *d.Rejection
		return b
	}
	if d.Plan == nil {
		b.anywhere = true
		return b
	}
	b.anywhere = d.Plan.Verdict(nil) == placement.Feasible
	b.required = d.Plan.Required()
	nodes, confined := d.Plan.Confined()
	if b.confined = confined; confined {
		b.open = make([]string, 0, len(nodes))
	}
	for _, n := range nodes {
		if d.Plan.Verdict(n) == placement.Feasible {
			b.open = append(b.open, n.Name)
		}
	}
	for _, n := range d.Plan.Forbidden() {
		b.forbidden = append(b.forbidden, n.Name)
	}
	slices.Sort(b.open)
	slices.Sort(b.forbidden)
	return b
}

func (b *baseline) rejected() bool { return b.rejection.Reason != "" }

// admits reports whether a node that the scheduler has just got was feasible by the
// baseline, given what the index knows of the node.
func (b *baseline) admits(name string, n *placement.Node) bool {
	switch {
	case b.rejected():
		return false
	case b.anywhere:
		return true
	case b.confined:
		return contains(b.open, name)
	}
	var soft placement.Plan
	return soft.Verdict(n) == placement.Feasible && !contains(b.forbidden, name) && !excludes(b.required, n)
}

func contains(sorted []string, name string) bool {
	_, found := slices.BinarySearch(sorted, name)
	return found
}
