package hyperconverge

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/component-base/metrics/testutil"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// fail takes a pod through a cycle in which no node is feasible, and returns what the
// pod is told besides the reasons of the nodes.
func (s *scene) noNode(pod *v1.Pod, reasons map[string]string) string {
	s.Helper()
	state, _, _ := s.preFilter(pod)
	statuses := framework.NewDefaultNodeToStatus()
	statuses.SetAbsentNodesStatus(fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "node(s) didn't satisfy plugin(s) [Hyperconverge]"))
	for node, reason := range reasons {
		statuses.Set(node, fwk.NewStatus(fwk.Unschedulable, reason))
	}
	result, status := s.profile.RunPostFilterPlugins(s.ctx, state, pod, statuses)
	if result != nil || status.Code() != fwk.Unschedulable {
		s.Errorf("PostFilter: %v, %v; want no nomination and Unschedulable", result, status)
	}
	return status.Message()
}

func TestPostFilter(t *testing.T) {
	full := map[string]string{"n1": "Insufficient cpu", "n2": "node(s) were unschedulable", "n3": "Insufficient memory"}
	for _, tc := range []struct {
		name string
		pod  func(s *scene) *v1.Pod
		want string
		held float64
	}{
		{
			name: "section 8: a strict pod is told where its replicas are, and why it cannot be there",
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1, 2)
				return strict(makePod("db", "a"))
			},
			want: "preferLocalNodeOnly: shop/a has its replicas on n1 (Insufficient cpu), n2 (node(s) were unschedulable)", held: 1,
		},
		{
			name: "section 8: a strict pod with two volumes is told the nodes that hold both",
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1, 2)
				s.data("b", 2, 3)
				return strict(makePod("db", "a", "b"))
			},
			want: "preferLocalNodeOnly: shop/a, shop/b have their replicas on n2 (node(s) were unschedulable)", held: 1,
		},
		{
			name: "section 8: a strict pod for which locality does not count is told as well",
			pod: func(s *scene) *v1.Pod {
				s.data("a", 3)
				return strict(makePod("db", "a").Annotation(placement.PodDisableHyperconvergence, "true"))
			},
			want: "preferLocalNodeOnly: shop/a has its replicas on n3 (Insufficient memory)", held: 1,
		},
		{
			name: "section 8: a soft pod is told nothing more: all nodes were asked",
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1, 2)
				return makePod("db", "a").Obj()
			},
		},
		{
			name: "section 8: a strict pod that this plugin turns down everywhere has been told",
			pod: func(s *scene) *v1.Pod {
				s.unknown("a")
				return strict(makePod("db", "a"))
			},
		},
		{
			name: "F1: a pod without volumes is told nothing",
			pod:  func(*scene) *v1.Pod { return makePod("web").Obj() },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			play(t, online(4), func(s *scene) {
				pod := tc.pod(s)
				s.create(pod)
				same(s, "message", tc.want, s.noNode(pod, full))
				same(s, "held pods", tc.held, s.heldFor(placement.ReasonStrictNoRoom))
			})
		})
	}

	t.Run("section 8: a pod without room counts as held from one attempt to the next, until it has a node", func(t *testing.T) {
		play(t, online(2), func(s *scene) {
			s.data("a", 1)
			pod := strict(makePod("db", "a"))
			s.create(pod)
			s.noNode(pod, full)
			state, _, _ := s.preFilter(pod)
			same(s, "held pods in the next attempt", 1, s.heldFor(placement.ReasonStrictNoRoom))
			s.must(s.profile.RunReservePluginsReserve(s.ctx, state, pod, "n1").AsError())
			same(s, "held pods at the end", 0, s.heldFor(placement.ReasonStrictNoRoom))
		})
	})
	t.Run("section 8: a pod that storage holds back after that counts for that reason alone", func(t *testing.T) {
		play(t, online(2), func(s *scene) {
			s.data("a", 1)
			pod := strict(makePod("db", "a"))
			s.create(pod)
			s.noNode(pod, full)
			s.nodeState(1, placement.Offline)
			s.preFilter(pod)
			same(s, "held pods without room", 0, s.heldFor(placement.ReasonStrictNoRoom))
			same(s, "held pods without storage", 1, s.heldFor(placement.ReasonNoOnlineReplica))
		})
	})
	t.Run("section 8: a great many replica nodes are cut short", func(t *testing.T) {
		play(t, online(15), func(s *scene) {
			var nodes []int
			var explained []string
			for n := 1; n <= 14; n++ {
				nodes = append(nodes, n)
				if n <= nodesExplained {
					explained = append(explained, nodeName(n)+" (node(s) didn't satisfy plugin(s) [Hyperconverge])")
				}
			}
			s.data("a", nodes...)
			want := "preferLocalNodeOnly: shop/a has its replicas on " + strings.Join(explained, ", ") + ", and 4 more nodes"
			same(s, "message", want, s.noNode(strict(makePod("db", "a")), nil))
		})
	})
}

// heldFor is the metric of held pods.
func (s *scene) heldFor(reason string) float64 {
	s.Helper()
	value, err := testutil.GetGaugeMetricValue(metrics.HeldPods.WithLabelValues(reason))
	s.must(err)
	return value
}
