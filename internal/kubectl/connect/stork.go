package connect

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/hyperconverge/scheduler/internal/kubectl/migrate"
)

var (
	storageClusters = schema.GroupVersionResource{Group: migrate.Group, Version: "v1", Resource: "storageclusters"}
	deployments     = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	configMaps      = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
)

// usualNamespaces are where Stork is without an operator.
var usualNamespaces = []string{"kube-system", "portworx"}

// Stork reads what Stork was told: the StorageClusters, or, where there are none, Stork's
// Deployments and the ConfigMap of its scheduler. An empty namespace is any of the first,
// and the usual ones of the others.
func (o *Options) Stork(ctx context.Context, namespace string) ([]*unstructured.Unstructured, error) {
	ctx, stop := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("no answer within %s (--timeout)", o.Timeout))
	defer stop()
	config, err := o.Kube.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	found, err := client.Resource(storageClusters).Namespace(namespace).List(ctx, metav1.ListOptions{})
	switch {
	case apierrors.IsNotFound(err): // there is no operator
	case err != nil:
		where := "in all namespaces, name one by -n"
		if namespace != "" {
			where = "in the namespace " + namespace
		}
		return nil, refusal(ctx, err, "list storageclusters."+migrate.Group+" "+where)
	case len(found.Items) > 0:
		objects := make([]*unstructured.Unstructured, len(found.Items))
		for i := range found.Items {
			objects[i] = &found.Items[i]
		}
		return objects, nil
	}
	namespaces := usualNamespaces
	if namespace != "" {
		namespaces = []string{namespace}
	}
	var objects []*unstructured.Unstructured
	for _, namespace := range namespaces {
		for _, name := range []string{migrate.StorkName, migrate.SchedulerName} {
			deployment, err := getIfThere(ctx, client, deployments, namespace, name)
			if err != nil {
				return nil, err
			}
			if deployment == nil {
				continue
			}
			objects = append(objects, deployment)
			if name == migrate.StorkName {
				continue
			}
			scheduler := &appsv1.Deployment{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(deployment.Object, scheduler); err != nil {
				return nil, err
			}
			config, err := getIfThere(ctx, client, configMaps, namespace, migrate.ConfigMapOf(scheduler))
			if err != nil {
				return nil, err
			}
			if config != nil {
				objects = append(objects, config)
			}
		}
	}
	if len(objects) == 0 {
		return nil, fmt.Errorf("%w in the namespaces %v: name the namespace by -n, or give files by -f", migrate.ErrNothing, namespaces)
	}
	return objects, nil
}

func getIfThere(ctx context.Context, client dynamic.Interface, resource schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	object, err := client.Resource(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, refusal(ctx, err, "get "+resource.Resource+" in the namespace "+namespace)
	}
	// The list of fields that somebody manages is of no use, and long.
	object.SetManagedFields(nil)
	return object, nil
}

// refusal names the right that is missing, and the way without it.
func refusal(ctx context.Context, err error, what string) error {
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("you may not %s (docs/kubectl.md has the rights), or have somebody else write them into a file for -f", what)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return err
	}
}
