package webhook

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// lookupTimeout bounds all reads from the API server for one pod. The API server
// waits for our answer meanwhile, and gives up after the timeout of the webhook.
const lookupTimeout = time.Second

// storage finds the claims of pods: in caches, and if need be in the API server.
type storage struct {
	caches  volumes.Digests
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
	factory := informers.NewSharedInformerFactoryWithOptions(watch, 0, informers.WithTransform(volumes.Digest))
	// These two may be many, and are looked up by name only: the usual index by
	// namespace would take more memory than they do.
	pvcs := factory.InformerFor(&v1.PersistentVolumeClaim{}, func(client kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		return coreinformers.NewPersistentVolumeClaimInformer(client, metav1.NamespaceAll, resync, cache.Indexers{})
	})
	pvs := factory.InformerFor(&v1.PersistentVolume{}, func(client kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		return coreinformers.NewPersistentVolumeInformer(client, resync, cache.Indexers{})
	})
	classes := factory.Storage().V1().StorageClasses()
	caches := volumes.Digests{PVCs: pvcs.GetStore(), PVs: pvs.GetStore(), Classes: classes.Lister()}
	return &storage{
		caches:  caches,
		drivers: drivers,
		cached:  volumes.NewClaims(caches, drivers),
		client:  read,
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
	return volumes.NewClaims(lateObjects{s.caches, s, ctx}, s.drivers).OfNew(pod)
}

// lateObjects are the caches for the time of one request: what they lack is read
// from the API server.
type lateObjects struct {
	volumes.Digests
	storage *storage
	ctx     context.Context
}

// PVC implements volumes.Objects. Claims and volumes that are read say no more of
// themselves than cached ones, so that they can be judged together.
func (l lateObjects) PVC(namespace, name string) (*v1.PersistentVolumeClaim, error) {
	cached, err := l.Digests.PVC(namespace, name)
	if err == nil {
		return cached, nil
	}
	claim, err := read(l, "persistentvolumeclaims", name, l.storage.client.CoreV1().PersistentVolumeClaims(namespace).Get)
	if err != nil {
		return nil, err
	}
	return volumes.DigestOfClaim(claim).PVC(), nil
}

// PV implements volumes.Objects.
func (l lateObjects) PV(name string) (*v1.PersistentVolume, error) {
	cached, err := l.Digests.PV(name)
	if err == nil {
		return cached, nil
	}
	volume, err := read(l, "persistentvolumes", name, l.storage.client.CoreV1().PersistentVolumes().Get)
	if err != nil {
		return nil, err
	}
	return volumes.DigestOfVolume(volume).PV(), nil
}

// StorageClass implements volumes.Objects.
func (l lateObjects) StorageClass(name string) (*storagev1.StorageClass, error) {
	cached, err := l.Digests.StorageClass(name)
	if err == nil {
		return cached, nil
	}
	return read(l, "storageclasses", name, l.storage.client.StorageV1().StorageClasses().Get)
}

// read gets one object from the API server, and counts what comes of it.
func read[T any](l lateObjects, resource, name string, get func(context.Context, string, metav1.GetOptions) (T, error)) (T, error) {
	object, err := get(l.ctx, name, metav1.GetOptions{})
	result := "found"
	switch {
	case err == nil:
	case apierrors.IsNotFound(err):
		result = "absent"
	default:
		result = "failed"
		klog.FromContext(l.ctx).Error(err, "Reading what a pod refers to failed, the pod is judged without it", "resource", resource, "name", name)
	}
	l.storage.metrics.lookups.WithLabelValues(resource, result).Inc()
	return object, err
}
