package integration

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/test/kit"
)

// bystanderScenarios show what the plugin costs pods that have no volumes of the
// driver: nothing.
var bystanderScenarios = []scenario{
	{
		name: "PreFilter skips, and Filter and Score are never called, for pods without volumes of the driver", nodes: 3,
		play: func(c *cluster) {
			c.foreignVolume("foreign", nil)
			c.runScheduler("")
			before := c.evaluations()
			c.Create(c.pod("plain"))
			c.Create(c.pod("other", "foreign"))
			c.Create(c.pod("scratch").Volume(v1.Volume{Name: "tmp", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}))
			for _, name := range []string{"plain", "other", "scratch"} {
				c.ExpectNode(name, "n1", "n2", "n3")
			}
			// A PreFilter or PreScore that skips is not counted.
			if diff := cmp.Diff(before, c.evaluations()); diff != "" {
				c.Errorf("the plugin was at work (-before +after):\n%s", diff)
			}
		},
	},
	{
		name: "Filter and Score are called for a pod that has a volume of the driver", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n1", "n2")
			c.runScheduler("")
			before := c.evaluations()
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n1", "n2")
			for point, count := range c.evaluations() {
				if count == before[point] {
					c.Errorf("%s was not called: what other tests count is not there", point)
				}
			}
		},
	},
	{
		name: "Score is never called for a pod that cares for no node more than for another", nodes: 3,
		play: func(c *cluster) {
			c.VolumeWith("proxy", volumeOptions{Parameters: map[string]string{"proxy_endpoint": "nfs://10.1.2.3"}})
			c.Volume("data", "n1", "n2", "n3")
			c.runScheduler("")
			before := c.evaluations()
			c.Create(c.pod("web", "proxy"))
			c.ExpectNode("web", "n1", "n2", "n3")
			c.Create(c.pod("db", "data").Annotation(placement.PodDisableHyperconvergence, "true"))
			c.ExpectNode("db", "n1", "n2", "n3")
			if now := c.evaluations(); now["Score"] != before["Score"] || now["PreScore"] != before["PreScore"] {
				c.Errorf("the plugin has scored: %v, before %v", now, before)
			}
		},
	},
	{
		name: "pods without volumes of the driver are batched as in a profile without the plugin", nodes: 6,
		play: func(c *cluster) {
			without := c.batched(profileYAML{name: "stock-scheduler", without: true})
			with := c.batched(profileYAML{name: schedulerName})
			if without == 0 {
				c.Error("kube-scheduler by itself batches nothing: this test shows nothing")
			}
			if with != without {
				c.Errorf("%v pods were placed by batching with the plugin, %v without it", with, without)
			}
		},
	},
	{
		name: "pods with volumes of the driver are not batched, they are placed one by one", nodes: 6,
		play: func(c *cluster) {
			c.Volume("data", "n1", "n2", "n3")
			if batched := c.batched(profileYAML{name: schedulerName}, "data"); batched != 0 {
				c.Errorf("%v pods were placed by what was decided for another pod", batched)
			}
		},
	},
}

func TestBatchingIsShownByProfile(t *testing.T) {
	c := newCluster(t, 1)
	spread := "- {name: PodTopologySpread, args: {defaultingType: List}}"
	stop := c.runProfiles(
		profileYAML{name: "by-default"}, profileYAML{name: "without-spreading", configs: spread},
		profileYAML{name: "with-others", configs: spread, enabled: "- name: NodeResourcesAllocatable"})
	defer stop()
	for profile, offBy := range map[string]string{"by-default": "PodTopologySpread", "without-spreading": "", "with-others": ""} {
		want := 0.0
		if offBy == "" {
			want = 1
		}
		if got := gauge(t, "scheduler_hyperconverge_batching", "profile", profile, "off_by", offBy); got != want {
			t.Errorf("batching of %s, off by %q, is %v, want %v", profile, offBy, got, want)
		}
	}
}

func TestBystanders(t *testing.T) { playAll(t, bystanderScenarios) }

// evaluations is how often the plugin was called so far, by extension point.
func (c *cluster) evaluations() map[string]float64 {
	c.Helper()
	count := map[string]float64{}
	for _, point := range []string{"PreFilter", "Filter", "PreScore", "Score"} {
		count[point] = gauge(c.TB, "scheduler_plugin_evaluation_total", "plugin", hyperconverge.Name, "extension_point", point)
	}
	return count
}

// batched returns how many of 6 alike pods a profile places by what was decided for
// those before them. Each takes a whole node: kube-scheduler looks at nodes anew
// as long as the last one would fit again.
func (c *cluster) batched(profile profileYAML, claims ...string) float64 {
	c.Helper()
	const pods = 6
	// Spreading by default would turn batching off for all pods.
	profile.configs = "- {name: PodTopologySpread, args: {defaultingType: List}}"
	placedByHint := func() float64 {
		return gauge(c.TB, "scheduler_batch_attempts_total", "profile", profile.name, "result", "hint_used")
	}
	before := placedByHint()
	name := func(i int) string { return fmt.Sprintf("%s-%d", profile.name, i) }
	for i := range pods { // before the scheduler, so that no time passes between them
		c.Create(c.pod(name(i), claims...).SchedulerName(profile.name).Req(kit.CPU("3")))
	}
	stop := c.runProfiles(profile)
	defer stop()
	for i := range pods {
		c.ExpectNode(name(i), "n1", "n2", "n3", "n4", "n5", "n6")
	}
	for i := range pods {
		c.Delete(name(i))
	}
	return placedByHint() - before
}
