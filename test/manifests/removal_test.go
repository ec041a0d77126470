package manifests

import (
	"slices"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

// partOf is what the line in docs/install.md that takes everything away looks for.
const partOf = "app.kubernetes.io/part-of=hyperconverge"

func TestEveryObjectSaysWhatItIsPartOf(t *testing.T) {
	folders := append(overlays(t), monitoringFolders(t)...)
	folders = append(folders, "manifests/webhook", "manifests/webhook/policy", "manifests/rebalancer")
	objects := compose(t, "resources: [PATH/manifests/base]\ncomponents: [PATH/manifests/webhook/cert-manager, PATH/manifests/components/rebalancer-force-delete]", nil)
	for _, folder := range folders {
		objects = append(objects, build(t, folder)...)
	}
	key, value, _ := strings.Cut(partOf, "=")
	for _, object := range objects {
		if object.GetLabels()[key] != value {
			t.Errorf("%s %s %s does not have the label %s", object.GroupVersionKind(), object.GetNamespace(), object.GetName(), partOf)
		}
	}
}

// Whatever somebody has applied, one overlay after another, the line of docs/install.md
// leaves nothing of it.
func TestRemovalLeavesNothing(t *testing.T) {
	const line = `kubectl delete -A -l ` + partOf + ` "$(kubectl api-resources --verbs=list,delete -o name | paste -sd, -)"`
	if !strings.Contains(read(t, "docs", "install.md"), line) {
		t.Errorf("docs/install.md does not say: %s", line)
	}
	plane := sharedPlane(t)
	plane.apply(t, definitions(t))
	for _, folder := range append(overlays(t), monitoringFolders(t)...) {
		for _, object := range deploy.Ordered(build(t, folder)) {
			if err := plane.Apply(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			if object.GetKind() == "CustomResourceDefinition" {
				plane.awaitDefinition(t, object)
			}
		}
		plane.disarm(t)
	}
	// What our programs make, and label with nothing.
	_, err := plane.Client.CoordinationV1().Leases(systemNamespace).Create(t.Context(),
		&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: schedulerName}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	plane.deleteAll(t, "", partOf)
	plane.endNamespace(t)

	for resource, objects := range plane.everything(t, "", "") {
		if resource.Resource == "events" {
			continue // of pods that other tests have named like us; they end by themselves
		}
		for i := range objects {
			object := &objects[i]
			if object.GetNamespace() == systemNamespace || strings.Contains(object.GetName(), "hyperconverge") || object.GetLabels()["app.kubernetes.io/part-of"] == "hyperconverge" {
				t.Errorf("%s %s %s is left", resource.Resource, object.GetNamespace(), object.GetName())
			}
		}
	}
}

// everything is what there is of all resources that can be listed and deleted, in a
// namespace or anywhere.
func (p *controlPlane) everything(t *testing.T, namespace, selector string) map[schema.GroupVersionResource][]unstructured.Unstructured {
	t.Helper()
	lists, err := p.Client.Discovery().ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	found := map[schema.GroupVersionResource][]unstructured.Unstructured{}
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.APIResources {
			resource := &list.APIResources[i]
			if !slices.Contains(resource.Verbs, "list") || !slices.Contains(resource.Verbs, "delete") || namespace != "" && !resource.Namespaced {
				continue
			}
			listed, err := p.Dynamic.Resource(version.WithResource(resource.Name)).Namespace(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
			if apierrors.IsNotFound(err) {
				continue // of a definition that has just been deleted
			}
			if err != nil {
				t.Fatalf("listing %s: %v", resource.Name, err)
			}
			found[version.WithResource(resource.Name)] = listed.Items
		}
	}
	if len(found) < 20 {
		t.Fatalf("only %d resources are known", len(found))
	}
	return found
}

func (p *controlPlane) deleteAll(t *testing.T, namespace, selector string) {
	t.Helper()
	for resource, objects := range p.everything(t, namespace, selector) {
		for i := range objects {
			err := p.Dynamic.Resource(resource).Namespace(objects[i].GetNamespace()).Delete(t.Context(), objects[i].GetName(), metav1.DeleteOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				t.Errorf("deleting %s %s: %v", resource.Resource, objects[i].GetName(), err)
			}
		}
	}
}

// endNamespace does the namespace controller's part for a namespace that is on its way
// out.
func (p *controlPlane) endNamespace(t *testing.T) {
	t.Helper()
	namespace, err := p.Client.CoreV1().Namespaces().Get(t.Context(), systemNamespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if namespace.DeletionTimestamp == nil {
		t.Fatal("the namespace is not being deleted")
	}
	p.deleteAll(t, systemNamespace, "")
	namespace.Spec.Finalizers = nil
	if _, err := p.Client.CoreV1().Namespaces().Finalize(t.Context(), namespace, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}
