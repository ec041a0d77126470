package hyperconverge

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// launcher is a pod that runs a virtual machine.
func launcher(name, machine string, claims ...string) *st.PodWrapper {
	return makePod(name, claims...).Label(kubevirtLabel, kubevirtLauncher).Label(kubevirtCreatedLabel, machine)
}

// ownedLauncher is a launcher that lacks the label with the UID of its machine.
func ownedLauncher(name, kind, machine string, claims ...string) *st.PodWrapper {
	pod := makePod(name, claims...).Label(kubevirtLabel, kubevirtLauncher)
	pod.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: "machine", UID: types.UID(machine)}}
	return pod
}

func TestVirtualMachines(t *testing.T) {
	disks := func(s *scene) {
		s.data("root", 1)
		s.add(volume{name: "home", sets: on(1, 2), stored: func(o *volumes.Observation) { o.Attached = storageID(2) }})
	}
	starting := []int64{75, 50, 0}  // root: 100, 0, 0; home, attached to n2: 50, 100, 0
	migrating := []int64{0, 75, 50} // root: 0, 50, 50; home: 0, 100, 50
	for _, tc := range []struct {
		name string
		// siblings run beside the pod that is scheduled, which is a launcher of "vm".
		siblings []*v1.Pod
		want     []int64
	}{
		{name: "S8: a launcher that is alone starts its machine near its disks, the attached node first", want: starting},
		{
			name:     "S8: beside a running launcher it is a migration, which avoids the replica nodes",
			siblings: []*v1.Pod{launcher("source", "vm").Phase(v1.PodRunning).Node("n1").Obj()}, want: migrating,
		},
		{
			name:     "S8: a launcher that has ended is no migration",
			siblings: []*v1.Pod{launcher("ended", "vm").Phase(v1.PodSucceeded).Node("n1").Obj()}, want: starting,
		},
		{
			name:     "S8: a launcher that is pending as well is no migration",
			siblings: []*v1.Pod{launcher("twin", "vm").Phase(v1.PodPending).Obj()}, want: starting,
		},
		{
			name:     "S8: the launcher of another machine is no migration",
			siblings: []*v1.Pod{launcher("other", "another-vm").Phase(v1.PodRunning).Node("n1").Obj()}, want: starting,
		},
		{
			name:     "S8: a launcher in another namespace is no migration",
			siblings: []*v1.Pod{launcher("other", "vm").Namespace("elsewhere").Phase(v1.PodRunning).Node("n1").Obj()}, want: starting,
		},
		{
			name:     "S8: a running pod that only bears the machine's name is no launcher",
			siblings: []*v1.Pod{makePod("probe").Label(kubevirtCreatedLabel, "vm").Phase(v1.PodRunning).Node("n1").Obj()}, want: starting,
		},
		{
			name:     "S8: a running launcher that only its owner ties to the machine makes it a migration",
			siblings: []*v1.Pod{ownedLauncher("source", kubevirtOwnerKind, "vm").Phase(v1.PodRunning).Node("n1").Obj()}, want: migrating,
		},
		{
			name:     "S8: a launcher that something else with the machine's UID owns is no migration",
			siblings: []*v1.Pod{ownedLauncher("other", "ReplicaSet", "vm").Phase(v1.PodRunning).Node("n1").Obj()}, want: starting,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			play(t, online(3), func(s *scene) {
				disks(s)
				for _, sibling := range tc.siblings {
					s.create(sibling)
				}
				pod := launcher("target", "vm", "root", "home").Obj()
				s.create(pod)
				same(s, "scores", tc.want, s.scores(pod))
			})
		})
	}
	t.Run("S8: a launcher that only its owner ties to its machine is one all the same", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			disks(s)
			pod := ownedLauncher("target", kubevirtOwnerKind, "vm", "root", "home").Obj()
			same(s, "scores", starting, s.scores(pod))
			s.create(launcher("source", "vm").Phase(v1.PodRunning).Node("n1").Obj())
			same(s, "scores beside a running launcher", migrating, s.scores(pod))
		})
	})
	t.Run("S8: a shared disk with a service draws its machine, and no other pod", func(t *testing.T) {
		play(t, online(4), func(s *scene) {
			s.add(volume{name: "shared", sets: on(1, 2), stored: func(o *volumes.Observation) { o.Service, o.Attached = true, storageID(1) }})
			same(s, "scores of the machine", []int64{100, 50, 0, 0}, s.scores(launcher("target", "vm", "shared").Obj()))
			same(s, "scores of another pod", []int64{0, 0, 100, 100}, s.scores(makePod("web", "shared").Obj()))
			same(s, "offer", [][]string{{"n1"}, {"n2"}}, s.offer(launcher("target", "vm", "shared").Obj()))
		})
	})
	t.Run("S8: a disk is attached to the node whose address storage names", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.storage.nodes[storageID(2)] = volumes.StorageNode{ID: storageID(2), DataIP: "10.0.0.2", State: placement.Online}
			s.storage.tellNodes()
			s.add(volume{name: "root", sets: on(1, 2), stored: func(o *volumes.Observation) { o.Attached = "10.0.0.2" }})
			same(s, "scores", []int64{50, 100, 0}, s.scores(launcher("target", "vm", "root").Obj()))
		})
	})
	t.Run("S8: attachment says nothing of other pods", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			disks(s)
			same(s, "scores", []int64{100, 50, 0}, s.scores(makePod("db", "root", "home").Obj()))
		})
	})
	t.Run("S8: LocalFirst does not narrow the nodes of a migration", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			disks(s)
			s.create(launcher("source", "vm").Phase(v1.PodRunning).Node("n1").Obj())
			same(s, "offer", nil, s.offer(launcher("target", "vm", "root", "home").Obj()))
		})
	})
}
