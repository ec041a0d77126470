package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	"k8s.io/kubernetes/pkg/scheduler"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/profile"
	_ "sigs.k8s.io/scheduler-plugins/apis/config/scheme"
	"sigs.k8s.io/scheduler-plugins/pkg/coscheduling"

	_ "github.com/hyperconverge/scheduler/pkg/apis/config/scheme"
	"github.com/hyperconverge/scheduler/pkg/localfirst"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
)

// schedulerName is the profile that scenarios use unless they say otherwise.
const schedulerName = "hyperconverge-scheduler"

// schedulerYAML is a KubeSchedulerConfiguration.
type schedulerYAML struct {
	profiles []profileYAML
	// extenders is a list as it stands below that key.
	extenders string
}

// profileYAML is one profile of a KubeSchedulerConfiguration. Args are lines of
// HyperconvergeArgs; those of the storage API are added.
type profileYAML struct {
	name string
	args string
	// plugins are lines below plugins, besides the multiPoint entry of ours.
	plugins string
	// enabled are lines below multiPoint.enabled, besides Hyperconverge.
	enabled string
	// configs are entries of pluginConfig for other plugins.
	configs string
	// storage are lines of openStorage that come after the usual ones.
	storage string
	without bool // a profile without Hyperconverge
}

func (c schedulerYAML) render(endpoint string) string {
	var yaml strings.Builder
	yaml.WriteString("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n")
	for _, p := range c.profiles {
		yaml.WriteString(p.render(endpoint))
	}
	if c.extenders != "" {
		yaml.WriteString("extenders:\n" + indent(c.extenders, 0))
	}
	return yaml.String()
}

func (p profileYAML) render(endpoint string) string {
	if p.without {
		return fmt.Sprintf("- schedulerName: %s\n  pluginConfig:\n%s", p.name, indent(p.configs, 2))
	}
	return fmt.Sprintf(`- schedulerName: %s
  plugins:
    multiPoint:
      enabled:
      - {name: Hyperconverge, weight: 15}
%s%s  pluginConfig:
%s  - name: Hyperconverge
    args:
      openStorage:
        endpoint: %s
        nodePollInterval: 200ms
        watchBackoff: 1s
%s%s`, p.name, indent(p.enabled, 6), indent(p.plugins, 4), indent(p.configs, 2), endpoint, indent(p.storage, 8), indent(p.args, 6))
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
func runScheduler(t *testing.T, config *rest.Config, endpoint string, yaml schedulerYAML) (stop func()) {
	t.Helper()
	start, stop, err := newScheduler(t, config, endpoint, yaml)
	if err != nil {
		t.Fatal(err)
	}
	start()
	return stop
}

// newScheduler builds a scheduler that does not run yet.
func newScheduler(t *testing.T, config *rest.Config, endpoint string, yaml schedulerYAML) (start, stop func(), err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "scheduler.yaml")
	if err := os.WriteFile(file, []byte(yaml.render(endpoint)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	schedulerConfig, err := options.LoadConfigFromFile(klog.FromContext(ctx), file)
	if err != nil {
		cancel()
		return nil, nil, err
	}

	client := kubernetes.NewForConfigOrDie(config)
	factory := scheduler.NewInformerFactory(client, 0)
	dynamicFactory := dynamicinformer.NewDynamicSharedInformerFactory(dynamic.NewForConfigOrDie(config), 0)
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	plugins := hyperconverge.NewFactory()
	sched, err := scheduler.New(ctx, client, factory, dynamicFactory, profile.NewRecorderFactory(broadcaster),
		scheduler.WithComponentConfigVersion(schedulerConfig.APIVersion),
		scheduler.WithKubeConfig(config),
		scheduler.WithProfiles(schedulerConfig.Profiles...),
		scheduler.WithExtenders(schedulerConfig.Extenders...),
		scheduler.WithPodInitialBackoffSeconds(1),
		scheduler.WithPodMaxBackoffSeconds(1),
		scheduler.WithFrameworkOutOfTreeRegistry(frameworkruntime.Registry{
			hyperconverge.Name: plugins.New,
			coscheduling.Name:  coscheduling.New,
		}),
	)
	if err != nil {
		cancel()
		broadcaster.Shutdown()
		return nil, nil, err
	}
	localfirst.Wrap(sched.Profiles, sched.Extenders)

	done := make(chan struct{})
	close(done)
	start = func() {
		if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
			t.Fatal(err)
		}
		factory.Start(ctx.Done())
		dynamicFactory.Start(ctx.Done())
		factory.WaitForCacheSync(ctx.Done())
		dynamicFactory.WaitForCacheSync(ctx.Done())
		if err := sched.WaitForHandlersSync(ctx); err != nil {
			t.Error(err)
		}
		eventually(t, "the index has taken in the informers' lists", func() error {
			if !plugins.HasSynced() {
				return errors.New("not synced")
			}
			return nil
		})
		done = make(chan struct{})
		go func() {
			defer close(done)
			sched.Run(ctx)
		}()
	}
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
		factory.Shutdown()
		dynamicFactory.Shutdown()
		broadcaster.Shutdown()
	})
	t.Cleanup(stop)
	return start, stop, nil
}
