package integration

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// wakingScenarios are pods that wait for storage, and what puts them back into
// the queue. The flush of the queue after five minutes is far beyond a test's
// patience, so that being bound at all proves that the pod was woken.
var wakingScenarios = []scenario{
	{
		name: "a strict pod is woken when a replica node is back online", nodes: 3,
		play: func(c *cluster) {
			c.volume("data", "n1", "n2")
			c.storageState("n1", openstoragesim.StatusOffline)
			c.storageState("n2", openstoragesim.StatusStorageDegraded)
			c.runScheduler("")
			c.create(c.strict("db", "data"))
			c.expectPending("db", placement.ReasonNoOnlineReplica, c.namespace+"/data")
			c.storageState("n2", openstoragesim.StatusOK)
			c.expectNode("db", "n2")
		},
	},
	{
		name: "a strict pod is woken when a replica moves to a node that both volumes are on", nodes: 4,
		play: func(c *cluster) {
			c.volume("data", "n1")
			c.volume("log", "n2")
			c.runScheduler("")
			c.create(c.strict("db", "data", "log"))
			c.expectPending("db", placement.ReasonStrictNowhere, c.namespace+"/log")
			c.must(c.storage.MoveReplica("log", c.storageID("n2"), c.storageID("n1")))
			c.expectNode("db", "n1")
		},
	},
	{
		name: "a strict pod is woken when a replica moves off a node that is full", nodes: 3,
		play: func(c *cluster) {
			c.volume("data", "n1")
			c.runScheduler("")
			c.fill("n1")
			c.create(c.strict("db", "data"))
			c.expectPending("db", "Insufficient cpu")
			c.must(c.storage.MoveReplica("data", c.storageID("n1"), c.storageID("n3")))
			c.expectNode("db", "n3")
		},
	},
	{
		name: "a strict pod is woken when the storage system begins to know its volume", nodes: 3,
		play: func(c *cluster) {
			c.volumeWith("data", volumeOptions{hidden: true}, "n2")
			c.runScheduler("")
			c.create(c.strict("db", "data"))
			c.expectPending("db", placement.ReasonStrictUnknown, c.namespace+"/data")
			c.reveal("data", "n2")
			c.expectNode("db", "n2")
		},
	},
	{
		name: "a pod is woken when the restore of its claim has finished", nodes: 3,
		play: func(c *cluster) {
			c.volumeWith("data", volumeOptions{annotations: map[string]string{placement.ClaimRestoreInProgress: "true"}}, "n2")
			c.runScheduler("")
			c.create(c.pod("db", "data"))
			c.expectPending("db", placement.ReasonRestoring, c.namespace+"/data")
			c.annotateClaim("data", placement.ClaimRestoreInProgress, "")
			c.expectNode("db", "n2")
		},
	},
	{
		name: "a pod of another driver waits for its restore, too", nodes: 2,
		play: func(c *cluster) {
			c.foreignVolume("data", map[string]string{placement.ClaimRestoreInProgress: "true"})
			c.runScheduler("")
			c.create(c.pod("app", "data"))
			c.expectPending("app", placement.ReasonRestoring)
			c.annotateClaim("data", placement.ClaimRestoreInProgress, "")
			c.expectNode("app", "n1", "n2")
		},
	},
	{
		name: "a pod that must be remote is woken when a label of its volume allows it to be near", nodes: 2,
		play: func(c *cluster) {
			c.volumeWith("share", volumeOptions{parameters: remoteOnlyService}, "n1", "n2")
			c.runScheduler("")
			c.create(c.pod("web", "share"))
			c.expectPending("web", placement.ReasonRemoteOnly)
			c.must(c.storage.SetLabels("share", map[string]string{placement.VolumePreferRemote: "false"}))
			c.expectNode("web", "n1", "n2")
		},
	},
	{
		name: "a pod is woken when the operator opens a replica node", nodes: 2,
		play: func(c *cluster) {
			c.volume("data", "n1")
			c.annotateNode("n1", placement.NodeUnschedulable, "true")
			c.runScheduler("")
			c.create(c.strict("db", "data"))
			c.expectPending("db", placement.ReasonNodeUnschedulable)
			c.annotateNode("n1", placement.NodeUnschedulable, "false")
			c.expectNode("db", "n1")
		},
	},
	{
		name: "a strict pod is woken when a replica node gets the label that it selects", nodes: 2,
		play: func(c *cluster) {
			c.volume("data", "n1")
			c.runScheduler("")
			c.create(c.strict("db", "data").NodeSelector(map[string]string{"disk": "fast"}))
			c.expectPending("db", "node affinity")
			c.labelNode("n1", "disk", "fast")
			c.expectNode("db", "n1")
		},
	},
	{
		name: "a pod is woken when the driver comes up on a node", nodes: 0,
		play: func(c *cluster) {
			c.addNode("n1", nil)
			c.addBareNode("n2", nil)
			c.volume("data", "n1")
			c.runScheduler("")
			c.fill("n1")
			c.create(c.pod("db", "data"))
			c.expectPending("db", "Insufficient cpu", placement.ReasonNoDriver)
			c.driverOn("n2")
			c.expectNode("db", "n2")
		},
	},
	{
		name: "a pod is woken when its own annotation no longer insists", nodes: 2,
		play: func(c *cluster) {
			c.volume("data", "n1")
			c.runScheduler("")
			c.fill("n1")
			c.create(c.strict("db", "data"))
			c.expectPending("db", "Insufficient cpu")
			c.annotatePod("db", placement.PodPreferLocalOnly, "false")
			c.expectNode("db", "n2")
		},
	},
	{
		name: "a pod is woken when its missing claim and volume appear", nodes: 2,
		play: func(c *cluster) {
			c.runScheduler("")
			c.create(c.pod("db", "data"))
			c.expectPending("db", "persistentvolumeclaim")
			c.volume("data", "n2")
			c.expectNode("db", "n2")
		},
	},
	{
		name: "a strict pod is woken when its PV is made anew for another volume", nodes: 3,
		play: func(c *cluster) {
			c.volume("data", "n1")
			c.volume("copy", "n3")
			c.runScheduler("")
			c.fill("n1")
			c.create(c.strict("db", "data"))
			c.expectPending("db", "Insufficient cpu")
			c.deletePV(c.pvName("data"))
			copied, err := c.storage.Volume("copy")
			c.must(err)
			c.persistentVolume(c.pvName("data"), c.claim("data"), (&volumeOptions{}).source(copied.GetId()))
			c.expectNode("db", "n3")
		},
	},
	{
		name: "a strict pod that names its node is woken when a replica comes there", nodes: 3,
		play: func(c *cluster) {
			c.volume("data", "n1")
			c.runScheduler("")
			c.create(c.strict("db", "data").NodeAffinityIn("metadata.name", []string{"n3"}, st.NodeSelectorTypeMatchFields))
			c.expectPending("db", "plugin(s) [Hyperconverge NodeAffinity]")
			c.must(c.storage.AddReplica("data", c.storageID("n3")))
			c.expectNode("db", "n3")
		},
	},
	{
		name: "pods that wait are counted until they are placed or deleted", nodes: 2,
		play: func(c *cluster) {
			held := func() float64 {
				return gauge(c.T, "scheduler_hyperconverge_held_pods", "reason", placement.ReasonStrictUnknown)
			}
			c.volumeWith("data", volumeOptions{hidden: true})
			before := held()
			c.runScheduler("")
			c.create(c.strict("placed", "data"))
			c.create(c.strict("deleted", "data"))
			c.expectPending("placed", placement.ReasonStrictUnknown)
			c.expectPending("deleted", placement.ReasonStrictUnknown)
			if now := held(); now != before+2 {
				c.Errorf("%v pods are held, want 2", now-before)
			}
			c.deletePod("deleted")
			c.reveal("data", "n2")
			c.expectNode("placed", "n2")
			eventually(c.T, "no pod is held", func() error {
				if now := held(); now != before {
					return fmt.Errorf("%v are", now-before)
				}
				return nil
			})
		},
	},
	{
		name: "each of many pods that wait is bound by the change that helps it", nodes: 3,
		play: func(c *cluster) {
			const pods = 20
			for i := range pods {
				c.volumeWith(fmt.Sprintf("data-%d", i), volumeOptions{hidden: true})
			}
			c.runScheduler("")
			for i := range pods {
				c.create(c.strict(fmt.Sprintf("db-%d", i), fmt.Sprintf("data-%d", i)))
			}
			for i := range pods {
				c.expectPending(fmt.Sprintf("db-%d", i), placement.ReasonStrictUnknown)
			}
			latencies := make([]time.Duration, pods)
			for i := range pods {
				changed := time.Now()
				c.reveal(fmt.Sprintf("data-%d", i), "n3")
				c.expectNode(fmt.Sprintf("db-%d", i), "n3")
				latencies[i] = time.Since(changed)
			}
			slices.Sort(latencies)
			c.Logf("from the change in storage to the binding: median %v, slowest %v",
				latencies[pods/2].Round(time.Millisecond), latencies[pods-1].Round(time.Millisecond))
		},
	},
	{
		name: "a soft pod waits no longer than the grace period for a volume that storage does not know, and an event says so", nodes: 2,
		play: func(c *cluster) {
			c.volumeWith("data", volumeOptions{hidden: true})
			c.runScheduler("unknownVolumeGracePeriod: 2s")
			c.create(c.pod("db", "data"))
			c.expectNode("db", "n1", "n2")
			c.expectEvent("db", "VolumeUnknown", c.namespace+"/data")
		},
	},
	{
		name: "an unrelated change wakes none of 1000 pods that wait", nodes: 3,
		play: func(c *cluster) {
			c.volume("other", "n3")
			c.volumeWith("data", volumeOptions{hidden: true})
			// Neither being tried nor about to be.
			asleep := func() float64 { return gauge(c.T, "scheduler_pending_pods", "queue", "unschedulable") }
			asleepBefore := asleep()
			c.runScheduler("")
			const waiting = 1000
			for i := range waiting {
				c.create(c.strict(fmt.Sprintf("db-%d", i), "data"))
			}
			eventually(c.T, "all pods have been tried and wait", func() error {
				if now := asleep() - asleepBefore; now != waiting {
					return fmt.Errorf("%v of %d do", now, waiting)
				}
				return nil
			})
			before := c.attempts()
			// A pod that is placed afterwards shows that these changes have arrived.
			c.must(c.storage.MoveReplica("other", c.storageID("n3"), c.storageID("n1")))
			c.storageState("n2", openstoragesim.StatusOffline)
			c.labelNode("n3", "topology.kubernetes.io/zone", "z")
			c.create(c.strict("witness", "other"))
			c.expectNode("witness", "n1")
			eventually(c.T, "the attempt of the witness is counted", func() error {
				if c.attempts() == before {
					return errors.New("no attempt is")
				}
				return nil
			})
			if tried := c.attempts() - before; tried != 1 {
				c.Errorf("%v scheduling attempts after changes that help nobody, want the witness alone", tried)
			}
			c.reveal("data", "n1", "n3")
			c.expectNode("db-0", "n1", "n3")
		},
	},
}

// remoteOnlyService is the StorageClass of a shared volume that keeps its pods
// off its replicas.
var remoteOnlyService = map[string]string{
	"sharedv4": "true", "sharedv4_svc_type": "ClusterIP", placement.VolumePreferRemoteOnly: "true",
}

func TestWaking(t *testing.T) { playAll(t, wakingScenarios) }

func (c *cluster) patch(kind, name, body string) {
	c.Helper()
	var err error
	core, data, merge := c.client.CoreV1(), []byte(body), types.MergePatchType
	switch kind {
	case "claim":
		_, err = core.PersistentVolumeClaims(c.namespace).Patch(c.ctx, name, merge, data, metav1.PatchOptions{})
	case "node":
		_, err = core.Nodes().Patch(c.ctx, name, merge, data, metav1.PatchOptions{})
	case "pod":
		_, err = core.Pods(c.namespace).Patch(c.ctx, name, merge, data, metav1.PatchOptions{})
	}
	c.must(err)
}

// metadata is a merge patch of one annotation or label; an empty value removes it.
func metadata(field, key, value string) string {
	if value == "" {
		return fmt.Sprintf(`{"metadata":{%q:{%q:null}}}`, field, key)
	}
	return fmt.Sprintf(`{"metadata":{%q:{%q:%q}}}`, field, key, value)
}

func (c *cluster) annotateClaim(name, key, value string) {
	c.Helper()
	c.patch("claim", name, metadata("annotations", key, value))
}

func (c *cluster) annotateNode(name, key, value string) {
	c.Helper()
	c.patch("node", name, metadata("annotations", key, value))
}

func (c *cluster) annotatePod(name, key, value string) {
	c.Helper()
	c.patch("pod", name, metadata("annotations", key, value))
}

func (c *cluster) labelNode(name, key, value string) {
	c.Helper()
	c.patch("node", name, metadata("labels", key, value))
}

// fill takes all CPUs of a node.
func (c *cluster) fill(node string) {
	c.Helper()
	c.take(node, "3900m")
}

// take puts a pod on a node that asks for so much besides what every pod does.
func (c *cluster) take(node, cpu string) {
	c.Helper()
	name := "filler-" + node
	c.create(c.pod(name).NodeSelector(map[string]string{v1.LabelHostname: node}).
		Req(map[v1.ResourceName]string{v1.ResourceCPU: cpu}))
	c.expectNode(name, node)
}

// reveal makes the storage system know a volume that was hidden.
func (c *cluster) reveal(claim string, nodes ...string) {
	c.Helper()
	_, err := c.storage.CreateVolume(openstoragesim.CreateRequest{
		Name:       hiddenName(c, claim),
		Parameters: map[string]string{"repl": strconv.Itoa(len(nodes)), "nodes": strings.Join(c.storageIDs(nodes), ",")},
	})
	c.must(err)
}

// driverOn installs the driver on a node that has none.
func (c *cluster) driverOn(node string) {
	c.Helper()
	made, err := c.storage.AddNode(openstoragesim.Node{SchedulerNodeName: node})
	c.must(err)
	c.csiNode(node, made.ID)
}
