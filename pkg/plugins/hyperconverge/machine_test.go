package hyperconverge

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"
	fwk "k8s.io/kube-scheduler/framework"
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

// machine is a VirtualMachineInstance with these volumes.
func machine(namespace, uid string, volumes ...any) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"volumes": volumes}}}
	object.SetGroupVersionKind(virtualMachineInstances.GroupVersion().WithKind("VirtualMachineInstance"))
	object.SetNamespace(namespace)
	object.SetName("machine-" + uid)
	object.SetUID(types.UID(uid))
	return object
}

// disk is a volume of a VirtualMachineInstance.
func disk(source, key, claim string) any {
	return map[string]any{"name": "disk-" + claim, source: map[string]any{key: claim}}
}

func pvcDisk(claim string) any { return disk("persistentVolumeClaim", "claimName", claim) }

func dataVolumeDisk(name string) any { return disk("dataVolume", "name", name) }

func TestPluggedDisks(t *testing.T) {
	root := []int64{100, 0, 0} // on n1
	both := []int64{50, 50, 0} // and plugged, on n2
	full := []any{map[string]any{"name": "cloud-init", "cloudInitNoCloud": map[string]any{}}, dataVolumeDisk("root"), pvcDisk("plugged")}
	for _, tc := range []struct {
		name    string
		machine *unstructured.Unstructured
		pod     *v1.Pod
		want    []int64
	}{
		{name: "S8: a disk counts that the machine has and its pod does not mount", machine: machine(namespace, "vm", full...), want: both},
		{name: "S8: a data volume has the name of its claim", machine: machine(namespace, "vm", pvcDisk("root"), dataVolumeDisk("plugged")), want: both},
		{name: "S8: a machine that only its owner ties to its pod", machine: machine(namespace, "vm", full...), pod: ownedLauncher("target", kubevirtOwnerKind, "vm", "root").Obj(), want: both},
		{name: "S8: a machine without disks besides those of the pod", machine: machine(namespace, "vm", pvcDisk("root")), want: root},
		{name: "S8: a machine without volumes", machine: machine(namespace, "vm"), want: root},
		{name: "S8: a machine with volumes of a shape unknown to us", machine: machine(namespace, "vm", "root", map[string]any{"persistentVolumeClaim": int64(5)}, disk("persistentVolumeClaim", "claimName", "")), want: root},
		{name: "S8: the disks of another machine are not this one's", machine: machine(namespace, "other", full...), want: root},
		{name: "S8: nor are those of a machine in another namespace", machine: machine("elsewhere", "vm", full...), want: root},
		{name: "S8: a pod that is no launcher has no disks but its own", machine: machine(namespace, "vm", full...), pod: makePod("probe", "root").Label(kubevirtCreatedLabel, "vm").Obj(), want: root},
		{name: "F3: plugged claims that are missing, unbound, lost or another driver's hold nothing back",
			machine: machine(namespace, "vm", pvcDisk("root"), pvcDisk("gone"), pvcDisk("unbound"), pvcDisk("lost"), pvcDisk("foreign")), want: root},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set := online(3)
			set.resources = customResources(tc.machine)
			play(t, set, func(s *scene) {
				s.data("root", 1)
				s.data("plugged", 2)
				s.create(makeClaim("unbound", ""), makeClaim("lost", "no-such-volume"))
				s.add(volume{name: "foreign", pv: func(pv *v1.PersistentVolume) { pv.Spec.CSI.Driver = "other.example.com" }})
				pod := tc.pod
				if pod == nil {
					pod = launcher("target", "vm", "root").Obj()
				}
				same(s, "scores", tc.want, s.scores(pod))
			})
		})
	}
	t.Run("F6, S8: a strict machine needs a node with its plugged disks as well", func(t *testing.T) {
		set := online(3)
		set.resources = customResources(machine(namespace, "vm", full...))
		play(t, set, func(s *scene) {
			s.data("root", 1, 2)
			s.data("plugged", 2, 3)
			same(s, "verdicts", []string{"left out", "ok", "left out"}, s.verdicts(strict(launcher("target", "vm", "root"))))
		})
	})
	t.Run("F2, S8: the end of the restore of a plugged disk helps its machine", func(t *testing.T) {
		set := online(3)
		set.resources = customResources(machine(namespace, "vm", full...))
		play(t, set, func(s *scene) {
			s.data("root", 1)
			s.add(volume{name: "plugged", sets: on(2), claim: func(c *v1.PersistentVolumeClaim) { c.Annotations[placement.ClaimRestoreInProgress] = "true" }})
			pod := s.pending(launcher("target", "vm", "root").Obj())
			update(s, makeClaim("plugged", "pv-plugged"), func(c *v1.PersistentVolumeClaim) { c.Annotations[placement.ClaimRestoreInProgress] = "false" })
			runHints(s, s.pl.isSchedulableAfterPersistentVolumeClaimChange, pod, []hint{
				{name: "the plugged disk", now: makeClaim("plugged", "pv-plugged"), want: fwk.Queue},
				{name: "the disk of nobody", now: makeClaim("nobody", "pv-nobody")},
			})
		})
	})
	t.Run("S8: a disk that is plugged while the pod waits counts at its next attempt, one that is unplugged no more", func(t *testing.T) {
		client := customResources(machine(namespace, "vm", pvcDisk("root")))
		set := online(3)
		set.resources = client
		play(t, set, func(s *scene) {
			s.data("root", 1)
			s.data("plugged", 2)
			pod := launcher("target", "vm", "root").Obj()
			for _, change := range []struct {
				volumes []any
				want    []int64
			}{{full, both}, {full[:2], root}} {
				s.must(client.Tracker().Update(virtualMachineInstances, machine(namespace, "vm", change.volumes...), namespace))
				s.settle()
				same(s, "scores", change.want, s.scores(pod))
			}
			s.must(client.Tracker().Update(virtualMachineInstances, machine(namespace, "vm", full...), namespace))
			s.must(client.Tracker().Delete(virtualMachineInstances, namespace, "machine-vm"))
			s.settle()
			same(s, "scores without the machine", root, s.scores(pod))
		})
	})
}

// A cluster without KubeVirt has no such resource; it may get one later.
func TestKubeVirtIsInstalledLater(t *testing.T) {
	for name, refusal := range map[string]error{
		"S8: the resource does not exist yet":   apierrors.NewNotFound(virtualMachineInstances.GroupResource(), ""),
		"S8: the scheduler may not read it yet": apierrors.NewForbidden(virtualMachineInstances.GroupResource(), "", errors.New("no role")),
	} {
		t.Run(name, func(t *testing.T) {
			var installed atomic.Bool
			client := customResources(machine(namespace, "vm", pvcDisk("root"), pvcDisk("plugged")))
			client.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return !installed.Load(), nil, refusal })
			client.PrependWatchReactor("*", func(clienttesting.Action) (bool, watch.Interface, error) { return !installed.Load(), nil, refusal })
			set := online(2)
			set.resources = client
			play(t, set, func(s *scene) {
				s.data("root", 1)
				s.data("plugged", 2)
				pod := launcher("target", "vm", "root").Obj()
				same(s, "scores", []int64{100, 0}, s.scores(pod))
				time.Sleep(5 * time.Minute) // the reflector is at its slowest then
				installed.Store(true)
				time.Sleep(2 * time.Minute)
				s.settle()
				same(s, "scores with KubeVirt", []int64{50, 50}, s.scores(pod))
			})
		})
	}
}

// The pod that plugs a disk into a running machine is tied to the machine's node.
func TestAttachmentPods(t *testing.T) {
	remoteOnly := map[string]string{placement.VolumePreferRemoteOnly: "true"}
	attachment := func(claims ...string) *st.PodWrapper {
		return makePod("hp-volume-x7k2p", claims...).Label(kubevirtLabel, kubevirtAttachment)
	}
	play(t, setting{nodes: []string{"", "", "Offline"}}, func(s *scene) {
		s.service("shared", remoteOnly, 1)
		s.data("data", 2)
		same(s, "verdicts on another pod", []string{placement.ReasonRemoteOnly, "ok", placement.ReasonOffline}, s.verdicts(makePod("db", "shared").Obj()))
		same(s, "F7: verdicts on the attachment pod", []string{"ok", "ok", placement.ReasonOffline}, s.verdicts(attachment("shared").Obj()))
		same(s, "S1: scores of the attachment pod", nil, s.scores(attachment("data").Obj()))
		same(s, "F5, F6: verdicts on a strict one", []string{"left out", "ok", "left out"}, s.verdicts(strict(attachment("data"))))
	})
}

func TestMachinesThatMigrateWhenTheyAreEvicted(t *testing.T) {
	for _, tc := range []struct {
		name, strategy, migratable string
		want                       bool
	}{
		{"it can, and wants to", "LiveMigrate", "True", true},
		{"it can, and wants to if it can", "LiveMigrateIfPossible", "True", true},
		{"it cannot", "LiveMigrate", "False", false},
		{"nobody knows yet whether it can", "LiveMigrate", "", false},
		{"it leaves that to the cluster", "", "True", false},
		{"it is shut down", "None", "True", false},
		{"somebody else moves it", "External", "True", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			instance := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{}, "status": map[string]any{}}}
			if tc.strategy != "" {
				instance.Object["spec"] = map[string]any{"evictionStrategy": tc.strategy}
			}
			if tc.migratable != "" {
				instance.Object["status"] = map[string]any{"conditions": []any{
					map[string]any{"type": "Ready", "status": "True"}, map[string]any{"type": "LiveMigratable", "status": tc.migratable}, "nonsense",
				}}
			}
			kept, err := disksOf(instance)
			if d, is := kept.(*machineDisks); err != nil || !is || d.migrates != tc.want {
				t.Errorf("%+v, %v, want %t", kept, err, tc.want)
			}
		})
	}
}
