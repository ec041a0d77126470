package integration

import (
	"fmt"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
)

func TestDegreesOfLocality(t *testing.T) { playAll(t, degreeScenarios) }

var degreeScenarios = []scenario{
	{
		name: "a pod waits for its rebooting node, and takes another one when the time is over", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.cordon("n2", true)
			c.runScheduler("")
			created := c.Create(c.pod("db", "data").Annotation(placement.PodWaitForLocal, "4s")).CreationTimestamp
			c.expectPending("db", "wait-for-local: ", "n2 (node(s) were unschedulable)", "the pod takes another node from ")
			c.ExpectNode("db", "n1", "n3")
			// The API server cuts the time of creation to seconds.
			if waited := time.Since(created.Time); waited < 4*time.Second {
				c.Errorf("the pod had waited for %v when it took another node", waited)
			}
		},
	},
	{
		name: "a pod that waits gets its node the moment that it is back", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.cordon("n2", true)
			c.runScheduler("")
			c.Create(c.pod("db", "data").Annotation(placement.PodWaitForLocal, "1h"))
			c.expectPending("db", "wait-for-local: ")
			c.cordon("n2", false)
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "a pod stops waiting the moment that its replica node can never take it", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			for _, node := range []string{"n1", "n2"} {
				c.labelNode(node, "pool", "x")
			}
			c.runScheduler("")
			c.fill("n2")
			c.Create(c.pod("db", "data").Annotation(placement.PodWaitForLocal, "1h").NodeSelector(map[string]string{"pool": "x"}))
			c.expectPending("db", "wait-for-local: ")
			c.labelNode("n2", "pool", "y")
			c.ExpectNode("db", "n1")
		},
	},
	{
		name: "a pod that could never run on its replica node does not wait for it", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.runScheduler("waitForLocal: 1h")
			c.Create(c.pod("db", "data").NodeAffinityIn(v1.LabelHostname, []string{"n1"}, st.NodeSelectorTypeMatchExpressions))
			c.ExpectNode("db", "n1")
		},
	},
	{
		name: "a pod goes past its full replica node, and the event says that the load was the reason", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.runScheduler("localFirst: {maxAllocation: {cpu: 80%, memory: 95%}}")
			c.take("n2", "3500m")
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n1", "n3")
			c.expectEvent("db", hyperconverge.EventNonOptimumScheduling, "n2: its cpu would be allocated to 9", "%, the limit is 80 %")
		},
	},
	{
		name: "a full replica node is taken when no other node is feasible", nodes: 2,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.runScheduler("")
			c.fill("n1")
			c.take("n2", "3500m")
			c.Create(c.pod("db", "data").Annotation(placement.PodMaxAllocation, "cpu=1%"))
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "the pods of a shared volume are spread evenly over its replica nodes", nodes: 5,
		play: func(c *cluster) {
			c.VolumeWith("media", volumeOptions{Annotations: map[string]string{placement.VolumeSpread: "Replicas"}}, "n1", "n2", "n3")
			c.runScheduler("")
			on := map[string]int{}
			for i := range 6 {
				name := fmt.Sprint("web-", i)
				c.Create(c.pod(name, "media"))
				on[c.ExpectNode(name, "n1", "n2", "n3")]++
			}
			if on["n1"] != 2 || on["n2"] != 2 || on["n3"] != 2 {
				c.Errorf("the pods are on %v", on)
			}
		},
	},
	{
		name: "the pods of a shared volume are spread over the zone of its replicas by their own constraints", nodes: 0,
		play: func(c *cluster) {
			for i := range 6 {
				c.AddNode(fmt.Sprintf("n%d", i+1), map[string]string{v1.LabelTopologyZone: []string{"a", "b"}[i/4], v1.LabelHostname: fmt.Sprintf("n%d", i+1)})
			}
			c.VolumeWith("media", volumeOptions{Annotations: map[string]string{placement.VolumeSpread: "Zone"}}, "n1", "n2")
			c.runScheduler("")
			on := map[string]int{}
			for i := range 8 {
				name := fmt.Sprint("web-", i)
				c.Create(c.pod(name, "media").Label("app", "web").SpreadConstraint(1, v1.LabelHostname, v1.ScheduleAnyway,
					&metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, nil, nil, nil, nil))
				on[c.ExpectNode(name, "n1", "n2", "n3", "n4")]++
			}
			if len(on) != 4 || on["n1"] != 2 || on["n4"] != 2 {
				c.Errorf("the pods are on %v", on)
			}
		},
	},
}

// cordon closes a node, or opens it, as kubectl does.
func (c *cluster) cordon(name string, closed bool) {
	c.Helper()
	c.patch("node", name, fmt.Sprintf(`{"spec":{"unschedulable":%t}}`, closed))
}
