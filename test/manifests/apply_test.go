package manifests

import (
	"context"
	"fmt"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

// disarm takes the admission webhook away, which does not run here: the API server
// would look for it in the network.
func (p *controlPlane) disarm(t *testing.T) {
	t.Helper()
	err := p.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// apply does what `kubectl apply --server-side --validate=strict` does, and takes
// everything away again at the end of the test, but for namespaces: without a
// controller manager they would be on their way out for ever.
func (p *controlPlane) apply(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	ordered := deploy.Ordered(objects)
	for _, object := range ordered {
		if err := p.Apply(t.Context(), object); err != nil {
			t.Fatal(err)
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
			resource, err := p.Resource(object)
			if err == nil {
				err = resource.Delete(ctx, object.GetName(), metav1.DeleteOptions{})
			}
			if err != nil && !apierrors.IsNotFound(err) {
				t.Errorf("removing %s %s: %v", object.GetKind(), object.GetName(), err)
			}
		}
	})
}

// awaitDefinition waits until objects of a new kind can be made.
func (p *controlPlane) awaitDefinition(t *testing.T, definition *unstructured.Unstructured) {
	t.Helper()
	resource, err := p.Resource(definition)
	if err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, kit.Patience, definition.GetName()+" is established", func() error {
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
				return p.discovers(got)
			}
		}
		return fmt.Errorf("its conditions are %v", conditions)
	})
}

// discovers looks for the kind that a definition defines: the API server tells of it some time
// after it has established it.
func (p *controlPlane) discovers(definition *unstructured.Unstructured) error {
	group, _, _ := unstructured.NestedString(definition.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(definition.Object, "spec", "names", "kind")
	p.Mapper.Reset()
	_, err := p.Mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind})
	return err
}
