package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/test/kit"
)

// scenario is one case that a user would tell. They run one after another on
// one control plane.
type scenario struct {
	name  string
	nodes int
	play  func(*cluster)
}

func TestPlacement(t *testing.T) { playAll(t, placementScenarios) }

func playAll(t *testing.T, scenarios []scenario) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) { s.play(newCluster(t, s.nodes)) })
	}
}

var placementScenarios = []scenario{
	{
		name: "a pod runs on a node that holds its volume", nodes: 5,
		play: func(c *cluster) {
			c.Volume("data", "n2", "n4")
			c.runScheduler("")
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n2", "n4")
		},
	},
	{
		name: "a pod falls back to another node, and the event says why each replica node was not taken", nodes: 4,
		play: func(c *cluster) {
			c.Volume("data", "n1", "n2", "n3")
			c.runScheduler("")
			c.fill("n1")
			c.fill("n2")
			c.storageState("n3", openstoragesim.StatusOffline)
			c.schedulerSees("n3", "data", placement.ReasonOffline)
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n4")
			c.expectEvent("db", hyperconverge.EventNonOptimumScheduling,
				"n1: Insufficient cpu", "n2: Insufficient cpu", "n3: storage Offline")
		},
	},
	{
		name: "a strict pod runs on the one node that holds both of its volumes", nodes: 4,
		play: func(c *cluster) {
			c.Volume("data", "n1", "n2")
			c.Volume("log", "n2", "n3")
			c.runScheduler("")
			c.Create(c.strict("db", "data", "log"))
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "a strict pod without a common replica node is pending, and the reason names the volume", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.Volume("log", "n2")
			c.runScheduler("")
			c.Create(c.strict("db", "data", "log"))
			c.expectPending("db", placement.ReasonStrictNowhere, c.Namespace+"/log")
		},
	},
	{
		name: "a soft pod runs on the replica nodes of a volume with fastpath, waits there for room, and goes elsewhere when the claim says so", nodes: 3,
		play: func(c *cluster) {
			fast := volumeOptions{Annotations: map[string]string{placement.VolumeFast: "true"}}
			c.VolumeWith("data", fast, "n2")
			c.VolumeWith("full", fast, "n3")
			c.runScheduler("")
			c.fill("n3")
			c.Create(c.pod("first", "data"))
			c.ExpectNode("first", "n2")
			c.Create(c.pod("second", "full"))
			c.expectPending("second", "fastpath: "+c.Namespace+"/full has its replicas on n3 (Insufficient cpu)")
			claim := c.GetClaim("full")
			claim.Annotations[placement.VolumeFast] = "false"
			_, err := c.Client.CoreV1().PersistentVolumeClaims(c.Namespace).Update(c.Ctx, claim, metav1.UpdateOptions{})
			c.Must(err)
			c.ExpectNode("second", "n1", "n2")
		},
	},
	{
		name: "a strict pod that finds no room is told where its replicas are, and why it cannot be there", nodes: 4,
		play: func(c *cluster) {
			const reason = "scheduler_hyperconverge_held_pods"
			held := gauge(c.TB, reason, "reason", placement.ReasonStrictNoRoom)
			c.Volume("data", "n1", "n2")
			c.runScheduler("")
			c.fill("n1")
			c.fill("n2")
			c.Create(c.strict("db", "data"))
			c.expectPending("db", "preferLocalNodeOnly: "+c.Namespace+"/data has its replicas on", "n1 (Insufficient cpu)", "n2 (Insufficient cpu)")
			if now := gauge(c.TB, reason, "reason", placement.ReasonStrictNoRoom); now != held+1 {
				c.Errorf("%v pods are held, want 1", now-held)
			}
		},
	},
	{
		name: "a pod that is local to one of its volumes is told where the other is", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.Volume("log", "n2")
			c.runScheduler("")
			c.fill("n1")
			c.Create(c.pod("db", "data", "log"))
			c.ExpectNode("db", "n2")
			c.expectEvent("db", hyperconverge.EventNonOptimumScheduling, "which is no replica node of "+c.Namespace+"/data. n1: Insufficient cpu")
		},
	},
	{
		name: "pods that run are counted by locality, and a replica that moves away later is seen", nodes: 3,
		play: func(c *cluster) {
			counted := func(locality string) error {
				for _, l := range []string{"local", "partly", "remote", "away", "unknown"} {
					want := 0.0
					if l == locality {
						want = 1
					}
					if n := gauge(c.TB, "scheduler_hyperconverge_pods", "namespace", c.Namespace, "locality", l); n != want {
						return fmt.Errorf("%v pods are %s", n, l)
					}
				}
				return nil
			}
			c.Volume("data", "n1")
			c.runScheduler("")
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n1")
			c.Eventually("the pod counts as local", func() error { return counted("local") })
			c.Must(c.Storage.MoveReplica("data", c.StorageID("n1"), c.StorageID("n3")))
			c.Eventually("the pod counts as remote", func() error { return counted("remote") })
			c.Delete("db")
			c.Eventually("no pod is counted", func() error { return counted("") })
		},
	},
	{
		name: "pods of a remote-only volume keep off its replicas", nodes: 4,
		play: func(c *cluster) {
			c.VolumeWith("share", volumeOptions{Parameters: remoteOnlyService}, "n1", "n2")
			c.runScheduler("")
			for _, name := range []string{"web-0", "web-1", "web-2", "web-3"} {
				c.Create(c.pod(name, "share"))
				c.ExpectNode(name, "n3", "n4")
			}
		},
	},
	{
		name: "pods of a remote-only volume may run anywhere once locality is disabled", nodes: 2,
		play: func(c *cluster) {
			c.VolumeWith("share", volumeOptions{Parameters: remoteOnlyService}, "n1", "n2")
			c.runScheduler("")
			c.Create(c.pod("web", "share").Annotation(placement.PodDisableHyperconvergence, "true"))
			c.ExpectNode("web", "n1", "n2")
		},
	},
	{
		name: "a shared volume with a service prefers nodes without its replicas, but takes them", nodes: 3,
		play: func(c *cluster) {
			c.VolumeWith("share", volumeOptions{Parameters: map[string]string{"sharedv4": "true", "sharedv4_svc_type": "ClusterIP"}}, "n1", "n2")
			c.runScheduler("")
			c.Create(c.pod("web-0", "share"))
			c.ExpectNode("web-0", "n3")
			c.take("n3", "3")
			c.Create(c.pod("web-1", "share").Req(kit.CPU("2")))
			c.ExpectNode("web-1", "n1", "n2")
		},
	},
	{
		name: "contradictory annotations keep the pod on a replica node and are told once", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n3")
			c.runScheduler("")
			c.fill("n3")
			c.Create(c.strict("db", "data").Annotation(placement.PodDisableHyperconvergence, "true"))
			c.expectEvent("db", hyperconverge.EventInvalidValue, "contradicts")
			c.expectPending("db", "Insufficient cpu")
			c.Delete("filler-n3")
			c.ExpectNode("db", "n3")
			if told := len(c.events("db", hyperconverge.EventInvalidValue)); told != 1 {
				c.Errorf("the contradiction was told %d times, want once", told)
			}
		},
	},
	{
		name: "a value that is no boolean is told on the claim and counts as its default", nodes: 2,
		play: func(c *cluster) {
			c.VolumeWith("data", volumeOptions{Annotations: map[string]string{placement.VolumeSkipScoring: "jein"}}, "n2")
			c.runScheduler("")
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n2")
			c.expectEvent("data", hyperconverge.EventInvalidValue, placement.VolumeSkipScoring, "jein")
		},
	},
	{
		name: "an unbound claim that waits for its first consumer goes to a node with healthy storage", nodes: 3,
		play: func(c *cluster) {
			c.AddBareNode("n4", nil)
			c.storageState("n1", openstoragesim.StatusOffline)
			c.storageState("n2", openstoragesim.StatusStorageDegraded)
			c.Class(kit.LateClass("lazy", kit.Driver))
			c.VolumeWith("data", volumeOptions{Unbound: true, Class: "lazy"})
			c.runScheduler("")
			c.Create(c.strict("db", "data"))
			c.Provision("data")
			c.ExpectNode("db", "n3")
		},
	},
	{
		name: "an unbound immediate claim is left to the volume binder", nodes: 2,
		play: func(c *cluster) {
			c.VolumeWith("data", volumeOptions{Unbound: true})
			c.runScheduler("")
			c.Create(c.pod("db", "data"))
			c.expectPending("db", "unbound immediate PersistentVolumeClaims")
		},
	},
	{
		name: "the successor of a pod whose node lost its storage runs on the other replica node", nodes: 4,
		play: func(c *cluster) {
			c.Volume("data", "n1", "n3")
			c.runScheduler("")
			c.Create(c.pod("db-0", "data"))
			first := c.ExpectNode("db-0", "n1", "n3")
			c.storageState(first, openstoragesim.StatusOffline)
			c.schedulerSees(first, "data", placement.ReasonOffline)
			c.Delete("db-0")
			c.Create(c.pod("db-1", "data"))
			c.ExpectNode("db-1", map[string]string{"n1": "n3", "n3": "n1"}[first])
		},
	},
	{
		name: "a strict pod of high priority evicts a pod from its replica node, and no other", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.runScheduler("")
			for _, node := range []string{"n1", "n2", "n3"} {
				c.fill(node)
			}
			c.Create(c.strict("db", "data").Priority(1000))
			c.expectEvicted("filler-n2")
			c.ExpectNode("db", "n2")
			for _, survivor := range []string{"filler-n1", "filler-n3"} {
				if !c.exists(survivor) {
					c.Errorf("%s was evicted", survivor)
				}
			}
		},
	},
	{
		name: "preemption does not evict from nodes that storage rules out", nodes: 2,
		play: func(c *cluster) {
			c.Volume("data", "n1", "n2")
			c.storageState("n2", openstoragesim.StatusOffline)
			c.runScheduler("")
			c.fill("n1")
			c.fill("n2")
			c.Create(c.pod("db", "data").Priority(1000))
			c.expectEvicted("filler-n1")
			c.ExpectNode("db", "n1")
			if !c.exists("filler-n2") {
				c.Error("the pod on n2 was evicted for a pod that cannot run there")
			}
		},
	},
	{
		name: "two schedulers on one cluster each take their own pods", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n3")
			c.runScheduler("")
			c.runProfiles(profileYAML{name: "default-scheduler", without: true})
			c.Create(c.pod("db", "data"))
			c.Create(c.pod("app").SchedulerName("default-scheduler"))
			c.ExpectNode("db", "n3")
			c.ExpectNode("app", "n1", "n2", "n3")
		},
	},
	{
		name: "pods that wait survive a restart of the scheduler", nodes: 2,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.storageState("n1", openstoragesim.StatusOffline)
			stop := c.runScheduler("")
			c.Create(c.strict("db", "data"))
			c.expectPending("db", placement.ReasonNoOnlineReplica)
			stop()
			c.storageState("n1", openstoragesim.StatusOK)
			c.runScheduler("")
			c.ExpectNode("db", "n1")
		},
	},
	{
		name: "last good data serves while the storage API is gone", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.runScheduler("")
			c.Create(c.pod("db-0", "data"))
			c.ExpectNode("db-0", "n2")
			c.Must(c.Server.SetFaults(openstoragesim.Outage()))
			c.Create(c.strict("db-1", "data"))
			c.ExpectNode("db-1", "n2")
		},
	},
	{
		name: "a soft pod is placed although the storage API was never reached, a strict one waits until it is", nodes: 2,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.Must(c.Server.SetFaults(openstoragesim.Outage()))
			c.runScheduler("unknownVolumeGracePeriod: 500ms")
			c.Create(c.pod("soft", "data"))
			c.Create(c.strict("strict", "data"))
			c.ExpectNode("soft", "n1", "n2")
			c.expectPending("strict", placement.ReasonStrictUnknown)
			c.Must(c.Server.SetFaults(openstoragesim.Faults{}))
			c.ExpectNode("strict", "n2")
		},
	},
	{
		name: "a replica on a storage node that Kubernetes does not have is no node to go to", nodes: 2,
		play: func(c *cluster) {
			_, err := c.Storage.AddNode(openstoragesim.Node{Hostname: "outside"})
			c.Must(err)
			c.Volume("data", "outside", "n2")
			c.runScheduler("")
			c.Create(c.strict("db", "data"))
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "a pod with 64 volumes is placed on the node that holds them", nodes: 3,
		play: func(c *cluster) {
			claims := make([]string, 64)
			for i := range claims {
				claims[i] = fmt.Sprintf("data-%d", i)
				c.Volume(claims[i], "n2")
			}
			c.runScheduler("")
			c.Create(c.pod("db", claims...))
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "a PV that has lost its claim holds its pod back with a reason", nodes: 2,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.Must(c.Client.CoreV1().PersistentVolumes().Delete(c.Ctx, c.PVName("data"), metav1.DeleteOptions{}))
			c.runScheduler("")
			c.Create(c.pod("db", "data"))
			c.expectPending("db", "persistentvolume")
		},
	},
	{
		name: "labels with empty values are no topology", nodes: 0,
		play: func(c *cluster) {
			empty := map[string]string{v1.LabelTopologyZone: "", "px/rack": ""}
			for _, name := range []string{"n1", "n2", "n3"} {
				c.AddNode(name, empty)
			}
			c.Volume("data", "n2")
			c.runScheduler("")
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n2")
		},
	},
}

// exists reports whether the pod is there and not about to go.
func (c *cluster) exists(pod string) bool {
	c.Helper()
	got, err := c.Client.CoreV1().Pods(c.Namespace).Get(c.Ctx, pod, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false
	}
	c.Must(err)
	return got.DeletionTimestamp == nil
}

// expectEvicted waits until a pod is told to go, and lets it go as a kubelet does.
func (c *cluster) expectEvicted(pod string) {
	c.Helper()
	c.Eventually("pod "+pod+" is evicted", func() error {
		if c.exists(pod) {
			return errors.New("it is still there")
		}
		return nil
	})
	c.Delete(pod)
}

// schedulerSees waits until the scheduler turns a node down for a reason: it asks
// with pods that can go nowhere else.
func (c *cluster) schedulerSees(node, claim, reason string) {
	c.Helper()
	c.reasonBecomes(c.pod("probe", claim).NodeSelector(kit.On(node)), reason)
}

// reasonBecomes makes and removes a pod until the scheduler turns it down for
// this reason.
func (c *cluster) reasonBecomes(pod *st.PodWrapper, reason string) {
	c.Helper()
	c.Eventually("the scheduler turns pod "+pod.Obj().Name+" down: "+reason, func() error {
		probe := c.Create(pod)
		defer c.Delete(probe.Name)
		var told string
		c.Eventually("the scheduler has tried the probe", func() error {
			got := c.Get(probe.Name)
			if told = kit.Unplaced(got); got.Spec.NodeName == "" && told == kit.Untried {
				return errors.New(told)
			}
			return nil
		})
		if !strings.Contains(told, reason) {
			return errors.New(told)
		}
		return nil
	})
}
