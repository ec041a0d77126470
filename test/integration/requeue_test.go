package integration

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/test/kit"
)

// requeueScenarios are pods that wait for storage, and what puts them back into
// the queue. The flush of the queue after five minutes is far beyond a test's
// patience, so that being bound at all proves that the pod was requeued.
var requeueScenarios = []scenario{
	{
		name: "a strict pod is requeued when a replica node is back online", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1", "n2")
			c.storageState("n1", openstoragesim.StatusOffline)
			c.storageState("n2", openstoragesim.StatusStorageDegraded)
			c.runScheduler("")
			c.Create(c.strict("db", "data"))
			c.expectPending("db", placement.ReasonNoOnlineReplica, c.Namespace+"/data")
			c.storageState("n2", openstoragesim.StatusOK)
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "a strict pod is requeued when a replica moves to a node that both volumes are on", nodes: 4,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.Volume("log", "n2")
			c.runScheduler("")
			c.Create(c.strict("db", "data", "log"))
			c.expectPending("db", placement.ReasonStrictNowhere, c.Namespace+"/log")
			c.Must(c.Storage.MoveReplica("log", c.StorageID("n2"), c.StorageID("n1")))
			c.ExpectNode("db", "n1")
		},
	},
	{
		name: "a strict pod is requeued when a replica moves off a node that is full", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.runScheduler("")
			c.fill("n1")
			c.Create(c.strict("db", "data"))
			c.expectPending("db", "Insufficient cpu")
			c.Must(c.Storage.MoveReplica("data", c.StorageID("n1"), c.StorageID("n3")))
			c.ExpectNode("db", "n3")
		},
	},
	{
		name: "a strict pod is requeued when the storage system begins to know its volume", nodes: 3,
		play: func(c *cluster) {
			c.VolumeWith("data", volumeOptions{Hidden: true}, "n2")
			c.runScheduler("")
			c.Create(c.strict("db", "data"))
			c.expectPending("db", placement.ReasonStrictUnknown, c.Namespace+"/data")
			c.reveal("data", "n2")
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "a pod is requeued when the restore of its claim has finished", nodes: 3,
		play: func(c *cluster) {
			c.VolumeWith("data", volumeOptions{Annotations: map[string]string{placement.ClaimRestoreInProgress: "true"}}, "n2")
			c.runScheduler("")
			c.Create(c.pod("db", "data"))
			c.expectPending("db", placement.ReasonRestoring, c.Namespace+"/data")
			c.annotateClaim("data", placement.ClaimRestoreInProgress, "")
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "a pod of another driver waits for its restore, too", nodes: 2,
		play: func(c *cluster) {
			c.foreignVolume("data", map[string]string{placement.ClaimRestoreInProgress: "true"})
			c.runScheduler("")
			c.Create(c.pod("app", "data"))
			c.expectPending("app", placement.ReasonRestoring)
			c.annotateClaim("data", placement.ClaimRestoreInProgress, "")
			c.ExpectNode("app", "n1", "n2")
		},
	},
	{
		name: "a pod that must be remote is requeued when a label of its volume allows it to be near", nodes: 2,
		play: func(c *cluster) {
			c.VolumeWith("share", volumeOptions{Parameters: remoteOnlyService}, "n1", "n2")
			c.runScheduler("")
			c.Create(c.pod("web", "share"))
			c.expectPending("web", placement.ReasonRemoteOnly)
			c.Must(c.Storage.SetLabels("share", map[string]string{placement.VolumePreferRemote: "false"}))
			c.ExpectNode("web", "n1", "n2")
		},
	},
	{
		name: "a pod is requeued when the operator opens a replica node", nodes: 2,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.annotateNode("n1", placement.NodeUnschedulable, "true")
			c.runScheduler("")
			c.Create(c.strict("db", "data"))
			c.expectPending("db", placement.ReasonNodeUnschedulable)
			c.annotateNode("n1", placement.NodeUnschedulable, "false")
			c.ExpectNode("db", "n1")
		},
	},
	{
		name: "a strict pod is requeued when a replica node gets the label that it selects", nodes: 2,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.runScheduler("")
			c.Create(c.strict("db", "data").NodeSelector(map[string]string{"disk": "fast"}))
			c.expectPending("db", "node affinity")
			c.labelNode("n1", "disk", "fast")
			c.ExpectNode("db", "n1")
		},
	},
	{
		name: "a pod is requeued when the driver comes up on a node", nodes: 0,
		play: func(c *cluster) {
			c.AddNode("n1", nil)
			c.AddBareNode("n2", nil)
			c.Volume("data", "n1")
			c.runScheduler("")
			c.fill("n1")
			c.Create(c.pod("db", "data"))
			c.expectPending("db", "Insufficient cpu", placement.ReasonNoDriver)
			c.InstallDriver("n2")
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "a pod is requeued when its own annotation no longer insists", nodes: 2,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.runScheduler("")
			c.fill("n1")
			c.Create(c.strict("db", "data"))
			c.expectPending("db", "Insufficient cpu")
			c.annotatePod("db", placement.PodPreferLocalOnly, "false")
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "a pod is requeued when its missing claim and volume appear", nodes: 2,
		play: func(c *cluster) {
			c.runScheduler("")
			c.Create(c.pod("db", "data"))
			c.expectPending("db", "persistentvolumeclaim")
			c.Volume("data", "n2")
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "a strict pod is requeued when its PV is made anew for another volume", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.Volume("copy", "n3")
			c.runScheduler("")
			c.fill("n1")
			c.Create(c.strict("db", "data"))
			c.expectPending("db", "Insufficient cpu")
			c.deletePV(c.PVName("data"))
			copied, err := c.Storage.Volume("copy")
			c.Must(err)
			c.PersistentVolume(c.PVName("data"), c.GetClaim("data"), kit.CSI(kit.Driver, copied.GetId()))
			c.ExpectNode("db", "n3")
		},
	},
	{
		name: "a strict pod that names its node is requeued when a replica comes there", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.runScheduler("")
			c.Create(c.strict("db", "data").NodeAffinityIn("metadata.name", []string{"n3"}, st.NodeSelectorTypeMatchFields))
			c.expectPending("db", "plugin(s) [Hyperconverge NodeAffinity]")
			c.Must(c.Storage.AddReplica("data", c.StorageID("n3")))
			c.ExpectNode("db", "n3")
		},
	},
	{
		name: "pods that wait are counted until they are placed or deleted", nodes: 2,
		play: func(c *cluster) {
			held := func() float64 {
				return gauge(c.TB, "scheduler_hyperconverge_held_pods", "reason", placement.ReasonStrictUnknown)
			}
			c.VolumeWith("data", volumeOptions{Hidden: true})
			before := held()
			c.runScheduler("")
			c.Create(c.strict("placed", "data"))
			c.Create(c.strict("deleted", "data"))
			c.expectPending("placed", placement.ReasonStrictUnknown)
			c.expectPending("deleted", placement.ReasonStrictUnknown)
			if now := held(); now != before+2 {
				c.Errorf("%v pods are held, want 2", now-before)
			}
			c.Delete("deleted")
			c.reveal("data", "n2")
			c.ExpectNode("placed", "n2")
			c.Eventually("no pod is held", func() error {
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
				c.VolumeWith(fmt.Sprintf("data-%d", i), volumeOptions{Hidden: true})
			}
			c.runScheduler("")
			for i := range pods {
				c.Create(c.strict(fmt.Sprintf("db-%d", i), fmt.Sprintf("data-%d", i)))
			}
			for i := range pods {
				c.expectPending(fmt.Sprintf("db-%d", i), placement.ReasonStrictUnknown)
			}
			latencies := make([]time.Duration, pods)
			for i := range pods {
				changed := time.Now()
				c.reveal(fmt.Sprintf("data-%d", i), "n3")
				c.ExpectNode(fmt.Sprintf("db-%d", i), "n3")
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
			c.VolumeWith("data", volumeOptions{Hidden: true})
			c.runScheduler("unknownVolumeGracePeriod: 2s")
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n1", "n2")
			c.expectEvent("db", "VolumeUnknown", c.Namespace+"/data")
		},
	},
	{
		name: "an unrelated change requeues none of 1000 pods that wait", nodes: 3,
		play: func(c *cluster) {
			c.Volume("other", "n3")
			c.VolumeWith("data", volumeOptions{Hidden: true})
			// Neither being tried nor about to be.
			unschedulable := func() float64 { return gauge(c.TB, "scheduler_pending_pods", "queue", "unschedulable") }
			waitingBefore := unschedulable()
			c.runScheduler("")
			const waiting = 1000
			for i := range waiting {
				c.Create(c.strict(fmt.Sprintf("db-%d", i), "data"))
			}
			c.Eventually("all pods have been tried and wait", func() error {
				if now := unschedulable() - waitingBefore; now != waiting {
					return fmt.Errorf("%v of %d do", now, waiting)
				}
				return nil
			})
			before := c.attempts()
			c.Must(c.Storage.MoveReplica("other", c.StorageID("n3"), c.StorageID("n1")))
			c.storageState("n2", openstoragesim.StatusOffline)
			c.labelNode("n3", "topology.kubernetes.io/zone", "z")
			// A pod that is placed by them shows that these changes have arrived. Those that
			// are created before cost one attempt, too.
			witnesses := 0.0
			c.Eventually("a witness is placed by where the replica has moved to", func() error {
				witnesses++
				witness := fmt.Sprintf("witness-%v", witnesses)
				c.Create(c.strict(witness, "other"))
				if node := c.ExpectBound(witness); node != "n1" {
					return fmt.Errorf("%s is on %s", witness, node)
				}
				return nil
			})
			c.Eventually("the attempts of the witnesses are counted", func() error {
				if tried := c.attempts() - before; tried < witnesses {
					return fmt.Errorf("%v of %v are", tried, witnesses)
				}
				return nil
			})
			if tried := c.attempts() - before; tried != witnesses {
				c.Errorf("%v scheduling attempts after changes that help nobody, want those of %v witnesses alone", tried, witnesses)
			}
			c.reveal("data", "n1", "n3")
			c.ExpectNode("db-0", "n1", "n3")
		},
	},
}

// remoteOnlyService is the StorageClass of a shared volume that keeps its pods
// off its replicas.
var remoteOnlyService = map[string]string{
	"sharedv4": "true", "sharedv4_svc_type": "ClusterIP", placement.VolumePreferRemoteOnly: "true",
}

func TestRequeue(t *testing.T) { playAll(t, requeueScenarios) }

func (c *cluster) patch(kind, name, body string) {
	c.Helper()
	var err error
	core, data, merge := c.Client.CoreV1(), []byte(body), types.MergePatchType
	switch kind {
	case "claim":
		_, err = core.PersistentVolumeClaims(c.Namespace).Patch(c.Ctx, name, merge, data, metav1.PatchOptions{})
	case "node":
		_, err = core.Nodes().Patch(c.Ctx, name, merge, data, metav1.PatchOptions{})
	case "pod":
		_, err = core.Pods(c.Namespace).Patch(c.Ctx, name, merge, data, metav1.PatchOptions{})
	}
	c.Must(err)
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
	c.occupy(node, cpu, 0)
}

// reveal makes the storage system know a volume that was hidden.
func (c *cluster) reveal(claim string, nodes ...string) {
	c.Helper()
	_, err := c.Storage.CreateVolume(openstoragesim.CreateRequest{
		Name:       c.HiddenName(claim),
		Parameters: map[string]string{"repl": strconv.Itoa(len(nodes)), "nodes": strings.Join(c.StorageIDs(nodes), ",")},
	})
	c.Must(err)
}
