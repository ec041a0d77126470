package integration

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// shutdownScenarios show that what a scheduler has started ends with it.
var shutdownScenarios = []scenario{
	{
		name: "a scheduler that stops leaves nothing running", nodes: 3,
		play: func(c *cluster) {
			c.volume("data", "n2")
			c.volumeWith("hidden", volumeOptions{hidden: true})
			before := goleak.IgnoreCurrent()
			stop := c.runProfiles(profileYAML{name: schedulerName}, profileYAML{name: scoreProfile, args: "preference: Score"})
			c.create(c.pod("db", "data"))
			c.expectNode("db", "n2")
			c.create(c.strict("waits", "hidden"))
			c.expectPending("waits", placement.ReasonStrictUnknown)
			if running := ourGoroutines(); len(running) == 0 {
				c.Fatal("nothing of ours runs in a running scheduler: this test looks in the wrong place")
			}
			stop()
			c.expectNothingOfOurs()
			eventually(c.T, "all goroutines have ended", func() error {
				return goleak.Find(before)
			})
		},
	},
	{
		name: "a scheduler that stops in the middle of an outage leaves nothing running", nodes: 2,
		play: func(c *cluster) {
			c.volume("data", "n2")
			c.server.Disconnect()
			stop := c.runScheduler("")
			c.create(c.strict("db", "data"))
			c.expectPending("db", placement.ReasonStrictUnknown)
			stop()
			c.expectNothingOfOurs()
		},
	},
	{
		name: "a scheduler that cannot be made leaves nothing running", nodes: 0,
		play: func(c *cluster) {
			_, _, err := newScheduler(c.T, c.plane.config, c.server.Endpoint(), schedulerYAML{
				profiles: []profileYAML{{name: "a"}, {name: "b", args: "maxStaleness: 7m"}},
			})
			if err == nil {
				c.Fatal("the scheduler could be made")
			}
			c.expectNothingOfOurs()
		},
	},
}

func TestShutdown(t *testing.T) { playAll(t, shutdownScenarios) }

// expectNothingOfOurs waits until no goroutine runs code of this project.
func (c *cluster) expectNothingOfOurs() {
	c.Helper()
	eventually(c.T, "the goroutines of the plugin have ended", func() error {
		if running := ourGoroutines(); len(running) > 0 {
			return fmt.Errorf("%d run:\n%s", len(running), strings.Join(running, "\n\n"))
		}
		return nil
	})
}

// ourGoroutines returns the stacks with code of the product in them.
func ourGoroutines() (stacks []string) {
	buffer := make([]byte, 64<<20)
	for _, stack := range strings.Split(string(buffer[:runtime.Stack(buffer, true)]), "\n\n") {
		if strings.Contains(stack, "github.com/hyperconverge/scheduler/pkg/") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}
