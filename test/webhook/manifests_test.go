package webhook

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

// manifests is where the manifests of the webhook are.
const manifests = "../../manifests/webhook"

// build returns the objects of a kustomization.
func build(tb testing.TB, path string) []*unstructured.Unstructured {
	tb.Helper()
	objects, err := deploy.Build(path)
	if err != nil {
		tb.Fatal(err)
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
