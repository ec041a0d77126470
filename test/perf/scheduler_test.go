package perf

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/component-base/metrics/testutil"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
	kubescheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	schedulerconfig "k8s.io/kubernetes/cmd/kube-scheduler/app/config"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	"k8s.io/kubernetes/pkg/scheduler"

	"github.com/hyperconverge/scheduler/cmd/scheduler/app"
	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// variant is one of the schedulers that are compared. All of them have one
// profile, called default-scheduler, so that their pods are the same.
type variant struct {
	name string
	// preference of the plugin; empty for a scheduler without it.
	preference string
	// extender is that of a scheduler with one.
	extender *extenderForm
	// batches says that pods are not spread by default, which keeps kube-scheduler from
	// placing any by what was decided for the one before.
	batches bool
}

var variants = []variant{
	{name: "stock"},
	{name: "Score", preference: "Score"},
	{name: "LocalFirst", preference: "LocalFirst"},
	// As Stork deploys its extender up to 26.4.1, and since 26.4.2.
	{name: "extender", extender: &extenderForm{weight: 5, full: extenderv1.MaxExtenderPriority}},
	{name: "extender-names", extender: &extenderForm{names: true, weight: 1, full: 4}},
}

// rivals are stock and the default of the plugin, each of them first in every other round.
func rivals(round int) []variant {
	stock, ours := variants[0], variants[2]
	if round%2 == 1 {
		return []variant{ours, stock}
	}
	return []variant{stock, ours}
}

func (v variant) plugin() bool { return v.preference != "" }

const (
	stockYAML = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: {qps: %[1]d, burst: %[1]d}
profiles:
- schedulerName: default-scheduler
`
	batchingYAML = `  pluginConfig:
  - name: PodTopologySpread
    args: {defaultingType: List}
`
	pluginYAML = `  plugins:
    multiPoint:
      enabled:
      - {name: Hyperconverge, weight: 15}
%s  - name: Hyperconverge
    args:
      preference: %s
      openStorage: {endpoint: %q}
`
	// extenderYAML is how extenders for hyperconvergence are deployed.
	extenderYAML = `extenders:
- urlPrefix: %s
  filterVerb: filter
  prioritizeVerb: prioritize
  weight: %d
  enableHTTPS: false
  nodeCacheCapable: %t
  httpTimeout: 5m
`
)

// configuration is the variant as users configure it.
func (v variant) configuration(tb testing.TB, c *cluster) (string, error) {
	yaml := fmt.Sprintf(stockYAML, clientLimit)
	config := "  pluginConfig:\n"
	if v.batches {
		config = batchingYAML
	}
	switch {
	case v.plugin():
		yaml += fmt.Sprintf(pluginYAML, config, v.preference, c.Server.Endpoint())
	case v.batches:
		yaml += config
	}
	if v.extender != nil {
		url, err := startExtender(tb, c, v.extender)
		if err != nil {
			return "", err
		}
		yaml += fmt.Sprintf(extenderYAML, url, v.extender.weight, v.extender.names)
	}
	return yaml, nil
}

// setUp makes the scheduler of the variant as its command does, inside of the
// stopwatch.
func (v variant) setUp(ctx context.Context, opts *options.Options, s *stopwatch) (*schedulerconfig.CompletedConfig, *scheduler.Scheduler, error) {
	if v.plugin() {
		return app.Setup(ctx, opts, s.inside)
	}
	config, sched, err := kubescheduler.Setup(ctx, opts)
	if err == nil {
		s.inside(sched.Profiles)
	}
	return config, sched, err
}

// runningScheduler is a scheduler that is ready for pods.
type runningScheduler struct {
	*controlplane.Scheduler
	stopwatch stopwatch
}

// startScheduler starts a variant, and returns when it knows all there is to know.
// It stops with the test.
func startScheduler(tb testing.TB, c *cluster, v variant) (*runningScheduler, error) {
	yaml, err := v.configuration(tb, c)
	if err != nil {
		return nil, err
	}
	known, err := volumesKnown()
	if err != nil {
		return nil, err
	}
	s := &runningScheduler{}
	s.Scheduler, err = controlplane.StartScheduler(tb, c.Config, func(ctx context.Context, opts *options.Options) (*schedulerconfig.CompletedConfig, *scheduler.Scheduler, error) {
		config, sched, err := v.setUp(ctx, opts, &s.stopwatch)
		if err == nil {
			s.stopwatch.outside(sched)
		}
		return config, sched, err
	}, yaml)
	if err != nil || !v.plugin() {
		return s, err
	}
	// The plugin is not asked to schedule before it knows the volumes: how long
	// that takes is another question.
	return s, kit.Wait(tb.Context(), time.Minute, "the plugin knows all volumes", func() error {
		now, err := volumesKnown()
		if err == nil && now-known < c.volumes {
			err = fmt.Errorf("it knows %d of %d", now-known, c.volumes)
		}
		return err
	})
}

// volumesKnown is how often, in this process, storage has told a plugin of a
// volume that Kubernetes has. A new plugin is told of each once.
func volumesKnown() (int, error) {
	metrics.RegisterStorage()
	told, err := testutil.GetCounterMetricValue(metrics.StorageWatchMessages.WithLabelValues("confirmed"))
	return int(told), err
}
