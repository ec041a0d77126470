package integration

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// shutdownScenarios show that what a scheduler has started ends with it.
var shutdownScenarios = []scenario{
	{
		name: "a scheduler that stops leaves nothing running", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.VolumeWith("hidden", volumeOptions{Hidden: true})
			before := goroutines()
			stop := c.runProfiles(profileYAML{name: schedulerName}, profileYAML{name: scoreProfile, args: "preference: Score"})
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n2")
			c.Create(c.strict("waits", "hidden"))
			c.expectPending("waits", placement.ReasonStrictUnknown)
			if !slices.ContainsFunc(slices.Collect(maps.Values(goroutines())), isOurs) {
				c.Fatal("nothing of ours runs in a running scheduler: this test looks in the wrong place")
			}
			stop()
			c.expectNothingOfOurs()
			c.expectEnd("what the scheduler has started", func(id, stack string) bool {
				_, wasThere := before[id]
				return !wasThere && !ofServers(stack)
			})
		},
	},
	{
		name: "a scheduler that stops in the middle of an outage leaves nothing running", nodes: 2,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.Server.Disconnect()
			stop := c.runScheduler("")
			c.Create(c.strict("db", "data"))
			c.expectPending("db", placement.ReasonStrictUnknown)
			stop()
			c.expectNothingOfOurs()
		},
	},
	{
		name: "a scheduler that cannot be made leaves nothing running", nodes: 0,
		play: func(c *cluster) {
			_, err := c.newScheduler(schedulerYAML{profiles: []profileYAML{{name: "a"}, {name: "b", args: "maxStaleness: 7m"}}})
			if err == nil {
				c.Fatal("the scheduler could be made")
			}
			c.expectNothingOfOurs()
		},
	},
}

func TestShutdown(t *testing.T) { playAll(t, shutdownScenarios) }

// expectNothingOfOurs waits until no goroutine runs code of the product, or was
// started by it.
func (c *cluster) expectNothingOfOurs() {
	c.Helper()
	c.expectEnd("the goroutines of the plugin", func(_, stack string) bool { return isOurs(stack) })
}

func isOurs(stack string) bool {
	return strings.Contains(stack, "github.com/hyperconverge/scheduler/pkg/")
}

// ofServers is true for the goroutines of API server and etcd, which run in this
// process, too, and come and go as they like.
func ofServers(stack string) bool {
	return strings.Contains(stack, "k8s.io/apiserver/") || strings.Contains(stack, "go.etcd.io/etcd/")
}

// expectEnd waits until all goroutines of a kind have ended.
func (c *cluster) expectEnd(what string, concerns func(id, stack string) bool) {
	c.Helper()
	c.Eventually(what+" ends", func() error {
		var running []string
		for id, stack := range goroutines() {
			if concerns(id, stack) {
				running = append(running, stack)
			}
		}
		if len(running) > 0 {
			return fmt.Errorf("%d goroutines run:\n%s", len(running), strings.Join(running, "\n\n"))
		}
		return nil
	})
}

// goroutines maps the numbers of all goroutines to their stacks. An ordinary leak
// detector would not do: it cannot tell a scheduler from the API server.
func goroutines() map[string]string {
	buffer := make([]byte, 16<<20)
	found := map[string]string{}
	for stack := range strings.SplitSeq(string(buffer[:runtime.Stack(buffer, true)]), "\n\n") {
		id, _, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		found[id] = stack
	}
	return found
}
