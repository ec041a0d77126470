package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	v1 "k8s.io/api/core/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
)

// extenderScenarios show the prefer-first pass beside an HTTP extender, which the
// scheduler asks only after the node set of a cycle is fixed.
var extenderScenarios = []scenario{
	{
		name: "an extender that agrees leaves a pod on its data", nodes: 4,
		play: func(c *cluster) {
			c.Volume("data", "n3")
			e := c.runExtender("nodeCacheCapable: true")
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n3")
			if e.asked.Load() == 0 {
				c.Error("the extender was not asked")
			}
		},
	},
	{
		name: "an extender that turns down the replica nodes takes a pod off its data, and the event says so", nodes: 4,
		play: func(c *cluster) {
			c.Volume("data", "n1", "n2")
			c.runExtender("nodeCacheCapable: true", "n1", "n2")
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n3", "n4")
			c.expectEvent("db", hyperconverge.EventNonOptimumScheduling, "n1: no licence", "n2: no licence")
		},
	},
	{
		name: "an extender that wants whole nodes, not names, turns down one replica node of two", nodes: 4,
		play: func(c *cluster) {
			c.Volume("data", "n1", "n2")
			c.runExtender("nodeCacheCapable: false", "n1")
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "a strict pod whose replica nodes an extender turns down is pending, and is placed when they are not", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			e := c.runExtender("nodeCacheCapable: true", "n1")
			c.Create(c.strict("db", "data"))
			c.expectPending("db", "no licence")
			e.refused.Store(&[]string{})
			c.labelNode("n2", "any", "event") // extenders cannot say that they have changed their mind
			c.ExpectNode("db", "n1")
		},
	},
	{
		name: "an ignorable extender that fails is ignored", nodes: 4,
		play: func(c *cluster) {
			c.Volume("data", "n3")
			e := c.runExtender("nodeCacheCapable: true\n  ignorable: true")
			e.broken.Store(true)
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n3")
			if e.asked.Load() == 0 {
				c.Error("the extender was not asked")
			}
		},
	},
	{
		name: "an extender that fails and cannot be ignored holds a pod until it works again, and then the pod is on its data", nodes: 4,
		play: func(c *cluster) {
			c.Volume("data", "n3")
			e := c.runExtender("nodeCacheCapable: true")
			e.broken.Store(true)
			c.Create(c.pod("db", "data"))
			c.expectPending("db", "failed")
			e.broken.Store(false)
			c.ExpectNode("db", "n3")
		},
	},
	{
		name: "an extender for a resource that a pod does not ask for is not asked about it", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1")
			e := c.runExtender("nodeCacheCapable: true\n  managedResources: [{name: example.com/licence}]", "n1")
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n1")
			if asked := e.asked.Load(); asked != 0 {
				c.Errorf("the extender was asked %d times", asked)
			}
		},
	},
	{
		name: "storage verdicts stand whatever an extender says", nodes: 2,
		play: func(c *cluster) {
			c.AddBareNode("n3", nil)
			c.Volume("data", "n1", "n2")
			c.runExtender("nodeCacheCapable: true", "n1", "n2")
			c.Create(c.pod("db", "data"))
			c.expectPending("db", "no licence", placement.ReasonNoDriver)
		},
	},
}

func TestExtenders(t *testing.T) { playAll(t, extenderScenarios) }

// extender is an HTTP extender that filters.
type extender struct {
	asked   atomic.Int64
	refused atomic.Pointer[[]string] // nodes
	broken  atomic.Bool
}

// runExtender runs a scheduler with an extender that turns down some nodes.
// Options are further lines of its configuration.
func (c *cluster) runExtender(options string, refused ...string) *extender {
	c.Helper()
	e := &extender{}
	e.refused.Store(&refused)
	server := httptest.NewServer(e)
	c.Cleanup(server.Close)
	c.runSchedulerOf(schedulerYAML{
		profiles:  []profileYAML{{name: schedulerName}},
		extenders: fmt.Sprintf("- urlPrefix: %s\n  filterVerb: filter\n  %s", server.URL, options),
	})
	return e
}

func (e *extender) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.asked.Add(1)
	var args extenderv1.ExtenderArgs
	err := json.NewDecoder(r.Body).Decode(&args)
	if err != nil || e.broken.Load() || !strings.HasSuffix(r.URL.Path, "/filter") {
		http.Error(w, fmt.Sprint("the extender is broken: ", err), http.StatusInternalServerError)
		return
	}
	result := extenderv1.ExtenderFilterResult{FailedNodes: extenderv1.FailedNodesMap{}}
	refuses := func(node string) bool {
		if !slices.Contains(*e.refused.Load(), node) {
			return false
		}
		result.FailedNodes[node] = "no licence"
		return true
	}
	if args.NodeNames != nil {
		names := slices.DeleteFunc(*args.NodeNames, refuses)
		result.NodeNames = &names
	} else {
		args.Nodes.Items = slices.DeleteFunc(args.Nodes.Items, func(node v1.Node) bool { return refuses(node.Name) })
		result.Nodes = args.Nodes
	}
	if err := json.NewEncoder(w).Encode(result); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
