package hyperconverge

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// What placement decides is proved there; here it is proved that it is asked, and
// about the right things.
func TestScores(t *testing.T) {
	tiers := setting{nodes: []string{
		v1.LabelTopologyRegion + "=eu " + v1.LabelTopologyZone + "=a px/rack=r1",
		v1.LabelTopologyRegion + "=eu " + v1.LabelTopologyZone + "=a topology.portworx.io/rack=r1",
		v1.LabelFailureDomainBetaRegion + "=eu " + v1.LabelFailureDomainBetaZone + "=a px/rack=r2",
		"px/region=eu px/zone=b",
		v1.LabelTopologyRegion + "=us",
	}}
	allOK := []string{"ok", "ok", "ok", "ok", "ok"}
	onFirst := func(s *scene) *v1.Pod {
		s.data("data", 1)
		return makePod("db", "data").Obj()
	}
	ownScores := tiers
	ownScores.args = func(a *config.HyperconvergeArgs) {
		a.TierScores = config.TierScores{Local: 90, Rack: 70, Zone: 40, Region: 30, Remote: 20}
	}
	ownKeys := tiers
	ownKeys.args = func(a *config.HyperconvergeArgs) {
		a.TopologyKeys = config.TopologyKeys{Zone: []string{"px/rack"}}
	}
	runFates(t, []fate{
		{
			name: "S2, S3: the tiers come from the nodes' labels, whichever of the keys they use", set: tiers,
			verdicts: allOK, scores: []int64{100, 50, 25, 10, 0}, pod: onFirst,
		},
		{
			name: "S2: the scores of the tiers are those of the profile", set: ownScores,
			verdicts: allOK, scores: []int64{90, 70, 40, 30, 20}, pod: onFirst,
		},
		{
			name: "S3: the labels of the tiers are configurable", set: ownKeys,
			verdicts: allOK, scores: []int64{100, 0, 0, 0, 0}, pod: onFirst,
		},
		{
			name: "S2: a StorageDown node gets half of rack for its own replica", set: setting{nodes: []string{"StorageDown", "", ""}},
			verdicts: everywhere, scores: []int64{25, 100, 0},
			pod: func(s *scene) *v1.Pod {
				s.data("data", 1, 2)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "S2: an aggregated volume counts by its stripes", verdicts: everywhere, scores: []int64{100, 50, 50},
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: [][]int{{1, 2}, {1, 3}}})
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "S4: a weight of the claim counts", verdicts: everywhere, scores: []int64{75, 25, 0},
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: on(1), claim: func(c *v1.PersistentVolumeClaim) { c.Annotations[placement.VolumeWeight] = "3" }})
				s.data("log", 2)
				return makePod("db", "data", "log").Obj()
			},
		},
		{
			name: "S5: a service volume pushes its pod off its replica nodes", verdicts: everywhere, scores: []int64{0, 100, 100},
			pod: func(s *scene) *v1.Pod {
				s.service("data", nil, 1)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "S1: a direct access volume makes all nodes equal", verdicts: everywhere,
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", stored: func(o *volumes.Observation) { o.Direct = true }})
				return strict(makePod("db", "data"))
			},
		},
		{
			name: "S1: skipSchedulerScoring makes all nodes equal", verdicts: everywhere,
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: on(1), stored: func(o *volumes.Observation) {
					o.Labels = map[string]string{placement.VolumeSkipScoring: "true"}
				}})
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "S7: a replica on a storage node that no Kubernetes node is counts for no tier", verdicts: everywhere, scores: []int64{0, 100, 0},
			pod: func(s *scene) *v1.Pod {
				s.data("data", 9, 2)
				return makePod("db", "data").Obj()
			},
		},
	})
}

func TestScoreWithoutPreFilter(t *testing.T) {
	play(t, online(1), func(s *scene) {
		state, pod := framework.NewCycleState(), makePod("db", "data").Obj()
		if status := s.pl.PreScore(s.ctx, state, pod, s.nodeInfos()); !status.IsSkip() {
			s.Errorf("PreScore: %v, want Skip", status)
		}
		_, status := s.pl.Score(s.ctx, state, pod, s.nodeInfos()[0])
		same(s, "code", fwk.Error, status.Code())
	})
}
