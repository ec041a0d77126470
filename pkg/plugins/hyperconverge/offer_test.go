package hyperconverge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// sized gives nodes 10 CPUs, 10 GiB and room for 4 pods.
func sized(_ int, node *v1.Node) {
	node.Status.Allocatable = st.MakeNode().Capacity(map[v1.ResourceName]string{v1.ResourceCPU: "10", v1.ResourceMemory: "10Gi", v1.ResourcePods: "4"}).Obj().Status.Allocatable
}

// runs is a pod that has a node and requests CPUs.
func runs(name, node, cpu string, claims ...string) *v1.Pod {
	return makePod(name, claims...).Node(node).Req(map[v1.ResourceName]string{v1.ResourceCPU: cpu}).Obj()
}

// TestNodesThatAreFull is S11.
func TestNodesThatAreFull(t *testing.T) {
	nearlyFull := []*v1.Pod{runs("a", "n1", "9"), runs("b", "n2", "5")}
	limits := func(m config.MaxAllocation) func(*config.HyperconvergeArgs) {
		return func(a *config.HyperconvergeArgs) { a.LocalFirst.MaxAllocation = m }
	}
	for _, row := range []struct {
		name    string
		args    func(*config.HyperconvergeArgs)
		running []*v1.Pod
		pod     func(*st.PodWrapper) *v1.Pod
		offer   [][]string
		scores  []int64
	}{
		{name: "without limits the fullest node is taken as gladly", running: nearlyFull, offer: [][]string{{"n1", "n2"}}, scores: []int64{100, 100, 0}},
		{name: "a node that the pod would push over the limit is not offered", args: limits(config.MaxAllocation{CPU: "90%"}), running: nearlyFull,
			offer: [][]string{{"n2"}}, scores: []int64{0, 100, 0}},
		{name: "one that it would fill up to the limit is", args: limits(config.MaxAllocation{CPU: "100%"}), running: nearlyFull,
			offer: [][]string{{"n1", "n2"}}, scores: []int64{100, 100, 0}},
		{name: "memory that the pod does not ask for is no reason", args: limits(config.MaxAllocation{Memory: "1%"}), running: nearlyFull,
			offer: [][]string{{"n1", "n2"}}, scores: []int64{100, 100, 0}},
		{name: "the number of pods", args: limits(config.MaxAllocation{Pods: "50%"}), running: append(nearlyFull, runs("c", "n2", "1")),
			offer: [][]string{{"n1"}}, scores: []int64{100, 0, 0}},
		{name: "if all replica nodes are full the pod goes elsewhere", args: limits(config.MaxAllocation{CPU: "50%"}), running: nearlyFull,
			offer: [][]string{{}}, scores: []int64{0, 0, 0}},
		{name: "the limits of the pod count before those of the profile", args: limits(config.MaxAllocation{CPU: "50%"}), running: nearlyFull,
			pod: func(p *st.PodWrapper) *v1.Pod { return p.Annotation(placement.PodMaxAllocation, "cpu=100%").Obj() }, offer: [][]string{{"n1", "n2"}}, scores: []int64{100, 100, 0}},
		{name: "strict pods are not concerned", args: limits(config.MaxAllocation{CPU: "50%"}), running: nearlyFull, pod: strict, offer: nil, scores: []int64{100, 100, 0}},
	} {
		t.Run(row.name, func(t *testing.T) {
			play(t, setting{nodes: make([]string, 3), change: sized, running: row.running, args: row.args}, func(s *scene) {
				s.data("data", 1, 2)
				wrapper := makePod("db", "data").Req(map[v1.ResourceName]string{v1.ResourceCPU: "1"})
				pod := wrapper.Obj()
				if row.pod != nil {
					pod = row.pod(wrapper)
				}
				same(s, "offer", row.offer, s.offer(pod))
				same(s, "scores", row.scores, s.scores(pod))
			})
		})
	}
}

// TestLoadIsTheReason: events and explanations say so.
func TestLoadIsTheReason(t *testing.T) {
	play(t, setting{nodes: make([]string, 2), change: sized, running: []*v1.Pod{runs("a", "n1", "9")},
		args: func(a *config.HyperconvergeArgs) { a.LocalFirst.MaxAllocation.CPU = "90%" }}, func(s *scene) {
		s.data("data", 1)
		pod := makePod("db", "data").Req(map[v1.ResourceName]string{v1.ResourceCPU: "1"}).Obj()
		s.create(pod)
		const load = "its cpu would be allocated to 100 %, the limit is 90 %"
		same(s, "explanation", load, s.pl.Explain(pod).Node("n1").Overload)
		state, _, _ := s.preFilter(pod)
		if status := s.profile.RunReservePluginsReserve(s.ctx, state, pod, "n2"); !status.IsSuccess() {
			s.Fatal(status.Message())
		}
		s.profile.RunPostBindPlugins(s.ctx, state, pod, "n2")
		same(s, "events", []string{"Pod db NonOptimumScheduling: Pod runs on n2, which is no replica node of its volumes. n1: " + load}, s.events.taken())
	})
}

func TestNodesThatAreAboutToGo(t *testing.T) {
	taint := func(key string, effect v1.TaintEffect) func(*v1.Node) {
		return func(n *v1.Node) { n.Spec.Taints = []v1.Taint{{Key: key, Effect: effect}} }
	}
	for _, row := range []struct {
		name  string
		node  func(*v1.Node)
		pod   func(*st.PodWrapper)
		stays bool
	}{
		{name: "cordoned", node: func(n *v1.Node) { n.Spec.Unschedulable = true }},
		{name: "a candidate of cluster-autoscaler", node: taint("DeletionCandidateOfClusterAutoscaler", v1.TaintEffectPreferNoSchedule)},
		{name: "one that it deletes, though the pod tolerates that", node: taint("ToBeDeletedByClusterAutoscaler", v1.TaintEffectNoSchedule),
			pod: func(p *st.PodWrapper) { p.Toleration("ToBeDeletedByClusterAutoscaler") }},
		{name: "a candidate of Karpenter", node: taint("karpenter.sh/disrupted", v1.TaintEffectNoSchedule)},
		{name: "one that would rather not have the pod", node: taint("example.com/busy", v1.TaintEffectPreferNoSchedule)},
		{name: "which the pod tolerates", node: taint("example.com/busy", v1.TaintEffectPreferNoSchedule), stays: true,
			pod: func(p *st.PodWrapper) {
				p.Tolerations([]v1.Toleration{{Key: "example.com/busy", Operator: v1.TolerationOpExists}})
			}},
		{name: "an ordinary node", node: func(*v1.Node) {}, stays: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			set := setting{nodes: []string{"px/rack=r1", "px/rack=r1", "px/rack=r1"}, change: func(n int, node *v1.Node) {
				if n == 1 {
					row.node(node)
				}
			}}
			play(t, set, func(s *scene) {
				s.data("data", 1, 2)
				pod := makePod("db", "data")
				if row.pod != nil {
					row.pod(pod)
				}
				want := [][]string{{"n2"}, {"n3"}, {"n1"}}
				if row.stays {
					want = [][]string{{"n1", "n2"}, {"n3"}}
				}
				same(s, "offer", want, s.offer(pod.Obj()))
			})
		})
	}
}

// TestPodsOfASharedVolume: how they stand to its replica nodes.
func TestPodsOfASharedVolume(t *testing.T) {
	var running []*v1.Pod
	for i, node := range []string{"n1", "n1", "n2"} {
		running = append(running, runs(fmt.Sprint("web-", i), node, "0", "media"))
	}
	byArgs := func(spread placement.Spread, skew int32) func(*config.HyperconvergeArgs) {
		return func(a *config.HyperconvergeArgs) { a.LocalFirst.Spread, a.LocalFirst.MaxSkew = spread, skew }
	}
	const zone = "topology.kubernetes.io/zone=a"
	for _, row := range []struct {
		name   string
		args   func(*config.HyperconvergeArgs)
		claim  string
		mode   v1.PersistentVolumeAccessMode
		offer  [][]string
		events []string
	}{
		{name: "by default all nodes with a replica are equal", mode: v1.ReadWriteMany, offer: [][]string{{"n1", "n2", "n3"}, {"n4"}}},
		{name: "Replicas keeps their numbers even", claim: "Replicas", mode: v1.ReadWriteMany, offer: [][]string{{"n3"}, {"n2"}, {"n1"}, {"n4"}}},
		{name: "read-only volumes as well", claim: "Replicas", mode: v1.ReadOnlyMany, offer: [][]string{{"n3"}, {"n2"}, {"n1"}, {"n4"}}},
		{name: "up to a difference", args: byArgs(placement.SpreadReplicas, 2), mode: v1.ReadWriteMany, offer: [][]string{{"n3", "n2"}, {"n1"}, {"n4"}}},
		{name: "Zone makes all nodes in the zone equal", claim: "Zone", mode: v1.ReadWriteMany, offer: [][]string{{"n1", "n2", "n3", "n4"}}},
		{name: "the claim counts before the profile", args: byArgs(placement.SpreadZone, 1), claim: "None", mode: v1.ReadWriteMany, offer: [][]string{{"n1", "n2", "n3"}, {"n4"}}},
		{name: "a volume that one pod uses at a time is not spread by the profile", args: byArgs(placement.SpreadReplicas, 1), mode: v1.ReadWriteOnce, offer: [][]string{{"n1", "n2", "n3"}, {"n4"}}},
		{name: "nor by its claim, which is told", claim: "Replicas", mode: v1.ReadWriteOnce, offer: [][]string{{"n1", "n2", "n3"}, {"n4"}},
			events: []string{`PersistentVolumeClaim media InvalidValue: hyperconverge.dev/spread: "Replicas" has no effect on a volume that one pod uses at a time`}},
		{name: "a mode that does not exist is told", claim: "replicas", mode: v1.ReadWriteMany, offer: [][]string{{"n1", "n2", "n3"}, {"n4"}},
			events: []string{`PersistentVolumeClaim media InvalidValue: hyperconverge.dev/spread: "replicas" means nothing, what the profile says is used: write Replicas`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			play(t, setting{nodes: []string{zone, zone, zone, zone, "topology.kubernetes.io/zone=b"}, change: sized, running: running, args: row.args}, func(s *scene) {
				s.add(volume{name: "media", sets: on(1, 2, 3), claim: func(c *v1.PersistentVolumeClaim) {
					c.Spec.AccessModes = []v1.PersistentVolumeAccessMode{row.mode}
					if row.claim != "" {
						c.Annotations[placement.VolumeSpread] = row.claim
					}
				}})
				same(s, "offer", row.offer, s.offer(makePod("web", "media").Obj()))
				same(s, "events", row.events, s.events.taken())
			})
		})
	}
}

// TestPodsThatWaitForTheirData is F16 over time.
func TestPodsThatWaitForTheirData(t *testing.T) {
	play(t, setting{nodes: []string{"", "", "Offline"}}, func(s *scene) {
		handle := s.data("data", 1)
		young := func(name, claim string) *v1.Pod {
			pod := makePod(name, claim).Annotation(placement.PodWaitForLocal, "90s").Obj()
			pod.CreationTimestamp = metav1.Now()
			s.create(pod)
			return pod
		}
		pod := young("db", "data")
		no := placement.ReasonNotLocalYet
		s.preFilter(pod)
		told := s.noNode(pod, map[string]string{"n1": "node(s) were unschedulable"})
		if want := "wait-for-local: shop/data has its replicas on n1 (node(s) were unschedulable); the pod takes another node from "; !strings.HasPrefix(told, want) {
			s.Errorf("the pod is told %q, want %q", told, want)
		}
		if d, err := s.decision(pod); err != nil || d.verdict("n2") != placement.RejectedNotLocalYet {
			s.Errorf("n2: %v, %v, want %s", d.verdict("n2").Reason(), err, no)
		}
		s.pass(80 * time.Second)
		same(s, "activated before the time is over", nil, s.queue.taken())
		s.pass(11 * time.Second)
		same(s, "activated when it is", []string{"shop/db"}, s.queue.taken())
		if d, err := s.decision(pod); err != nil || d.verdict("n2") != placement.Feasible {
			s.Errorf("n2 is still turned down: %v", err)
		}
		s.queue.taken()

		// What helps a strict pod helps one that waits.
		late := young("late", "data")
		s.preFilter(late)
		s.replicas(handle, 2)
		s.pass(time.Second)
		same(s, "activated by a replica that moves", true, strings.Contains(fmt.Sprint(s.queue.taken()), "shop/late"))
	})
}

// TestPodsThatWouldWaitForNothing: a replica node that can never take them.
func TestPodsThatWouldWaitForNothing(t *testing.T) {
	for _, row := range []struct {
		name  string
		node  func(*v1.Node)
		pod   func(*st.PodWrapper)
		waits bool
	}{
		{name: "a selector that the node does not match", pod: func(p *st.PodWrapper) { p.NodeSelector(map[string]string{"disk": "ssd"}) }},
		{name: "an affinity that it does not match", pod: func(p *st.PodWrapper) { p.NodeAffinityIn("disk", []string{"ssd"}, st.NodeSelectorTypeMatchExpressions) }},
		{name: "a taint that the pod does not tolerate", node: func(n *v1.Node) { n.Spec.Taints = []v1.Taint{{Key: "gpu", Effect: v1.TaintEffectNoSchedule}} }},
		{name: "one that it tolerates", node: func(n *v1.Node) { n.Spec.Taints = []v1.Taint{{Key: "gpu", Effect: v1.TaintEffectNoSchedule}} },
			pod: func(p *st.PodWrapper) { p.Toleration("gpu") }, waits: true},
		{name: "more than the node can allocate", pod: func(p *st.PodWrapper) { p.Req(map[v1.ResourceName]string{v1.ResourceCPU: "11"}) }},
		{name: "a node that is not ready comes back", node: func(n *v1.Node) {
			n.Spec.Taints = []v1.Taint{{Key: v1.TaintNodeNotReady, Effect: v1.TaintEffectNoSchedule}}
		}, waits: true},
		{name: "so does one that is cordoned", node: func(n *v1.Node) {
			n.Spec.Unschedulable = true
			n.Spec.Taints = []v1.Taint{{Key: v1.TaintNodeUnschedulable, Effect: v1.TaintEffectNoSchedule}}
		}, waits: true},
		{name: "an ordinary node", waits: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			play(t, setting{nodes: make([]string, 2), change: func(n int, node *v1.Node) {
				sized(n, node)
				if n == 1 && row.node != nil {
					row.node(node)
				}
			}}, func(s *scene) {
				s.data("data", 1)
				wrapper := makePod("db", "data").Annotation(placement.PodWaitForLocal, "90s")
				if row.pod != nil {
					row.pod(wrapper)
				}
				pod := wrapper.Obj()
				pod.CreationTimestamp = metav1.Now()
				d, err := s.decision(pod)
				s.must(err)
				if _, waits := d.Plan.Confined(); waits != row.waits {
					s.Errorf("the pod waits: %t, want %t", waits, row.waits)
				}
			})
		})
	}
}

// decision is what PreFilter leaves for a pod.
func (s *scene) decision(pod *v1.Pod) (*decision, error) {
	state, _, _ := s.preFilter(pod)
	return decisionOf(state)
}
