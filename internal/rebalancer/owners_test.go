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
	rollout := metav1.OwnerReference{APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout", Name: "roll", UID: "rollout", Controller: ptr.To(true)}
	for _, set := range []*appsv1.ReplicaSet{replicaSet("shop", "shop-1", 3, deployment), replicaSet("shop", "roll-1", 1, rollout)} {
		if err := factory.Apps().V1().ReplicaSets().Informer().GetIndexer().Add(set); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name, namespace string
		reference       metav1.OwnerReference
		owner           types.UID // empty for none
		gone            bool
	}{
		{"a ReplicaSet of a Deployment", "shop", metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "shop-1", UID: "shop/shop-1"}, "shop/deployment", false},
		{"a ReplicaSet of something else", "shop", metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "roll-1", UID: "shop/roll-1"}, "shop/roll-1", false},
		{"one of another namespace", "other", metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "shop-1", UID: "shop/shop-1"}, "", false},
		{"one of another name", "shop", metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "shop-2", UID: "shop/shop-1"}, "", false},
		{"one of another kind", "shop", metav1.OwnerReference{APIVersion: "db/v1", Kind: "Cluster", Name: "shop-1", UID: "shop/shop-1"}, "", false},
		{"a ReplicaSet that is not there", "shop", metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "shop-1", UID: "x"}, "shop/x", true},
		{"a Deployment without a ReplicaSet", "shop", metav1.OwnerReference{APIVersion: "apps/v9", Kind: "Deployment", Name: "shop", UID: "x"}, "shop/x", true},
		{"a kind that is not followed", "shop", metav1.OwnerReference{APIVersion: "db/v1", Kind: "Cluster", Name: "shop", UID: "x"}, "shop/x", false},
		{"a UID that is none", "shop", metav1.OwnerReference{APIVersion: "db/v1", Kind: "Cluster", Name: "shop", UID: types.UID(strings.Repeat("x", 1<<20))}, "", false},
		{"a name with which a journal would grow", "shop", metav1.OwnerReference{APIVersion: "db/v1", Kind: "Cluster", Name: strings.Repeat("\x01", 253), UID: "x"}, "", false},
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

// replicaSet makes one whose UID is namespace/name.
func replicaSet(namespace, name string, replicas int32, above metav1.OwnerReference) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + "/" + name), OwnerReferences: []metav1.OwnerReference{above}},
		Spec:       appsv1.ReplicaSetSpec{Replicas: &replicas},
	}
}

// podOfOwner makes one whose controller is what is named.
func podOfOwner(namespace, version, kind, name string, uid types.UID) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, OwnerReferences: []metav1.OwnerReference{
		{APIVersion: version, Kind: kind, Name: name, UID: uid, Controller: ptr.To(true)},
	}}}
}

// Who may create a ReplicaSet may write the Deployment of another namespace into it.
func TestAForgedReplicaSetIsNoneOfADeployment(t *testing.T) {
	deployment := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "shop", UID: "deployment", Controller: ptr.To(true)}
	for range 20 { // the order of the informer is that of a map
		factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
		for _, set := range []*appsv1.ReplicaSet{replicaSet("shop", "shop-1", 3, deployment), replicaSet("evil", "x", 1000, deployment)} {
			if err := factory.Apps().V1().ReplicaSets().Informer().GetIndexer().Add(set); err != nil {
				t.Fatal(err)
			}
		}
		o, err := newOwners(factory)
		if err != nil {
			t.Fatal(err)
		}
		owner := o.of(podOfOwner("shop", "apps/v1", "ReplicaSet", "shop-1", "shop/shop-1"))
		if owner == nil || owner.Wanted != 3 || owner.Namespace != "shop" || owner == o.of(podOfOwner("evil", "apps/v1", "ReplicaSet", "x", "evil/x")) {
			t.Fatalf("the owner is %+v", owner)
		}
		if reference, is := ownerOf(owner).(*v1.ObjectReference); !is || reference.UID != "deployment" {
			t.Errorf("events are about %+v", reference)
		}
	}
}

// A pod of another namespace that names the UID first.
func TestAForgedReferenceTakesNoOwnerAway(t *testing.T) {
	o, err := newOwners(informers.NewSharedInformerFactory(fake.NewClientset(), 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"evil", "shop"} {
		owner := o.of(podOfOwner(namespace, "kubevirt.io/v1", "VirtualMachineInstance", "db", "vmi"))
		if owner == nil || owner.Namespace != namespace {
			t.Errorf("the owner of a pod of %s is %+v", namespace, owner)
		}
	}
}

func TestOwnersThatAreAboutToWantSomethingElse(t *testing.T) {
	deployment := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "shop", UID: "deployment", Controller: ptr.To(true)}
	status := func(generation int64, current, update string) *appsv1.StatefulSet {
		return &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "db", Generation: generation},
			Status:     appsv1.StatefulSetStatus{ObservedGeneration: 1, CurrentRevision: current, UpdateRevision: update},
		}
	}
	onDelete := func(set *appsv1.StatefulSet) *appsv1.StatefulSet {
		set.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
		return set
	}
	canary := func(set *appsv1.StatefulSet, partition int32) *appsv1.StatefulSet {
		set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition}
		return set
	}
	going := replicaSet("shop", "db", 1, deployment)
	going.UID, going.DeletionTimestamp = "db", ptr.To(metav1.Now())
	for _, tc := range []struct {
		name               string
		object             metav1.Object
		kind               string
		changing, outdated bool
	}{
		{"a StatefulSet that has what it wants", status(1, "a", "a"), "StatefulSet", false, false},
		{"one whose controller has not seen its last version", status(2, "a", "a"), "StatefulSet", true, false},
		{"one that makes pods of another revision", status(1, "a", "b"), "StatefulSet", false, true},
		{"one whose strategy has left this pod as the last", status(1, "b", "a"), "StatefulSet", false, false},
		{"a canary that has left this pod as it was", canary(status(1, "a", "b"), 1), "StatefulSet", false, false},
		{"a partition that has been raised above a pod that was made anew", canary(status(1, "b", "a"), 1), "StatefulSet", false, true},
		{"OnDelete, and a way back while this pod was left", onDelete(status(1, "b", "b")), "StatefulSet", false, true},
		{"a Deployment whose ReplicaSet is being deleted", going, "ReplicaSet", true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
			indexer := factory.Apps().V1().StatefulSets().Informer().GetIndexer()
			if tc.kind == "ReplicaSet" {
				indexer = factory.Apps().V1().ReplicaSets().Informer().GetIndexer()
			}
			if err := indexer.Add(tc.object); err != nil {
				t.Fatal(err)
			}
			o, err := newOwners(factory)
			if err != nil {
				t.Fatal(err)
			}
			pod := podOfOwner("shop", "apps/v1", tc.kind, "db", "db")
			pod.Name = "db-0"
			pod.Labels = map[string]string{appsv1.StatefulSetRevisionLabel: "a"}
			owner := o.of(pod)
			if owner == nil || owner.Gone || owner.Changing != tc.changing || podOf(pod, owner).Outdated != tc.outdated {
				t.Errorf("the owner is %+v", owner)
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
