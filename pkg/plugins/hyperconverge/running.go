package hyperconverge

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// runningPods are the pods that have a node, whoever has scheduled them, with how they
// stand to their data (section 11). Only the leader counts them: the others would say
// the same a second time.
//
// Each change is looked at by itself, and a pod costs about 200 bytes. What no change
// tells, such as another annotation of a claim, is found by a walk over all pods every
// runningWalk.
type runningPods struct {
	decider *decider
	lister  corelisters.PodLister
	// byNamespace counts the pods of each namespace by themselves.
	byNamespace bool
	signal      chan struct{}
	// leads is closed when this process leads.
	leads chan struct{}
	lead  sync.Once

	mu sync.Mutex
	// pods is nil until this process leads.
	pods     map[types.UID]*runningPod
	byHandle podsByHandle[runningPod]
	// dirty are the pods to be looked at. One that has left the list is skipped.
	dirty []*runningPod
	// nodes are those that have changed: a pod's locality depends on its own node alone.
	// walk has all pods looked at.
	nodes sets.Set[string]
	walk  bool
	// counts: namespace and locality → pods. None is zero.
	counts map[localityCount]int
}

type runningPod struct {
	// pod is the latest version, so that no earlier one is kept from the collector. It
	// is nil when the pod has left.
	pod      *v1.Pod
	locality placement.Locality
	dirty    bool
	links    []podLink[runningPod]
}

type localityCount struct {
	namespace string
	locality  placement.Locality
}

// runningWalk is how often all running pods are looked at without a cause.
const runningWalk = 10 * time.Minute

func newRunningPods(decider *decider, lister corelisters.PodLister, byNamespace bool) *runningPods {
	return &runningPods{
		decider: decider, lister: lister, byNamespace: byNamespace,
		signal:   make(chan struct{}, 1),
		leads:    make(chan struct{}),
		byHandle: make(podsByHandle[runningPod]),
		nodes:    sets.New[string](),
		counts:   make(map[localityCount]int),
	}
}

// Occupies reports whether a pod takes room on a node.
func Occupies(pod *v1.Pod) bool {
	return pod.Spec.NodeName != "" && pod.Status.Phase != v1.PodFailed && pod.Status.Phase != v1.PodSucceeded
}

// follow has the list learn of pods and of changes of the index. What it returns ends
// that.
func (r *runningPods) follow(factory informers.SharedInformerFactory) (stop func() error, err error) {
	informer := factory.Core().V1().Pods().Informer()
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if pod, isPod := obj.(*v1.Pod); isPod {
				r.observe(nil, pod)
			}
		},
		UpdateFunc: func(oldObj, newObj any) {
			old, wasPod := oldObj.(*v1.Pod)
			pod, isPod := newObj.(*v1.Pod)
			if wasPod && isPod {
				r.observe(old, pod)
			}
		},
		DeleteFunc: func(obj any) {
			if pod := deletedPod(obj); pod != nil {
				r.forget(pod.UID)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("following running pods: %w", err)
	}
	unsubscribe := r.decider.index.Subscribe(r.changed)
	return func() error {
		unsubscribe()
		return informer.RemoveEventHandler(registration)
	}, nil
}

// observe takes a pod's latest version; old is the one before, nil if there is none.
func (r *runningPods) observe(old, pod *v1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pods == nil {
		return
	}
	if old != nil && old.UID != pod.UID { // deleted and made anew between two looks
		r.remove(r.pods[old.UID])
	}
	p, known := r.pods[pod.UID]
	switch {
	case !Occupies(pod):
		r.remove(p)
		return
	case !known:
		if len(r.decider.claimsOf(pod)) == 0 {
			return // as most pods, whose place in the list would be wasted
		}
		p = &runningPod{}
		r.pods[pod.UID] = p
		r.mark(p)
	case old == nil || !sameWords(old, pod):
		r.mark(p)
	}
	p.pod = pod
}

func (r *runningPods) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(r.pods[uid])
}

// changed takes a change of the index. It is called by the index and returns at once.
func (r *runningPods) changed(change volumes.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pods) == 0 {
		return
	}
	for _, handle := range change.Volumes {
		if ring := r.byHandle[handle]; ring != nil {
			for l, left := ring.next, ring.size; left > 0; l, left = l.next, left-1 {
				r.mark(l.pod)
			}
		}
	}
	r.walk = r.walk || change.Cluster
	for _, c := range change.Nodes {
		if c.Old != nil {
			r.nodes.Insert(c.Old.Name)
		}
		if c.New != nil {
			r.nodes.Insert(c.New.Name)
		}
	}
	r.notifyRun()
}

// notifyRun has run look at everything again.
func (r *runningPods) notifyRun() {
	select {
	case r.signal <- struct{}{}:
	default: // run will look anyway
	}
}

// mark has a pod looked at. The caller holds the lock, as for all that follows.
func (r *runningPods) mark(p *runningPod) {
	if p.dirty {
		return
	}
	p.dirty = true
	r.dirty = append(r.dirty, p)
	r.notifyRun()
}

func (r *runningPods) remove(p *runningPod) {
	if p == nil || p.pod == nil {
		return
	}
	r.count(p, placement.LocalityNone)
	r.byHandle.unlink(p.links)
	delete(r.pods, p.pod.UID)
	p.pod = nil
}

// count moves a pod to another locality.
func (r *runningPods) count(p *runningPod, now placement.Locality) {
	if p.locality == now {
		return
	}
	r.add(p, -1)
	p.locality = now
	r.add(p, 1)
}

func (r *runningPods) add(p *runningPod, difference int) {
	if p.locality == placement.LocalityNone {
		return
	}
	key := localityCount{locality: p.locality}
	if r.byNamespace {
		key.namespace = p.pod.Namespace
	}
	r.counts[key] += difference
	if n := r.counts[key]; n > 0 {
		metrics.Pods.WithLabelValues(key.namespace, key.locality.String()).Set(float64(n))
		return
	}
	// A namespace that is gone leaves no series.
	delete(r.counts, key)
	metrics.Pods.Delete(map[string]string{"namespace": key.namespace, "locality": key.locality.String()})
}

// startLeading has the pods counted from now on.
func (r *runningPods) startLeading() { r.lead.Do(func() { close(r.leads) }) }

func (r *runningPods) leading() bool {
	select {
	case <-r.leads:
		return true
	default:
		return false
	}
}

// run looks at pods from when this process leads until the context ends.
func (r *runningPods) run(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-r.leads:
	}
	r.begin()
	defer r.end()
	walk := time.NewTicker(runningWalk)
	defer walk.Stop()
	for {
		r.markByNode()
		for more := true; more && ctx.Err() == nil; {
			more = r.lookAtOne()
		}
		select {
		case <-ctx.Done():
			return
		case <-r.signal:
		case <-walk.C:
			r.mu.Lock()
			r.walk = true
			r.mu.Unlock()
		}
	}
}

// markByNode marks the pods on the nodes that have changed.
func (r *runningPods) markByNode() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.walk && len(r.nodes) == 0 {
		return
	}
	for _, p := range r.pods {
		if r.walk || r.nodes.Has(p.pod.Spec.NodeName) {
			r.mark(p)
		}
	}
	r.walk = false
	clear(r.nodes)
}

// begin takes in all pods that run.
func (r *runningPods) begin() {
	r.mu.Lock()
	r.pods = make(map[types.UID]*runningPod)
	r.mu.Unlock()
	// After the list is open for events, so that none is lost between the two.
	pods, err := r.lister.List(labels.Everything())
	if err != nil {
		return // listers of caches have no errors
	}
	for _, pod := range pods {
		r.observe(nil, pod)
	}
}

// end takes back what was counted.
func (r *runningPods) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pods {
		r.remove(p)
	}
	r.pods, r.dirty = nil, nil
}

// lookAtOne looks at one dirty pod, and reports whether there was one. It decides
// without the lock: the informer's handlers must not wait.
func (r *runningPods) lookAtOne() bool {
	r.mu.Lock()
	if len(r.dirty) == 0 {
		r.dirty = nil // which may have held all pods
		r.mu.Unlock()
		return false
	}
	end := len(r.dirty) - 1
	p := r.dirty[end]
	r.dirty[end] = nil
	r.dirty = r.dirty[:end]
	p.dirty = false
	pod := p.pod
	r.mu.Unlock()
	if pod == nil {
		return true // gone in the meantime
	}
	locality, handles := r.decider.locality(pod)
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.pod == nil {
		return true
	}
	if !slices.EqualFunc(p.links, handles, func(l podLink[runningPod], handle string) bool { return l.handle == handle }) {
		r.byHandle.unlink(p.links)
		p.links = r.byHandle.link(p, handles)
		r.mark(p) // for what has changed before the pod stood here
	}
	r.count(p, locality)
	return true
}
