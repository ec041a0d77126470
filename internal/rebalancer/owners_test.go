package rebalancer

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"
)

// Who may create pods may write any owner into them.
func TestOwnersAreThoseThatTheClusterHas(t *testing.T) {
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	deployment := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "shop", UID: "deployment", Controller: ptr.To(true)}
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop-1", UID: "replicaset", OwnerReferences: []metav1.OwnerReference{deployment}}}
	if err := factory.Apps().V1().ReplicaSets().Informer().GetIndexer().Add(set); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, namespace string
		reference       metav1.OwnerReference
		owner           types.UID // empty for none
		gone            bool
	}{
		{"a ReplicaSet of a Deployment", "shop", metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "shop-1", UID: "replicaset"}, "deployment", false},
		{"one of another namespace", "other", metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "shop-1", UID: "replicaset"}, "", false},
		{"one of another name", "shop", metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "shop-2", UID: "replicaset"}, "", false},
		{"one of another kind", "shop", metav1.OwnerReference{APIVersion: "db/v1", Kind: "Cluster", Name: "shop-1", UID: "replicaset"}, "", false},
		{"a ReplicaSet that is not there", "shop", metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "shop-1", UID: "x"}, "x", true},
		{"a Deployment without a ReplicaSet", "shop", metav1.OwnerReference{APIVersion: "apps/v9", Kind: "Deployment", Name: "shop", UID: "x"}, "x", true},
		{"a kind that is not followed", "shop", metav1.OwnerReference{APIVersion: "db/v1", Kind: "Cluster", Name: "shop", UID: "x"}, "x", false},
		{"a UID that is none", "shop", metav1.OwnerReference{APIVersion: "db/v1", Kind: "Cluster", Name: "shop", UID: types.UID(strings.Repeat("x", 1<<20))}, "", false},
		{"a name that is none", "shop", metav1.OwnerReference{APIVersion: "db/v1", Kind: "Cluster", Name: strings.Repeat("x", 1<<20), UID: "x"}, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, err := newOwners(factory)
			if err != nil {
				t.Fatal(err)
			}
			tc.reference.Controller = ptr.To(true)
			owner := o.of(&v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: tc.namespace, OwnerReferences: []metav1.OwnerReference{tc.reference}}})
			switch {
			case owner == nil && tc.owner == "":
			case owner == nil || owner.UID != tc.owner || owner.Gone != tc.gone:
				t.Errorf("the owner is %.200v", owner)
			}
		})
	}
}

// A budget that cannot be read allows nothing to the pods of its namespace, and is no
// reason not to look at the others.
func TestABudgetThatCannotBeReadAllowsNothing(t *testing.T) {
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	odd := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "odd"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}},
		Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 9},
	}
	if err := factory.Policy().V1().PodDisruptionBudgets().Informer().GetIndexer().Add(odd); err != nil {
		t.Fatal(err)
	}
	budgets, allowed, err := budgetsOf(factory)
	if err != nil || len(budgets["shop"]) != 1 || !budgets["shop"][0].selector.Matches(labels.Set{}) || allowed["shop/odd"] != 0 {
		t.Errorf("budgets %v, allowed %v: %v", budgets, allowed, err)
	}
}
