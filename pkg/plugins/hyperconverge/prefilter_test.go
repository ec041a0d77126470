package hyperconverge

import (
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

func TestPodsThatAreNotConcerned(t *testing.T) {
	runFates(t, []fate{
		{
			name: "F1: a pod without volumes is skipped", skipped: true,
			pod: func(*scene) *v1.Pod { return makePod("web").Obj() },
		},
		{
			name: "F1: a pod with volumes that are no claims is skipped", skipped: true,
			pod: func(*scene) *v1.Pod {
				return makePod("web").Volume(v1.Volume{Name: "tmp", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}).Obj()
			},
		},
		{
			name: "F1: a pod with a bound volume of another driver is skipped", skipped: true,
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", pv: func(pv *v1.PersistentVolume) { pv.Spec.CSI.Driver = "ebs.csi.aws.com" }})
				return makePod("web", "data").Obj()
			},
		},
		{
			name: "F1: a pod with an unbound claim of another driver is skipped", skipped: true,
			pod: func(s *scene) *v1.Pod {
				s.unbound("data", "ebs.csi.aws.com", nil)
				return makePod("web", "data").Obj()
			},
		},
		{
			name: "F1: a lost claim of another driver is left to that driver", skipped: true,
			pod: func(s *scene) *v1.Pod {
				s.create(st.MakeStorageClass().Name("gp3").Provisioner("ebs.csi.aws.com").Obj())
				claim := makeClaim("data", "pv-nowhere")
				className("gp3")(claim)
				s.create(claim)
				return makePod("web", "data").Obj()
			},
		},
		{
			name: "F1: a strict pod without volumes of the driver is skipped", skipped: true,
			pod: func(*scene) *v1.Pod { return strict(makePod("web")) },
		},
		{
			name: "F1: an in-tree volume is none of ours when the in-tree driver is not configured", skipped: true,
			set: setting{args: func(a *config.HyperconvergeArgs) { a.Drivers = []string{driver} }},
			pod: func(*scene) *v1.Pod { return makePod("web").Volume(inTree("1001")).Obj() },
		},
	})
}

func TestStrictPods(t *testing.T) {
	runFates(t, []fate{
		{
			name: "F6: PreFilter narrows the nodes to the replica nodes of all near volumes", verdicts: []string{"left out", "ok", "left out"}, scores: []int64{50, 100, 50},
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1, 2)
				s.data("b", 2, 3)
				return strict(makePod("db", "a", "b"))
			},
		},
		{
			name: "F6: the reason names the volume that leaves no node", rejected: "preferLocalNodeOnly: no node holds a replica of every volume, ruled out by: shop/b",
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				s.data("b", 2)
				return strict(makePod("db", "a", "b"))
			},
		},
		{
			name: "F7: a remote-only volume rejects its replica nodes", verdicts: []string{placement.ReasonRemoteOnly, "ok", "ok"}, scores: []int64{0, 100, 100},
			pod: func(s *scene) *v1.Pod {
				s.service("data", map[string]string{placement.VolumePreferRemoteOnly: "true"}, 1)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F8: a volume without an Online holder rejects the pod", set: setting{nodes: []string{"Offline", "StorageDown", ""}},
			rejected: "no node that holds a replica of the volume is online: shop/data",
			pod: func(s *scene) *v1.Pod {
				s.data("data", 1, 2)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F9: with a Windows volume F5 to F8 do not apply, wherever it stands", set: setting{nodes: []string{"Offline", "NoDriver", "closed"}},
			verdicts: []string{"ok", "ok", placement.ReasonNodeUnschedulable}, scores: []int64{0, 0, 0},
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				s.add(volume{name: "b", sets: on(1), stored: func(o *volumes.Observation) { o.Winshare = true }})
				return strict(makePod("db", "a", "b"))
			},
		},
		{
			name: "F9: an unbound Windows volume counts from the start", set: setting{nodes: []string{"Offline", "NoDriver"}},
			verdicts: []string{"ok", "ok"},
			pod: func(s *scene) *v1.Pod {
				s.unbound("data", driver, map[string]string{placement.VolumeWindows: "true"})
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F10: strict and remote-only together can leave no node", rejected: "preferLocalNodeOnly and preferRemoteNodeOnly leave no node: shop/b",
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				s.service("b", map[string]string{placement.VolumePreferRemoteOnly: "true"}, 1)
				return strict(makePod("db", "a", "b"))
			},
		},
		{
			name: "S1: disableHyperconvergence makes all nodes equal and turns F7 off", verdicts: everywhere,
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				s.service("b", map[string]string{placement.VolumePreferRemoteOnly: "true"}, 1)
				return makePod("db", "a", "b").Annotation(placement.PodDisableHyperconvergence, "true").Obj()
			},
		},
		{
			name: "S1: strict holds beside disableHyperconvergence, and the contradiction is told", verdicts: []string{"ok", "left out", "left out"},
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				return strict(makePod("db", "a").Annotation(placement.PodDisableHyperconvergence, "true"))
			},
			events: []string{`Pod db InvalidValue: stork.libopenstorage.org/disableHyperconvergence: "true" contradicts stork.libopenstorage.org/preferLocalNodeOnly: the pod is kept on replica nodes, and all of them count the same`},
		},
		{
			name: "section 2: an annotation of the pod that is no boolean is told, and false counts", verdicts: everywhere, scores: atFirst,
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				return makePod("db", "a").Annotation(placement.PodPreferLocalOnly, "yes").Obj()
			},
			events: []string{`Pod db InvalidValue: stork.libopenstorage.org/preferLocalNodeOnly: "yes" is not a boolean, false is used`},
		},
	})
}

func TestStoragePods(t *testing.T) {
	set := setting{nodes: []string{"", "StorageDown", "Degraded", "Offline", "NoDriver", "closed"}}
	everywhere := []string{"ok", "ok", "ok", "ok", "ok", "ok"}
	scores := []int64{100, 50, 0, 0, 0, 100}
	runFates(t, []fate{
		{
			name: "F11: a CSI pod of the storage system prefers Online over StorageDown over the rest", set: set,
			verdicts: everywhere, scores: scores,
			pod: func(*scene) *v1.Pod { return makePod("px-csi-ext-5d4f").Obj() },
		},
		{
			name: "F11: nothing is rejected, whatever volumes it has", set: set,
			verdicts: everywhere, scores: scores,
			pod: func(s *scene) *v1.Pod {
				s.data("data", 4)
				return strict(makePod("px-csi-ext-5d4f", "data", "missing"))
			},
		},
		{
			name: "F11: a name with the words elsewhere is not enough", set: set, skipped: true,
			pod: func(*scene) *v1.Pod { return makePod("my-px-csi-ext").Obj() },
		},
	})
}

func TestPodWith64Volumes(t *testing.T) {
	play(t, online(4), func(s *scene) {
		var claims []string
		for i := range 64 {
			claims = append(claims, fmt.Sprintf("data-%d", i))
			s.data(claims[i], 1+i%2, 3)
		}
		pod := strict(makePod("db", claims...))
		same(s, "verdicts", []string{"left out", "left out", "ok", "left out"}, s.verdicts(pod))
		same(s, "scores", []int64{50, 50, 100, 0}, s.scores(pod))
	})
}

// Whatever happens to the objects between PreFilter and Filter, a cycle sees one
// state of the cluster.
func TestObjectsThatVanishInTheCycle(t *testing.T) {
	play(t, online(3), func(s *scene) {
		s.data("data", 1)
		pod := strict(makePod("db", "data"))
		state, result, _ := s.preFilter(pod)
		same(s, "node set", []string{"n1"}, result.NodeNames.UnsortedList())
		s.remove(makeClaim("data", ""))
		s.remove(makePV("data", ""))
		node, _, _ := makeNode(1, "")
		s.remove(node)
		if status := s.profile.RunFilterPlugins(s.ctx, state, pod, s.nodeInfos()[0]); !status.IsSuccess() {
			s.Errorf("Filter: %v", status.Message())
		}
		same(s, "next attempt", "claim does not exist: shop/data", s.rejection(pod))
	})
}

func TestOfferToThePreferFirstPass(t *testing.T) {
	t.Run("LocalFirst offers the nodes with the best scores first", func(t *testing.T) {
		play(t, online(4), func(s *scene) {
			s.data("a", 2)
			s.add(volume{name: "b", sets: [][]int{{3}, {4}}})
			same(s, "offer", [][]string{{"n2"}, {"n3", "n4"}}, s.offer(makePod("db", "a", "b").Obj()))
		})
	})
	t.Run("with preference Score there is no offer", func(t *testing.T) {
		set := online(4)
		set.args = func(a *config.HyperconvergeArgs) { a.Preference = placement.ScoreOnly }
		play(t, set, func(s *scene) {
			s.data("a", 2)
			same(s, "offer", nil, s.offer(makePod("db", "a").Obj()))
		})
	})
}

func TestCostOfNotBeingConcerned(t *testing.T) {
	play(t, online(3), func(s *scene) {
		state := framework.NewCycleState()
		pod := makePod("web").Volume(v1.Volume{Name: "tmp"}).Obj()
		allocs := testing.AllocsPerRun(100, func() {
			if _, status := s.pl.PreFilter(s.ctx, state, pod, nil); !status.IsSkip() {
				s.Errorf("PreFilter: %v, want Skip", status)
			}
		})
		same(s, "F1: allocations for a pod without claims", 0, allocs)
	})
}
