package integration

import (
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/test/kit"
)

// localFirstScenarios show that the replica nodes are tried first, and that this
// overrules no other plugin: what makes a replica node impossible is respected,
// and told.
var localFirstScenarios = []scenario{
	{
		name: "required pod affinity takes a pod off its data, and the event says so", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.runScheduler("")
			c.Create(c.pod("web").Label("app", "web").NodeSelector(kit.On("n3")))
			c.ExpectNode("web", "n3")
			c.Create(c.pod("db", "data").PodAffinityExists("app", v1.LabelHostname, st.PodAffinityWithRequiredReq))
			c.ExpectNode("db", "n3")
			c.expectEvent("db", hyperconverge.EventNonOptimumScheduling, "n1: node(s) didn't match pod affinity rules")
		},
	},
	{
		name: "required pod affinity chooses among the replica nodes", nodes: 4,
		play: func(c *cluster) {
			c.Volume("data", "n1", "n3")
			c.runScheduler("")
			c.Create(c.pod("web").Label("app", "web").NodeSelector(kit.On("n3")))
			c.ExpectNode("web", "n3")
			c.Create(c.pod("db", "data").PodAffinityExists("app", v1.LabelHostname, st.PodAffinityWithRequiredReq))
			c.ExpectNode("db", "n3")
		},
	},
	{
		name: "pods that repel each other share out the replica nodes, and the one too many goes elsewhere", nodes: 4,
		play: func(c *cluster) {
			c.Volume("data", "n1", "n2")
			c.runScheduler("")
			one := func(name string) {
				c.Create(c.pod(name, "data").Label("app", "db").
					PodAntiAffinityExists("app", v1.LabelHostname, st.PodAntiAffinityWithRequiredReq))
			}
			one("db-0")
			first := c.ExpectNode("db-0", "n1", "n2")
			one("db-1")
			c.ExpectNode("db-1", map[string]string{"n1": "n2", "n2": "n1"}[first])
			one("db-2")
			c.ExpectNode("db-2", "n3", "n4")
			c.expectEvent("db-2", hyperconverge.EventNonOptimumScheduling,
				"n1: node(s) didn't match pod anti-affinity rules", "n2: node(s) didn't match pod anti-affinity rules")
		},
	},
	{
		name: "topology spread that the replica nodes can satisfy spreads pods over them", nodes: 4,
		play: func(c *cluster) {
			c.Volume("data", "n1", "n2", "n3")
			c.runScheduler("")
			taken := map[string]bool{}
			for i := range 3 {
				name := fmt.Sprintf("db-%d", i)
				c.Create(spread(c.pod(name, "data"), v1.LabelHostname))
				taken[c.ExpectNode(name, "n1", "n2", "n3")] = true
			}
			if len(taken) != 3 {
				c.Errorf("the pods are on %v, want one on each replica node", taken)
			}
		},
	},
	{
		name: "topology spread that the replica nodes cannot satisfy takes a pod off its data, and the event says so", nodes: 0,
		play: func(c *cluster) {
			for node, zone := range map[string]string{"n1": "a", "n2": "a", "n3": "b"} {
				c.AddNode(node, map[string]string{v1.LabelTopologyZone: zone})
			}
			c.Volume("data", "n1", "n2")
			c.runScheduler("")
			c.Create(spread(c.pod("db-0", "data"), v1.LabelTopologyZone))
			c.ExpectNode("db-0", "n1", "n2")
			c.Create(spread(c.pod("db-1", "data"), v1.LabelTopologyZone))
			c.ExpectNode("db-1", "n3")
			const mismatch = "node(s) didn't match pod topology spread constraints"
			c.expectEvent("db-1", hyperconverge.EventNonOptimumScheduling, "n1: "+mismatch, "n2: "+mismatch)
		},
	},
	{
		name: "a host port that is taken on the replica node takes a pod off its data, and the event says so", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.runScheduler("")
			port := []v1.ContainerPort{{ContainerPort: 9042, HostPort: 9042}}
			c.Create(c.pod("other").ContainerPort(port).NodeSelector(kit.On("n2")))
			c.ExpectNode("other", "n2")
			c.Create(c.pod("db", "data").ContainerPort(port))
			c.ExpectNode("db", "n1", "n3")
			c.expectEvent("db", hyperconverge.EventNonOptimumScheduling, "n2: node(s) didn't have free ports")
		},
	},
	{
		name: "a replica node that has all the volumes it can attach is left alone, but not for a volume that it has", nodes: 2,
		play: func(c *cluster) {
			c.limitVolumes("n1", 1)
			c.Volume("first", "n1")
			c.Volume("second", "n1")
			c.runScheduler("")
			c.Create(c.pod("db-0", "first"))
			c.ExpectNode("db-0", "n1")
			c.Create(c.pod("db-1", "second"))
			c.ExpectNode("db-1", "n2")
			c.expectEvent("db-1", hyperconverge.EventNonOptimumScheduling, "n1: node(s) exceed max volume count")
			c.Create(c.pod("db-2", "first"))
			c.ExpectNode("db-2", "n1")
		},
	},
	{
		name: "a taint keeps a pod off its data unless the pod tolerates it", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.taint("n1", v1.TaintEffectNoSchedule)
			c.runScheduler("")
			c.Create(c.pod("db-0", "data"))
			c.ExpectNode("db-0", "n2", "n3")
			c.expectEvent("db-0", hyperconverge.EventNonOptimumScheduling, "n1: node(s) had untolerated taint(s)")
			c.Create(c.pod("db-1", "data").Toleration(taintKey))
			c.ExpectNode("db-1", "n1")
		},
	},
	{
		name: "a taint that only advises does not keep a pod off its data", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.taint("n1", v1.TaintEffectPreferNoSchedule)
			c.runScheduler("")
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n1")
		},
	},
	{
		name: "a cordoned replica node is left alone, and the event says so", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.patch("node", "n1", `{"spec":{"unschedulable":true}}`)
			c.runScheduler("")
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n2", "n3")
			c.expectEvent("db", hyperconverge.EventNonOptimumScheduling, "n1: node(s) were unschedulable")
		},
	},
	{
		name: "a pod that names its node goes there, and the event says why it is not on its data", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.runScheduler("")
			c.Create(c.pod("db", "data").NodeAffinityIn("metadata.name", []string{"n3"}, st.NodeSelectorTypeMatchFields))
			c.ExpectNode("db", "n3")
			c.expectEvent("db", hyperconverge.EventNonOptimumScheduling, "n1: node(s) didn't match Pod's node affinity")
		},
	},
	{
		name: "a claim that waits for its first consumer is provisioned where the pod's other volume is", nodes: 4,
		play: func(c *cluster) {
			c.Class(kit.LateClass("lazy", kit.Driver))
			c.Volume("data", "n3")
			c.VolumeWith("log", volumeOptions{Unbound: true, Class: "lazy"})
			c.runScheduler("")
			c.Create(c.pod("db", "data", "log"))
			c.Provision("log")
			c.ExpectNode("db", "n3")
		},
	},
	{
		name: "a replica node that Kubernetes has lost is no node to go to, and requeues a strict pod when it is back", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.runScheduler("")
			c.Create(c.pod("db-0", "data"))
			c.ExpectNode("db-0", "n1")
			c.Delete("db-0")
			c.deleteNode("n1")
			c.reasonBecomes(c.strict("probe", "data"), placement.ReasonStrictNowhere)
			c.Create(c.strict("strict", "data"))
			c.expectPending("strict", placement.ReasonStrictNowhere, c.Namespace+"/data")
			c.Create(c.pod("soft", "data"))
			c.ExpectNode("soft", "n2", "n3")
			c.AddBareNode("n1", nil)
			c.ExpectNode("strict", "n1")
		},
	},
	{
		name: "replica nodes that come and go while pods are placed cause no scheduler errors", nodes: 2,
		play: func(c *cluster) {
			const rounds = 15
			c.Volume("data", "n1")
			c.runScheduler("")
			errors := c.schedulerErrors()
			for i := range rounds {
				c.Create(c.pod(fmt.Sprintf("soft-%d", i), "data"))
				c.Create(c.strict(fmt.Sprintf("strict-%d", i), "data"))
				if i%2 == 0 {
					c.deleteNode("n1")
				} else {
					c.AddBareNode("n1", nil)
				}
			}
			c.AddBareNode("n1", nil)
			for i := range rounds {
				c.ExpectNode(fmt.Sprintf("soft-%d", i), "n1", "n2")
				c.ExpectNode(fmt.Sprintf("strict-%d", i), "n1")
			}
			if now := c.schedulerErrors(); now != errors {
				c.Errorf("%v scheduling attempts ended with an error", now-errors)
			}
		},
	},
	{
		name: "of several volumes the node that holds most is best, then one that holds any, then the rest", nodes: 4,
		play: func(c *cluster) {
			c.Volume("data", "n1", "n2")
			c.Volume("log", "n2", "n3")
			c.runScheduler("")
			big := kit.CPU("3")
			c.Create(c.pod("db-0", "data", "log").Req(big))
			c.ExpectNode("db-0", "n2")
			c.Create(c.pod("db-1", "data", "log").Req(big))
			second := c.ExpectNode("db-1", "n1", "n3")
			c.Create(c.pod("db-2", "data", "log").Req(big))
			c.ExpectNode("db-2", map[string]string{"n1": "n3", "n3": "n1"}[second])
			c.Create(c.pod("db-3", "data", "log").Req(big))
			c.ExpectNode("db-3", "n4")
		},
	},
	{
		name: "a volume that weighs more draws the pod more", nodes: 3,
		play: func(c *cluster) {
			c.Volume("log", "n1")
			c.Volume("index", "n1")
			c.VolumeWith("data", volumeOptions{Annotations: map[string]string{placement.VolumeWeight: "10"}}, "n3")
			c.runScheduler("")
			c.Create(c.pod("db", "log", "index", "data"))
			c.ExpectNode("db", "n3")
		},
	},
	{
		name: "a volume in stripes that no node holds whole draws the pod to a part of it", nodes: 6,
		play: func(c *cluster) {
			c.Volume("data")
			c.Must(c.Storage.SetReplicaSets("data", c.StorageIDs([]string{"n2", "n3"}), c.StorageIDs([]string{"n4"})))
			c.runScheduler("")
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n2", "n3", "n4")
		},
	},
	{
		name: "a pod with a near and an away volume runs on its data, off the away volume's replicas", nodes: 4,
		play: func(c *cluster) {
			c.Volume("data", "n1", "n2")
			c.VolumeWith("share", volumeOptions{Parameters: service}, "n1", "n3")
			c.runScheduler("")
			c.Create(c.pod("db", "data", "share"))
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "near wins over away when no node can have both", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.VolumeWith("share", volumeOptions{Parameters: service}, "n1")
			c.runScheduler("")
			c.Create(c.pod("db", "data", "share"))
			c.ExpectNode("db", "n1")
		},
	},
	{
		name: "a remote-only volume takes a pod off its data, and the event says so", nodes: 2,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.VolumeWith("share", volumeOptions{Parameters: remoteOnlyService}, "n1")
			c.runScheduler("")
			c.Create(c.pod("db", "data", "share"))
			c.ExpectNode("db", "n2")
			c.expectEvent("db", hyperconverge.EventNonOptimumScheduling, "n1: "+placement.ReasonRemoteOnly)
		},
	},
}

func TestLocalFirst(t *testing.T) { playAll(t, localFirstScenarios) }

// service is the StorageClass of a shared volume that wants its pods elsewhere.
var service = map[string]string{"sharedv4": "true", "sharedv4_svc_type": "ClusterIP"}

// spread makes the pod one of a group of which no domain may have two more than
// another.
func spread(pod *st.PodWrapper, domain string) *st.PodWrapper {
	group := &metav1.LabelSelector{MatchLabels: map[string]string{"group": "spread"}}
	return pod.Label("group", "spread").SpreadConstraint(1, domain, v1.DoNotSchedule, group, nil, nil, nil, nil)
}

// limitVolumes says how many volumes of the driver a node can attach.
func (c *cluster) limitVolumes(node string, count int32) {
	c.Helper()
	nodes := c.Client.StorageV1().CSINodes()
	csiNode, err := nodes.Get(c.Ctx, node, metav1.GetOptions{})
	c.Must(err)
	c.Must(nodes.Delete(c.Ctx, node, metav1.DeleteOptions{}))
	csiNode.ResourceVersion, csiNode.UID = "", ""
	csiNode.Spec.Drivers[0].Allocatable = &storagev1.VolumeNodeResources{Count: &count}
	_, err = nodes.Create(c.Ctx, csiNode, metav1.CreateOptions{})
	c.Must(err)
}

const taintKey = "node.portworx.io/px-storage"

func (c *cluster) taint(node string, effect v1.TaintEffect) {
	c.Helper()
	c.patch("node", node, fmt.Sprintf(`{"spec":{"taints":[{"key":%q,"effect":%q}]}}`, taintKey, effect))
}

// deleteNode removes a node from Kubernetes. The storage system keeps it.
func (c *cluster) deleteNode(name string) {
	c.Helper()
	c.Must(c.Client.CoreV1().Nodes().Delete(c.Ctx, name, metav1.DeleteOptions{}))
}
