// Package optional follows resources that a cluster may have or not: those of KubeVirt, of
// the storage system, of snapshots.
package optional

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// NewInformer makes an informer of a resource in all namespaces, which keeps what the
// transform makes of its objects. It has synced only where the resource exists; the
// reflector tries again within a minute for ever, which is how one that is installed later
// is found. Without says in a log what is lost while the resource cannot be followed.
func NewInformer(client dynamic.Interface, resource schema.GroupVersionResource, transform cache.TransformFunc,
	indexers cache.Indexers, without string) (cache.SharedIndexInformer, error) {
	informer := dynamicinformer.NewFilteredDynamicInformer(client, resource, metav1.NamespaceAll, 0, indexers, nil).Informer()
	if err := informer.SetTransform(transform); err != nil {
		return nil, fmt.Errorf("following %s: %w", resource.GroupResource(), err)
	}
	if err := informer.SetWatchErrorHandlerWithContext(tellOfWatchError(resource, without)); err != nil {
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
