package hyperconverge

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"
	"time"

	"golang.org/x/time/rate"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/metrics"
)

const (
	// helpedPerSecond is how many pods are activated for having been helped.
	// Activation ignores the backoff of a pod, so that all pods at once, when storage
	// comes back, would stand before every new pod. The rate is what kube-scheduler
	// places in a second, and lets 100 000 pods through before the scheduling queue
	// would flush them by itself, after five minutes.
	helpedPerSecond = 500
	// helpedAtOnce is how many of them are activated without delay.
	helpedAtOnce = 100
	// underWayAtOnce is how many of them are under way at one time, from the active queue
	// to the answer to their binding: whoever comes new stands behind them, and they go
	// no faster than kube-scheduler and the API server take them. One that has not come
	// on after underWayAtMost is held up elsewhere, by a scheduling gate for example.
	underWayAtOnce = 100
	underWayAtMost = 2 * time.Second
	// outdatedPerSecond is how many pods are activated for the sake of what their
	// condition says. Nothing else depends on it.
	outdatedPerSecond = 20
	outdatedAtOnce    = 20
	// freeActivations is how many times one pod is activated without a wait, and
	// firstGap what it waits after that, doubling up to maxGap. A pod that has not been
	// activated for twice maxGap begins anew. Activation ignores the backoff of the
	// scheduling queue, so that a node that closes and opens again ten times a second
	// would have every waiting pod tried as often.
	freeActivations = 2
	firstGap        = time.Second
	maxGap          = 10 * time.Second
	// activationInterval is the time between two activations while pods are left.
	activationInterval = 20 * time.Millisecond
)

// agenda says which pods are to be activated, and when. A pod is in one of the four at
// most.
type agenda struct {
	// inGrace are decided about anew when their time has come.
	inGrace podHeap
	// early fare better, but were activated a short while ago: they wait out their gap.
	early podHeap
	// helped fare better than when they were tried last.
	helped limitedHeap
	// inQueue are those of them that have been activated and were not tried since, and
	// binding those that have got a node, by when that was.
	inQueue []*waitingPod
	binding map[types.UID]time.Time
	// outdated would be told something else than their condition says.
	outdated limitedHeap
}

// limitedHeap are pods that are activated at a limited rate.
type limitedHeap struct {
	podHeap
	limit *rate.Limiter
}

func newAgenda() agenda {
	return agenda{
		inGrace:  podHeap{less: func(a, b *waitingPod) bool { return a.baseline.heldUntil.Before(b.baseline.heldUntil) }},
		early:    podHeap{less: func(a, b *waitingPod) bool { return a.notBefore.Before(b.notBefore) }},
		binding:  make(map[types.UID]time.Time),
		helped:   limitedHeap{podHeap{less: precedes}, rate.NewLimiter(helpedPerSecond, helpedAtOnce)},
		outdated: limitedHeap{podHeap{less: precedes}, rate.NewLimiter(outdatedPerSecond, outdatedAtOnce)},
	}
}

// precedes orders pods by priority, and those of one priority by age.
func precedes(a, b *waitingPod) bool {
	return cmp.Or(
		cmp.Compare(corev1helpers.PodPriority(b.pod), corev1helpers.PodPriority(a.pod)),
		a.pod.CreationTimestamp.Compare(b.pod.CreationTimestamp.Time),
	) < 0
}

// schedule moves a pod to another part of the agenda, nil for none.
func (w *waitingPods) schedule(p *waitingPod, to *podHeap) {
	switch {
	case p.queue == nil && to == nil:
		return
	case p.queue == to:
		heap.Fix(to, p.rank)
		w.notifyRun()
		return
	case p.queue != nil:
		heap.Remove(p.queue, p.rank)
	}
	if p.queue = to; to != nil {
		heap.Push(to, p)
		w.notifyRun()
	}
}

// help is the part of the agenda for a pod that something has helped.
func (w *waitingPods) help(p *waitingPod, now time.Time) *podHeap {
	if p.notBefore.After(now) {
		return &w.early
	}
	return &w.helped.podHeap
}

// grace is the part of the agenda for a pod that nothing has helped.
func (w *waitingPods) grace(p *waitingPod) *podHeap {
	if p.baseline.heldUntil.IsZero() {
		return nil
	}
	return &w.inGrace
}

// takeDue rechecks the pods whose grace period is over.
func (w *waitingPods) takeDue(now time.Time) {
	for len(w.inGrace.pods) > 0 && !w.inGrace.pods[0].baseline.heldUntil.After(now) && len(w.rechecks) < batchSize {
		p := w.inGrace.pods[0]
		w.schedule(p, nil)
		w.recheck(p)
	}
}

// activateScheduled activates as many pods as the limits allow and returns when there
// is something to do again, zero if never.
func (w *waitingPods) activateScheduled(logger klog.Logger) (next time.Time) {
	now := time.Now()
	var pods map[string]*v1.Pod
	w.mu.Lock()
	w.inQueue = slices.DeleteFunc(w.inQueue, func(p *waitingPod) bool {
		return !w.waits(p) || p.activatedAt.IsZero() || now.Sub(p.activatedAt) > underWayAtMost
	})
	maps.DeleteFunc(w.binding, func(_ types.UID, since time.Time) bool { return now.Sub(since) > underWayAtMost })
	for len(w.early.pods) > 0 && !w.early.pods[0].notBefore.After(now) {
		w.schedule(w.early.pods[0], &w.helped.podHeap)
	}
	for _, l := range [...]*limitedHeap{&w.helped, &w.outdated} {
		for len(l.pods) > 0 && (l != &w.helped || len(w.inQueue)+len(w.binding) < underWayAtOnce) && l.limit.AllowN(now, 1) {
			p := l.pods[0]
			if pods == nil {
				pods = make(map[string]*v1.Pod)
			}
			pods[p.pod.Namespace+"/"+p.pod.Name] = p.pod
			if l == &w.helped {
				p.space(now)
				if p.activatedAt.IsZero() {
					w.inQueue = append(w.inQueue, p)
				}
				p.activatedAt = now
			}
			w.activated(p)
		}
		if len(l.pods) > 0 {
			next = now.Add(activationInterval)
		}
	}
	if len(w.inGrace.pods) > 0 {
		next = earlier(next, w.inGrace.pods[0].baseline.heldUntil)
	}
	if len(w.early.pods) > 0 {
		next = earlier(next, w.early.pods[0].notBefore)
	}
	w.mu.Unlock()
	if len(pods) > 0 {
		logger.V(4).Info("Activating pods that storage has held", "pods", len(pods))
		metrics.ActivatedPods.Add(float64(len(pods)))
		w.activate(logger, pods)
	}
	return next
}

// earlier is the earlier of two times, of which the first may be zero for never.
func earlier(next, due time.Time) time.Time {
	if next.IsZero() || due.Before(next) {
		return due
	}
	return next
}

// space notes an activation for the sake of the pod.
func (p *waitingPod) space(now time.Time) {
	if now.Sub(p.notBefore) > 2*maxGap {
		p.activations = 0
	}
	p.notBefore = now
	p.activations = min(p.activations+1, freeActivations+8) // no gap is longer from there on
	if gaps := p.activations - freeActivations; p.activations >= freeActivations {
		p.notBefore = now.Add(min(firstGap<<gaps, maxGap))
	}
}

// activated notes that a pod is tried again, by which it learns what its baseline has
// to say.
func (w *waitingPods) activated(p *waitingPod) {
	p.told = p.baseline.rejection
	w.schedule(p, w.grace(p))
}

// podHeap is a heap of pods; each knows its rank.
type podHeap struct {
	pods []*waitingPod
	less func(a, b *waitingPod) bool
}

func (h *podHeap) Len() int           { return len(h.pods) }
func (h *podHeap) Less(i, k int) bool { return h.less(h.pods[i], h.pods[k]) }
func (h *podHeap) Swap(i, k int) {
	h.pods[i], h.pods[k] = h.pods[k], h.pods[i]
	h.pods[i].rank, h.pods[k].rank = i, k
}

// Push implements heap.Interface.
func (h *podHeap) Push(p any) {
	if pod, ok := p.(*waitingPod); ok { // nothing else comes here
		pod.rank = len(h.pods)
		h.pods = append(h.pods, pod)
	}
}

// Pop implements heap.Interface.
func (h *podHeap) Pop() any {
	end := len(h.pods) - 1
	p := h.pods[end]
	h.pods[end] = nil
	h.pods = h.pods[:end]
	return p
}
