package manifests

import (
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/hyperconverge/scheduler/test/kit/deploy"
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
	objects, err := deploy.Build(folder)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func ofKind(objects []*unstructured.Unstructured, kinds ...string) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool { return !slices.Contains(kinds, o.GetKind()) })
}
