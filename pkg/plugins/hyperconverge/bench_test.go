package hyperconverge

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// benchScene is a cluster of 1000 nodes in racks and zones, with a pod that has
// volumes with three replicas each. The pod is created, since PreFilter looks for
// it.
func benchScene(b *testing.B, volumes int, finish func(*st.PodWrapper) *v1.Pod) (*scene, *v1.Pod) {
	b.Helper()
	return clusterOf(b, 1000, volumes, finish)
}

// clusterOf is a benchScene of any size.
func clusterOf(b testing.TB, nodes, volumes int, finish func(*st.PodWrapper) *v1.Pod) (*scene, *v1.Pod) {
	b.Helper()
	set := online(nodes)
	for i := range set.nodes {
		set.nodes[i] = fmt.Sprintf("px/rack=r%d topology.kubernetes.io/zone=z%d topology.kubernetes.io/region=eu", i/20, i/200)
	}
	s := newScene(b, set)
	pods := 0
	s.settle = func() {
		for !s.quiet(len(set.nodes), pods) {
			time.Sleep(time.Millisecond)
		}
	}
	s.begin(set)
	b.Cleanup(s.end)
	var claims []string
	for i := range volumes {
		claims = append(claims, fmt.Sprintf("data-%d", i))
		s.data(claims[i], 1+i, 300+i, 700) // all on node 700, for strict pods
	}
	pod := finish(makePod("db", claims...))
	pods = 1
	s.create(pod)
	return s, pod
}

// quiet reports whether everybody knows what there is.
func (s *scene) quiet(nodes, pods int) bool {
	index := s.factory.shared.index
	summary := volumes.Summarize(index, 0)
	claims, err := s.informers.Core().V1().PersistentVolumeClaims().Lister().List(labels.Everything())
	s.must(err)
	known, err := s.pl.waiting.lister.List(labels.Everything())
	s.must(err)
	return index.HasSynced() && index.View().NumNodes() == nodes && index.View().Fresh() &&
		summary.Volumes[volumes.Fresh] == s.handles && len(claims) == s.handles && len(known) == pods
}

func BenchmarkPreFilter(b *testing.B) {
	for _, kind := range []struct {
		name   string
		finish func(*st.PodWrapper) *v1.Pod
	}{{"soft", (*st.PodWrapper).Obj}, {"strict", strict}} {
		for _, n := range []int{0, 1, 8, 64} {
			b.Run(fmt.Sprintf("%s/volumes=%d", kind.name, n), func(b *testing.B) {
				s, pod := benchScene(b, n, kind.finish)
				state := framework.NewCycleState()
				b.ReportAllocs()
				for b.Loop() {
					s.pl.PreFilter(s.ctx, state, pod, nil)
				}
			})
		}
	}
}

// benchNodes runs a call for each of the nodes in turn.
func benchNodes(b *testing.B, volumes int, call func(s *scene, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo)) {
	s, pod := benchScene(b, volumes, (*st.PodWrapper).Obj)
	state, _, status := s.preFilter(pod)
	s.must(status.AsError())
	nodes := s.nodeInfos()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		call(s, state, pod, nodes[i])
		if i++; i == len(nodes) {
			i = 0
		}
	}
}

func BenchmarkFilter(b *testing.B) {
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprintf("volumes=%d", n), func(b *testing.B) {
			benchNodes(b, n, func(s *scene, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) {
				s.pl.Filter(s.ctx, state, pod, node)
			})
		})
	}
}

func BenchmarkScore(b *testing.B) {
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprintf("volumes=%d", n), func(b *testing.B) {
			benchNodes(b, n, func(s *scene, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) {
				_, _ = s.pl.Score(s.ctx, state, pod, node)
			})
		})
	}
}

// waitFor enters pods into the list as PreFilter does, without an API server that has
// them.
func (s *scene) waitFor(pods ...*v1.Pod) {
	indexer := s.informers.Core().V1().Pods().Informer().GetIndexer()
	for _, pod := range pods {
		s.must(indexer.Add(pod))
		s.pl.PreFilter(s.ctx, framework.NewCycleState(), pod, nil)
	}
}

// manyVolumes adds volumes with claims of their own and waits until all are known.
func (s *scene) manyVolumes(n int, replicas ...int) {
	settle := s.settle
	defer func() { s.settle = settle }()
	s.settle = func() {}
	for i := range n {
		s.data(fmt.Sprintf("own-%d", i), replicas...)
		if i%32 == 0 || i == n-1 { // a watch of the simulated API server holds 100 events
			settle()
		}
	}
}

// heapOfWaitingPods is what a waiting pod keeps beside itself, in bytes, when the nodes
// change all the time while pods come to wait. Each is strict, with two volumes.
func heapOfWaitingPods(tb testing.TB, nodes, pods int) float64 {
	s, _ := clusterOf(tb, nodes, 1, (*st.PodWrapper).Obj)
	s.manyVolumes(pods, 1, 2, 3)
	all := make([]*v1.Pod, pods)
	for i := range all {
		all[i] = strict(makePod(fmt.Sprintf("waits-%d", i), fmt.Sprintf("own-%d", i), "data-0"))
		s.must(s.informers.Core().V1().Pods().Informer().GetIndexer().Add(all[i]))
	}
	heap := func() uint64 {
		var stats runtime.MemStats
		for range 3 {
			runtime.GC()
		}
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	s.settle = func() {}
	before := heap()
	for i, pod := range all {
		if i%10 == 0 {
			view, change := s.pl.decider.index.View(), i/10
			state := []placement.StorageState{placement.Degraded, placement.Online}[change/(nodes-4)%2]
			s.nodeState(4+change%(nodes-4), state)
			for s.pl.decider.index.View() == view {
				time.Sleep(100 * time.Microsecond)
			}
		}
		s.pl.PreFilter(s.ctx, framework.NewCycleState(), pod, nil)
	}
	perPod := (float64(heap()) - float64(before)) / float64(pods)
	runtime.KeepAlive(all)
	if waits := len(s.pl.waiting.pods); waits != pods {
		tb.Errorf("%d pods wait, want %d", waits, pods)
	}
	return perPod
}

func TestHeapOfWaitingPods(t *testing.T) {
	if perPod := heapOfWaitingPods(t, 500, 1000); perPod > 2000 {
		t.Errorf("a waiting pod keeps %.0f bytes, want 2000 at most", perPod)
	}
}

func BenchmarkHeapOfWaitingPods(b *testing.B) {
	for _, nodes := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			b.ReportMetric(heapOfWaitingPods(b, nodes, 3000), "B/pod")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// PreFilter while many pods wait and many volumes change. What the machine adds by
// itself shows where nobody waits and nothing changes.
func BenchmarkPreFilterBesideWaitingPods(b *testing.B) {
	for _, bm := range []struct{ waiting, perSecond int }{{0, 0}, {100_000, 0}, {100_000, 1000}} {
		b.Run(fmt.Sprintf("waiting=%d/changes=%d", bm.waiting, bm.perSecond), func(b *testing.B) {
			const perVolume = 10
			s, tried := clusterOf(b, 1000, 1, strict)
			s.manyVolumes(bm.waiting/perVolume, 1, 2, 3)
			pods := []*v1.Pod{tried}
			for i := range bm.waiting {
				pods = append(pods, strict(makePod(fmt.Sprintf("waits-%d", i), fmt.Sprintf("own-%d", i/perVolume))))
			}
			s.waitFor(pods...)
			ended := make(chan struct{})
			var group sync.WaitGroup
			if bm.perSecond > 0 {
				group.Go(func() { s.changeVolumes(bm.waiting/perVolume, bm.perSecond, ended) })
			}
			runtime.GC()
			took := make([]time.Duration, 0, 1<<20)
			for i := 0; b.Loop(); i++ {
				pod := pods[i*7919%len(pods)]
				start := time.Now()
				s.pl.PreFilter(s.ctx, framework.NewCycleState(), pod, nil)
				took = append(took, time.Since(start))
			}
			close(ended)
			group.Wait()
			slices.Sort(took)
			for _, p := range []int{50, 99} {
				b.ReportMetric(float64(took[len(took)*p/100].Nanoseconds())/1000, fmt.Sprintf("p%d-µs", p))
			}
		})
	}
}

// changeVolumes attaches, detaches and moves the volumes of manyVolumes in turn, each of
// which is no news to the pods that wait for them.
func (s *scene) changeVolumes(volumes, perSecond int, ended chan struct{}) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for change := 0; ; {
		for range perSecond / 100 {
			// The first handle is that of the volume of benchScene's pod.
			o := observation(strconv.Itoa(1002+change%volumes), on(1+change%997, 2, 3))
			if change/volumes%2 == 0 {
				o.Attached = storageID(2)
			}
			s.storage.tellOf(o)
			change++
		}
		select {
		case <-ended:
			return
		case <-ticker.C:
		}
	}
}

// What a change of the index costs while 1000 pods wait.
func BenchmarkChangeWith1000PodsWaiting(b *testing.B) {
	for _, bm := range []struct {
		name   string
		change volumes.Change
	}{
		{"volume of no pod", volumes.Change{Volumes: []string{"99"}}},
		{"volume of one pod", volumes.Change{Volumes: []string{"1001"}}},
		{"node", volumes.Change{Nodes: []volumes.NodeChange{{New: &placement.Node{Name: nodeName(900)}}}}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			s, _ := benchScene(b, 8, (*st.PodWrapper).Obj)
			s.pl.waiting = newWaitingPods(s.pl.decider, s.pl.waiting.lister, nil, nil) // nobody else works on it
			for i := range 1000 {
				pod := makePod(fmt.Sprintf("db-%d", i), fmt.Sprintf("data-%d", 1+i%7)).Obj()
				if i == 0 {
					pod = makePod("db-0", "data-0").Obj()
				}
				s.waitFor(pod)
			}
			b.ReportAllocs()
			for b.Loop() {
				s.pl.waiting.changed(bm.change)
				for s.pl.waiting.compareBatch() {
				}
			}
		})
	}
}

// What one change of a claim costs under the lock of the scheduling queue for each pod that
// waits: here, for pods that share as many claims as a pod may have.
func BenchmarkHintOfPodWithManyClaims(b *testing.B) {
	s, pod := clusterOf(b, 10, placement.MaxVolumes, strict)
	s.waitFor(pod)
	claim := makeClaim("data-0", "pv-data-0")
	old := changed(claim, func(c *v1.PersistentVolumeClaim) { c.Annotations[placement.VolumeWeight] = "2" })
	for b.Loop() {
		if _, err := s.pl.isSchedulableAfterPersistentVolumeClaimChange(klog.Background(), pod, old, claim); err != nil {
			b.Fatal(err)
		}
	}
}

// What PreFilter costs for one of many launchers of the same virtual machine.
func BenchmarkPreFilterOfManyLaunchers(b *testing.B) {
	s, _ := clusterOf(b, 10, 1, (*st.PodWrapper).Obj)
	var launchers []*v1.Pod
	for i := range 10_000 {
		launchers = append(launchers, launcher(fmt.Sprintf("launcher-%d", i), "vm", "data-0").Obj())
	}
	s.waitFor(launchers...)
	for i := 0; b.Loop(); i++ {
		s.pl.PreFilter(s.ctx, framework.NewCycleState(), launchers[i%len(launchers)], nil)
	}
}

// newVolumeScene is a cluster whose pod has one volume that does not exist yet, with a
// strategy of four rules, one of each list.
func newVolumeScene(b *testing.B, nodes int) (*scene, *v1.Pod) {
	b.Helper()
	rule := func(key string, values ...any) []any {
		return []any{map[string]any{"matchExpressions": []any{map[string]any{"key": key, "operator": "In", "values": values}}}}
	}
	set := online(nodes)
	for i := range set.nodes {
		set.nodes[i] = fmt.Sprintf("px/rack=r%d topology.kubernetes.io/zone=z%d topology.kubernetes.io/region=eu disk=%s", i/20, i/200, [...]string{"ssd", "hdd", "old"}[i%3])
	}
	set.resources = customResources(strategy("four", map[string]any{
		"replicaAffinity": rule("disk", "ssd", "hdd"), "replicaAntiAffinity": rule("px/rack", "r1"),
		"volumeAffinity": rule("app", "db"), "volumeAntiAffinity": rule("app", "web"),
	}))
	s := newScene(b, set)
	pods := 0
	s.settle = func() {
		for !s.quiet(nodes, pods) {
			time.Sleep(time.Millisecond)
		}
	}
	s.begin(set)
	b.Cleanup(s.end)
	for i, app := range []string{"db", "db", "web"} {
		s.add(volume{name: fmt.Sprint("other-", i), sets: on(1+i, 300+i, 700), claim: func(c *v1.PersistentVolumeClaim) { c.Labels = map[string]string{"app": app} }})
	}
	s.settle = func() {
		for !s.factory.HasTried() {
			time.Sleep(time.Millisecond)
		}
	}
	s.newClaim("new", placedBy("four"), nil)
	pod := makePod("db", "new").Obj()
	s.create(pod)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		state, _, status := s.preFilter(pod)
		if d, err := decisionOf(state); status.IsSuccess() && err == nil && len(d.Plan.Expected()) == 1 && len(d.Plan.Expected()[0].Peers) == 2 {
			return s, pod
		}
		if time.Now().After(deadline) {
			b.Fatalf("nothing is expected of the new volume: %v", status.Message())
		}
	}
}

// BenchmarkPreFilterOfNewVolume: what looking ahead costs, when the nodes have been looked
// at for the strategy, and when they have changed since.
func BenchmarkPreFilterOfNewVolume(b *testing.B) {
	for _, nodes := range []int{1000, 5000} {
		for _, known := range []bool{true, false} {
			b.Run(fmt.Sprintf("nodes=%d/known=%t", nodes, known), func(b *testing.B) {
				s, pod := newVolumeScene(b, nodes)
				state := framework.NewCycleState()
				b.ReportAllocs()
				for b.Loop() {
					if !known {
						s.pl.decider.newVolumes.candidates.Clear()
					}
					s.pl.PreFilter(s.ctx, state, pod, nil)
				}
			})
		}
	}
}

// BenchmarkHeapOfStrategies is what 200 strategies keep in a cluster of 5000 nodes, the
// labels of the nodes included.
func BenchmarkHeapOfStrategies(b *testing.B) {
	heap := func() float64 {
		var stats runtime.MemStats
		for range 3 {
			runtime.GC()
		}
		runtime.ReadMemStats(&stats)
		return float64(stats.HeapAlloc)
	}
	before := heap()
	nodes := make([]*placement.Node, 5000)
	for i := range nodes {
		node := map[string]string{"kubernetes.io/hostname": nodeName(i), "disk": [...]string{"ssd", "hdd", "old"}[i%3]}
		for k := range 20 { // as many as nodes of a cloud have
			node[fmt.Sprintf("node.example.com/label-%d", k)] = fmt.Sprint("value-", k, "-", i%3)
		}
		nodes[i] = &placement.Node{Name: nodeName(i), State: placement.Online, Site: &placement.Site{Labels: placement.LabelsOf(node)},
			Disks: &placement.Disks{ID: storageID(i), Pools: []placement.Pool{{UUID: storageID(i), Free: -1}}}}
	}
	var kept []*placement.Candidates
	for i := range 200 {
		rules := &placement.StrategyRules{Replicas: 1 + i%3, Strategy: placement.Strategy{ReplicaAffinity: []placement.StrategyRule{
			{Match: []placement.Requirement{{Key: "disk", Operator: placement.In, Values: []string{"ssd", "hdd"}}}}}}}
		kept = append(kept, placement.NewCandidates(rules, slices.Values(nodes)))
	}
	b.ReportMetric((heap()-before)/1e6, "MB")
	b.ReportMetric(0, "ns/op")
	runtime.KeepAlive(kept)
	runtime.KeepAlive(nodes)
}

// BenchmarkCycle is all that the plugin does for a pod with a shared volume that gets a
// replica node: PreFilter, the first group of the offer, Filter and Score of its nodes;
// with all degrees of locality at their defaults, and with limits and spread.
func BenchmarkCycle(b *testing.B) {
	for _, knobs := range []string{"none", "all"} {
		b.Run("knobs="+knobs, func(b *testing.B) {
			s, pod := benchScene(b, 1, (*st.PodWrapper).Obj)
			claims := s.informers.Core().V1().PersistentVolumeClaims().Informer().GetStore()
			object, _, err := claims.GetByKey(namespace + "/data-0")
			s.must(err)
			claim := object.(*v1.PersistentVolumeClaim).DeepCopy()
			claim.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteMany}
			if knobs == "all" {
				claim.Annotations[placement.VolumeSpread] = string(placement.SpreadReplicas)
				s.pl.limits = placement.Allocation{CPU: 90, Memory: 95, Pods: 100}
			}
			s.must(claims.Update(claim))
			infos := s.profile.SnapshotSharedLister().NodeInfos()
			state := framework.NewCycleState()
			b.ReportAllocs()
			for b.Loop() {
				s.pl.PreFilter(s.ctx, state, pod, nil)
				d, err := decisionOf(state)
				s.must(err)
				for group := range d.Groups() {
					for _, name := range group {
						node, err := infos.Get(name)
						s.must(err)
						s.pl.Filter(s.ctx, state, pod, node)
						_, _ = s.pl.Score(s.ctx, state, pod, node)
					}
					break
				}
			}
		})
	}
}
