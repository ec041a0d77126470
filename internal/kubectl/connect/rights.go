package connect

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// needed is what the scheduler's plugins read, as the ClusterRole hyperconverge:viewer
// grants it.
var needed = []schema.GroupVersionResource{
	{Version: "v1", Resource: "pods"},
	{Version: "v1", Resource: "nodes"},
	{Version: "v1", Resource: "namespaces"},
	{Version: "v1", Resource: "services"},
	{Version: "v1", Resource: "replicationcontrollers"},
	{Version: "v1", Resource: "persistentvolumes"},
	{Version: "v1", Resource: "persistentvolumeclaims"},
	{Group: "apps", Version: "v1", Resource: "replicasets"},
	{Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	{Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses"},
	{Group: "storage.k8s.io", Version: "v1", Resource: "csinodes"},
	{Group: "storage.k8s.io", Version: "v1", Resource: "csidrivers"},
	{Group: "storage.k8s.io", Version: "v1", Resource: "csistoragecapacities"},
	{Group: "storage.k8s.io", Version: "v1", Resource: "volumeattachments"},
	{Group: "resource.k8s.io", Version: "v1", Resource: "resourceclaims"},
	{Group: "resource.k8s.io", Version: "v1", Resource: "resourceslices"},
	{Group: "resource.k8s.io", Version: "v1", Resource: "deviceclasses"},
}

// wanted is what they read where it is, and what is not known without it.
var wanted = map[schema.GroupVersionResource]string{
	{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstances"}:            "Disks that are plugged into running virtual machines are not known",
	{Group: "portworx.io", Version: "v1beta2", Resource: "volumeplacementstrategies"}:     "Where new volumes go by their placement strategies is not known",
	{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshots"}:        "Where volumes go that are restored from snapshots is not known",
	{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshotcontents"}: "Where volumes go that are restored from snapshots is not known",
}

// checkRights reads one object of each kind. Informers would try again for ever, and say
// nothing. It returns what is not known for want of rights that one can do without.
func checkRights(ctx context.Context, config *rest.Config) (unknown []string, err error) {
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	for resource, lost := range wanted {
		group.Go(func() error {
			if _, err := client.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1}); apierrors.IsForbidden(err) {
				mu.Lock()
				defer mu.Unlock()
				unknown = append(unknown, fmt.Sprintf("%s: you may not list %s (%s).", lost, resource.GroupResource(), viewer))
			}
			return nil
		})
	}
	for _, resource := range needed {
		group.Go(func() error {
			_, err := client.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1})
			switch {
			case apierrors.IsForbidden(err):
				return fmt.Errorf("you may not list %s in all namespaces (%s)", resource.GroupResource(), viewer)
			case apierrors.IsUnauthorized(err):
				return fmt.Errorf("the API server does not take your credentials: %w", err)
			case err != nil:
				return fmt.Errorf("reading %s: %w", resource.GroupResource(), err)
			}
			return nil
		})
	}
	err = group.Wait()
	slices.Sort(unknown)
	return unknown, err
}
