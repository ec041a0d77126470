package perf

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hyperconverge/scheduler/internal/rebalancer"
	"github.com/hyperconverge/scheduler/internal/sandbox/process"
	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/debug"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/rebalance"
	"github.com/hyperconverge/scheduler/pkg/simulation"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/child"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// homeScheduler is the configuration by which successors are placed.
const homeScheduler = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: hyperconverge-scheduler
  plugins: {multiPoint: {enabled: [{name: Hyperconverge, weight: 15}]}}
  pluginConfig: [{name: Hyperconverge, args: {openStorage: {endpoint: %s}}}]
`

// BenchmarkRebalancer measures what a controller costs that looks after 10,000 pods on
// 1000 nodes, of which nearly a quarter run off their data: the landing of one successor,
// a look with the decisions in this process, and the whole program with all that it reads.
// Run it with -benchtime=1x.
func BenchmarkRebalancer(b *testing.B) {
	const nodes, pods = 1000, 10_000
	c := newCluster(b, nodes, 0)
	c.Must(c.addRunningPods(c.Ctx, pods))
	text := fmt.Sprintf(homeScheduler, c.Server.Endpoint())
	b.Run("program", func(b *testing.B) { c.measureProgram(b, text) })
	configuration, err := debug.DecodeConfiguration([]byte(text))
	c.Must(err)
	var args *config.HyperconvergeArgs
	for _, plugin := range configuration.Profiles[0].PluginConfig {
		if found, ours := plugin.Args.(*config.HyperconvergeArgs); ours {
			args = found
		}
	}
	replicas := &simulation.Asked{Settings: args.OpenStorage, Patience: time.Minute}
	engine, err := simulation.New(c.Ctx, simulation.EngineOptions{RESTConfig: c.Config, Configuration: configuration, Replicas: replicas, Follow: rebalancer.Follow})
	c.Must(err)
	defer engine.Close()
	observer := &rebalancer.Observer{Engine: engine, Index: replicas.Index(), Conditions: func() []string { return nil }, NodeListMaxAge: time.Hour}
	settings := rebalance.Default()
	settings.OptIn = rebalance.OptInAll
	b.Run("landing", func(b *testing.B) {
		picture, err := observer.Look(c.Ctx)
		c.Must(err)
		remote := give(picture)
		const landings = 200
		_, err = picture.Land(remote[0]) // which makes the picture
		c.Must(err)
		before, err := cpuTime()
		c.Must(err)
		began := time.Now()
		for _, pod := range remote[:landings] {
			if landing, err := picture.Land(pod); err != nil || landing.After != 100 {
				b.Fatalf("%+v %v", landing, err)
			}
		}
		after, err := cpuTime()
		c.Must(err)
		b.ReportMetric(0, "ns/op") // of no meaning here
		b.ReportMetric(float64(time.Since(began).Milliseconds())/landings, "ms/landing")
		b.ReportMetric(float64((after-before).Milliseconds())/landings, "cpu-ms/landing")
	})
	b.Run("look", func(b *testing.B) {
		before, err := cpuTime()
		c.Must(err)
		const looks = 10
		for range looks {
			picture, err := observer.Look(c.Ctx)
			c.Must(err)
			give(picture)
			plan := rebalance.Decide(time.Now(), settings, &picture.ClusterState, &rebalance.Journal{}, picture, rebalance.Demand{Memory: rebalance.Memory{}})
			if len(plan.Moves) != 1 || len(plan.Kept) < pods/5 {
				b.Fatalf("%d go and %d stay: %q", len(plan.Moves), len(plan.Kept), plan.Held)
			}
		}
		after, err := cpuTime()
		c.Must(err)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric((after-before).Seconds()/looks, "cpu-s/look")
	})
}

// give has each pod of a picture be ready, and have an owner of its own. It returns those
// that run off their data.
func give(picture *rebalancer.Picture) (remote []*rebalance.RunningPod) {
	for i := range picture.Pods {
		p := &picture.Pods[i]
		p.Owner, p.ReadySince = types.UID("owner of "+p.Name), time.Now().Add(-time.Hour)
		picture.Owners[p.Owner] = &rebalance.Owner{UID: p.Owner, Kind: "StatefulSet.apps", Known: true, Wanted: 1}
		if p.Locality == placement.LocalityRemote {
			remote = append(remote, p)
		}
	}
	return remote
}

// measureProgram runs the program as it is deployed, through its first look and ten more.
func (c *cluster) measureProgram(b *testing.B, scheduler string) {
	const interval = time.Second
	p := c.startRebalancer(b, scheduler, "optIn: all\ninterval: "+interval.String()+"\n")
	read := func(name string) float64 {
		families, err := p.Metrics()
		if err != nil {
			return 0
		}
		value, _ := families.Sum(name)
		return value
	}
	const last, cpu = "hyperconverge_rebalancer_last_look_timestamp_seconds", "process_cpu_seconds_total"
	kit.Eventually(b, kit.Patience, "the first look", kit.Holds(func() bool { return read(last) > 0 }))
	first, begun := read(cpu), time.Now()
	end := read(last) + 10*interval.Seconds()
	kit.Eventually(b, kit.Patience, "ten more looks", kit.Holds(func() bool { return read(last) >= end }))
	looks := time.Since(begun).Seconds() / interval.Seconds()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(first, "first-cpu-s")
	b.ReportMetric((read(cpu)-first)/looks, "idle-cpu-s/look")
	_, peak := p.Resident()
	b.ReportMetric(float64(peak)/1e6, "rss-MB")
	p.Kill()
}

// startRebalancer runs the program as it is deployed, with the fields of its configuration.
func (c *cluster) startRebalancer(b *testing.B, scheduler, fields string) *child.Process {
	folder := b.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		c.Must(os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	own := c.Namespace + "-own" // of its own namespace no pod is evicted
	_, err := c.Client.CoreV1().Namespaces().Create(c.Ctx, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: own}}, metav1.CreateOptions{})
	c.Must(err)
	_, err = c.Client.CoreV1().ConfigMaps(own).Create(c.Ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: rebalancer.Name}}, metav1.CreateOptions{})
	c.Must(err)
	address := kit.FreeAddress(b)
	return child.Run(b, process.Command{Name: "rebalancer", Path: child.Build(b, folder, "cmd/rebalancer"), Args: []string{
		"--kubeconfig", controlplane.Kubeconfig(b, c.Config), "--namespace", own,
		"--deployment=", "--leader-elect=false", "--ops-address", address, "--scheduler-config", write("scheduler.yaml", scheduler),
		"--config", write("rebalancer.yaml", "apiVersion: hyperconverge.dev/v1\nkind: RebalancerConfiguration\n"+fields),
	}}, "http://"+address)
}
