package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
)

const scoreProfile = "score-scheduler"

// profileScenarios are schedulers with several profiles.
var profileScenarios = []scenario{
	{
		name: "profiles with different preference and scores share one view of the storage system", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.runProfiles(
				profileYAML{name: schedulerName, args: indifferent},
				profileYAML{name: scoreProfile, args: "preference: Score"},
				profileYAML{name: "stork", args: "tierScores: {rack: 20, zone: 15}"},
			)
			for _, profile := range []string{schedulerName, scoreProfile, "stork"} {
				c.Create(c.pod(profile, "data").SchedulerName(profile))
				c.ExpectNode(profile, "n2")
			}
			if open := c.Server.OpenWatches(); open != 1 {
				c.Errorf("%d watches are open, want one for all profiles", open)
			}
			if opened := c.Server.Calls(false)["Watch.Watch"]; opened != 1 {
				c.Errorf("a watch was opened %d times, want once for all profiles", opened)
			}
		},
	},
	{
		name: "each profile keeps its own preference and scores", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.runProfiles(
				profileYAML{name: schedulerName, args: indifferent},
				profileYAML{name: scoreProfile, args: indifferent + "\npreference: Score"},
			)
			c.take("n2", "2") // so that all other plugins prefer another node
			c.Create(c.pod("first", "data"))
			c.ExpectNode("first", "n2")
			c.Create(c.pod("score", "data").SchedulerName(scoreProfile))
			c.ExpectNode("score", "n1", "n3")
		},
	},
	{
		name: "a pod's own preference beats that of its profile", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.runProfiles(
				profileYAML{name: schedulerName, args: indifferent},
				profileYAML{name: scoreProfile, args: indifferent + "\npreference: Score"},
			)
			c.take("n2", "2")
			preferring := func(name, profile, preference string) {
				c.Create(c.pod(name, "data").SchedulerName(profile).Annotation(placement.PodPreference, preference))
			}
			preferring("first", scoreProfile, "LocalFirst")
			c.ExpectNode("first", "n2")
			preferring("score", schedulerName, "Score")
			c.ExpectNode("score", "n1", "n3")
			preferring("off", schedulerName, "Off")
			c.ExpectNode("off", "n1", "n3")
			preferring("wrong", schedulerName, "localfirst")
			c.ExpectNode("wrong", "n2")
			c.expectEvent("wrong", hyperconverge.EventInvalidValue, "localfirst", "write LocalFirst")
		},
	},
	{
		name: "a profile without the plugin does not know of volumes", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.runProfiles(profileYAML{name: schedulerName}, profileYAML{name: "default-scheduler", without: true})
			c.take("n2", "2")
			c.Create(c.pod("ours", "data"))
			c.ExpectNode("ours", "n2")
			c.Create(c.pod("theirs", "data").SchedulerName("default-scheduler"))
			c.ExpectNode("theirs", "n1", "n3")
		},
	},
	{
		name: "in a large cluster every pod is on its data, whatever the sample of nodes", nodes: 300,
		play: func(c *cluster) {
			const pods = 60
			c.runProfiles(profileYAML{name: schedulerName}, profileYAML{name: scoreProfile, args: "preference: Score"})
			holders := map[string][]string{} // claim → replica nodes
			for i := range pods {
				claim := fmt.Sprintf("data-%d", i)
				// Neighbours in the scheduler's list, so that a sample has both or none.
				holders[claim] = []string{fmt.Sprintf("n%d", 5*i+1), fmt.Sprintf("n%d", 5*i+2)}
				c.Volume(claim, holders[claim]...)
			}
			for claim := range holders {
				c.Create(c.pod("first-"+claim, claim))
				c.Create(c.pod("score-"+claim, claim).SchedulerName(scoreProfile))
			}
			first, score := c.onData("first-", holders), c.onData("score-", holders)
			c.Logf("on their data: LocalFirst %d of %d pods, Score %d", first, pods, score)
			if first != pods {
				c.Errorf("%d of %d pods are on their data, want all", first, pods)
			}
			if score == pods {
				c.Error("Score found all nodes, too: there was no sample to be independent of")
			}
		},
	},
}

func TestProfiles(t *testing.T) { playAll(t, profileScenarios) }

// indifferent gives all nodes the same score.
const indifferent = "tierScores: {local: 0, rack: 0, zone: 0, region: 0, remote: 0}"

// onData counts the pods that are on a replica node of the claim that they are
// named after.
func (c *cluster) onData(prefix string, holders map[string][]string) (count int) {
	c.Helper()
	placed := map[string]string{} // pod → node
	c.Eventually("all pods "+prefix+"* are bound", func() error {
		list, err := c.Client.CoreV1().Pods(c.Namespace).List(c.Ctx, metav1.ListOptions{})
		c.Must(err)
		for i := range list.Items {
			placed[list.Items[i].Name] = list.Items[i].Spec.NodeName
		}
		for claim := range holders {
			if placed[prefix+claim] == "" {
				return fmt.Errorf("%s is not", prefix+claim)
			}
		}
		return nil
	})
	for claim, nodes := range holders {
		if slices.Contains(nodes, placed[prefix+claim]) {
			count++
		}
	}
	return count
}

// TestConfigurationErrors starts schedulers that must not start.
func TestConfigurationErrors(t *testing.T) {
	for _, test := range []struct {
		name     string
		profiles []profileYAML
		want     []string
	}{
		{
			name:     "profiles with different staleness",
			profiles: []profileYAML{{name: "a"}, {name: "b", args: "maxStaleness: 7m"}},
			want:     []string{`profile "`, "maxStaleness"},
		},
		{
			name:     "profiles with different storage systems",
			profiles: []profileYAML{{name: "a"}, {name: "b", storage: "requestTimeout: 3s"}},
			want:     []string{`profile "`, "openStorage.requestTimeout"},
		},
		{
			name:     "profiles with different drivers",
			profiles: []profileYAML{{name: "a"}, {name: "b", args: "drivers: [example.com]"}},
			want:     []string{`profile "`, "drivers"},
		},
		{
			name:     "a field that does not exist",
			profiles: []profileYAML{{name: "a", args: "maxStalenes: 7m"}},
			want:     []string{`unknown field "maxStalenes"`},
		},
		{
			name:     "a field of the storage API that does not exist",
			profiles: []profileYAML{{name: "a", storage: "tokenfile: /etc/token"}},
			want:     []string{`unknown field "openStorage.tokenfile"`},
		},
		{
			name:     "a preference that does not exist",
			profiles: []profileYAML{{name: "a", args: "preference: Locality"}},
			want:     []string{"preference", `"Locality"`, "LocalFirst", "Score"},
		},
		{
			name:     "data that goes stale between two polls",
			profiles: []profileYAML{{name: "a", args: "maxStaleness: 100ms"}},
			want:     []string{"maxStaleness", "nodePollInterval"},
		},
	} {
		t.Run(test.name+" stops the scheduler with the name of the field", func(t *testing.T) {
			_, err := newCluster(t, 0).newScheduler(schedulerYAML{profiles: test.profiles})
			if err == nil {
				t.Fatal("the scheduler could be made")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error is %q, want %q in it", err, part)
				}
			}
		})
	}
}
