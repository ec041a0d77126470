package hyperconverge

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// world is a cluster that changes at random, with pods that wait.
type world struct {
	*scene
	random *rand.Rand
	nodes  map[int]*v1.Node // nil if Kubernetes does not have the node now
	pods   map[string]*v1.Pod
	// claims: name → whether it exists; data-i is volume 1001+i.
	claims map[string]bool
	// versions counts the objects and versions made.
	versions int
}

const (
	worldNodes   = 4
	worldVolumes = 4
	worldPods    = 8
)

func newWorld(s *scene, seed uint64) *world {
	w := &world{scene: s, random: rand.New(rand.NewPCG(seed, seed)), nodes: map[int]*v1.Node{}, pods: map[string]*v1.Pod{}, claims: map[string]bool{}}
	for n := 1; n <= worldNodes; n++ {
		w.nodes[n], _, _ = makeNode(n, "")
	}
	for i := range worldVolumes {
		name := fmt.Sprintf("data-%d", i)
		w.claims[name] = true
		if i == 0 {
			s.service(name, map[string]string{placement.VolumePreferRemoteOnly: "true"}, 1, 2)
		} else {
			s.data(name, 1+w.random.IntN(worldNodes))
		}
	}
	for i := range worldPods {
		w.addPod(fmt.Sprintf("db-%d", i))
	}
	return w
}

func (w *world) addPod(name string) *v1.Pod {
	volumes := w.random.Perm(worldVolumes)[:1+w.random.IntN(2)]
	wrapper := makePod(name)
	for _, i := range volumes {
		wrapper.PVC(fmt.Sprintf("data-%d", i))
	}
	w.versions++
	pod := wrapper.UID(fmt.Sprint(name, "-", w.versions)).Obj()
	if w.random.IntN(2) == 0 {
		pod = strict(wrapper)
	}
	w.pods[name] = pod
	w.must(w.client.Tracker().Add(pod))
	return pod
}

func (w *world) anyPod() *v1.Pod {
	return w.pods[slices.Sorted(maps.Keys(w.pods))[w.random.IntN(len(w.pods))]]
}

// put writes a new version of an object.
func (w *world) put(object interface {
	runtime.Object
	metav1.Object
}) {
	w.versions++
	object.SetResourceVersion(strconv.Itoa(w.versions))
	w.must(w.client.Tracker().Update(resourceOf(object), object, object.GetNamespace()))
}

var worldStates = []placement.StorageState{placement.Online, placement.Online, placement.StorageDown, placement.Degraded, placement.Offline}

// change changes something, without waiting for anybody to notice. It returns what the
// API server would send to the hints of claims.
func (w *world) change() (what string, old, now *v1.PersistentVolumeClaim) {
	n, i := 1+w.random.IntN(worldNodes), w.random.IntN(worldVolumes)
	handle, name := strconv.Itoa(1001+i), fmt.Sprintf("data-%d", i)
	switch w.random.IntN(8) {
	case 0, 1:
		state := worldStates[w.random.IntN(len(worldStates))]
		w.storage.mu.Lock()
		w.storage.nodes[storageID(n)] = volumes.StorageNode{ID: storageID(n), State: state}
		w.storage.mu.Unlock()
		w.storage.tellNodes()
		return fmt.Sprintf("node %d is %s", n, state), nil, nil
	case 2, 3:
		nodes := w.random.Perm(worldNodes)[:1+w.random.IntN(2)]
		for k := range nodes {
			nodes[k]++
		}
		o := observation(handle, on(nodes...))
		o.Service = i == 0
		w.storage.put(o)
		return fmt.Sprintf("volume %s is on %v", name, nodes), nil, nil
	case 4:
		if w.nodes[n] == nil {
			w.nodes[n], _, _ = makeNode(n, "")
			w.must(w.client.Tracker().Add(w.nodes[n]))
			return fmt.Sprintf("node %d appears", n), nil, nil
		}
		if w.random.IntN(2) == 0 {
			w.must(w.client.Tracker().Delete(resourceOf(w.nodes[n]), "", w.nodes[n].Name))
			w.nodes[n] = nil
			return fmt.Sprintf("node %d is gone", n), nil, nil
		}
		node := w.nodes[n].DeepCopy()
		closed := node.Annotations[placement.NodeUnschedulable] == "true"
		node.Annotations = map[string]string{placement.NodeUnschedulable: strconv.FormatBool(!closed)}
		w.nodes[n] = node
		w.put(node)
		return fmt.Sprintf("node %d is closed: %v", n, !closed), nil, nil
	case 5:
		pod := w.anyPod().DeepCopy()
		strict := pod.Annotations[placement.PodPreferLocalOnly] == "true"
		pod.Annotations = map[string]string{placement.PodPreferLocalOnly: strconv.FormatBool(!strict)}
		w.pods[pod.Name] = pod
		w.put(pod)
		return fmt.Sprintf("pod %s is strict: %v", pod.Name, !strict), nil, nil
	case 6:
		claim := makeClaim(name, "pv-"+name)
		if i == 0 {
			claim.Annotations[placement.VolumePreferRemoteOnly] = "true"
		}
		if !w.claims[name] {
			w.claims[name] = true
			w.must(w.client.Tracker().Add(claim))
			return "claim " + name + " appears", nil, claim
		}
		object, err := w.client.Tracker().Get(resourceOf(claim), namespace, name)
		w.must(err)
		before := object.(*v1.PersistentVolumeClaim)
		if w.random.IntN(2) == 0 {
			w.claims[name] = false
			w.must(w.client.Tracker().Delete(resourceOf(claim), namespace, name))
			return "claim " + name + " is gone", before, nil
		}
		after := before.DeepCopy()
		restoring := after.Annotations[placement.ClaimRestoreInProgress] == "true"
		after.Annotations[placement.ClaimRestoreInProgress] = strconv.FormatBool(!restoring)
		w.put(after)
		return fmt.Sprintf("claim %s is restored: %v", name, !restoring), before, after
	default:
		pod := w.anyPod()
		w.must(w.client.Tracker().Delete(resourceOf(pod), namespace, pod.Name))
		delete(w.pods, pod.Name)
		w.addPod(pod.Name)
		return "pod " + pod.Name + " is made anew", nil, nil
	}
}

// hints asks what the scheduling queue asks, and returns the pods that it requeues.
func (w *world) hints(old, now *v1.PersistentVolumeClaim) (requeued []string) {
	if old == nil && now == nil {
		return nil
	}
	var oldObj, newObj any
	if old != nil {
		oldObj = old
	}
	if now != nil {
		newObj = now
	}
	for _, name := range slices.Sorted(maps.Keys(w.pods)) {
		if w.pl.waiting.baselineOf(w.pods[name].UID) == nil {
			continue // only pods that have been rejected are asked about
		}
		hint, err := w.pl.isSchedulableAfterPersistentVolumeClaimChange(klog.Background(), w.pods[name], oldObj, newObj)
		w.must(err)
		if hint == fwk.Queue {
			requeued = append(requeued, namespace+"/"+name)
		}
	}
	return requeued
}

// plain is the statement of the rules that the list is compared with: it keeps whole
// decisions, and compares the verdict on every node.
type plain struct {
	last *decision
	told string
}

func (w *world) decide(pod *v1.Pod) *decision {
	return w.pl.decider.decide(pod, w.pl.decider.claimsOf(pod), w.pl.decider.index.Lookup, time.Now())
}

// requeues reports whether a pod with another decision is to be tried again.
func (p *plain) requeues(d *decision) bool {
	was := p.last
	p.last = d
	if d.Rejection != nil {
		if p.told == "" || p.told == d.Rejection.Message() {
			return false
		}
		p.told = d.Rejection.Message()
		return true
	}
	if was.Rejection != nil || p.opened(was, d) {
		p.told = ""
		return true
	}
	return false
}

// opened reports whether a node has opened. To be no longer confined counts, even if no
// other node is well.
func (p *plain) opened(was, d *decision) bool {
	if was.Plan != nil {
		_, wasConfined := was.Plan.Confined()
		if _, confined := d.Plan.Confined(); wasConfined && !confined {
			return true
		}
	}
	for n := 1; n <= worldNodes; n++ {
		name := nodeName(n)
		if was.view.Node(name) == nil && d.view.Node(name) == nil {
			continue // nor has the scheduler
		}
		if was.verdict(name) != placement.Feasible && d.verdict(name) == placement.Feasible {
			return true
		}
	}
	return false
}

// One change after the other, each noticed by everybody before the next: a pod is
// activated exactly when the plain statement says so. Now and then a change comes while
// PreFilter is at work.
func TestRequeueAgreesWithAPlainStatement(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			play(t, online(worldNodes), func(s *scene) {
				w := newWorld(s, seed)
				s.settle()
				model := map[string]*plain{} // by UID and name
				enter := func(pod *v1.Pod, d *decision) {
					p := &plain{last: d}
					if d.Rejection != nil {
						p.told = d.Rejection.Message()
					}
					model[pod.Name] = p
				}
				history := []string{}
				for step := range 120 {
					pod := w.anyPod()
					var finish func()
					switch {
					case model[pod.Name] == nil || w.random.IntN(4) == 0:
						d := w.decide(pod)
						s.attempt(pod)
						enter(pod, d)
						history = append(history, "attempt of "+pod.Name)
					case w.random.IntN(4) == 0:
						d := w.decide(pod)
						decided := s.beginAttempt(pod)
						delete(model, pod.Name)
						history = append(history, "long attempt of "+pod.Name)
						finish = func() {
							decided()
							if w.pods[pod.Name] != nil && w.pods[pod.Name].UID == pod.UID {
								enter(pod, d)
							}
						}
					}
					same(s, "activated by an attempt", nil, s.queue.taken())
					s.resetGaps()
					before := maps.Clone(w.pods)
					what, old, now := w.change()
					history = append(history, what)
					s.settle()
					s.pass(time.Second)
					activated := s.queue.taken()
					if finish != nil {
						// What the old baseline of the pod says of the change is beside the point.
						activated = slices.DeleteFunc(activated, func(name string) bool { return name == namespace+"/"+pod.Name })
						finish()
						s.pass(time.Second)
						activated = append(activated, s.queue.taken()...)
					}
					activated = append(activated, w.hints(old, now)...) // of pods in flight, they are asked for afterwards
					s.pass(time.Second)
					activated = append(activated, s.queue.taken()...)
					var want []string
					for _, name := range slices.Sorted(maps.Keys(w.pods)) {
						if before[name] != w.pods[name] && w.pl.waiting.baselineOf(w.pods[name].UID) == nil {
							delete(model, name)
						}
						if p := model[name]; p != nil && p.requeues(w.decide(w.pods[name])) {
							want = append(want, namespace+"/"+name)
						}
					}
					slices.Sort(activated)
					if !slices.Equal(want, activated) {
						s.Errorf("step %d: activated %v, want %v, after\n%v", step, activated, want, history)
						return
					}
				}
			})
		})
	}
}

// Everything at once: changes, attempts and hints from many goroutines. When all is
// quiet, no pod is left that would fare better than when it was tried last, or whose
// condition is not what it would be told.
func TestNoActivationIsLost(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			play(t, online(worldNodes), func(s *scene) {
				w := newWorld(s, seed)
				s.settle()
				tries := &tries{world: w, last: map[types.UID]*plain{}}
				_, err := s.informers.Core().V1().PersistentVolumeClaims().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
					AddFunc:    func(now any) { tries.hint(nil, now.(*v1.PersistentVolumeClaim)) },
					UpdateFunc: func(old, now any) { tries.hint(old.(*v1.PersistentVolumeClaim), now.(*v1.PersistentVolumeClaim)) },
					DeleteFunc: func(old any) { tries.hint(old.(*v1.PersistentVolumeClaim), nil) },
				})
				s.must(err)
				ended := make(chan struct{})
				var group sync.WaitGroup
				group.Go(func() { tries.serve(ended) })
				for range 300 {
					tries.mu.Lock()
					w.change()
					for _, pod := range w.pods {
						if tries.last[pod.UID] == nil || w.random.IntN(20) == 0 {
							tries.requeue(namespace + "/" + pod.Name)
						}
					}
					tries.mu.Unlock()
					if w.random.IntN(3) == 0 {
						time.Sleep(time.Duration(w.random.IntN(50)) * time.Millisecond)
					}
				}
				s.pass(time.Minute)
				close(ended)
				group.Wait()
				for name, pod := range w.pods {
					d, last := w.decide(pod), tries.last[pod.UID]
					if told := last.told; last.requeues(d) {
						s.Errorf("%s was last told %q, and has not been tried since it would be told %v", name, told, d.Rejection)
					}
				}
			})
		})
	}
}

// tries is the part of the scheduler that tries the pods of the queue.
type tries struct {
	*world
	mu   sync.Mutex
	last map[types.UID]*plain
}

func (t *tries) requeue(names ...string) {
	pods := map[string]*v1.Pod{}
	for _, name := range names {
		pods[name] = nil
	}
	t.queue.Activate(klog.Background(), pods)
}

func (t *tries) hint(old, now *v1.PersistentVolumeClaim) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requeue(t.hints(old, now)...)
}

func (t *tries) attempt(pod *v1.Pod) {
	if present, err := t.pl.waiting.lister.Pods(namespace).Get(pod.Name); err != nil || present.UID != pod.UID {
		t.requeue(namespace + "/" + pod.Name) // the scheduling queue does not have it yet
		return
	}
	state, _, status := t.preFilter(pod)
	if d, err := decisionOf(state); err == nil {
		t.last[pod.UID] = &plain{last: d}
		return
	}
	rejected := &decision{view: t.pl.decider.index.View()}
	rejected.Rejection = &placement.Rejection{}
	t.last[pod.UID] = &plain{last: rejected, told: status.Message()}
}

func (t *tries) serve(ended chan struct{}) {
	for {
		for _, name := range t.queue.taken() {
			t.mu.Lock()
			if pod := t.pods[name[len(namespace)+1:]]; pod != nil {
				t.attempt(pod)
			}
			t.mu.Unlock()
		}
		select {
		case <-ended:
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}
