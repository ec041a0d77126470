// Package simulation tells where the scheduler would put a pod now. It runs the
// scheduling framework with the scheduler's own plugins and configuration on a picture
// of the cluster that informers keep up to date, and binds nothing.
package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/dynamic-resource-allocation/resourceslice/tracker"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	schedulerapi "k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	frameworkplugins "k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/dynamicresources"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodevolumelimits"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
	"k8s.io/kubernetes/pkg/scheduler/profile"
	"k8s.io/kubernetes/pkg/scheduler/util/assumecache"

	"github.com/hyperconverge/scheduler/internal/minor"
	"github.com/hyperconverge/scheduler/pkg/localfirst"
	"github.com/hyperconverge/scheduler/pkg/plugins"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage"
)

// EngineOptions say what to simulate.
type EngineOptions struct {
	// RESTConfig is the cluster. Nothing is ever written to it.
	RESTConfig *rest.Config
	// Configuration is that of the scheduler, with its defaults.
	Configuration *schedulerapi.KubeSchedulerConfiguration
	Replicas      Replicas
	// Follow has more informers started than the scheduler's plugins need; may be nil.
	Follow func(informers.SharedInformerFactory)
}

// Engine simulates the scheduler of one cluster.
type Engine struct {
	informers informers.SharedInformerFactory
	factory   *hyperconverge.Factory
	// order are the names of the profiles as the configuration has them.
	order []string
	// profiles are the frameworks; passes are the same with the prefer-first pass around
	// them, as the scheduler runs them.
	profiles, passes profile.Map
	// plugins: profile → name of the plugin → plugin.
	plugins map[string]map[string]fwk.Plugin
	nodes   sharedLister
	cancel  context.CancelFunc

	// mu lets one pod be placed at a time: a profile has one scheduling cycle.
	mu sync.Mutex
}

// New reads the cluster, and returns when all of it is there and the replicas are known.
// The engine goes on reading until ctx ends, or Close.
func New(ctx context.Context, o EngineOptions) (_ *Engine, err error) {
	config := ReadOnly(o.RESTConfig)
	protobuf := rest.CopyConfig(config)
	protobuf.ContentType, protobuf.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(protobuf)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	e := &Engine{
		informers: minor.NewInformerFactory(client),
		factory:   hyperconverge.NewFactory(o.Replicas.NewSource),
		plugins:   map[string]map[string]fwk.Plugin{},
		cancel:    cancel,
	}
	e.nodes.SharedLister = cache.NewEmptySnapshot()
	e.nodes.Store(newSnapshot(nil, nil))
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	if err := e.makeProfiles(ctx, o.Configuration, client, config); err != nil {
		return nil, err
	}
	if o.Follow != nil {
		o.Follow(e.informers)
	}
	e.informers.Start(ctx.Done())
	for kind, synced := range e.informers.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return nil, fmt.Errorf("reading %s: %w", kind, context.Cause(ctx))
		}
	}
	err = wait.PollUntilContextCancel(ctx, poll, true, func(context.Context) (bool, error) { return e.factory.HasSynced(), nil })
	if err != nil {
		return nil, fmt.Errorf("reading nodes and volumes: %w", err)
	}
	patient, stop := context.WithTimeout(ctx, visible)
	defer stop()
	// What could not be read in time counts as not there, as it does for the scheduler.
	_ = wait.PollUntilContextCancel(patient, poll, true, func(context.Context) (bool, error) { return e.factory.HasTried(), nil })
	if err := o.Replicas.Wait(ctx); err != nil {
		return nil, fmt.Errorf("learning where the replicas are: %w", err)
	}
	return e, nil
}

// makeProfiles makes the frameworks as kube-scheduler does, without a queue.
func (e *Engine) makeProfiles(ctx context.Context, configuration *schedulerapi.KubeSchedulerConfiguration, client kubernetes.Interface, config *rest.Config) error {
	metrics.Register()
	registry := frameworkplugins.NewInTreeRegistry()
	if err := registry.Merge(plugins.Registry(e.factory)); err != nil {
		return err
	}
	resources := e.informers.Resource().V1()
	slices, err := tracker.StartTracker(ctx, tracker.Options{SliceInformer: resources.ResourceSlices(), KubeClient: client})
	if err != nil {
		return fmt.Errorf("following ResourceSlices: %w", err)
	}
	claims := assumecache.NewAssumeCache(klog.FromContext(ctx), resources.ResourceClaims().Informer(), "ResourceClaim", "", nil)
	e.profiles, err = profile.NewMap(ctx, configuration.Profiles, e.capture(registry), profile.NewRecorderFactory(mute{}),
		frameworkruntime.WithComponentConfigVersion(configuration.APIVersion),
		frameworkruntime.WithClientSet(client),
		frameworkruntime.WithKubeConfig(config),
		frameworkruntime.WithInformerFactory(e.informers),
		frameworkruntime.WithSharedDRAManager(dynamicresources.NewDRAManager(ctx, claims, slices, e.informers)),
		frameworkruntime.WithSharedCSIManager(nodevolumelimits.NewCSIManager(e.informers.Storage().V1().CSINodes().Lister())),
		frameworkruntime.WithSnapshotSharedLister(&e.nodes),
		frameworkruntime.WithParallelism(int(configuration.Parallelism)),
		frameworkruntime.WithWaitingPods(frameworkruntime.NewWaitingPodsMap()),
		frameworkruntime.WithPodNominator(noQueue{}),
		frameworkruntime.WithPodActivator(noQueue{}),
	)
	if err != nil {
		return fmt.Errorf("making the profiles: %w", err)
	}
	for i := range configuration.Profiles {
		e.order = append(e.order, configuration.Profiles[i].SchedulerName)
	}
	e.passes = maps.Clone(e.profiles)
	localfirst.Wrap(e.passes, nil)
	return nil
}

// capture notes the plugins that are made: a framework does not hand them out.
func (e *Engine) capture(registry frameworkruntime.Registry) frameworkruntime.Registry {
	captured := make(frameworkruntime.Registry, len(registry))
	for name, make := range registry {
		captured[name] = func(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
			plugin, err := make(ctx, args, handle)
			if err != nil {
				return nil, err
			}
			named := e.plugins[handle.ProfileName()]
			if named == nil {
				named = map[string]fwk.Plugin{}
				e.plugins[handle.ProfileName()] = named
			}
			named[name] = plugin
			return plugin, nil
		}
	}
	return captured
}

// Close ends the reading, and waits for it.
func (e *Engine) Close() {
	e.cancel()
	// Plugins have no error to tell once they are not used any more.
	_ = e.profiles.Close()
	e.informers.Shutdown()
}

// Informers are those that the engine reads the cluster with.
func (e *Engine) Informers() informers.SharedInformerFactory { return e.informers }

// Conditions are what is wrong with the storage API, where the engine asks it itself.
func (e *Engine) Conditions() []openstorage.Condition { return e.factory.Conditions() }

// Profiles are the names of the profiles, in the order of the configuration.
func (e *Engine) Profiles() []string { return e.order }

// Plugin is our plugin in a profile; nil if the profile lacks it.
func (e *Engine) Plugin(profileName string) *hyperconverge.Hyperconverge {
	plugin, _ := e.plugins[profileName][hyperconverge.Name].(*hyperconverge.Hyperconverge)
	return plugin
}

// ErrNoPlugin says that no profile of the configuration has our plugin.
var ErrNoPlugin = errors.New("no profile of the scheduler's configuration has the plugin " + hyperconverge.Name)

// ProfileOf is the profile that decides about a pod. A pod of a scheduler that is none of
// the configuration's is foreign, and the first profile with our plugin stands in for it.
func (e *Engine) ProfileOf(pod *v1.Pod) (name string, foreign bool, err error) {
	if _, found := e.profiles[pod.Spec.SchedulerName]; found {
		return pod.Spec.SchedulerName, false, nil
	}
	for _, name := range e.order {
		if e.Plugin(name) != nil {
			return name, true, nil
		}
	}
	return "", true, ErrNoPlugin
}

// Unsigned says which plugin keeps pods without volumes and wishes from being placed in
// batches in a profile, and why; empty if none does.
func (e *Engine) Unsigned(ctx context.Context, profileName string) string {
	plain := &v1.Pod{}
	plain.Spec.Containers = []v1.Container{{Name: "plain"}}
	f := e.profiles[profileName]
	for _, set := range [...]schedulerapi.PluginSet{f.ListPlugins().PreFilter, f.ListPlugins().Filter, f.ListPlugins().PreScore, f.ListPlugins().Score} {
		for _, enabled := range set.Enabled {
			plugin, signs := e.plugins[profileName][enabled.Name].(fwk.SignPlugin)
			if !signs {
				return enabled.Name + " signs no pod"
			}
			if _, s := plugin.SignPod(ctx, plain); !s.IsSuccess() {
				return enabled.Name + ": " + s.Message()
			}
		}
	}
	return ""
}

// Cluster is the picture of the moment.
func (e *Engine) Cluster() (*Cluster, error) {
	nodes, err := e.informers.Core().V1().Nodes().Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	pods, err := e.informers.Core().V1().Pods().Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	c := &Cluster{engine: e, nodes: nodes}
	for _, pod := range pods {
		if hyperconverge.Occupies(pod) {
			c.pods = append(c.pods, pod)
		}
	}
	return c, nil
}
