package webhook

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// manifests is where the manifests of the webhook are.
const manifests = "../../manifests/webhook"

// build returns the objects of a kustomization.
func build(tb testing.TB, path string) []*unstructured.Unstructured {
	tb.Helper()
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsRootOnly
	resources, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), path)
	if err != nil {
		tb.Fatalf("kustomize build %s: %v", path, err)
	}
	var objects []*unstructured.Unstructured
	for _, resource := range resources.Resources() {
		object, err := resource.Map()
		if err != nil {
			tb.Fatal(err)
		}
		objects = append(objects, &unstructured.Unstructured{Object: object})
	}
	return objects
}

// buildOverlay returns the objects of the webhook with some of its components.
func buildOverlay(tb testing.TB, components ...string) []*unstructured.Unstructured {
	tb.Helper()
	here, err := filepath.Abs(".")
	if err != nil {
		tb.Fatal(err)
	}
	files := filesys.MakeFsOnDisk()
	overlay := tb.TempDir()
	relative, err := filepath.Rel(overlay, filepath.Join(here, manifests))
	if err != nil {
		tb.Fatal(err)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "resources: [%s]\ncomponents:\n", relative)
	for _, component := range components {
		fmt.Fprintf(&text, "- %s\n", filepath.Join(relative, component))
	}
	if err := files.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(text.String())); err != nil {
		tb.Fatal(err)
	}
	return build(tb, overlay)
}

// applier creates objects of any kind.
type applier struct {
	client dynamic.Interface
	mapper meta.RESTMapper
}

func newApplier(tb testing.TB, config *rest.Config) *applier {
	tb.Helper()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		tb.Fatal(err)
	}
	found, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		tb.Fatal(err)
	}
	return &applier{client: client, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found))}
}

// resource is the client for objects of that kind.
func (a *applier) resource(tb testing.TB, object *unstructured.Unstructured) dynamic.ResourceInterface {
	tb.Helper()
	kind := object.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		tb.Fatal(err)
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return a.client.Resource(mapping.Resource)
	}
	return a.client.Resource(mapping.Resource).Namespace(object.GetNamespace())
}

// create creates the objects; an unknown or misspelt field is an error.
func (a *applier) create(ctx context.Context, tb testing.TB, objects []*unstructured.Unstructured) {
	tb.Helper()
	for _, object := range objects {
		_, err := a.resource(tb, object).Create(ctx, object, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		if err != nil {
			tb.Fatalf("creating %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
}

// find returns the object of a kind and name.
func find(tb testing.TB, objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	tb.Helper()
	for _, object := range objects {
		if object.GetKind() == kind && object.GetName() == name {
			return object
		}
	}
	tb.Fatalf("the manifests have no %s %s", kind, name)
	return nil
}
