package hyperconverge

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/apis/config/validation"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage"
)

// Factory makes the plugins of all profiles of one process. They share one index
// of volumes, and one connection to the storage API.
type Factory struct {
	newSource NewSource
	newClient func(*rest.Config) (dynamic.Interface, error)
	// pod is that of this process; empty if it has none.
	pod types.NamespacedName

	mu     sync.Mutex
	shared *shared
	// plugins are those that are not closed.
	plugins []*Hyperconverge
}

// NewFactory returns a factory that has started nothing yet. Its index learns of
// replicas from the source; NewOpenStorageSource makes that of a scheduler.
func NewFactory(newSource NewSource) *Factory {
	return &Factory{newSource: newSource, newClient: newDynamicClient}
}

// RunsAs names the pod of this process, on whose Deployment events tell what is wrong with
// the storage API. Without a name there are none. It is called before New.
func (f *Factory) RunsAs(namespace, pod string) {
	f.pod = types.NamespacedName{Namespace: namespace, Name: pod}
}

// New makes the plugin of one profile. It fails on arguments that are wrong, or
// whose storage settings differ from those of another profile.
func (f *Factory) New(ctx context.Context, object runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	args, err := argsOf(object)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	settings := args.StorageSettings()
	if f.shared == nil {
		client, err := f.newClient(handle.KubeConfig())
		if err != nil {
			return nil, fmt.Errorf("client for virtual machines: %w", err)
		}
		if f.shared, err = newShared(ctx, settings, handle.SharedInformerFactory(), client, f.newSource, f.storageEvents(handle)); err != nil {
			return nil, err
		}
	} else if path := f.shared.settings.FirstDifference(&settings); path != nil {
		return nil, fmt.Errorf("profile %q: %s of %s differs from another profile: all profiles of one scheduler share one storage system, give it the same value in each",
			handle.ProfileName(), path, Name)
	}

	pl, err := newPlugin(ctx, args, f.shared, handle)
	if err != nil {
		f.closeUnused()
		return nil, err
	}
	stopPlugin := pl.close
	f.plugins = append(f.plugins, pl)
	pl.close = sync.OnceValue(func() error {
		err := stopPlugin()
		f.mu.Lock()
		defer f.mu.Unlock()
		f.plugins = slices.DeleteFunc(f.plugins, func(other *Hyperconverge) bool { return other == pl })
		f.closeUnused()
		return err
	})
	return pl, nil
}

// storageEvents are those of this process, not started yet; nil if it is no pod.
func (f *Factory) storageEvents(handle fwk.Handle) *storageEvents {
	if f.pod.Namespace == "" || f.pod.Name == "" {
		return nil
	}
	return &storageEvents{recorder: handle.EventRecorder(), client: handle.ClientSet(), pod: f.pod}
}

// closeUnused stops the shared parts when no plugin uses them. The caller holds
// the lock.
func (f *Factory) closeUnused() {
	if len(f.plugins) == 0 && f.shared != nil {
		f.shared.stop()
		if err := f.shared.unfollow(); err != nil {
			klog.Background().Error(err, "Cannot take the handler of running pods back")
		}
		f.shared.done.Wait()
		f.shared = nil
	}
}

// StartLeading tells that this process has become the one that schedules. Only that
// one counts the pods that run.
func (f *Factory) StartLeading() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shared != nil {
		f.shared.running.startLeading()
	}
}

// HasSynced reports whether the index has taken in what the informers had to
// tell at the start. It does not depend on the storage API. Without any plugin
// there is nothing to wait for.
func (f *Factory) HasSynced() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shared == nil || f.shared.index.HasSynced()
}

// HasTried reports whether what a cluster may have or not has been read where it is: virtual
// machines, placement strategies, snapshots. Scheduling waits a moment for them, and goes
// without what cannot be read.
func (f *Factory) HasTried() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shared == nil || (f.shared.machines.instances == nil || f.shared.machines.instances.Tried()) && f.shared.newVolumes.store.Tried()
}

// Leading reports whether this process is the one that schedules.
func (f *Factory) Leading() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shared != nil && f.shared.running.leading()
}

// DebugPort is the port of the debug endpoint; 0 for none.
func (f *Factory) DebugPort() int32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shared == nil {
		return 0
	}
	return f.shared.settings.DebugPort
}

// Index copies what is known of volumes and nodes; nil without any plugin.
func (f *Factory) Index() *volumes.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shared == nil {
		return nil
	}
	return volumes.SnapshotOf(f.shared.index)
}

// Conditions are what is wrong with the storage API as a whole.
func (f *Factory) Conditions() []openstorage.Condition {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shared == nil {
		return nil
	}
	return f.shared.conditions()
}

// Waiting lists the pods that have been through PreFilter and have no node yet.
func (f *Factory) Waiting() []WaitingPod {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := []WaitingPod{}
	for _, pl := range f.plugins {
		list = append(list, pl.waiting.snapshot(pl.handle.ProfileName())...)
	}
	slices.SortFunc(list, func(a, b WaitingPod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// argsPath is what errors call the arguments.
var argsPath = field.NewPath("pluginConfig").Key(Name).Child("args")

func argsOf(object runtime.Object) (*config.HyperconvergeArgs, error) {
	args, ok := object.(*config.HyperconvergeArgs)
	if !ok {
		return nil, fmt.Errorf("arguments of %s are of type %T, want HyperconvergeArgs", Name, object)
	}
	return args, validation.ValidateHyperconvergeArgs(argsPath, args)
}

// newPlugin makes the plugin of one profile on the shared index.
func newPlugin(ctx context.Context, args *config.HyperconvergeArgs, s *shared, handle fwk.Handle) (*Hyperconverge, error) {
	dec := &decider{claims: s.claims, index: s.index, machines: s.machines, newVolumes: s.newVolumes, nodes: s.nodes, spread: args.LocalFirst.Spread, settings: placement.Settings{
		Tiers: placement.Tiers(args.TierScores),
		Wait:  args.WaitForLocal.Duration,
		Grace: s.settings.UnknownVolumeGracePeriod.Duration,
	}}
	waiting := *dec
	waiting.newVolumes = s.newVolumes.brief()
	told := &notices{recorder: handle.EventRecorder(), given: s.given}
	pl := &Hyperconverge{
		handle:     handle,
		decider:    dec,
		waiting:    newWaitingPods(&waiting, s.pods, handle.Activate, told.complainOf),
		avoid:      newAvoidance(),
		notices:    told,
		localFirst: args.Preference == placement.LocalFirst,
		limits:     limitsOf(&args.LocalFirst.MaxAllocation),
		skew:       int(args.LocalFirst.MaxSkew),
	}
	logger := klog.FromContext(ctx).WithName(Name)
	unsubscribeIndex := s.index.Subscribe(func(change volumes.Change) {
		pl.waiting.changed(change)
		pl.notices.tellOfNodes(s.nodes, change.Problems)
	})
	unsubscribeStrategies := s.newVolumes.store.Subscribe(pl.waiting.strategiesChanged)
	unsubscribe := func() {
		unsubscribeIndex()
		unsubscribeStrategies()
	}
	removeHandler, err := followPods(handle.SharedInformerFactory(), pl.waiting, pl.avoid)
	if err != nil {
		unsubscribe()
		return nil, err
	}
	ctx, stop := context.WithCancel(klog.NewContext(ctx, logger))
	var done sync.WaitGroup
	done.Go(func() { pl.waiting.run(ctx) })
	pl.close = func() error {
		stop()
		unsubscribe()
		err := removeHandler()
		done.Wait()
		pl.waiting.leaveAll()
		return err
	}
	return pl, nil
}

// limitsOf are limits that have been validated.
func limitsOf(m *config.MaxAllocation) placement.Allocation {
	percent := func(text string) int64 {
		value, _ := placement.PercentOf(text) // 0 for none
		return value
	}
	return placement.Allocation{CPU: percent(m.CPU), Memory: percent(m.Memory), Pods: percent(m.Pods)}
}

// deletedPod is the pod of a deletion, of which nothing more than its last known state
// may have come; nil if it is none.
func deletedPod(obj any) *v1.Pod {
	if gone, unseen := obj.(cache.DeletedFinalStateUnknown); unseen {
		obj = gone.Obj
	}
	pod, _ := obj.(*v1.Pod)
	return pod
}

// followPods keeps the list of waiting pods true to what happens to pods outside
// of this scheduler: they are deleted, bound by another, or annotated anew.
func followPods(factory informers.SharedInformerFactory, waiting *waitingPods, avoid *avoidance) (remove func() error, err error) {
	informer := factory.Core().V1().Pods().Informer()
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(oldObj, _ any) {
			if old, isPod := oldObj.(*v1.Pod); isPod && pending(old) {
				waiting.observe(old.UID)
			}
		},
		DeleteFunc: func(obj any) {
			if pod := deletedPod(obj); pod != nil {
				waiting.observe(pod.UID)
				avoid.forget(pod.UID)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("following pods: %w", err)
	}
	return func() error { return informer.RemoveEventHandler(registration) }, nil
}
