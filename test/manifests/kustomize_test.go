package manifests

import (
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// root is the project, seen from this folder.
const root = "../.."

// overlays are the folders that an administrator applies.
func overlays(t *testing.T) []string {
	t.Helper()
	found := []string{"manifests/base"}
	for _, pattern := range []string{"manifests/overlays/*", "examples/*"} {
		files, err := filepath.Glob(filepath.Join(root, pattern, "kustomization.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("there is nothing in %s: %v", pattern, err)
		}
		for _, file := range files {
			folder, err := filepath.Rel(root, filepath.Dir(file))
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, filepath.ToSlash(folder))
		}
	}
	return found
}

// build is what `kubectl kustomize` prints for a folder of the project.
func build(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	return buildFolder(t, filepath.Join(root, folder))
}

// buildFolder is build for a folder anywhere.
func buildFolder(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatalf("building %s: %v", folder, err)
	}
	objects := make([]*unstructured.Unstructured, 0, resources.Size())
	for _, resource := range resources.Resources() {
		content, err := resource.Map()
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, &unstructured.Unstructured{Object: content})
	}
	return objects
}

// find returns the only object of that kind and name.
func find[T any](t *testing.T, objects []*unstructured.Unstructured, kind, name string) *T {
	t.Helper()
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind && o.GetName() == name })
	if i < 0 {
		t.Fatalf("there is no %s %s", kind, name)
	}
	typed := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(objects[i].Object, typed); err != nil {
		t.Fatalf("%s %s: %v", kind, name, err)
	}
	return typed
}

func ofKind(objects []*unstructured.Unstructured, kinds ...string) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool { return !slices.Contains(kinds, o.GetKind()) })
}
