package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2/ktesting"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	"k8s.io/kubernetes/pkg/scheduler"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/profile"
	"sigs.k8s.io/scheduler-plugins/pkg/coscheduling"

	_ "sigs.k8s.io/scheduler-plugins/apis/config/scheme"

	_ "github.com/hyperconverge/scheduler/pkg/apis/config/scheme"
	"github.com/hyperconverge/scheduler/pkg/localfirst"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
)

// schedulerName is the profile that scenarios use unless they say otherwise.
const schedulerName = "hyperconverge-scheduler"

// profileYAML is one profile of a KubeSchedulerConfiguration. Args are lines of
// HyperconvergeArgs; those of the storage API are added.
type profileYAML struct {
	name string
	args string
	// plugins are lines below multiPoint.enabled, besides Hyperconverge.
	plugins string
	without bool // a profile without Hyperconverge
}

func (p profileYAML) render(endpoint string) string {
	if p.without {
		return fmt.Sprintf("- schedulerName: %s\n", p.name)
	}
	return fmt.Sprintf(`- schedulerName: %s
  plugins:
    multiPoint:
      enabled:
      - {name: Hyperconverge, weight: 15}
%s  pluginConfig:
  - name: Hyperconverge
    args:
      openStorage:
        endpoint: %s
        nodePollInterval: 200ms
        watchBackoff: 1s
%s`, p.name, indent(p.plugins, 6), endpoint, indent(p.args, 6))
}

func indent(text string, by int) string {
	if text == "" {
		return ""
	}
	pad := strings.Repeat(" ", by)
	return pad + strings.Join(strings.Split(strings.TrimSpace(text), "\n"), "\n"+pad) + "\n"
}

// runScheduler starts a scheduler from a configuration as users write it, and
// returns when its informers have synced. It stops with the test, or before by
// the function that is returned.
func runScheduler(t *testing.T, config *rest.Config, endpoint string, profiles ...profileYAML) (stop func()) {
	t.Helper()
	start, stop, err := newScheduler(t, config, endpoint, profiles...)
	if err != nil {
		t.Fatal(err)
	}
	start()
	return stop
}

// newScheduler builds a scheduler that does not run yet.
func newScheduler(t *testing.T, config *rest.Config, endpoint string, profiles ...profileYAML) (start, stop func(), err error) {
	t.Helper()
	var yaml strings.Builder
	yaml.WriteString("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n")
	for _, p := range profiles {
		yaml.WriteString(p.render(endpoint))
	}
	logger, _ := ktesting.NewTestContext(t)
	file := filepath.Join(t.TempDir(), "scheduler.yaml")
	if err := os.WriteFile(file, []byte(yaml.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	schedulerConfig, err := options.LoadConfigFromFile(logger, file)
	if err != nil {
		return nil, nil, err
	}

	ctx, cancel := context.WithCancel(context.Background())
	client := kubernetes.NewForConfigOrDie(config)
	factory := scheduler.NewInformerFactory(client, 0)
	dynamicFactory := dynamicinformer.NewDynamicSharedInformerFactory(dynamic.NewForConfigOrDie(config), 0)
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	plugins := hyperconverge.NewFactory()
	sched, err := scheduler.New(ctx, client, factory, dynamicFactory, profile.NewRecorderFactory(broadcaster),
		scheduler.WithComponentConfigVersion(schedulerConfig.APIVersion),
		scheduler.WithKubeConfig(config),
		scheduler.WithProfiles(schedulerConfig.Profiles...),
		scheduler.WithPodInitialBackoffSeconds(1),
		scheduler.WithPodMaxBackoffSeconds(1),
		scheduler.WithFrameworkOutOfTreeRegistry(frameworkruntime.Registry{
			hyperconverge.Name: plugins.New,
			coscheduling.Name:  coscheduling.New,
		}),
	)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	localfirst.Wrap(sched.Profiles)

	done := make(chan struct{})
	close(done)
	start = func() {
		broadcaster.StartRecordingToSink(ctx.Done())
		factory.Start(ctx.Done())
		dynamicFactory.Start(ctx.Done())
		factory.WaitForCacheSync(ctx.Done())
		dynamicFactory.WaitForCacheSync(ctx.Done())
		if err := sched.WaitForHandlersSync(ctx); err != nil {
			t.Error(err)
		}
		eventually(t, "the index has taken in the informers' lists", func() error {
			if !plugins.HasSynced() {
				return fmt.Errorf("not synced")
			}
			return nil
		})
		done = make(chan struct{})
		go func() {
			defer close(done)
			sched.Run(ctx)
		}()
	}
	stop = func() {
		cancel()
		<-done
		factory.Shutdown()
		dynamicFactory.Shutdown()
		broadcaster.Shutdown()
	}
	t.Cleanup(stop)
	return start, stop, nil
}
