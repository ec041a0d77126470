package chaos

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
	"github.com/hyperconverge/scheduler/internal/sandbox/fakenodes"
)

const (
	noDriver    = "do not run the storage driver"
	noneOnline  = "no node that holds a replica of the volume is online"
	strictKnown = "preferLocalNodeOnly"
	weightKey   = "hyperconverge.dev/volume-weight"
	restoring   = "stork.libopenstorage.org/restore-in-progress"
)

func verdictRows() []row {
	rows := []row{
		{name: "the driver is not registered with a kubelet, though storage says the node is Online", quick: true,
			holds: "the node gets no pods with volumes, and has them when the driver registers", do: unregisteredDriver},
		{name: "a node has storage, but no CSINode object at all", holds: "it counts as storage says", do: noCSINode},
		{name: "a pod has a CSI inline volume of the driver and asks for a node without the driver", quick: true,
			holds: "it waits: the scheduler counts what the webhook counts", do: inlineCSI},
		{name: "a volume's replica stands under the Offline record of a node that was rebuilt", quick: true,
			holds: "the new record of the node does not make it a replica node", do: rebuiltNode},
		{name: "all holders of one stripe are Offline", quick: true, holds: "the pod waits: half a volume serves nobody", do: lostStripe},
		{name: "an answer about a striped volume has an empty stripe", quick: true, holds: "the last good answer stands", do: emptyStripe},
		{name: "a volume has a proxy protocol that nobody knows, and replicas", quick: true,
			holds: "it is near: its strict pod goes to them", do: unknownProtocol},
		{name: "a volume has a sharedv4 service of a type that nobody knows", holds: "it is a service volume: away from its replicas", do: unknownService},
		{name: "two CSINodes name one storage node, whose record names the second host", quick: true,
			holds: "the record's host name decides: the strict pod goes to that host", do: stolenID(true)},
		{name: "two CSINodes name one storage node, and nothing else tells them apart", quick: true,
			holds: "neither is the storage node: the strict pod waits", do: stolenID(false)},
		{name: "the only node with all stripes has its storage down", quick: true,
			holds: "a node with a stripe, whose score is higher, is taken and counted as partly; StorageDown is not counted as local", do: wholeButDown},
		{name: "the heavy volume's node is full, the light volume's is not", quick: true,
			holds: "a rack mate of the heavy volume is taken, whose score is higher", do: heavyAndLight},
		{name: "all replica nodes of a volume are full", holds: "a rack mate is taken", do: rackMate},
		{name: "all replica nodes are full in a cluster of 320 nodes", holds: "all 20 pods come onto a rack mate, although the scheduler looks at a sample", do: rackMateOfMany},
		{name: "a machine's disk is hot-plugged", holds: "it counts like all disks of the machine", do: hotPlugged},
		{name: "KubeVirt pins an attachment pod to a replica node of a remote-only disk", quick: true, holds: "it runs there", do: attachmentPod},
		{name: "a pod is nominated to a node that holds none of its data", quick: true,
			holds: "it goes to its data, or the event says that the pod was nominated", do: nominated},
		{name: "of two volumes that hold a pod back one is well again", quick: true, holds: "the pod's condition blames the other one alone", do: oneWellAgain},
		{name: "of two restores that a pod waits for one is over", holds: "the pod's condition blames the other one alone", do: oneRestored},
		{name: "the claim that a pod waits for is deleted", quick: true, holds: "the condition says so, and no pod is counted as held by a restore", do: claimDeleted},
		{name: "storage is away for longer than maxStaleness", holds: "soft pods are placed, strict ones wait and go to their replicas afterwards", do: stale},
		{name: "all replica nodes go Offline and come back", quick: true, holds: "pods wait, and go when they are back", do: allOffline},
		{name: "a node flaps between Online and Offline ten times a second", do: flapping, holds: "pods end on replica nodes"},
		{name: "replicas move while pods are being placed", do: moving, holds: "every strict pod is on a node that held a replica"},
		{name: "a handle is in two PVs", do: doubledHandle, holds: "both claims lead to the replicas"},
		{name: "a PV is made anew with another handle", quick: true, do: renewedPV, holds: "the pod goes to the new volume's replicas"},
		{name: "a claim names a PV that does not exist", do: lostPV, holds: "the pod waits, with the claim in the reason"},
		{name: "the operator closes all nodes to pods with volumes", do: closedNodes, holds: "pods wait, and go when it opens them"},
		{name: "a node is deleted and comes back", do: nodeAnew, holds: "strict pods go to it again"},
	}
	for i := range rows {
		rows[i].group, rows[i].within = "verdicts", later
	}
	return rows
}

// setCSINode replaces the drivers of a node until the row is over.
func (r *run) setCSINode(node string, drivers ...storagev1.CSINodeDriver) (restore func()) {
	r.Helper()
	nodes := r.client.StorageV1().CSINodes()
	set := func(drivers []storagev1.CSINodeDriver) {
		r.Helper()
		current, err := nodes.Get(r.background(), node, metav1.GetOptions{})
		r.must(err)
		current.Spec.Drivers = drivers
		_, err = nodes.Update(r.background(), current, metav1.UpdateOptions{})
		r.must(err)
	}
	set(drivers)
	var good []storagev1.CSINodeDriver
	if id := r.storageID(node); id != "" {
		good = append(good, driver.OnNode(id))
	}
	restore = func() { set(good) }
	r.later(restore)
	return restore
}

func unregisteredDriver(r *run) {
	register := r.setCSINode(node(1))
	time.Sleep(200 * time.Millisecond)
	r.volume("data", at(node(1)))
	r.volume("two", at(node(1), node(5)))
	pod := r.create(strict(r.pod("strict", "data"))).on(node(1))
	r.stays(pod, soon, time.Second, noDriver)
	r.arrives(r.create(r.pod("soft", "two")).on(node(5)), soon)
	register()
	begun := time.Now()
	r.arrives(pod, 5*time.Second)
	r.measured("bound %.1f s after the driver registered", time.Since(begun).Seconds())
}

func noCSINode(r *run) {
	r.must(r.client.StorageV1().CSINodes().Delete(r.ctx, node(1), metav1.DeleteOptions{}))
	r.later(func() {
		_, err := r.client.StorageV1().CSINodes().Create(r.background(), &storagev1.CSINode{
			ObjectMeta: metav1.ObjectMeta{Name: node(1)},
			Spec:       storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{driver.OnNode(r.storageID(node(1)))}},
		}, metav1.CreateOptions{})
		r.must(err)
	})
	r.volume("data", at(node(1)))
	r.arrives(r.create(strict(r.pod("strict", "data"))).on(node(1)), soon)
}

func inlineCSI(r *run) {
	pod := pinned(r.pod("inline"), node(4))
	pod.Spec.Volumes = []v1.Volume{{Name: "scratch", VolumeSource: v1.VolumeSource{CSI: &v1.CSIVolumeSource{Driver: driver.Name}}}}
	r.stays(r.create(pod), soon, time.Second, noDriver)
	free := r.pod("free")
	free.Spec.Volumes = pod.Spec.Volumes
	r.arrives(r.create(free).on(r.storageNodes()...), soon)
}

func (w *world) storageNodes() []string {
	var names []string
	for _, n := range w.nodes {
		if n.StorageID != "" {
			names = append(names, n.Name)
		}
	}
	return names
}

// oldRecord adds an Offline record of a node that has an Online one.
func (r *run) oldRecord(of string) (id string) {
	r.Helper()
	old, err := r.storage.AddNode(openstoragesim.Node{
		ID: "old-record-of-" + r.namespace, SchedulerNodeName: of, Hostname: of, Status: openstoragesim.StatusOffline,
	})
	r.must(err)
	r.later(func() { r.must(r.storage.RemoveNode(old.ID)) })
	r.nodesListed()
	return old.ID
}

func rebuiltNode(r *run) {
	old := r.oldRecord(node(1))
	r.volume("data", vol{sets: [][]string{{old, node(5)}}})
	// The node's new record holds nothing, so this is the one that does.
	r.arrives(r.create(strict(r.pod("strict", "data"))).on(node(5)), soon)
	r.volume("lost", vol{sets: [][]string{{old}}})
	lost := r.create(r.pod("lost", "lost"))
	r.stays(lost, soon, time.Second, noneOnline)
	r.remove(lost)
}

func lostStripe(r *run) {
	r.must(r.storage.SetNodeState(r.storageID(node(5)), openstoragesim.StatusOffline))
	r.later(func() { r.must(r.storage.SetNodeState(r.storageID(node(5)), openstoragesim.StatusOK)) })
	r.nodesListed()
	r.volume("striped", vol{sets: [][]string{{node(1)}, {node(5)}}})
	pod := r.create(r.pod("soft", "striped")).on()
	r.stays(pod, soon, time.Second, noneOnline)
}

func emptyStripe(r *run) {
	handle := r.volume("striped", vol{sets: [][]string{{node(1)}, {node(1), node(5)}}})
	r.arrives(r.create(strict(r.pod("before", "striped"))).on(node(1)), soon)
	half := message(text(volumeID, handle), text(volumeSet, text(setNode, r.storageID(node(9)))), text(volumeSet, wire{}))
	r.server.lie(inspect, handle, says(inspected(half)))
	r.server.lie(watch, "", func(c *call, _ func() ([]byte, error)) ([]byte, error) {
		for {
			if err := c.send(event(half)); err != nil {
				return nil, err
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-c.ended:
				return nil, c.hang()
			}
		}
	})
	r.server.listener.cut()
	r.server.forget()
	r.eventually(soon, "the volume is inspected anew", func() error {
		if r.server.countOf(handle) == 0 {
			return errNotYet
		}
		return nil
	})
	time.Sleep(300 * time.Millisecond)
	r.arrives(r.create(strict(r.pod("after", "striped"))).on(node(1)), soon)
}

func unknownProtocol(r *run) {
	handle := r.inStorage("data", at(node(1)))
	r.server.lie(inspect, handle, says(inspected(message(volumeOf(handle, r.storageID(node(1))), text(volumeSpec, text(specProxy, number(1, 99)))))))
	r.bound("data", handle, vol{})
	for i := range 3 {
		r.arrives(r.create(strict(r.pod(fmt.Sprintf("strict-%d", i), "data"))).on(node(1)), soon)
	}
}

func unknownService(r *run) {
	holders := []string{node(1), node(2)}
	r.volume("data", vol{sets: [][]string{holders}, params: map[string]string{"sharedv4": "true", "sharedv4_svc_type": "LoadBalancer"}})
	others := slices.DeleteFunc(r.storageNodes(), func(n string) bool { return slices.Contains(holders, n) })
	for i := range 3 {
		r.arrives(r.create(r.pod(fmt.Sprintf("away-%d", i), "data")).on(others...), soon)
	}
}

// stolenID has two nodes of whom each kubelet names the same storage node. The
// record tells of the second one, or of neither.
func stolenID(told bool) func(r *run) {
	return func(r *run) {
		thief, victim := "aa-thief-"+r.namespace, "zz-victim-"+r.namespace
		record := openstoragesim.Node{ID: "stolen-" + r.namespace, Hostname: "unheard-of"}
		if told {
			record.Hostname = victim
		}
		made, err := r.storage.AddNode(record)
		r.must(err)
		r.later(func() { r.must(r.storage.RemoveNode(made.ID)) })
		r.extraNodes(fakenodes.Node{Name: thief, IP: netip.MustParseAddr("10.9.0.1"), StorageID: made.ID},
			fakenodes.Node{Name: victim, IP: netip.MustParseAddr("10.9.0.2"), StorageID: made.ID})
		time.Sleep(time.Second)
		r.volume("data", vol{sets: [][]string{{made.ID}}})
		pod := r.create(strict(r.pod("strict", "data")))
		if told {
			r.arrives(pod.on(victim), soon)
			return
		}
		r.stays(pod, soon, time.Second)
		r.remove(pod)
	}
}

// extraNodes are nodes without a kubelet, until the row is over.
func (r *run) extraNodes(nodes ...fakenodes.Node) {
	r.Helper()
	r.must(r.register(r.ctx, nodes))
	label := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, mark, r.namespace)
	for _, n := range nodes {
		_, err := r.client.CoreV1().Nodes().Patch(r.ctx, n.Name, types.MergePatchType, label, metav1.PatchOptions{})
		r.must(err)
		_, err = r.client.StorageV1().CSINodes().Patch(r.ctx, n.Name, types.MergePatchType, label, metav1.PatchOptions{})
		r.must(err)
	}
	r.later(func() { r.removeNodes() })
}

func (r *run) removeNodes() {
	ours := metav1.ListOptions{LabelSelector: mark + "=" + r.namespace}
	r.removePods() // some are bound there
	r.tracked = nil
	r.must(r.client.CoreV1().Nodes().DeleteCollection(r.background(), metav1.DeleteOptions{}, ours))
	r.must(r.client.StorageV1().CSINodes().DeleteCollection(r.background(), metav1.DeleteOptions{}, ours))
}

// down takes the storage of nodes down until the row is over.
func (r *run) down(nodes ...string) {
	for _, n := range nodes {
		r.must(r.storage.SetNodeState(r.storageID(n), openstoragesim.StatusStorageDown))
		r.later(func() { r.must(r.storage.SetNodeState(r.storageID(n), openstoragesim.StatusOK)) })
	}
	r.eventually(soon, "the storage of nodes is down", func() error {
		if n, _ := r.metrics().Sum("scheduler_hyperconverge_nodes", "state", "StorageDown"); int(n) != len(nodes) {
			return errNotYet
		}
		return nil
	})
}

func wholeButDown(r *run) {
	bound := func(relation string) float64 {
		n, _ := r.metrics().Sum("scheduler_hyperconverge_pods_bound_total", "relation", relation)
		return n
	}
	r.down(node(1))
	r.volume("striped", vol{sets: [][]string{{node(1), node(5)}, {node(1), node(9)}}})
	local, partly := bound("local"), bound("partly")
	for i := range 3 {
		r.arrives(r.create(r.pod(fmt.Sprintf("soft-%d", i), "striped")).on(node(5), node(9)), soon)
	}
	// A pod that has no other choice is not on its data either.
	r.volume("single", vol{sets: [][]string{{node(1), node(5)}}})
	r.arrives(r.create(pinned(r.pod("no-choice", "single"), node(1))).on(node(1)), soon)
	r.eventually(soon, "the pods are counted", func() error {
		if bound("partly")-partly < 3 {
			return errNotYet
		}
		return nil
	})
	if n := bound("local") - local; n != 0 {
		r.Fatalf("%v pods were counted as local, and none is", n)
	}
	if n := bound("partly") - partly; n != 3 {
		r.Fatalf("%v pods were counted as partly local, want the three that have a stripe", n)
	}
}

// cordon closes nodes to all pods until the row is over.
func (r *run) cordon(nodes ...string) {
	set := func(n, value string) {
		_, err := r.client.CoreV1().Nodes().Patch(r.background(), n, types.MergePatchType, []byte(`{"spec":{"unschedulable":`+value+`}}`), metav1.PatchOptions{})
		r.must(err)
	}
	for _, n := range nodes {
		set(n, "true")
		r.later(func() { set(n, "null") })
	}
	time.Sleep(200 * time.Millisecond)
}

func heavyAndLight(r *run) {
	r.cordon(node(1))
	r.volume("heavy", vol{sets: [][]string{{node(1)}}, labels: map[string]string{weightKey: "100"}})
	r.volume("light", vol{sets: [][]string{{node(9)}}, labels: map[string]string{weightKey: "1"}})
	for i := range 3 {
		r.arrives(r.create(r.pod(fmt.Sprintf("soft-%d", i), "heavy", "light")).on(node(2)), soon)
	}
}

func rackMate(r *run) {
	r.cordon(node(5))
	r.volume("data", at(node(5)))
	for i := range 5 {
		r.arrives(r.create(r.pod(fmt.Sprintf("soft-%d", i), "data")).on(node(6)), soon)
	}
}

func rackMateOfMany(r *run) {
	var extra []fakenodes.Node
	for i := range 308 {
		n := fakenodes.Node{
			Name: fmt.Sprintf("%s-%03d", r.namespace, i), Region: "south", Zone: "south-a", Rack: fmt.Sprintf("south-%d", i/2),
			IP: netip.AddrFrom4([4]byte{10, 8, byte(i / 250), byte(i%250 + 1)}),
		}
		made, err := r.storage.AddNode(openstoragesim.Node{SchedulerNodeName: n.Name, Region: n.Region, Zone: n.Zone, Rack: n.Rack})
		r.must(err)
		r.later(func() { r.must(r.storage.RemoveNode(made.ID)) })
		n.StorageID = made.ID
		extra = append(extra, n)
	}
	r.extraNodes(extra...)
	time.Sleep(time.Second)
	off := 0
	for i := range 20 {
		holder, mate := extra[8*i], extra[8*i+1]
		r.must(r.taint(holder.Name))
		name := fmt.Sprintf("data-%d", i)
		r.volume(name, vol{sets: [][]string{{holder.StorageID}}})
		if node := r.arrives(r.create(r.pod(name, name)).on(), later); node != mate.Name {
			off++
		}
	}
	r.measured("%d of 20 pods on a rack mate", 20-off)
	if off > 0 {
		r.Fatalf("%d of 20 pods are on no rack mate", off)
	}
}

// taint closes a node of the row.
func (r *run) taint(node string) error {
	patch := []byte(`{"spec":{"unschedulable":true}}`)
	_, err := r.client.CoreV1().Nodes().Patch(r.ctx, node, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

var machines = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstances"}

// hotPlugged has a machine with a light disk in the pod's spec, and a heavy one that
// only the machine tells of.
func hotPlugged(r *run) {
	r.volume("root", vol{sets: [][]string{{node(1)}}})
	r.volume("hot", vol{sets: [][]string{{node(9)}}, labels: map[string]string{weightKey: "100"}})
	machine, err := r.applier.Dynamic.Resource(machines).Namespace(r.namespace).Create(r.ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": map[string]any{"name": "vm"},
		"spec": map[string]any{"volumes": []any{
			map[string]any{"name": "root", "persistentVolumeClaim": map[string]any{"claimName": "root"}},
			map[string]any{"name": "hot", "persistentVolumeClaim": map[string]any{"claimName": "hot", "hotpluggable": true}},
		}},
		"status": map[string]any{"volumeStatus": []any{
			map[string]any{"name": "root", "persistentVolumeClaimInfo": map[string]any{"claimName": "root"}},
			map[string]any{"name": "hot", "hotplugVolume": map[string]any{"attachPodName": "hp-volume-x"}, "persistentVolumeClaimInfo": map[string]any{"claimName": "hot"}},
		}},
	}}, metav1.CreateOptions{})
	r.must(err)
	time.Sleep(500 * time.Millisecond)
	pod := r.pod("virt-launcher-vm", "root")
	pod.Labels = map[string]string{"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": string(machine.GetUID()), "vm.kubevirt.io/name": "vm"}
	pod.Annotations["kubevirt.io/domain"] = "vm"
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "kubevirt.io/v1", Kind: "VirtualMachineInstance", Name: "vm", UID: machine.GetUID()}}
	r.arrives(r.create(pod).on(node(9)), soon)
}

func attachmentPod(r *run) {
	r.volume("data", vol{sets: [][]string{{node(1)}}, params: map[string]string{"sharedv4": "true", "sharedv4_svc_type": "ClusterIP"},
		labels: map[string]string{remoteKey: "true"}})
	pod := r.pod("hp-volume-x", "data")
	pod.Labels["kubevirt.io"] = "hotplug-disk"
	r.arrives(r.create(pinned(pod, node(1))).on(node(1)), soon)
}

func nominated(r *run) {
	r.volume("data", at(node(1)))
	pod := r.pod("nominated", "data")
	pod.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "chaos.test/gate"}}
	p := r.create(pod).on()
	made, err := r.client.CoreV1().Pods(r.namespace).Get(r.ctx, p.name, metav1.GetOptions{})
	r.must(err)
	made.Status.NominatedNodeName = node(9)
	_, err = r.client.CoreV1().Pods(r.namespace).UpdateStatus(r.ctx, made, metav1.UpdateOptions{})
	r.must(err)
	_, err = r.client.CoreV1().Pods(r.namespace).Patch(r.ctx, p.name, types.MergePatchType, []byte(`{"spec":{"schedulingGates":null}}`), metav1.PatchOptions{})
	r.must(err)
	if r.arrives(p, soon) == node(1) {
		r.measured("it went to its data")
		return
	}
	r.eventually(soon, "an event says why it is not on its data", func() error {
		notes := r.events("NonOptimumScheduling")
		if len(notes) == 0 {
			return errNotYet
		}
		if !strings.Contains(notes[0], "nominated") {
			return fmt.Errorf("the event says %q", notes[0])
		}
		r.measured("the event says %q", notes[0])
		return nil
	})
}

func oneWellAgain(r *run) {
	nodes := map[string]string{"first": node(1), "second": node(5)}
	for name, holder := range nodes {
		r.volume(name, at(holder))
		r.must(r.storage.SetNodeState(r.storageID(holder), openstoragesim.StatusOffline))
	}
	r.nodesListed()
	pod := r.create(r.pod("both", "first", "second")).on()
	r.waits(pod, soon, noneOnline)
	r.blames(pod, "first", "second")
	got, err := r.get(pod)
	r.must(err)
	blamed, other := "first", "second"
	if !strings.Contains(waitingFor(got), blamed) {
		blamed, other = other, blamed
	}
	r.must(r.storage.SetNodeState(r.storageID(nodes[blamed]), openstoragesim.StatusOK))
	r.blames(pod, other)
	r.must(r.storage.SetNodeState(r.storageID(nodes[other]), openstoragesim.StatusOK))
}

// blames waits until a pod's condition names one of these volumes, and, if there is
// one only, no other.
func (r *run) blames(pod *tracked, volumes ...string) {
	r.Helper()
	r.eventually(soon, "the condition blames "+strings.Join(volumes, " or "), func() error {
		got, err := r.get(pod)
		if err != nil {
			return err
		}
		named := slices.DeleteFunc([]string{"first", "second"}, func(v string) bool { return !strings.Contains(waitingFor(got), "/"+v) })
		if len(named) == 0 || len(volumes) == 1 && !slices.Equal(named, volumes) {
			return fmt.Errorf("it says %q", waitingFor(got))
		}
		return nil
	})
}

func oneRestored(r *run) {
	for _, name := range []string{"first", "second"} {
		r.volume(name, vol{sets: [][]string{{node(1)}}, annotations: map[string]string{restoring: "true"}})
	}
	pod := r.create(r.pod("both", "first", "second")).on(node(1))
	r.waits(pod, soon, "claim waits for its restore")
	r.annotateClaim("first", restoring, "")
	r.blames(pod, "second")
	r.annotateClaim("second", restoring, "")
}

func claimDeleted(r *run) {
	r.volume("data", vol{sets: [][]string{{node(1)}}, annotations: map[string]string{restoring: "true"}})
	pod := r.create(r.pod("waits", "data"))
	r.waits(pod, soon, "claim waits for its restore")
	r.must(r.client.CoreV1().PersistentVolumeClaims(r.namespace).Delete(r.ctx, "data", metav1.DeleteOptions{}))
	r.eventually(soon, "nothing is held by a restore any more", func() error {
		got, err := r.get(pod)
		if err != nil {
			return err
		}
		held, _ := r.metrics().Sum("scheduler_hyperconverge_held_pods", "reason", "claim waits for its restore to finish")
		if reason := waitingFor(got); strings.Contains(reason, "restore") || held != 0 {
			return fmt.Errorf("%v pods are counted, the condition says %q", held, reason)
		}
		return nil
	})
	r.remove(pod)
}

func stale(r *run) {
	holders := r.twoNodes()
	r.volume("data", at(holders...))
	r.arrives(r.create(r.pod("before", "data")).on(holders...), soon)
	r.server.listener.shut()
	time.Sleep(maxStaleness + 2*time.Second)
	r.arrives(r.create(r.pod("soft", "data")).on(), soon)
	pod := r.create(strict(r.pod("strict", "data"))).on(holders...)
	r.waits(pod, soon, strictKnown)
}

func allOffline(r *run) {
	r.volume("data", at(node(1), node(5)))
	for _, n := range []int{1, 5} {
		r.must(r.storage.SetNodeState(r.storageID(node(n)), openstoragesim.StatusOffline))
	}
	r.nodesListed()
	soft, firm := r.create(r.pod("soft", "data")).on(node(1)), r.create(strict(r.pod("strict", "data"))).on(node(1))
	r.stays(soft, soon, 300*time.Millisecond, noneOnline)
	r.waits(firm, soon, noneOnline)
	r.must(r.storage.SetNodeState(r.storageID(node(1)), openstoragesim.StatusOK))
	begun := time.Now()
	r.arrives(soft, 5*time.Second)
	r.arrives(firm, 5*time.Second)
	r.measured("bound %.1f s after a node was back", time.Since(begun).Seconds())
}

func flapping(r *run) {
	r.volume("data", at(node(1), node(5)))
	done, over := make(chan struct{}), make(chan struct{})
	r.later(func() {
		close(done)
		<-over
		r.must(r.storage.SetNodeState(r.storageID(node(1)), openstoragesim.StatusOK))
	})
	go func() {
		defer close(over)
		for i := 0; ; i++ {
			_ = r.storage.SetNodeState(r.storageID(node(1)), []openstoragesim.Status{openstoragesim.StatusOK, openstoragesim.StatusOffline}[i%2])
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	for i := range 20 {
		r.create(strict(r.pod(fmt.Sprintf("strict-%d", i), "data"))).on(node(1), node(5))
		time.Sleep(50 * time.Millisecond)
	}
}

func moving(r *run) {
	handle := r.volume("data", at(node(1)))
	done, over := make(chan struct{}), make(chan struct{})
	r.later(func() { close(done); <-over })
	go func() {
		defer close(over)
		for i := 0; ; i++ {
			_ = r.storage.SetReplicaSets(handle, []string{r.storageID(node([]int{1, 5, 9}[i%3]))})
			select {
			case <-done:
				return
			case <-time.After(30 * time.Millisecond):
			}
		}
	}()
	for i := range 20 {
		r.create(strict(r.pod(fmt.Sprintf("strict-%d", i), "data"))).on(node(1), node(5), node(9))
		time.Sleep(50 * time.Millisecond)
	}
}

func doubledHandle(r *run) {
	handle := r.volume("one", at(node(1)))
	r.bound("other", handle, vol{})
	r.arrives(r.create(strict(r.pod("both", "one", "other"))).on(node(1)), soon)
	r.arrives(r.create(strict(r.pod("second", "other"))).on(node(1)), soon)
}

func renewedPV(r *run) {
	r.volume("data", at(node(1)))
	r.arrives(r.create(strict(r.pod("before", "data"))).on(node(1)), soon)
	r.remove(r.tracked[0])
	core := r.client.CoreV1()
	r.must(core.PersistentVolumeClaims(r.namespace).Delete(r.ctx, "data", metav1.DeleteOptions{}))
	name := r.namespace + "-data"
	_, err := core.PersistentVolumes().Patch(r.ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	r.must(err)
	r.must(core.PersistentVolumes().Delete(r.ctx, name, metav1.DeleteOptions{}))
	r.eventually(soon, "the old objects are gone", func() error {
		if _, err := core.PersistentVolumes().Get(r.ctx, name, metav1.GetOptions{}); err == nil {
			return errNotYet
		}
		if _, err := core.PersistentVolumeClaims(r.namespace).Get(r.ctx, "data", metav1.GetOptions{}); err == nil {
			return errNotYet
		}
		return nil
	})
	r.bound("data", r.inStorage("anew", at(node(9))), vol{})
	r.arrives(r.create(strict(r.pod("after", "data"))).on(node(9)), soon)
}

func lostPV(r *run) {
	_, err := r.client.CoreV1().PersistentVolumeClaims(r.namespace).Create(r.ctx, &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "lost", Annotations: map[string]string{"pv.kubernetes.io/bind-completed": "yes"}},
		Spec: v1.PersistentVolumeClaimSpec{AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}, StorageClassName: new(string),
			VolumeName: "nowhere-" + r.namespace, Resources: v1.VolumeResourceRequirements{Requests: oneGiB}},
	}, metav1.CreateOptions{})
	r.must(err)
	pod := r.create(r.pod("waits", "lost"))
	r.stays(pod, soon, time.Second, "lost")
	r.remove(pod)
}

func closedNodes(r *run) {
	set := func(value string) {
		for _, n := range r.storageNodes() {
			patch := []byte(`{"metadata":{"annotations":{"operator.libopenstorage.org/unschedulable":` + value + `}}}`)
			_, err := r.client.CoreV1().Nodes().Patch(r.background(), n, types.MergePatchType, patch, metav1.PatchOptions{})
			r.must(err)
		}
	}
	set(`"true"`)
	r.later(func() { set("null") })
	r.volume("data", at(node(1)))
	pod := r.create(r.pod("soft", "data")).on(node(1))
	r.stays(pod, soon, time.Second, "closed to pods with volumes")
}

func nodeAnew(r *run) {
	made, err := r.storage.AddNode(openstoragesim.Node{SchedulerNodeName: r.namespace})
	r.must(err)
	r.later(func() { r.must(r.storage.RemoveNode(made.ID)) })
	extra := fakenodes.Node{Name: r.namespace, IP: netip.MustParseAddr("10.9.0.3"), StorageID: made.ID}
	r.extraNodes(extra)
	r.volume("data", vol{sets: [][]string{{made.ID}}})
	first := r.create(strict(r.pod("first", "data"))).on(r.namespace)
	r.arrives(first, soon)
	r.remove(first)
	r.must(r.client.CoreV1().Nodes().Delete(r.ctx, r.namespace, metav1.DeleteOptions{}))
	r.must(r.client.StorageV1().CSINodes().Delete(r.ctx, r.namespace, metav1.DeleteOptions{}))
	_ = r.client.CoordinationV1().Leases(v1.NamespaceNodeLease).Delete(r.ctx, r.namespace, metav1.DeleteOptions{})
	second := r.create(strict(r.pod("second", "data"))).on(r.namespace)
	r.stays(second, soon, 500*time.Millisecond)
	r.extraNodes(extra)
	r.arrives(second, soon)
}
