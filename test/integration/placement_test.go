package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
)

// scenario is one story that a user would tell. They run one after another on
// one control plane.
type scenario struct {
	name  string
	nodes int
	play  func(*cluster)
}

func TestPlacement(t *testing.T) { playAll(t, placementScenarios) }

func playAll(t *testing.T, scenarios []scenario) {
	plane := sharedPlane(t)
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) { s.play(newCluster(t, plane, s.nodes)) })
	}
}

func (c *cluster) runScheduler(args string) (stop func()) {
	c.Helper()
	return c.runProfiles(profileYAML{name: schedulerName, args: args})
}

func (c *cluster) runProfiles(profiles ...profileYAML) (stop func()) {
	c.Helper()
	return runScheduler(c.T, c.plane.config, c.server.Endpoint(), schedulerYAML{profiles: profiles})
}

var placementScenarios = []scenario{
	{
		name: "a pod runs on a node that holds its volume", nodes: 5,
		play: func(c *cluster) {
			c.volume("data", "n2", "n4")
			c.runScheduler("")
			c.create(c.pod("db", "data"))
			c.expectNode("db", "n2", "n4")
		},
	},
	{
		name: "a pod falls back to another node, and the event says why each replica node was not taken", nodes: 4,
		play: func(c *cluster) {
			c.volume("data", "n1", "n2", "n3")
			c.runScheduler("")
			c.fill("n1")
			c.fill("n2")
			c.storageState("n3", openstoragesim.StatusOffline)
			c.schedulerSees("n3", "data", placement.ReasonOffline)
			c.create(c.pod("db", "data"))
			c.expectNode("db", "n4")
			c.expectEvent("db", hyperconverge.EventNonOptimumScheduling,
				"n1: Insufficient cpu", "n2: Insufficient cpu", "n3: storage Offline")
		},
	},
	{
		name: "a strict pod runs on the one node that holds both of its volumes", nodes: 4,
		play: func(c *cluster) {
			c.volume("data", "n1", "n2")
			c.volume("log", "n2", "n3")
			c.runScheduler("")
			c.create(c.strict("db", "data", "log"))
			c.expectNode("db", "n2")
		},
	},
	{
		name: "a strict pod without a common replica node is pending, and the reason names the volume", nodes: 3,
		play: func(c *cluster) {
			c.volume("data", "n1")
			c.volume("log", "n2")
			c.runScheduler("")
			c.create(c.strict("db", "data", "log"))
			c.expectPending("db", placement.ReasonStrictNowhere, c.namespace+"/log")
		},
	},
	{
		name: "pods of a remote-only volume keep off its replicas", nodes: 4,
		play: func(c *cluster) {
			c.volumeWith("share", volumeOptions{parameters: remoteOnlyService}, "n1", "n2")
			c.runScheduler("")
			for _, name := range []string{"web-0", "web-1", "web-2", "web-3"} {
				c.create(c.pod(name, "share"))
				c.expectNode(name, "n3", "n4")
			}
		},
	},
	{
		name: "pods of a remote-only volume may run anywhere once locality is disabled", nodes: 2,
		play: func(c *cluster) {
			c.volumeWith("share", volumeOptions{parameters: remoteOnlyService}, "n1", "n2")
			c.runScheduler("")
			c.create(c.pod("web", "share").Annotation(placement.PodDisableHyperconvergence, "true"))
			c.expectNode("web", "n1", "n2")
		},
	},
	{
		name: "a shared volume with a service prefers nodes without its replicas, but takes them", nodes: 3,
		play: func(c *cluster) {
			c.volumeWith("share", volumeOptions{parameters: map[string]string{"sharedv4": "true", "sharedv4_svc_type": "ClusterIP"}}, "n1", "n2")
			c.runScheduler("")
			c.create(c.pod("web-0", "share"))
			c.expectNode("web-0", "n3")
			c.take("n3", "3")
			c.create(c.pod("web-1", "share").Req(map[v1.ResourceName]string{v1.ResourceCPU: "2"}))
			c.expectNode("web-1", "n1", "n2")
		},
	},
	{
		name: "contradictory annotations keep the pod on a replica node and are told once", nodes: 3,
		play: func(c *cluster) {
			c.volume("data", "n3")
			c.runScheduler("")
			c.fill("n3")
			c.create(c.strict("db", "data").Annotation(placement.PodDisableHyperconvergence, "true"))
			c.expectEvent("db", hyperconverge.EventInvalidValue, "contradicts")
			c.expectPending("db", "Insufficient cpu")
			c.deletePod("filler-n3")
			c.expectNode("db", "n3")
			if told := len(c.events("db", hyperconverge.EventInvalidValue)); told != 1 {
				c.Errorf("the contradiction was told %d times, want once", told)
			}
		},
	},
	{
		name: "a value that is no boolean is told on the claim and counts as its default", nodes: 2,
		play: func(c *cluster) {
			c.volumeWith("data", volumeOptions{annotations: map[string]string{placement.VolumeSkipScoring: "jein"}}, "n2")
			c.runScheduler("")
			c.create(c.pod("db", "data"))
			c.expectNode("db", "n2")
			c.expectEvent("data", hyperconverge.EventInvalidValue, placement.VolumeSkipScoring, "jein")
		},
	},
	{
		name: "an unbound claim that waits for its first consumer goes to a node with healthy storage", nodes: 3,
		play: func(c *cluster) {
			c.addBareNode("n4", nil)
			c.storageState("n1", openstoragesim.StatusOffline)
			c.storageState("n2", openstoragesim.StatusStorageDegraded)
			c.waitForFirstConsumerClass("lazy")
			c.volumeWith("data", volumeOptions{unbound: true, class: "lazy"})
			c.runScheduler("")
			c.create(c.strict("db", "data"))
			c.provisionWhenSelected("data", "n3")
			c.expectNode("db", "n3")
		},
	},
	{
		name: "an unbound immediate claim is left to the volume binder", nodes: 2,
		play: func(c *cluster) {
			c.volumeWith("data", volumeOptions{unbound: true})
			c.runScheduler("")
			c.create(c.pod("db", "data"))
			c.expectPending("db", "unbound immediate PersistentVolumeClaims")
		},
	},
	{
		name: "the successor of a pod whose node lost its storage runs on the other replica node", nodes: 4,
		play: func(c *cluster) {
			c.volume("data", "n1", "n3")
			c.runScheduler("")
			c.create(c.pod("db-0", "data"))
			first := c.expectNode("db-0", "n1", "n3")
			c.storageState(first, openstoragesim.StatusOffline)
			c.schedulerSees(first, "data", placement.ReasonOffline)
			c.deletePod("db-0")
			c.create(c.pod("db-1", "data"))
			c.expectNode("db-1", map[string]string{"n1": "n3", "n3": "n1"}[first])
		},
	},
	{
		name: "a strict pod of high priority evicts a pod from its replica node, and no other", nodes: 3,
		play: func(c *cluster) {
			c.volume("data", "n2")
			c.runScheduler("")
			for _, node := range []string{"n1", "n2", "n3"} {
				c.fill(node)
			}
			c.create(c.strict("db", "data").Priority(1000))
			c.expectEvicted("filler-n2")
			c.expectNode("db", "n2")
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
			c.volume("data", "n1", "n2")
			c.storageState("n2", openstoragesim.StatusOffline)
			c.runScheduler("")
			c.fill("n1")
			c.fill("n2")
			c.create(c.pod("db", "data").Priority(1000))
			c.expectEvicted("filler-n1")
			c.expectNode("db", "n1")
			if !c.exists("filler-n2") {
				c.Error("the pod on n2 was evicted for a pod that cannot run there")
			}
		},
	},
	{
		name: "two schedulers on one cluster each take their own pods", nodes: 3,
		play: func(c *cluster) {
			c.volume("data", "n3")
			c.runScheduler("")
			c.runProfiles(profileYAML{name: "default-scheduler", without: true})
			c.create(c.pod("db", "data"))
			c.create(c.pod("app").SchedulerName("default-scheduler"))
			c.expectNode("db", "n3")
			c.expectNode("app", "n1", "n2", "n3")
		},
	},
	{
		name: "pods that wait survive a restart of the scheduler", nodes: 2,
		play: func(c *cluster) {
			c.volume("data", "n1")
			c.storageState("n1", openstoragesim.StatusOffline)
			stop := c.runScheduler("")
			c.create(c.strict("db", "data"))
			c.expectPending("db", placement.ReasonNoOnlineReplica)
			stop()
			c.storageState("n1", openstoragesim.StatusOK)
			c.runScheduler("")
			c.expectNode("db", "n1")
		},
	},
	{
		name: "last good data serves while the storage API is gone", nodes: 3,
		play: func(c *cluster) {
			c.volume("data", "n2")
			c.runScheduler("")
			c.create(c.pod("db-0", "data"))
			c.expectNode("db-0", "n2")
			c.must(c.server.SetFaults(openstoragesim.Outage()))
			c.create(c.strict("db-1", "data"))
			c.expectNode("db-1", "n2")
		},
	},
	{
		name: "a soft pod is placed although the storage API was never reached, a strict one waits until it is", nodes: 2,
		play: func(c *cluster) {
			c.volume("data", "n2")
			c.must(c.server.SetFaults(openstoragesim.Outage()))
			c.runScheduler("unknownVolumeGracePeriod: 500ms")
			c.create(c.pod("soft", "data"))
			c.create(c.strict("strict", "data"))
			c.expectNode("soft", "n1", "n2")
			c.expectPending("strict", placement.ReasonStrictUnknown)
			c.must(c.server.SetFaults(openstoragesim.Faults{}))
			c.expectNode("strict", "n2")
		},
	},
	{
		name: "a replica on a storage node that Kubernetes does not have is no node to go to", nodes: 2,
		play: func(c *cluster) {
			_, err := c.storage.AddNode(openstoragesim.Node{Hostname: "outside"})
			c.must(err)
			c.volume("data", "outside", "n2")
			c.runScheduler("")
			c.create(c.strict("db", "data"))
			c.expectNode("db", "n2")
		},
	},
	{
		name: "a pod with 64 volumes is placed on the node that holds them", nodes: 3,
		play: func(c *cluster) {
			claims := make([]string, 64)
			for i := range claims {
				claims[i] = fmt.Sprintf("data-%d", i)
				c.volume(claims[i], "n2")
			}
			c.runScheduler("")
			c.create(c.pod("db", claims...))
			c.expectNode("db", "n2")
		},
	},
	{
		name: "a PV that has lost its claim holds its pod back with a reason", nodes: 2,
		play: func(c *cluster) {
			c.volume("data", "n1")
			c.must(c.client.CoreV1().PersistentVolumes().Delete(c.ctx, c.pvName("data"), metav1.DeleteOptions{}))
			c.runScheduler("")
			c.create(c.pod("db", "data"))
			c.expectPending("db", "persistentvolume")
		},
	},
	{
		name: "labels with empty values are no topology", nodes: 0,
		play: func(c *cluster) {
			empty := map[string]string{v1.LabelTopologyZone: "", "px/rack": ""}
			for _, name := range []string{"n1", "n2", "n3"} {
				c.addNode(name, empty)
			}
			c.volume("data", "n2")
			c.runScheduler("")
			c.create(c.pod("db", "data"))
			c.expectNode("db", "n2")
		},
	},
}

// exists reports whether the pod is there and not about to go.
func (c *cluster) exists(pod string) bool {
	c.Helper()
	got, err := c.client.CoreV1().Pods(c.namespace).Get(c.ctx, pod, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false
	}
	c.must(err)
	return got.DeletionTimestamp == nil
}

// expectEvicted waits until a pod is told to go, and lets it go as a kubelet does.
func (c *cluster) expectEvicted(pod string) {
	c.Helper()
	eventually(c.T, "pod "+pod+" is evicted", func() error {
		if c.exists(pod) {
			return errors.New("it is still there")
		}
		return nil
	})
	c.deletePod(pod)
}

// schedulerSees waits until the scheduler turns a node down for a reason: it asks
// with pods that can go nowhere else.
func (c *cluster) schedulerSees(node, claim, reason string) {
	c.Helper()
	c.verdictBecomes(c.pod("probe", claim).NodeSelector(map[string]string{v1.LabelHostname: node}), reason)
}

// verdictBecomes makes and removes a pod until the scheduler turns it down for
// this reason.
func (c *cluster) verdictBecomes(pod *st.PodWrapper, reason string) {
	c.Helper()
	eventually(c.T, "the scheduler turns pod "+pod.Obj().Name+" down: "+reason, func() error {
		probe := c.create(pod)
		defer c.deletePod(probe.Name)
		var verdict string
		eventually(c.T, "the scheduler has tried the probe", func() error {
			got := c.get(probe.Name)
			if verdict = message(got); got.Spec.NodeName == "" && verdict == untried {
				return errors.New(verdict)
			}
			return nil
		})
		if !strings.Contains(verdict, reason) {
			return errors.New(verdict)
		}
		return nil
	})
}

func (c *cluster) waitForFirstConsumerClass(name string) {
	c.Helper()
	mode := storagev1.VolumeBindingWaitForFirstConsumer
	_, err := c.client.StorageV1().StorageClasses().Create(c.ctx, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: driver, VolumeBindingMode: &mode,
	}, metav1.CreateOptions{})
	c.must(err)
}

// provisionWhenSelected plays provisioner and volume controller for one claim:
// it waits for the scheduler's choice, and binds a new volume to the claim.
func (c *cluster) provisionWhenSelected(claim, node string) {
	c.Helper()
	claims := c.client.CoreV1().PersistentVolumeClaims(c.namespace)
	var got *v1.PersistentVolumeClaim
	eventually(c.T, "a node is selected for claim "+claim, func() error {
		var err error
		got, err = claims.Get(c.ctx, claim, metav1.GetOptions{})
		c.must(err)
		if selected := got.Annotations["volume.kubernetes.io/selected-node"]; selected != node {
			return fmt.Errorf("selected is %q, want %s", selected, node)
		}
		return nil
	})
	made, err := c.storage.CreateVolume(openstoragesim.CreateRequest{Name: claim, Parameters: map[string]string{"repl": "1"}})
	c.must(err)
	c.replicas(claim, node)
	c.persistentVolume(c.pvName(claim), got, (&volumeOptions{}).source(made.GetId()))
	got.Spec.VolumeName = c.pvName(claim)
	got.Annotations["pv.kubernetes.io/bind-completed"] = "yes"
	got, err = claims.Update(c.ctx, got, metav1.UpdateOptions{})
	c.must(err)
	got.Status.Phase = v1.ClaimBound
	_, err = claims.UpdateStatus(c.ctx, got, metav1.UpdateOptions{})
	c.must(err)
}
