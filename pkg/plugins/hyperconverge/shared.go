package hyperconverge

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/utils/lru"

	"github.com/hyperconverge/scheduler/internal/minor"
	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/strategies"
	"github.com/hyperconverge/scheduler/pkg/volumes"
	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage"
)

// shared is what the plugins of a process have in common.
type shared struct {
	settings   config.StorageSettings
	index      *volumes.Index
	claims     *claims.Finder
	source     ReplicaSource
	machines   *machines
	newVolumes *newVolumes
	running    *runningPods
	nodes      corelisters.NodeLister
	pods       corelisters.PodLister
	// given remembers the notices of all profiles: a user is told once.
	given *lru.Cache
	stop  context.CancelFunc
	done  sync.WaitGroup
	// unfollow takes the handlers of running back.
	unfollow func() error
}

type (
	// ReplicaSource finds the replicas and tells the index.
	ReplicaSource interface{ Run(ctx context.Context) }
	// NewSource makes a source. It fails on settings that are wrong, and does not wait
	// for the storage API.
	NewSource func(config.OpenStorage, *volumes.Index) (ReplicaSource, error)
)

// NewOpenStorageSource is the source that asks the storage API.
func NewOpenStorageSource(o config.OpenStorage, index *volumes.Index) (ReplicaSource, error) {
	return openstorage.New(openstorage.Config{
		Endpoint:            o.Endpoint,
		TokenFile:           o.TokenFile,
		TLS:                 openstorage.TLSOptions(o.TLS),
		NodePollInterval:    o.NodePollInterval.Duration,
		ResyncInterval:      o.ResyncInterval.Duration,
		RequestTimeout:      o.RequestTimeout.Duration,
		WatchBackoff:        o.WatchBackoff.Duration,
		AllowPlaintextToken: o.AllowPlaintextToken,
	}, index)
}

// conditions are what is wrong with the storage API as a whole.
func (s *shared) conditions() []openstorage.Condition {
	source, has := s.source.(interface {
		Conditions() []openstorage.Condition
	})
	if !has {
		return nil // a source of replicas that were learned elsewhere
	}
	return source.Conditions()
}

// newShared makes the index, feeds it from the informers, and starts it and the
// source of replicas. Nothing here waits for the storage API. Told has events tell of it,
// unless it is nil.
func newShared(ctx context.Context, settings config.StorageSettings, factory informers.SharedInformerFactory, client dynamic.Interface, newSource NewSource, told *storageEvents) (*shared, error) {
	metrics.RegisterScheduling()
	machines, err := newMachines(factory, client)
	if err != nil {
		return nil, err
	}
	if minor.PreQueueingHints() {
		if err := addClaimIndex(factory.Core().V1().Pods().Informer()); err != nil {
			return nil, err
		}
	}
	store, err := strategies.New(client, factory.Core().V1().PersistentVolumeClaims().Informer())
	if err != nil {
		return nil, err
	}
	index := volumes.NewIndex(volumes.Options{
		Drivers:      settings.Drivers,
		TopologyKeys: volumes.LabelKeys(settings.TopologyKeys),
		MaxStaleness: settings.MaxStaleness.Duration,
	})
	source, err := newSource(settings.OpenStorage, index)
	if errors.Is(err, openstorage.ErrCAFile) {
		return nil, field.Invalid(argsPath.Child("openStorage", "tls", "caFile"), settings.OpenStorage.TLS.CAFile, err.Error())
	}
	if err != nil {
		return nil, fmt.Errorf("storage API %s: %w", settings.OpenStorage.Endpoint, err)
	}
	core, storage := factory.Core().V1(), factory.Storage().V1()
	if err := index.AddEventHandlers(core.Nodes(), storage.CSINodes(), core.PersistentVolumes()); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	s := &shared{
		settings: settings,
		index:    index,
		claims: claims.NewFinder(claims.Listers{
			PVCs: core.PersistentVolumeClaims().Informer().GetStore(), PVs: core.PersistentVolumes().Lister(), Classes: storage.StorageClasses().Lister(),
		}, settings.Drivers),
		source:   source,
		machines: machines,
		// Storage has listed its nodes twice by then.
		newVolumes: makeNewVolumes(store, newBookings(2*settings.OpenStorage.NodePollInterval.Duration)),
		nodes:      core.Nodes().Lister(),
		pods:       core.Pods().Lister(),
		given:      lru.New(noticesKept),
		stop:       stop,
	}
	s.running = newRunningPods(&decider{claims: s.claims, index: index, machines: machines}, s.pods, settings.CountPodsByNamespace)
	if s.unfollow, err = s.running.follow(factory); err != nil {
		stop()
		return nil, err
	}
	s.done.Go(func() { s.running.run(ctx) })
	s.done.Go(func() { index.Run(ctx) })
	s.done.Go(func() { source.Run(ctx) })
	s.done.Go(func() { machines.run(ctx) })
	s.done.Go(func() { store.Run(ctx) })
	if told != nil {
		told.conditions, told.leads = s.conditions, s.running.leads
		s.done.Go(func() { told.run(ctx) })
	}
	return s, nil
}
