package hyperconverge

import (
	"context"
	"fmt"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/component-base/metrics/testutil"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/feature"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodename"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	tf "k8s.io/kubernetes/pkg/scheduler/testing/framework"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// fullNodes is a Filter plugin to which some nodes are full.
type fullNodes map[string]bool

func (fullNodes) Name() string { return "FullNodes" }

func (f fullNodes) Filter(_ context.Context, _ fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	if f[node.Node().Name] {
		return fwk.NewStatus(fwk.Unschedulable, "Insufficient cpu", "Insufficient memory")
	}
	return nil
}

// full makes a setting in which some nodes are full, and in which the plugin
// NodeName holds a pod to the node that it has, as in every real profile.
func (set setting) full(names ...string) setting {
	plugin := fullNodes{}
	for _, name := range names {
		plugin[name] = true
	}
	set.others = []tf.RegisterPluginFunc{
		tf.RegisterFilterPlugin(nodename.Name, frameworkruntime.FactoryAdapter(feature.Features{}, nodename.New)),
		tf.RegisterFilterPlugin(plugin.Name(), func(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) { return plugin, nil }),
	}
	return set
}

// extended adds extenders to a setting.
func (set setting) extended(extenders ...fwk.Extender) setting {
	set.options = []frameworkruntime.Option{frameworkruntime.WithExtenders(extenders)}
	return set
}

// extender turns one node down, and says why if why is not empty.
type extender struct {
	tf.FakeExtender
	node, why string
}

func (*extender) IsFilter() bool { return true }

func (e *extender) Filter(_ *v1.Pod, nodes []fwk.NodeInfo) (passed []fwk.NodeInfo, failed, unresolvable extenderv1.FailedNodesMap, err error) {
	for _, node := range nodes {
		switch {
		case node.Node().Name != e.node:
			passed = append(passed, node)
		case e.why != "":
			unresolvable = extenderv1.FailedNodesMap{e.node: e.why}
		}
	}
	return passed, failed, unresolvable, nil
}

// bind takes a pod through a cycle that ends on the node.
func (s *scene) bind(pod *v1.Pod, node string) {
	s.Helper()
	state := framework.NewCycleState()
	_, status, _ := s.wrapped.RunPreFilterPlugins(s.ctx, state, pod)
	if !status.IsSkip() {
		s.must(status.AsError())
	}
	assumed := pod.DeepCopy()
	assumed.Spec.NodeName = node
	s.must(s.profile.RunReservePluginsReserve(s.ctx, state, assumed, node).AsError())
	s.profile.RunPostBindPlugins(s.ctx, state, assumed, node)
}

func TestNonOptimumScheduling(t *testing.T) {
	const event = "Pod db NonOptimumScheduling: Pod runs on n4, which is no replica node of its volumes. "
	data := func(s *scene) *v1.Pod {
		s.data("data", 1, 2)
		return makePod("db", "data").Obj()
	}
	for _, tc := range []struct {
		name   string
		set    setting
		pod    func(s *scene) *v1.Pod
		node   string
		events []string
	}{
		{
			name: "section 8: a pod on a replica node is no news", set: online(4).full(),
			pod: data, node: "n2",
		},
		{
			name: "section 8: a pod elsewhere is told what the other plugins say of each replica node", set: online(4).full("n1", "n2"),
			pod: data, node: "n4", events: []string{event + "n1: Insufficient cpu, Insufficient memory; n2: Insufficient cpu, Insufficient memory"},
		},
		{
			name: "section 8: a pod elsewhere is told what storage says of each replica node",
			set:  setting{nodes: []string{"Offline", "closed", "Degraded", "", "NoDriver", "StorageDown"}}.full("n6"),
			pod: func(s *scene) *v1.Pod {
				s.data("data", 1, 2, 3, 6)
				return makePod("db", "data").Obj()
			},
			node: "n4", events: []string{event + "n1: storage Offline; n2: closed to pods with volumes by the storage operator; " +
				"n3: storage Degraded; n6: Insufficient cpu, Insufficient memory"},
		},
		{
			name: "section 8: a replica node that would do, but scored less, is told as well", set: online(4).full("n1"),
			pod: data, node: "n4", events: []string{event + "n1: Insufficient cpu, Insufficient memory; n2: feasible, but another node scored higher"},
		},
		{
			name: "section 8: what extenders have against a replica node is told as well",
			set: online(4).full("n3").extended(
				&extender{node: "n1", why: "no licence"}, &extender{node: "n2"}, &extender{node: "n1", why: "asked too late"},
				&extender{FakeExtender: tf.FakeExtender{UnInterested: true}, node: "n1", why: "not asked"}),
			pod: func(s *scene) *v1.Pod {
				s.data("data", 1, 2, 3)
				return makePod("db", "data").Obj()
			},
			node: "n4", events: []string{event + "n1: no licence; n2: turned down by extender defaultFakeExtender; n3: Insufficient cpu, Insufficient memory"},
		},
		{
			name: "section 8: an extender that fails has nothing against a replica node",
			set:  online(4).full().extended(&tf.FakeExtender{Predicates: []tf.FitPredicate{tf.ErrorPredicateExtender}, Ignorable: true}),
			pod:  data, node: "n4",
			events: []string{event + "n1: feasible, but another node scored higher; n2: feasible, but another node scored higher"},
		},
		{
			name: "section 8: a replica node that F7 forbids is told", set: online(4).full("n1"),
			pod: func(s *scene) *v1.Pod {
				s.data("data", 2)
				s.service("shared", map[string]string{placement.VolumePreferRemoteOnly: "true"}, 2)
				return makePod("db", "data", "shared").Obj()
			},
			node: "n4", events: []string{event + "n2: " + placement.ReasonRemoteOnly},
		},
		{
			name: "section 8: a pod on the node of one of its volumes is told where the others are, and why not there", set: online(4).full("n1"),
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1, 2)
				s.data("b", 4)
				s.data("c", 2, 3)
				return makePod("db", "a", "b", "c").Obj()
			},
			node: "n4", events: []string{"Pod db NonOptimumScheduling: Pod runs on n4, which is no replica node of shop/a, shop/c. " +
				"n1: Insufficient cpu, Insufficient memory; n2: feasible, but another node scored higher; n3: feasible, but another node scored higher"},
		},
		{
			name: "section 8: a node with a part of the volume is no replica node", set: online(4).full("n1"),
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: [][]int{{1, 4}, {1, 2}}})
				return makePod("db", "data").Obj()
			},
			node: "n4", events: []string{"Pod db NonOptimumScheduling: Pod runs on n4, which is no replica node of shop/data. n1: Insufficient cpu, Insufficient memory"},
		},
		{
			name: "section 8: away volumes are no news", set: online(4).full(),
			pod: func(s *scene) *v1.Pod {
				s.service("data", nil, 1)
				return makePod("db", "data").Obj()
			},
			node: "n4",
		},
		{
			name: "section 8: with disableHyperconvergence there is no optimum", set: online(4).full(),
			pod: func(s *scene) *v1.Pod {
				s.data("data", 1)
				return makePod("db", "data").Annotation(placement.PodDisableHyperconvergence, "true").Obj()
			},
			node: "n4",
		},
		{
			name: "section 8: a migrating machine that avoids its disks is no news", set: online(4).full(),
			pod: func(s *scene) *v1.Pod {
				s.data("root", 1)
				s.create(launcher("source", "vm", "root").Phase(v1.PodRunning).Node("n1").Obj())
				return launcher("db", "vm", "root").Obj()
			},
			node: "n4",
		},
		{
			name: "section 8: replicas that no Kubernetes node holds are no news", set: online(4).full(),
			pod: func(s *scene) *v1.Pod {
				s.data("data", 9)
				s.nodeState(9, placement.Online)
				return makePod("db", "data").Obj()
			},
			node: "n4",
		},
		{
			name: "F1: a pod without volumes is no news", set: online(4).full(),
			pod: func(*scene) *v1.Pod { return makePod("web").Obj() }, node: "n4",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			play(t, tc.set, func(s *scene) {
				s.bind(tc.pod(s), tc.node)
				same(s, "events", tc.events, s.events.taken())
			})
		})
	}

	t.Run("section 8: it is said when the pod is bound, and once", func(t *testing.T) {
		play(t, online(4).full("n1", "n2"), func(s *scene) {
			pod := data(s)
			for range 3 { // attempts that do not come to binding
				state, _, _ := s.preFilter(pod)
				s.profile.RunReservePluginsReserve(s.ctx, state, pod, "n4")
				s.profile.RunReservePluginsUnreserve(s.ctx, state, pod, "n4")
			}
			same(s, "events before", nil, s.events.taken())
			s.bind(pod, "n4")
			same(s, "events", 1, len(s.events.taken()))
		})
	})
	t.Run("section 8: a great many replica nodes are cut short", func(t *testing.T) {
		play(t, online(40).full(), func(s *scene) {
			var claims []string
			for n := 1; n <= 30; n++ {
				claims = append(claims, fmt.Sprintf("data-%d", n))
				s.data(claims[n-1], n)
			}
			s.bind(makePod("db", claims...).Obj(), "n40")
			events := s.events.taken()
			same(s, "events", 1, len(events))
			if !strings.HasSuffix(events[0], "n10: feasible, but another node scored higher; and 20 more nodes") {
				s.Errorf("event: %s", events[0])
			}
		})
	})
}

func TestMetricOfBoundPods(t *testing.T) {
	bound := func(relation placement.Relation) float64 {
		value, err := testutil.GetCounterMetricValue(metrics.PodsBound.WithLabelValues(profile, relation.String()))
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	for node, relation := range map[string]placement.Relation{"n1": placement.Local, "n2": placement.SameRack, "n3": placement.Remote} {
		play(t, setting{nodes: []string{"px/rack=a", "px/rack=a", ""}}, func(s *scene) {
			before := bound(relation)
			s.data("data", 1)
			s.bind(makePod("db", "data").Obj(), node)
			same(s, "bound "+relation.String(), 1, bound(relation)-before)
		})
	}
	play(t, online(1), func(s *scene) {
		before := bound(placement.Remote)
		s.service("data", nil, 1)
		s.bind(makePod("db", "data").Obj(), "n1")
		same(s, "pods without near volumes are not counted", 0, bound(placement.Remote)-before)
	})
}
