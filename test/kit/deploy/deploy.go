// Package deploy builds what is deployed, and applies it as kubectl does.
package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Build is what `kubectl kustomize` prints for a folder.
func Build(folder string) ([]*unstructured.Unstructured, error) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", folder, err)
	}
	objects := make([]*unstructured.Unstructured, 0, resources.Size())
	for _, resource := range resources.Resources() {
		content, err := resource.MarshalJSON() // its map has numbers of a type that objects must not have
		if err != nil {
			return nil, err
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(content); err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// Object returns the object of that kind and name.
func Object(tb testing.TB, objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	tb.Helper()
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind && o.GetName() == name })
	if i < 0 {
		tb.Fatalf("there is no %s %s", kind, name)
	}
	return objects[i]
}

// Find is Object with its type.
func Find[T any](tb testing.TB, objects []*unstructured.Unstructured, kind, name string) *T {
	tb.Helper()
	typed := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(Object(tb, objects, kind, name).Object, typed); err != nil {
		tb.Fatalf("%s %s: %v", kind, name, err)
	}
	return typed
}

// Ordered returns the objects as kubectl and kustomize apply them: what others need
// comes first.
func Ordered(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	rank := func(object *unstructured.Unstructured) int {
		switch object.GetKind() {
		case "Namespace", "CustomResourceDefinition":
			return 0
		default:
			return 1
		}
	}
	ordered := slices.Clone(objects)
	slices.SortStableFunc(ordered, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	return ordered
}

// Applier applies objects of any kind.
type Applier struct {
	Dynamic dynamic.Interface
	// Mapper learns of new kinds when it is reset.
	Mapper *restmapper.DeferredDiscoveryRESTMapper
}

// NewApplier makes one with the rights of the configuration.
func NewApplier(config *rest.Config) (*Applier, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	found, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Applier{Dynamic: client, Mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found))}, nil
}

// Resource is the client for objects of that kind, where the object is.
func (a *Applier) Resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := object.GroupVersionKind()
	mapping, err := a.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	resource := a.Dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return resource, nil
	}
	if object.GetNamespace() == "" {
		return nil, errors.New("it names no namespace")
	}
	return resource.Namespace(object.GetNamespace()), nil
}

// Apply does what `kubectl apply --server-side --validate=strict` does: an unknown or
// misspelt field is an error.
func (a *Applier) Apply(ctx context.Context, objects ...*unstructured.Unstructured) error {
	for _, object := range objects {
		resource, err := a.Resource(object)
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		content, err := object.MarshalJSON()
		if err != nil {
			return err
		}
		_, err = resource.Patch(ctx, object.GetName(), types.ApplyPatchType, content,
			metav1.PatchOptions{FieldManager: "test", FieldValidation: metav1.FieldValidationStrict, Force: ptr.To(true)})
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}
