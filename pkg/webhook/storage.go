package webhook

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// lookupTimeout bounds all reads from the API server for one pod. The API server
// waits for our answer meanwhile, and gives up after the timeout of the webhook.
const lookupTimeout = time.Second

// storage finds the claims of pods: in caches, and if need be in the API server.
type storage struct {
	pvcs    corelisters.PersistentVolumeClaimLister
	pvs     corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
	drivers []string
	// cached looks into the caches alone.
	cached *volumes.Claims
	// client reads what the caches lack. Its rate limit protects the API server
	// from a flood of pods whose claims are missing.
	client  kubernetes.Interface
	metrics *metrics

	factory informers.SharedInformerFactory
	synced  []cache.InformerSynced
}

func newStorage(watch, read kubernetes.Interface, drivers []string, metrics *metrics) *storage {
	factory := informers.NewSharedInformerFactoryWithOptions(watch, 0, informers.WithTransform(volumes.Trim))
	pvcs, pvs := factory.Core().V1().PersistentVolumeClaims(), factory.Core().V1().PersistentVolumes()
	classes := factory.Storage().V1().StorageClasses()
	s := &storage{
		pvcs: pvcs.Lister(), pvs: pvs.Lister(), classes: classes.Lister(),
		drivers: drivers,
		client:  read,
		metrics: metrics,
		factory: factory,
		synced:  []cache.InformerSynced{pvcs.Informer().HasSynced, pvs.Informer().HasSynced, classes.Informer().HasSynced},
	}
	s.cached = volumes.NewClaims(s.pvcs, s.pvs, s.classes, drivers)
	return s
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

// claimsOf returns the claims of a new pod. What is in no cache is read from the
// API server once: a StatefulSet creates a claim right before its pod, and the
// watch may be slower than the pod.
func (s *storage) claimsOf(ctx context.Context, pod *v1.Pod) []volumes.Claim {
	claims := s.cached.OfNew(pod)
	if !isUndecided(claims) {
		return claims
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	return volumes.NewClaims(lateClaims{s.pvcs, s, ctx}, lateVolumes{s.pvs, s, ctx}, lateClasses{s.classes, s, ctx}, s.drivers).OfNew(pod)
}

// orRead returns what a cache answered, or, if it had nothing, what a read from
// the API server answers. That is trimmed like all else in the cache, so that
// objects from both places are judged together.
func orRead[T any](ctx context.Context, s *storage, resource, name string, cached T, missing error,
	read func(context.Context, string, metav1.GetOptions) (T, error),
) (T, error) {
	if missing == nil {
		return cached, nil
	}
	object, err := read(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil:
		s.metrics.lookups.WithLabelValues(resource, "found").Inc()
		if trimmed, err := volumes.Trim(object); err == nil {
			if trimmed, ok := trimmed.(T); ok {
				return trimmed, nil
			}
		}
	case apierrors.IsNotFound(err):
		s.metrics.lookups.WithLabelValues(resource, "absent").Inc()
	default:
		s.metrics.lookups.WithLabelValues(resource, "failed").Inc()
		klog.FromContext(ctx).Error(err, "Reading what a pod refers to failed, the pod is judged without it", "resource", resource, "name", name)
	}
	return object, err
}

// lateClaims, lateVolumes and lateClasses are listers for the time of one
// request: what their cache lacks, they read.
type (
	lateClaims struct {
		corelisters.PersistentVolumeClaimLister
		storage *storage
		ctx     context.Context
	}
	lateClaimsIn struct {
		corelisters.PersistentVolumeClaimNamespaceLister
		late      lateClaims
		namespace string
	}
	lateVolumes struct {
		corelisters.PersistentVolumeLister
		storage *storage
		ctx     context.Context
	}
	lateClasses struct {
		storagelisters.StorageClassLister
		storage *storage
		ctx     context.Context
	}
)

func (l lateClaims) PersistentVolumeClaims(namespace string) corelisters.PersistentVolumeClaimNamespaceLister {
	return lateClaimsIn{l.PersistentVolumeClaimLister.PersistentVolumeClaims(namespace), l, namespace}
}

func (l lateClaimsIn) Get(name string) (*v1.PersistentVolumeClaim, error) {
	cached, err := l.PersistentVolumeClaimNamespaceLister.Get(name)
	return orRead(l.late.ctx, l.late.storage, "persistentvolumeclaims", name, cached, err,
		l.late.storage.client.CoreV1().PersistentVolumeClaims(l.namespace).Get)
}

func (l lateVolumes) Get(name string) (*v1.PersistentVolume, error) {
	cached, err := l.PersistentVolumeLister.Get(name)
	return orRead(l.ctx, l.storage, "persistentvolumes", name, cached, err, l.storage.client.CoreV1().PersistentVolumes().Get)
}

func (l lateClasses) Get(name string) (*storagev1.StorageClass, error) {
	cached, err := l.StorageClassLister.Get(name)
	return orRead(l.ctx, l.storage, "storageclasses", name, cached, err, l.storage.client.StorageV1().StorageClasses().Get)
}
