package manifests

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/kyaml/kio"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// What is documented has to be taken by the API server as it is written, and to
// name a profile that exists.
func TestExamplesAreValid(t *testing.T) {
	plane := sharedPlane(t)
	plane.apply(t, ofKind(build(t, "manifests/overlays/gang"), "CustomResourceDefinition"))
	plane.apply(t, readObjects(t, filepath.Join(root, "internal/sandbox/driver/crds/volumeplacementstrategies.yaml")))
	files, err := filepath.Glob(filepath.Join(root, "examples", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no examples: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			objects := readObjects(t, file)
			plane.apply(t, objects)
			named := false
			for _, object := range objects {
				name, found, err := unstructured.NestedString(object.Object, "spec", "template", "spec", "schedulerName")
				if err != nil {
					t.Fatal(err)
				}
				if found && !slices.Contains(profiles(t, build(t, "manifests/base")), name) {
					t.Errorf("%s %s names the profile %q", object.GetKind(), object.GetName(), name)
				}
				named = named || found
			}
			if !named {
				t.Error("nothing in it has a scheduler")
			}
		})
	}
}

// A class of the storage operator's own cannot be changed by an example, and would
// be deleted with it. So every example brings its own.
func TestExamplesBringTheirClasses(t *testing.T) {
	operators := []string{"px-db", "px-replicated", "px-csi-db", "px-csi-replicated"}
	files, err := filepath.Glob(filepath.Join(root, "examples", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no examples: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			made, used := map[string]bool{}, []string(nil)
			for _, object := range readObjects(t, file) {
				if object.GetKind() == "StorageClass" {
					made[object.GetName()] = true
				}
				used = append(used, classesIn(object.Object)...)
			}
			if len(used) == 0 {
				t.Error("it has no claim")
			}
			for _, class := range used {
				if !made[class] || slices.Contains(operators, class) {
					t.Errorf("it uses the class %s, which is not its own", class)
				}
			}
		})
	}
}

// classesIn are the classes that an object names, at any depth.
func classesIn(value any) []string {
	var classes []string
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if class, ok := inner.(string); ok && key == "storageClassName" {
				classes = append(classes, class)
			}
			classes = append(classes, classesIn(inner)...)
		}
	case []any:
		for _, inner := range value {
			classes = append(classes, classesIn(inner)...)
		}
	}
	return classes
}

// readDocuments reads the documents of a YAML file, comments included.
func readDocuments(t *testing.T, file string) []*yaml.RNode {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	documents, err := kio.FromBytes(content)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return documents
}

// readObjects reads a file as `kubectl apply -f` does.
func readObjects(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	documents := readDocuments(t, file)
	objects := make([]*unstructured.Unstructured, 0, len(documents))
	for _, document := range documents {
		json, err := document.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(json); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
	return objects
}
