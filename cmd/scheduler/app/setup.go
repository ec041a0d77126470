package app

import (
	"context"
	"os"
	"reflect"
	"time"

	"k8s.io/client-go/informers"
	kubescheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	schedulerconfig "k8s.io/kubernetes/cmd/kube-scheduler/app/config"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/profile"

	"github.com/hyperconverge/scheduler/internal/minor"
	"github.com/hyperconverge/scheduler/pkg/localfirst"
	"github.com/hyperconverge/scheduler/pkg/plugins"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
)

// Setup makes the scheduler of kube-scheduler's options: our plugins registered,
// every profile wrapped for the prefer-first pass, and the start held until the
// volume index knows what the informers know. Tests that measure put something around
// the profiles inside of the pass.
func Setup(ctx context.Context, opts *options.Options, inside ...func(profile.Map)) (*schedulerconfig.CompletedConfig, *scheduler.Scheduler, error) {
	factory := hyperconverge.NewFactory(hyperconverge.NewOpenStorageSource)
	factory.RunsAs(os.Getenv("POD_NAMESPACE"), os.Getenv("POD_NAME"))
	config, sched, err := kubescheduler.Setup(ctx, opts, func(registry runtime.Registry) error {
		return registry.Merge(plugins.Registry(factory))
	})
	if err != nil {
		return nil, nil, err
	}
	for _, wrap := range inside {
		wrap(sched.Profiles)
	}
	showBatching(sched.Profiles, sched.Extenders)
	localfirst.Wrap(sched.Profiles, sched.Extenders)
	// Nothing is taken from the queue before this process leads.
	minor.BeforeEach(sched, factory.StartLeading)
	config.InformerFactory = &syncGate{SharedInformerFactory: config.InformerFactory, hasSynced: factory.HasSynced, hasTried: factory.HasTried}
	go tellMinor(ctx, config.Client.Discovery())
	go serveDebug(ctx, config, factory, opts.SecureServing.PermitPortSharing)
	return config, sched, nil
}

// syncGate makes kube-scheduler wait for the plugin's own event handlers: it
// waits only for its own. For what a cluster may have or not, it waits a moment. The call it is
// hung on stands before the first scheduling cycle and before /readyz says yes.
type syncGate struct {
	informers.SharedInformerFactory
	hasSynced, hasTried func() bool
}

// moment is how long the start waits for resources that may not be there, when the API server
// does not say so.
const moment = 5 * time.Second

// syncPoll is how often the gate looks. The informers have synced by then, so
// that what is left is a matter of milliseconds.
const syncPoll = 5 * time.Millisecond

// WaitForCacheSync waits for the informers, and then for the plugin.
func (g *syncGate) WaitForCacheSync(stop <-chan struct{}) map[reflect.Type]bool {
	synced := g.SharedInformerFactory.WaitForCacheSync(stop)
	ticker := time.NewTicker(syncPoll)
	defer ticker.Stop()
	deadline := time.Now().Add(moment)
	for !g.hasSynced() || !g.hasTried() && time.Now().Before(deadline) {
		select {
		case <-stop:
			return synced
		case <-ticker.C:
		}
	}
	return synced
}
