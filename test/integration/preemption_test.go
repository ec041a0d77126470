package integration

import (
	"errors"
	"fmt"
	"testing"

	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/test/kit"
)

// preemptionScenarios show that locality is a preference of soft pods, and never
// a reason to evict anybody.
var preemptionScenarios = []scenario{
	{
		name: "a soft pod of high priority takes a free node rather than evict a pod from its replica node", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.runScheduler("")
			c.fill("n1")
			c.Create(c.pod("db", "data").Priority(1000))
			c.ExpectNode("db", "n2", "n3")
			if !c.exists("filler-n1") {
				c.Error("the pod on the replica node was evicted for locality")
			}
		},
	},
	{
		name: "a soft pod that must evict takes the victim of lowest priority, not the one on its data", nodes: 2,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.runScheduler("")
			c.occupy("n1", "3900m", 500)
			c.occupy("n2", "3900m", 0)
			c.Create(c.pod("db", "data").Priority(1000))
			c.expectEvicted("filler-n2")
			c.ExpectNode("db", "n2")
			if !c.exists("filler-n1") {
				c.Error("the pod of higher priority on the replica node was evicted, too")
			}
		},
	},
	{
		name: "a pod that has evicted another still takes its replica node when that is free first", nodes: 2,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.runScheduler("")
			c.occupy("n1", "3900m", 500)
			c.occupy("n2", "3900m", 0)
			c.Create(c.pod("db", "data").Priority(1000))
			c.expectNominated("db", "n2")
			c.Delete("filler-n1") // while the victim on n2 takes its time to end
			c.ExpectNode("db", "n1")
		},
	},
	{
		name: "the room on a replica node that is kept for a nominated pod is not taken", nodes: 2,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.Volume("log", "n1")
			c.runScheduler("")
			c.occupy("n1", "2", 0)
			c.Create(c.strict("boss", "data").Priority(1000).Req(kit.CPU("2500m")))
			c.expectNominated("boss", "n1")
			c.Create(c.pod("web", "log").Req(kit.CPU("1500m"))) // there is room for it but for the nominated pod
			c.ExpectNode("web", "n2")
			c.expectEvent("web", hyperconverge.EventNonOptimumScheduling, "n1: Insufficient cpu")
			c.Delete("filler-n1")
			c.ExpectNode("boss", "n1")
		},
	},
	{
		name: "many soft pods of high priority evict nobody while any node has room", nodes: 4,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			c.runScheduler("")
			c.occupy("n1", "2", 0)
			for i := range 10 {
				c.Create(c.pod(fmt.Sprintf("db-%d", i), "data").Priority(1000).Req(kit.CPU("900m")))
			}
			onData := 0
			for i := range 10 {
				if c.ExpectNode(fmt.Sprintf("db-%d", i), "n1", "n2", "n3", "n4") == "n1" {
					onData++
				}
			}
			if !c.exists("filler-n1") {
				c.Error("the pod on the replica node was evicted for locality")
			}
			if onData != 1 {
				c.Errorf("%d pods are on the replica node, want the one that fits beside the pod that is there", onData)
			}
		},
	},
}

func TestPreemption(t *testing.T) { playAll(t, preemptionScenarios) }

// occupy is like take, for a pod of some priority.
func (c *cluster) occupy(node, amount string, priority int32) {
	c.Helper()
	name := "filler-" + node
	c.Create(c.pod(name).NodeSelector(kit.On(node)).Req(kit.CPU(amount)).Priority(priority))
	c.ExpectNode(name, node)
}

// expectNominated waits until a pod has evicted the filler of a node. While it is
// about to, kube-scheduler keeps the pod out of its queue, whatever happens.
func (c *cluster) expectNominated(pod, node string) {
	c.Helper()
	c.Eventually("pod "+pod+" is nominated for "+node, func() error {
		if nominated := c.Get(pod).Status.NominatedNodeName; nominated != node {
			return fmt.Errorf("it is nominated for %q", nominated)
		}
		if c.exists("filler-" + node) {
			return errors.New("the other pod is not evicted yet")
		}
		return nil
	})
}
