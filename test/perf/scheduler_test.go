package perf

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/events"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	"k8s.io/kubernetes/pkg/scheduler"
	schedulerconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/profile"

	_ "github.com/hyperconverge/scheduler/pkg/apis/config/scheme"
	"github.com/hyperconverge/scheduler/pkg/localfirst"
	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
)

// variant is one of the schedulers that are compared. All of them have one
// profile, called default-scheduler, so that their pods are the same.
type variant struct {
	name string
	// preference of the plugin; empty for a scheduler without it.
	preference string
	extender   bool
}

var variants = []variant{
	{name: "stock"},
	{name: "Score", preference: "Score"},
	{name: "LocalFirst", preference: "LocalFirst"},
	{name: "extender", extender: true},
}

func (v variant) plugin() bool { return v.preference != "" }

const (
	stockYAML = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
`
	pluginYAML = `  plugins:
    multiPoint:
      enabled:
      - {name: Hyperconverge, weight: 15}
  pluginConfig:
  - name: Hyperconverge
    args:
      preference: %s
      openStorage: {endpoint: %q}
`
	// extenderYAML is how extenders for hyperconvergence are deployed.
	extenderYAML = `extenders:
- urlPrefix: %s
  filterVerb: filter
  prioritizeVerb: prioritize
  weight: 5
  enableHTTPS: false
  nodeCacheCapable: false
  httpTimeout: 5m
`
)

// configuration is the variant as users configure it.
func (v variant) configuration(tb testing.TB, c *cluster) (*schedulerconfig.KubeSchedulerConfiguration, error) {
	yaml := stockYAML
	if v.plugin() {
		yaml += fmt.Sprintf(pluginYAML, v.preference, c.storage.Endpoint())
	}
	if v.extender {
		url, err := startExtender(tb, c)
		if err != nil {
			return nil, err
		}
		yaml += fmt.Sprintf(extenderYAML, url)
	}
	file := filepath.Join(tb.TempDir(), "scheduler.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		return nil, err
	}
	return options.LoadConfigFromFile(klog.FromContext(tb.Context()), file)
}

// runningScheduler is a scheduler that is ready for pods.
type runningScheduler struct {
	scheduler *scheduler.Scheduler
	informers informers.SharedInformerFactory
	stopwatch stopwatch
	stop      func()
}

// startScheduler starts a variant, and returns when it knows all there is to know.
// It stops with the test, unless it was stopped before.
//
// scheduler_perf makes and runs its scheduler in one step, and offers no place
// between the two, where the profiles are wrapped for LocalFirst. That is why it
// is done here, with the same options.
func startScheduler(tb testing.TB, c *cluster, v variant) (*runningScheduler, error) {
	config, err := v.configuration(tb, c)
	if err != nil {
		return nil, err
	}
	s := &runningScheduler{informers: scheduler.NewInformerFactory(c.client, 0)}
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: c.client.EventsV1()})
	plugins := hyperconverge.NewFactory()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	s.scheduler, err = scheduler.New(ctx, c.client, s.informers, nil, profile.NewRecorderFactory(broadcaster),
		scheduler.WithComponentConfigVersion(config.APIVersion),
		scheduler.WithKubeConfig(c.config),
		scheduler.WithProfiles(config.Profiles...),
		scheduler.WithPercentageOfNodesToScore(config.PercentageOfNodesToScore),
		scheduler.WithPodInitialBackoffSeconds(config.PodInitialBackoffSeconds),
		scheduler.WithPodMaxBackoffSeconds(config.PodMaxBackoffSeconds),
		scheduler.WithExtenders(config.Extenders...),
		scheduler.WithParallelism(config.Parallelism),
		scheduler.WithFrameworkOutOfTreeRegistry(frameworkruntime.Registry{hyperconverge.Name: plugins.New}),
	)
	if err != nil {
		cancel()
		return nil, err
	}
	wrap := func(profile.Map) {}
	if v.plugin() {
		wrap = localfirst.Wrap
	}
	s.stopwatch.watch(s.scheduler, wrap)

	done := make(chan struct{})
	s.stop = func() {
		cancel()
		<-done
		s.informers.Shutdown()
		broadcaster.Shutdown()
	}
	tb.Cleanup(s.stop)
	known, err := volumesKnown()
	if err != nil {
		close(done)
		return nil, err
	}
	broadcaster.StartRecordingToSink(ctx.Done())
	s.informers.Start(ctx.Done())
	s.informers.WaitForCacheSync(ctx.Done())
	if err := s.scheduler.WaitForHandlersSync(ctx); err != nil {
		close(done)
		return nil, err
	}
	go func() {
		defer close(done)
		s.scheduler.Run(ctx)
	}()
	if !v.plugin() {
		return s, nil
	}
	// The plugin is not asked to schedule before it knows the volumes: how long
	// that takes is another question.
	return s, await(ctx, time.Minute, "the plugin to know all volumes", func() (bool, error) {
		now, err := volumesKnown()
		return plugins.HasSynced() && now-known >= c.volumes, err
	})
}

// volumesKnown is how often, in this process, storage has told a plugin of a
// volume that Kubernetes has. A new plugin is told of each once.
func volumesKnown() (int, error) {
	metrics.RegisterStorage()
	told, err := testutil.GetCounterMetricValue(metrics.StorageWatchMessages.WithLabelValues("confirmed"))
	return int(told), err
}
