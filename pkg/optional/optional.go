// Package optional follows resources that a cluster may have or not: those of KubeVirt, of
// the storage system, of snapshots.
package optional

import (
	"context"
	"fmt"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Informer follows a resource. It has synced only where the resource exists.
type Informer struct {
	cache.SharedIndexInformer
	failed, gone atomic.Bool
}

// Gone reports whether the resource does not exist, as far as is known: it was looked for,
// and no object of it has come since.
func (i *Informer) Gone() bool { return i.gone.Load() }

// Tried reports whether the resource has been read, or cannot be: it does not exist, or may
// not be read.
func (i *Informer) Tried() bool { return i.HasSynced() || i.failed.Load() }

// NewInformer makes an informer of a resource in all namespaces, which keeps what the
// transform makes of its objects. The reflector tries again within a minute for ever, which
// is how a resource that is installed later is found. Without says in a log what is lost
// while the resource cannot be followed.
func NewInformer(client dynamic.Interface, resource schema.GroupVersionResource, transform cache.TransformFunc,
	indexers cache.Indexers, without string) (*Informer, error) {
	informer := &Informer{SharedIndexInformer: dynamicinformer.NewFilteredDynamicInformer(client, resource, metav1.NamespaceAll, 0, indexers, nil).Informer()}
	if err := informer.SetTransform(func(object any) (any, error) {
		informer.gone.Store(false)
		return transform(object)
	}); err != nil {
		return nil, fmt.Errorf("following %s: %w", resource.GroupResource(), err)
	}
	tell := tellOfWatchError(resource, without)
	if err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		// Another error may be over in a moment.
		informer.failed.Store(informer.failed.Load() || apierrors.IsNotFound(err) || apierrors.IsForbidden(err))
		if apierrors.IsNotFound(err) {
			informer.gone.Store(true)
		}
		tell(ctx, r, err)
	}); err != nil {
		return nil, fmt.Errorf("following %s: %w", resource.GroupResource(), err)
	}
	return informer, nil
}

// tellOfWatchError logs why a resource cannot be followed, each cause once. That it does
// not exist is none.
func tellOfWatchError(resource schema.GroupVersionResource, without string) cache.WatchErrorHandlerWithContext {
	told := map[metav1.StatusReason]struct{}{}
	return func(ctx context.Context, _ *cache.Reflector, err error) {
		reason := apierrors.ReasonForError(err)
		_, known := told[reason]
		if known || apierrors.IsNotFound(err) || apierrors.IsResourceExpired(err) || ctx.Err() != nil {
			return
		}
		told[reason] = struct{}{}
		klog.FromContext(ctx).Error(err, "Cannot follow a resource: "+without, "resource", resource.GroupResource())
	}
}
