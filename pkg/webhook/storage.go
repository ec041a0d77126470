package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	storagehelpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/klog/v2"
	"k8s.io/utils/lru"

	"github.com/hyperconverge/scheduler/pkg/claims"
)

// lookupTimeout bounds all reads from the API server for one pod. The API server
// waits for our answer meanwhile, and gives up after the timeout of the webhook.
const lookupTimeout = time.Second

// maxLookups is how many objects are read for one pod at most, so that no pod uses
// up what all of them may read.
const maxLookups = 20

const (
	// absenceLasts is how long what was not found is not read again. A claim that is
	// made meanwhile is seen by the watch, at the latest after that time by a read.
	absenceLasts = time.Second
	// rememberedAbsences is how many are kept, a few hundred bytes each.
	rememberedAbsences = 4096
	// longestName is how long the name of an object can be. Pods may refer to anything.
	longestName = 253
)

var errTooManyLookups = fmt.Errorf("no more than %d objects are read for one pod", maxLookups)

// storage finds the claims of pods: in caches, and if need be in the API server.
type storage struct {
	caches  claims.Digests
	drivers []string
	// cached looks into the caches alone.
	cached *claims.Finder
	// client reads what the caches lack.
	client kubernetes.Interface
	// shares protect the API server, and pods of other namespaces, from a flood of
	// pods whose claims are missing.
	shares *shares
	// absent is what was not found a moment ago: lookup → absence.
	absent  *lru.Cache
	metrics *metrics

	factory informers.SharedInformerFactory
	synced  []cache.InformerSynced
}

func newStorage(watch, read kubernetes.Interface, drivers []string, shares *shares, metrics *metrics) *storage {
	factory := informers.NewSharedInformerFactoryWithOptions(watch, 0, informers.WithTransform(claims.Digest))
	// These two may be many, and are looked up by name only: the usual index by
	// namespace would take memory and serve nobody.
	pvcs := factory.InformerFor(&v1.PersistentVolumeClaim{}, func(client kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		return coreinformers.NewPersistentVolumeClaimInformer(client, metav1.NamespaceAll, resync, cache.Indexers{})
	})
	pvs := factory.InformerFor(&v1.PersistentVolume{}, func(client kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		return coreinformers.NewPersistentVolumeInformer(client, resync, cache.Indexers{})
	})
	classes := factory.Storage().V1().StorageClasses()
	caches := claims.Digests{PVCs: pvcs.GetStore(), PVs: pvs.GetStore(), Classes: classes.Lister()}
	return &storage{
		caches:  caches,
		drivers: drivers,
		cached:  claims.NewFinder(caches, drivers),
		client:  read,
		shares:  shares,
		absent:  lru.New(rememberedAbsences),
		metrics: metrics,
		factory: factory,
		synced:  []cache.InformerSynced{pvcs.HasSynced, pvs.HasSynced, classes.Informer().HasSynced},
	}
}

// hasSynced reports whether the caches hold what the API server held at start.
func (s *storage) hasSynced() bool {
	for _, synced := range s.synced {
		if !synced() {
			return false
		}
	}
	return true
}

// claimsOf returns the claims of a new pod, and whether all that had to be read for
// them could be. What is in no cache is read from the API server once: a
// StatefulSet creates a claim right before its pod, and the watch may be slower than
// the pod. The first claim of the driver decides, and is the last that is returned; if
// askShared is set, the first shared one.
func (s *storage) claimsOf(ctx context.Context, pod *v1.Pod, askShared bool) (found []claims.Claim, complete bool) {
	found = slices.Collect(s.cached.OfNew(pod))
	if !isUndecided(found, askShared) {
		return found, true
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	late := &lateObjects{Digests: s.caches, storage: s, namespace: pod.Namespace, ctx: ctx, answers: map[lookup]answer{}}
	found = found[:0]
	for claim := range claims.NewFinder(late, s.drivers).OfNew(pod) {
		found = append(found, claim)
		if decides(&claim, askShared) {
			break
		}
	}
	return found, !late.failed
}

// lateObjects are the caches for the time of one request: what they lack is read
// from the API server, once.
type lateObjects struct {
	claims.Digests
	storage   *storage
	namespace string // of the pod
	ctx       context.Context
	answers   map[lookup]answer
	failed    bool // whether any object could not be read
}

// lookup is what is looked up in the API server; a list has no name.
type lookup struct{ resource, namespace, name string }

// absence is what the API server said of an object that it has not.
type absence struct {
	err  error
	ends time.Time
}

type answer struct {
	object any
	err    error
}

// PVC implements claims.Objects. Claims and volumes that are read say no more of
// themselves than cached ones, so that they can be judged together. A claim that
// waits for a volume somebody made may have got it since it was cached.
func (l *lateObjects) PVC(namespace, name string) (*v1.PersistentVolumeClaim, error) {
	cached, err := l.Digests.PVC(namespace, name)
	if err == nil && (cached.Spec.VolumeName != "" || storagehelpers.GetPersistentVolumeClaimClass(cached) != "") {
		return cached, nil
	}
	claim, err := read(l, lookup{"persistentvolumeclaims", namespace, name}, func() (*v1.PersistentVolumeClaim, error) {
		return l.storage.client.CoreV1().PersistentVolumeClaims(namespace).Get(l.ctx, name, metav1.GetOptions{})
	})
	switch {
	case err == nil:
		return claims.DigestOfClaim(claim).PVC(), nil
	case cached != nil && !apierrors.IsNotFound(err):
		return cached, nil
	}
	return nil, err
}

// PV implements claims.Objects.
func (l *lateObjects) PV(name string) (*v1.PersistentVolume, error) {
	cached, err := l.Digests.PV(name)
	if err == nil {
		return cached, nil
	}
	volume, err := read(l, lookup{resource: "persistentvolumes", name: name}, func() (*v1.PersistentVolume, error) {
		return l.storage.client.CoreV1().PersistentVolumes().Get(l.ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		return nil, err
	}
	return claims.DigestOfVolume(volume).PV(), nil
}

// StorageClass implements claims.Objects.
func (l *lateObjects) StorageClass(name string) (*storagev1.StorageClass, error) {
	cached, err := l.Digests.StorageClass(name)
	if err == nil {
		return cached, nil
	}
	return read(l, lookup{resource: "storageclasses", name: name}, func() (*storagev1.StorageClass, error) {
		return l.storage.client.StorageV1().StorageClasses().Get(l.ctx, name, metav1.GetOptions{})
	})
}

// StorageClasses implements claims.Objects. They are asked for the default class,
// which is missing if the pod is still undecided.
func (l *lateObjects) StorageClasses() ([]*storagev1.StorageClass, error) {
	list, err := read(l, lookup{resource: "storageclasses"}, func() (*storagev1.StorageClassList, error) {
		return l.storage.client.StorageV1().StorageClasses().List(l.ctx, metav1.ListOptions{})
	})
	if err != nil {
		return l.Digests.StorageClasses()
	}
	classes := make([]*storagev1.StorageClass, len(list.Items))
	for i := range list.Items {
		classes[i] = &list.Items[i]
	}
	return classes, nil
}

// read asks the API server, unless it has been asked before or has been asked often
// enough, and counts what comes of it.
func read[T any](l *lateObjects, what lookup, ask func() (T, error)) (T, error) {
	var object T
	if known, found := l.answers[what]; found {
		object, _ = known.object.(T)
		return object, known.err
	}
	remembered, _ := l.storage.absent.Get(what)
	if gone, ok := remembered.(absence); ok && time.Now().Before(gone.ends) {
		return object, gone.err
	}
	err := errTooManyLookups
	if len(l.answers) < maxLookups {
		if err = l.storage.shares.wait(l.ctx, l.namespace); err == nil {
			object, err = ask()
		}
	}
	l.answers[what] = answer{object, err}
	if apierrors.IsNotFound(err) && len(what.name) <= longestName && len(what.namespace) <= longestNamespace {
		l.storage.absent.Add(what, absence{err, time.Now().Add(absenceLasts)})
	}
	result := resultOf(l.ctx, err)
	l.storage.metrics.lookups.WithLabelValues(what.resource, result).Inc()
	switch result {
	case lookupFailed:
		klog.FromContext(l.ctx).Error(err, "Reading what a pod refers to failed, the pod is judged without it",
			"resource", what.resource, "namespace", what.namespace, "name", what.name)
		fallthrough
	case lookupAborted:
		l.failed = true
	}
	return object, err
}

// resultOf is what the metric of lookups calls the outcome of one.
func resultOf(ctx context.Context, err error) string {
	switch {
	case err == nil:
		return lookupFound
	case apierrors.IsNotFound(err):
		return lookupAbsent
	// The limit of the rate refuses what it could not let through in time, before
	// the time is over.
	case ctx.Err() != nil, errors.Is(err, errTooManyLookups), errors.Is(err, errNoShare):
		return lookupAborted
	default:
		return lookupFailed
	}
}
