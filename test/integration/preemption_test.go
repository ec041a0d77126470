package integration

import (
	"errors"
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"

	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
)

// preemptionScenarios show that locality is a preference of soft pods, and never
// a reason to evict anybody.
var preemptionScenarios = []scenario{
	{
		name: "a soft pod of high priority takes a free node rather than evict a pod from its replica node", nodes: 3,
		play: func(c *cluster) {
			c.volume("data", "n1")
			c.runScheduler("")
			c.fill("n1")
			c.create(c.pod("db", "data").Priority(1000))
			c.expectNode("db", "n2", "n3")
			if !c.exists("filler-n1") {
				c.Error("the pod on the replica node was evicted for locality")
			}
		},
	},
	{
		name: "a soft pod that must evict takes the victim of lowest priority, not the one on its data", nodes: 2,
		play: func(c *cluster) {
			c.volume("data", "n1")
			c.runScheduler("")
			c.occupy("n1", "3900m", 500)
			c.occupy("n2", "3900m", 0)
			c.create(c.pod("db", "data").Priority(1000))
			c.expectEvicted("filler-n2")
			c.expectNode("db", "n2")
			if !c.exists("filler-n1") {
				c.Error("the pod of higher priority on the replica node was evicted, too")
			}
		},
	},
	{
		name: "a pod that has evicted another still takes its replica node when that is free first", nodes: 2,
		play: func(c *cluster) {
			c.volume("data", "n1")
			c.runScheduler("")
			c.occupy("n1", "3900m", 500)
			c.occupy("n2", "3900m", 0)
			c.create(c.pod("db", "data").Priority(1000))
			c.expectNominated("db", "n2")
			c.deletePod("filler-n1") // while the victim on n2 takes its time to end
			c.expectNode("db", "n1")
		},
	},
	{
		name: "the room on a replica node that is kept for a nominated pod is not taken", nodes: 2,
		play: func(c *cluster) {
			c.volume("data", "n1")
			c.volume("log", "n1")
			c.runScheduler("")
			c.occupy("n1", "2", 0)
			c.create(c.strict("boss", "data").Priority(1000).Req(cpu("2500m")))
			c.expectNominated("boss", "n1")
			c.create(c.pod("web", "log").Req(cpu("1500m"))) // there is room for it but for the nominated pod
			c.expectNode("web", "n2")
			c.expectEvent("web", hyperconverge.EventNonOptimumScheduling, "n1: Insufficient cpu")
			c.deletePod("filler-n1")
			c.expectNode("boss", "n1")
		},
	},
	{
		name: "many soft pods of high priority evict nobody while any node has room", nodes: 4,
		play: func(c *cluster) {
			c.volume("data", "n1")
			c.runScheduler("")
			c.occupy("n1", "2", 0)
			for i := range 10 {
				c.create(c.pod(fmt.Sprintf("db-%d", i), "data").Priority(1000).Req(cpu("900m")))
			}
			onData := 0
			for i := range 10 {
				if c.expectNode(fmt.Sprintf("db-%d", i), "n1", "n2", "n3", "n4") == "n1" {
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

func cpu(amount string) map[v1.ResourceName]string {
	return map[v1.ResourceName]string{v1.ResourceCPU: amount}
}

// occupy is like take, for a pod of some priority.
func (c *cluster) occupy(node, amount string, priority int32) {
	c.Helper()
	name := "filler-" + node
	c.create(c.pod(name).NodeSelector(on(node)).Req(cpu(amount)).Priority(priority))
	c.expectNode(name, node)
}

// expectNominated waits until a pod has evicted the filler of a node. While it is
// about to, kube-scheduler keeps the pod out of its queue, whatever happens.
func (c *cluster) expectNominated(pod, node string) {
	c.Helper()
	eventually(c.T, "pod "+pod+" is nominated for "+node, func() error {
		if nominated := c.get(pod).Status.NominatedNodeName; nominated != node {
			return fmt.Errorf("it is nominated for %q", nominated)
		}
		if c.exists("filler-" + node) {
			return errors.New("the other pod is not evicted yet")
		}
		return nil
	})
}
