package integration

import (
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/test/kit"
)

// kindScenarios are the unusual kinds of volumes and pods.
var kindScenarios = []scenario{
	{
		name: "an in-tree volume is found by its id", nodes: 4,
		play: func(c *cluster) {
			c.VolumeWith("data", volumeOptions{InTree: true}, "n3")
			c.runScheduler("")
			c.Create(c.strict("db", "data"))
			c.ExpectNode("db", "n3")
		},
	},
	{
		name: "an in-tree volume is found by its name", nodes: 4,
		play: func(c *cluster) {
			c.VolumeWith("data", volumeOptions{InTree: true, ByName: true}, "n3")
			c.runScheduler("")
			c.Create(c.strict("db", "data"))
			c.ExpectNode("db", "n3")
		},
	},
	{
		name: "an in-tree volume that stands in the pod itself is found by id and by name", nodes: 4,
		play: func(c *cluster) {
			made, err := c.Storage.CreateVolume(openstoragesim.CreateRequest{Name: "legacy"})
			c.Must(err)
			c.Replicas("legacy", "n3")
			c.runScheduler("")
			for pod, handle := range map[string]string{"by-id": made.GetId(), "by-name": "legacy"} {
				c.Create(c.strict(pod).Volume(v1.Volume{Name: "data", VolumeSource: v1.VolumeSource{
					PortworxVolume: &v1.PortworxVolumeSource{VolumeID: handle},
				}}))
				c.ExpectNode(pod, "n3")
			}
		},
	},
	{
		name: "a PV that was made by hand may have any name", nodes: 4,
		play: func(c *cluster) {
			c.VolumeWith("data", volumeOptions{PV: "the-old-database-disk"}, "n2")
			c.runScheduler("")
			c.Create(c.strict("db", "data"))
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "a PV of one of the driver's other names is the driver's, too", nodes: 4,
		play: func(c *cluster) {
			c.VolumeWith("data", volumeOptions{Driver: "com.openstorage.pxd"}, "n2")
			c.runScheduler("")
			c.Create(c.strict("db", "data"))
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "a generic ephemeral volume is waited for, and its pod runs on it", nodes: 4,
		play: func(c *cluster) {
			c.runScheduler("")
			pod := c.Create(ephemeral(c.strict("db"), "scratch"))
			c.expectPending("db", "persistentvolumeclaim")
			c.VolumeWith("db-scratch", volumeOptions{Owner: pod}, "n4")
			c.ExpectNode("db", "n4")
		},
	},
	{
		name: "a claim with the name of an ephemeral volume that was not made for the pod is not taken", nodes: 2,
		play: func(c *cluster) {
			c.Volume("db-scratch", "n1")
			c.runScheduler("")
			pod := c.Create(ephemeral(c.pod("db"), "scratch"))
			c.expectPending("db", "was not created for")
			c.deleteClaim("db-scratch")
			c.Must(c.Storage.DeleteVolume("db-scratch"))
			c.VolumeWith("db-scratch", volumeOptions{Owner: pod, PV: "another"}, "n2")
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "a virtual machine starts on the replica node that its disk is attached to", nodes: 4,
		play: func(c *cluster) {
			nodes := []string{"n1", "n2", "n3"}
			for _, node := range nodes {
				c.Volume("disk-"+node, nodes...)
				c.Must(c.Storage.Attach("disk-"+node, node))
			}
			c.runScheduler("") // now, so that the first answer about a disk has its node
			for _, node := range nodes {
				c.Create(launcher(c.pod("virt-launcher-"+node, "disk-"+node), node))
				c.ExpectNode("virt-launcher-"+node, node)
			}
		},
	},
	{
		name: "a virtual machine whose disk is a shared volume with a service is near it as well, and migrates off it", nodes: 5,
		play: func(c *cluster) {
			c.VolumeWith("disk", volumeOptions{Parameters: service}, "n1", "n2")
			c.Must(c.Storage.Attach("disk", "n2"))
			c.runScheduler("")
			c.Create(launcher(c.pod("source", "disk"), "vm"))
			c.ExpectNode("source", "n2")
			c.phase("source", v1.PodRunning)
			c.Create(launcher(c.pod("target", "disk"), "vm"))
			c.ExpectNode("target", "n3", "n4", "n5")
		},
	},
	{
		name: "a virtual machine that migrates avoids the replica nodes", nodes: 5,
		play: func(c *cluster) {
			c.Volume("disk", "n1", "n2", "n3")
			c.Must(c.Storage.Attach("disk", "n1"))
			c.runScheduler("")
			c.Create(launcher(c.pod("source", "disk"), "vm"))
			c.ExpectNode("source", "n1")
			c.phase("source", v1.PodRunning)
			c.Create(launcher(c.pod("target", "disk"), "vm"))
			c.ExpectNode("target", "n4", "n5")
		},
	},
	{
		name: "a virtual machine that migrates likes the replica node best that its disk is attached to", nodes: 5,
		play: func(c *cluster) {
			c.Volume("disk", "n1", "n2", "n3")
			c.Must(c.Storage.Attach("disk", "n2"))
			c.runScheduler("")
			c.Create(launcher(c.pod("source", "disk").NodeSelector(kit.On("n5")), "vm"))
			c.ExpectNode("source", "n5")
			c.phase("source", v1.PodRunning)
			c.Create(launcher(c.pod("target", "disk"), "vm"))
			c.ExpectNode("target", "n2")
		},
	},
	{
		name: "a virtual machine whose last pod has ended starts anew on its disk", nodes: 4,
		play: func(c *cluster) {
			c.Volume("disk", "n2")
			c.runScheduler("")
			c.Create(launcher(c.pod("first", "disk"), "vm"))
			c.ExpectNode("first", "n2")
			c.phase("first", v1.PodSucceeded)
			c.Create(launcher(c.pod("second", "disk"), "vm"))
			c.ExpectNode("second", "n2")
		},
	},
	{
		name: "a pod with a Windows volume may run on a node without the driver, others may not", nodes: 2,
		play: func(c *cluster) {
			c.AddBareNode("windows", nil)
			c.VolumeWith("share", volumeOptions{Parameters: map[string]string{"winshare": "true"}}, "n1")
			c.Volume("data", "n1")
			c.runScheduler("")
			c.Create(c.pod("iis", "data", "share").NodeSelector(kit.On("windows")))
			c.ExpectNode("iis", "windows")
			c.Create(c.pod("db", "data").NodeSelector(kit.On("windows")))
			c.expectPending("db", placement.ReasonNoDriver)
		},
	},
	{
		name: "the storage system's own pods prefer healthy nodes, and are rejected nowhere", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n3")
			c.storageState("n1", openstoragesim.StatusOffline)
			c.storageState("n2", openstoragesim.StatusStorageDown)
			c.runScheduler("")
			c.schedulerSees("n1", "data", placement.ReasonOffline)
			for i, node := range []string{"n3", "n2", "n1"} {
				name := fmt.Sprintf("px-csi-ext-%d", i)
				c.Create(c.pod(name).Req(kit.CPU("3")))
				c.ExpectNode(name, node)
			}
		},
	},
	{
		name: "claims and volumes that are deleted while their pods are placed cause no scheduler errors", nodes: 3,
		play: func(c *cluster) {
			c.runScheduler("")
			errors := c.schedulerErrors()
			for i := range 30 {
				name := fmt.Sprintf("data-%d", i)
				c.Volume(name, "n2")
				c.Create(c.pod("soft-"+name, name))
				c.Create(c.strict("strict-"+name, name))
				if i%3 != 0 {
					c.deletePV(c.PVName(name))
				}
				if i%3 != 1 {
					c.deleteClaim(name)
				}
			}
			c.Volume("last", "n3")
			c.Create(c.strict("last", "last"))
			c.ExpectNode("last", "n3")
			if now := c.schedulerErrors(); now != errors {
				c.Errorf("%v scheduling attempts ended with an error", now-errors)
			}
		},
	},
	{
		name: "a pod may insist in every spelling of true that Go knows, and in no other", nodes: 2,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.runScheduler("")
			c.fill("n1")
			for i, spelling := range []string{"true", "True", "TRUE", "t", "T", "1"} {
				name := fmt.Sprintf("strict-%d", i)
				c.Create(c.pod(name, "data").Annotation(placement.PodPreferLocalOnly, spelling))
				c.expectPending(name, "Insufficient cpu")
			}
			for i, spelling := range []string{" true", "true ", "yes", "on", "tRuE", "2", ""} {
				name := fmt.Sprintf("soft-%d", i)
				c.Create(c.pod(name, "data").Annotation(placement.PodPreferLocalOnly, spelling))
				c.ExpectNode(name, "n2")
				c.expectEvent(name, hyperconverge.EventInvalidValue,
					placement.PodPreferLocalOnly, fmt.Sprintf("%q is not a boolean, false is used", spelling))
			}
		},
	},
	{
		name: "a claim holds its pods in every spelling of true, and a value that is no boolean does not", nodes: 2,
		play: func(c *cluster) {
			c.VolumeWith("held", volumeOptions{Annotations: map[string]string{placement.ClaimRestoreInProgress: "T"}}, "n1")
			c.VolumeWith("odd", volumeOptions{Annotations: map[string]string{placement.ClaimRestoreInProgress: " true"}}, "n2")
			c.runScheduler("")
			c.Create(c.pod("waits", "held"))
			c.expectPending("waits", placement.ReasonRestoring)
			c.Create(c.pod("runs", "odd"))
			c.ExpectNode("runs", "n2")
			c.expectEvent("odd", hyperconverge.EventInvalidValue, placement.ClaimRestoreInProgress, `" true"`)
		},
	},
	{
		name: "a node is closed in every spelling of true, and a value that is no boolean is told on the node", nodes: 2,
		play: func(c *cluster) {
			c.Volume("data", "n1", "n2")
			c.annotateNode("n1", placement.NodeUnschedulable, "1")
			c.annotateNode("n2", placement.NodeUnschedulable, "closed")
			c.runScheduler("")
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n2")
			c.expectEvent("n2", hyperconverge.EventInvalidValue, placement.NodeUnschedulable, `"closed"`)
		},
	},
}

func TestKinds(t *testing.T) { playAll(t, kindScenarios) }

// ephemeral gives the pod a generic ephemeral volume.
func ephemeral(pod *st.PodWrapper, volume string) *st.PodWrapper {
	return pod.Volume(v1.Volume{Name: volume, VolumeSource: kit.Ephemeral(nil)})
}

// launcher makes the pod one that runs a KubeVirt virtual machine. As KubeVirt
// does, it keeps two of them off one node.
func launcher(pod *st.PodWrapper, machine string) *st.PodWrapper {
	return pod.Label("kubevirt.io", "virt-launcher").Label("kubevirt.io/created-by", machine).
		PodAntiAffinityIn("kubevirt.io/created-by", v1.LabelHostname, []string{machine}, st.PodAntiAffinityWithRequiredReq)
}

// phase plays the kubelet.
func (c *cluster) phase(pod string, phase v1.PodPhase) {
	c.Helper()
	got := c.Get(pod)
	got.Status.Phase = phase
	_, err := c.Client.CoreV1().Pods(c.Namespace).UpdateStatus(c.Ctx, got, metav1.UpdateOptions{})
	c.Must(err)
}

func (c *cluster) deleteClaim(name string) {
	c.Helper()
	c.Must(c.Client.CoreV1().PersistentVolumeClaims(c.Namespace).Delete(c.Ctx, name, metav1.DeleteOptions{}))
}

func (c *cluster) deletePV(name string) {
	c.Helper()
	c.Must(c.Client.CoreV1().PersistentVolumes().Delete(c.Ctx, name, metav1.DeleteOptions{}))
}
