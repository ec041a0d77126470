package integration

import (
	"testing"

	"github.com/libopenstorage/openstorage/api"
	v1 "k8s.io/api/core/v1"

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

func TestScheduler(t *testing.T) {
	plane := startControlPlane(t)
	for _, s := range placementScenarios {
		t.Run(s.name, func(t *testing.T) {
			c := newCluster(t, plane, s.nodes)
			s.play(c)
		})
	}
}

func (c *cluster) runScheduler(args string) (stop func()) {
	c.Helper()
	return runScheduler(c.T, c.plane.config, c.server.Endpoint(), profileYAML{name: schedulerName, args: args})
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
			for _, node := range []string{"n1", "n2"} {
				c.create(c.pod("filler-" + node).NodeSelector(map[string]string{v1.LabelHostname: node}).
					Req(map[v1.ResourceName]string{v1.ResourceCPU: "4"}))
				c.expectNode("filler-"+node, node)
			}
			c.storageState("n3", api.Status_STATUS_OFFLINE)
			c.create(c.pod("db", "data").Req(map[v1.ResourceName]string{v1.ResourceCPU: "1"}))
			c.expectNode("db", "n4")
			c.expectEvent("db", hyperconverge.EventNonOptimumScheduling,
				"n1: Insufficient cpu", "n2: Insufficient cpu", "n3: storage Offline")
		},
	},
	{
		name: "a strict pod waits for a replica node and is woken when the node is back online", nodes: 3,
		play: func(c *cluster) {
			c.volume("data", "n1", "n2")
			c.storageState("n1", api.Status_STATUS_OFFLINE)
			c.storageState("n2", api.Status_STATUS_STORAGE_DEGRADED)
			c.runScheduler("")
			c.create(c.pod("db", "data").Annotation(placement.PodPreferLocalOnly, "true"))
			c.expectPending("db", placement.ReasonNoOnlineReplica, c.namespace+"/data")
			c.storageState("n2", api.Status_STATUS_OK)
			c.expectNode("db", "n2")
		},
	},
}
