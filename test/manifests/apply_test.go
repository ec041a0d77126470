package manifests

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// patience is how long a test waits for what must come. It is no measure of speed:
// what comes in seconds takes minutes on a machine that compiles beside it.
const patience = 5 * time.Minute

// eventually polls until the condition holds, and fails with its last error.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for: %s: %v", patience, what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// disarm takes the admission webhook away, which does not run here: the API server
// would look for it in the network.
func (p *controlPlane) disarm(t *testing.T) {
	t.Helper()
	err := p.client.AdmissionregistrationV1().MutatingWebhookConfigurations().DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// apply does what `kubectl apply --server-side --validate=strict` does, and takes
// everything away again at the end of the test, but for namespaces: without a
// controller manager they would be on their way out for ever.
func (p *controlPlane) apply(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	ordered := slices.Clone(objects)
	slices.SortStableFunc(ordered, func(a, b *unstructured.Unstructured) int { return order(a) - order(b) })
	for _, object := range ordered {
		if err := p.applyOne(t.Context(), object); err != nil {
			t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
		}
		if object.GetKind() == "CustomResourceDefinition" {
			p.awaitDefinition(t, object)
		}
	}
	p.disarm(t)
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		for _, object := range slices.Backward(ordered) {
			if object.GetKind() == "Namespace" || object.GetKind() == "CustomResourceDefinition" {
				continue
			}
			resource, err := p.resource(object)
			if err == nil {
				err = resource.Delete(ctx, object.GetName(), metav1.DeleteOptions{})
			}
			if err != nil && !apierrors.IsNotFound(err) {
				t.Errorf("removing %s %s: %v", object.GetKind(), object.GetName(), err)
			}
		}
	})
}

// order is that of kubectl and kustomize: what others need comes first.
func order(object *unstructured.Unstructured) int {
	switch object.GetKind() {
	case "Namespace", "CustomResourceDefinition":
		return 0
	default:
		return 1
	}
}

func (p *controlPlane) applyOne(ctx context.Context, object *unstructured.Unstructured) error {
	resource, err := p.resource(object)
	if err != nil {
		return err
	}
	content, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	force := true
	_, err = resource.Patch(ctx, object.GetName(), types.ApplyPatchType, content,
		metav1.PatchOptions{FieldManager: "test", FieldValidation: metav1.FieldValidationStrict, Force: &force})
	return err
}

func (p *controlPlane) resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := object.GroupVersionKind()
	mapping, err := p.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	resource := p.dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return resource, nil
	}
	if object.GetNamespace() == "" {
		return nil, errors.New("it names no namespace")
	}
	return resource.Namespace(object.GetNamespace()), nil
}

// awaitDefinition waits until objects of a new kind can be made.
func (p *controlPlane) awaitDefinition(t *testing.T, definition *unstructured.Unstructured) {
	t.Helper()
	resource, err := p.resource(definition)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, definition.GetName()+" is established", func() error {
		got, err := resource.Get(t.Context(), definition.GetName(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		conditions, _, err := unstructured.NestedSlice(got.Object, "status", "conditions")
		if err != nil {
			return err
		}
		for _, c := range conditions {
			if condition, ok := c.(map[string]any); ok && condition["type"] == "Established" && condition["status"] == "True" {
				p.mapper.Reset()
				return nil
			}
		}
		return fmt.Errorf("its conditions are %v", conditions)
	})
}
