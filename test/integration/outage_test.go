package integration

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
)

// outageScenarios take the storage API or the scheduler away.
var outageScenarios = []scenario{
	{
		name: "of 100 pods that wait while the scheduler restarts none is lost", nodes: 3,
		play: func(c *cluster) {
			const pods = 100
			name := func(i int) string { return fmt.Sprintf("db-%d", i) }
			for _, node := range []string{"n1", "n2", "n3"} {
				c.Volume("data-"+node, node)
				c.storageState(node, openstoragesim.StatusOffline)
			}
			stop := c.runScheduler("")
			for i := range pods {
				c.Create(c.strict(name(i), fmt.Sprintf("data-n%d", i%3+1)))
			}
			for i := range pods {
				c.expectPending(name(i), placement.ReasonNoOnlineReplica)
			}
			stop()
			for _, node := range []string{"n1", "n2", "n3"} {
				c.storageState(node, openstoragesim.StatusOK)
			}
			c.runScheduler("")
			for i := range pods {
				c.ExpectNode(name(i), fmt.Sprintf("n%d", i%3+1))
			}
		},
	},
	{
		name: "a successor that starts while the storage API is down places soft pods, and strict ones when it is back", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			stop := c.runScheduler("")
			c.Create(c.strict("db-0", "data"))
			c.ExpectNode("db-0", "n2")
			stop()
			c.Server.Disconnect()
			c.runScheduler("unknownVolumeGracePeriod: 200ms")
			c.Create(c.pod("soft", "data"))
			c.ExpectNode("soft", "n1", "n2", "n3")
			c.Create(c.strict("strict", "data"))
			c.expectPending("strict", placement.ReasonStrictUnknown)
			c.Must(c.Server.Reconnect())
			c.ExpectNode("strict", "n2")
		},
	},
	{
		name: "volumes that are known before the nodes are do not send a pod to storage that is offline", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.storageState("n1", openstoragesim.StatusOffline)
			c.Must(c.Server.SetFaults(openstoragesim.Faults{Calls: map[string]openstoragesim.CallFault{"Node.*": {Latency: time.Second}}}))
			c.runScheduler("")
			c.Create(c.strict("db", "data"))
			c.expectPending("db", placement.ReasonNoOnlineReplica)
			c.storageState("n1", openstoragesim.StatusOK)
			c.ExpectNode("db", "n1")
		},
	},
	{
		name: "data older than maxStaleness is not believed: soft pods are placed with an event, strict ones wait for storage", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.runProfiles(profileYAML{name: schedulerName, args: "maxStaleness: 1s\nunknownVolumeGracePeriod: 200ms", storage: "requestTimeout: 500ms"})
			c.Create(c.strict("db", "data"))
			c.ExpectNode("db", "n2")
			c.Must(c.Server.SetFaults(openstoragesim.Outage()))
			c.reasonBecomes(c.strict("probe", "data"), placement.ReasonStrictStale)
			c.Create(c.strict("strict", "data"))
			c.expectPending("strict", placement.ReasonStrictStale, c.Namespace+"/data")
			c.Create(c.pod("soft", "data"))
			c.ExpectNode("soft", "n1", "n2", "n3")
			c.expectEvent("soft", hyperconverge.EventVolumeUnknown, c.Namespace+"/data", "too old")
			c.Must(c.Server.SetFaults(openstoragesim.Faults{}))
			c.ExpectNode("strict", "n2")
		},
	},
	{
		name: "what has changed during an outage is known after it", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.runScheduler("")
			c.Create(c.strict("db-0", "data"))
			c.ExpectNode("db-0", "n2")
			c.take("n2", "3800m")
			c.Create(c.strict("db-1", "data"))
			c.expectPending("db-1", "Insufficient cpu")
			c.Server.Disconnect()
			c.Must(c.Storage.MoveReplica("data", c.StorageID("n2"), c.StorageID("n3")))
			c.Must(c.Server.Reconnect())
			c.ExpectNode("db-1", "n3")
		},
	},
	{
		name: "a storage API that hangs holds no pod longer than the grace period, and pods without volumes not at all", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.Must(c.Server.SetFaults(openstoragesim.Faults{Calls: map[string]openstoragesim.CallFault{"*": {Hang: true}}}))
			c.runScheduler("unknownVolumeGracePeriod: 1s")
			c.Create(c.pod("soft", "data"))
			c.Create(c.pod("plain"))
			c.ExpectNode("plain", "n1", "n2", "n3")
			c.ExpectNode("soft", "n1", "n2", "n3")
			c.expectEvent("soft", hyperconverge.EventVolumeUnknown, c.Namespace+"/data")
		},
	},
	{
		name: "a soft pod waits for a late answer about a volume that was bound a moment ago", nodes: 4,
		play: func(c *cluster) {
			c.Must(c.Server.SetFaults(openstoragesim.Faults{Calls: map[string]openstoragesim.CallFault{
				"Volume.*": {Code: codes.Unavailable}, "Watch.*": {Code: codes.Unavailable},
			}}))
			c.runScheduler("unknownVolumeGracePeriod: 20s")
			c.Volume("data", "n3")
			c.Create(c.pod("db", "data"))
			c.expectPending("db", placement.ReasonVolumeUnknown, c.Namespace+"/data")
			c.Must(c.Server.SetFaults(openstoragesim.Faults{}))
			c.ExpectNode("db", "n3")
		},
	},
	{
		name: "a storage API that answers with empty lists makes nobody forget a volume", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.runProfiles(frequentResync)
			c.Create(c.strict("db-0", "data"))
			c.ExpectNode("db-0", "n2")
			c.Must(c.Server.SetFaults(openstoragesim.Faults{HideVolumes: 1, LoseVolumes: 1}))
			c.Server.CutWatches()
			c.awaitCalls("Volume.Inspect", 2)
			c.awaitCalls("Watch.Watch", 1)
			c.Create(c.strict("db-1", "data"))
			c.ExpectNode("db-1", "n2")
		},
	},
	{
		name: "a storage API that lists only some volumes makes nobody forget the others", nodes: 3,
		play: func(c *cluster) {
			for i := range 20 {
				c.Volume(fmt.Sprintf("data-%d", i), fmt.Sprintf("n%d", i%3+1))
			}
			c.runProfiles(frequentResync)
			for i := range 20 { // a volume that has never been heard of cannot be forgotten
				name := fmt.Sprintf("first-%d", i)
				c.Create(c.strict(name, fmt.Sprintf("data-%d", i)))
				c.ExpectNode(name, fmt.Sprintf("n%d", i%3+1))
			}
			c.Must(c.Server.SetFaults(openstoragesim.Faults{HideVolumes: 0.5, LoseVolumes: 0.5}))
			c.Server.CutWatches()
			c.awaitCalls("Volume.Inspect", 20)
			for i := range 20 {
				name := fmt.Sprintf("db-%d", i)
				c.Create(c.strict(name, fmt.Sprintf("data-%d", i)))
				c.ExpectNode(name, fmt.Sprintf("n%d", i%3+1))
			}
		},
	},
	{
		name: "a storage API that lists no nodes makes nobody forget where storage runs", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.runScheduler("")
			c.Create(c.strict("db-0", "data"))
			c.ExpectNode("db-0", "n2")
			c.Must(c.Server.SetFaults(openstoragesim.Faults{HideNodes: 1}))
			c.awaitCalls("Node.EnumerateWithFilters", 3)
			c.Create(c.strict("db-1", "data"))
			c.ExpectNode("db-1", "n2")
		},
	},
}

func TestOutages(t *testing.T) { playAll(t, outageScenarios) }

// frequentResync is a profile that inspects every volume several times a second.
var frequentResync = profileYAML{name: schedulerName, storage: "resyncInterval: 300ms"}

// awaitCalls waits until the storage API has been called so often from now on.
func (c *cluster) awaitCalls(method string, times int) {
	c.Helper()
	before := c.Server.Calls(false)[method]
	c.Eventually(fmt.Sprintf("%d calls of %s", times, method), func() error {
		if made := c.Server.Calls(false)[method] - before; made < times {
			return fmt.Errorf("there were %d", made)
		}
		return nil
	})
}
