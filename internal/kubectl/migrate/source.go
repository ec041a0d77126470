package migrate

import (
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Group is that of StorageClusters.
const Group = "core.libopenstorage.org"

// Names of Stork's Deployments.
const (
	StorkName     = "stork"
	SchedulerName = "stork-scheduler"
)

// Source is what was read: a StorageCluster, or, without an operator, Deployments.
type Source struct {
	Cluster          *unstructured.Unstructured
	Stork, Scheduler *appsv1.Deployment
	// Config is the ConfigMap of the scheduler's configuration.
	Config *v1.ConfigMap
}

// ErrNothing says that there is nothing of Stork.
var ErrNothing = errors.New("there is neither a StorageCluster nor a Deployment stork or stork-scheduler")

// Select finds the source among objects of any kind. An empty namespace is any.
func Select(objects []*unstructured.Unstructured, namespace string) (*Source, error) {
	source := &Source{}
	var clusters []*unstructured.Unstructured
	var configs []*v1.ConfigMap
	for _, object := range objects {
		if namespace != "" && object.GetNamespace() != namespace {
			continue
		}
		var err error
		switch kind := object.GroupVersionKind().GroupKind().String(); {
		case kind == "StorageCluster."+Group:
			clusters = append(clusters, object)
		case kind == "Deployment.apps" && object.GetName() == StorkName:
			err = become(&source.Stork, object)
		case kind == "Deployment.apps" && object.GetName() == SchedulerName:
			err = become(&source.Scheduler, object)
		case kind == "ConfigMap":
			var config *v1.ConfigMap
			err = become(&config, object)
			configs = append(configs, config)
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case len(clusters) > 1:
		names := make([]string, len(clusters))
		for i, cluster := range clusters {
			names[i] = clean(cluster.GetNamespace() + "/" + cluster.GetName())
		}
		return nil, fmt.Errorf("there are %d StorageClusters: %s; name the namespace of one by -n", len(clusters), strings.Join(names, ", "))
	case len(clusters) == 1:
		source.Cluster = clusters[0]
	case source.Stork == nil && source.Scheduler == nil:
		return nil, ErrNothing
	}
	for _, config := range configs {
		if source.Scheduler != nil && config.Name == ConfigMapOf(source.Scheduler) && config.Namespace == source.Scheduler.Namespace {
			source.Config = config
		}
	}
	return source, nil
}

// become gives an object its type. There can be one of a name.
func become[T any](into **T, object *unstructured.Unstructured) error {
	what := name(object.GetKind(), object)
	if *into != nil {
		return fmt.Errorf("%s: there is another %s of that name; name the namespace of one by -n", what, object.GetKind())
	}
	typed := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, typed); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	*into = typed
	return nil
}
