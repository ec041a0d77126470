package rebalancer

import (
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/informers"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/pkg/rebalance"
)

// owners finds the controllers of pods.
type owners struct {
	factory informers.SharedInformerFactory
	// known: UID, or keyOf, → owner, of those that have pods or were looked up.
	known map[types.UID]*rebalance.Owner
	// above: UID of a ReplicaSet → its Deployment.
	above map[types.UID]*rebalance.Owner
}

func newOwners(factory informers.SharedInformerFactory) (*owners, error) {
	o := &owners{factory: factory, known: map[types.UID]*rebalance.Owner{}, above: map[types.UID]*rebalance.Owner{}}
	sets, err := factory.Apps().V1().ReplicaSets().Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	for _, set := range sets {
		owner := o.add(set, "ReplicaSet.apps", set.Spec.Replicas)
		if above := metav1.GetControllerOf(set); above != nil && kindOf(above) == "Deployment.apps" {
			key := keyOf(set.Namespace, above.UID)
			deployment := o.known[key]
			if deployment == nil {
				deployment = &rebalance.Owner{UID: key, Kind: kindOf(above), Namespace: set.Namespace, Name: above.Name, Known: true}
				o.known[key] = deployment
			}
			deployment.Wanted += owner.Wanted
			// Its pods would be made anew by another ReplicaSet, or by none.
			deployment.Changing = deployment.Changing || owner.Gone
			o.above[set.UID] = deployment
		}
	}
	stateful, err := factory.Apps().V1().StatefulSets().Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	for _, set := range stateful {
		owner := o.add(set, "StatefulSet.apps", set.Spec.Replicas)
		owner.Changing = set.Status.ObservedGeneration < set.Generation
		owner.Current, owner.Update, owner.Before = set.Status.CurrentRevision, set.Status.UpdateRevision, currentBelow(set)
	}
	controllers, err := factory.Core().V1().ReplicationControllers().Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	for _, controller := range controllers {
		o.add(controller, "ReplicationController", controller.Spec.Replicas)
	}
	return o, nil
}

// currentBelow is the ordinal below which a StatefulSet makes pods of its current revision, by
// the rule of newVersionedStatefulSetPod (pkg/controller/statefulset of Kubernetes).
func currentBelow(set *appsv1.StatefulSet) int {
	start, strategy := 0, set.Spec.UpdateStrategy
	if set.Spec.Ordinals != nil {
		start = int(set.Spec.Ordinals.Start)
	}
	switch {
	case strategy.RollingUpdate != nil:
		return start + int(ptr.Deref(strategy.RollingUpdate.Partition, 0))
	case strategy.Type == appsv1.RollingUpdateStatefulSetStrategyType:
		return start + int(set.Status.CurrentReplicas)
	default:
		return 0
	}
}

// outdated reports whether the successor of a pod of a StatefulSet would be of another revision.
func outdated(pod *v1.Pod, owner *rebalance.Owner) bool {
	made := owner.Update
	ordinal, err := strconv.Atoi(pod.Name[strings.LastIndexByte(pod.Name, '-')+1:])
	if err == nil && ordinal < owner.Before {
		made = owner.Current
	}
	return made != "" && made != pod.Labels[appsv1.StatefulSetRevisionLabel]
}

func (o *owners) add(object metav1.Object, kind string, replicas *int32) *rebalance.Owner {
	owner := &rebalance.Owner{
		UID: object.GetUID(), Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName(),
		Known: true, Gone: object.GetDeletionTimestamp() != nil, Wanted: 1,
	}
	if replicas != nil {
		owner.Wanted = int(*replicas)
	}
	o.known[owner.UID] = owner
	return owner
}

func kindOf(reference *metav1.OwnerReference) string {
	return schema.FromAPIVersionAndKind(reference.APIVersion, reference.Kind).GroupKind().String()
}

// keyOf is under which an owner is kept that only references tell of. Who writes those may
// write the UID of an owner of another namespace.
func keyOf(namespace string, uid types.UID) types.UID {
	return types.UID(namespace + "/" + string(uid))
}

// maxUID is how long a UID of Kubernetes is at the most; an API server takes anything in a
// reference.
const maxUID = 36

// of is the owner of a pod, nil if it has none. Who makes a pod may write any reference into
// it, so that one that does not fit the object of its UID is none.
func (o *owners) of(pod *v1.Pod) *rebalance.Owner {
	reference := metav1.GetControllerOf(pod)
	if reference == nil || len(reference.UID) > maxUID {
		return nil
	}
	kind := kindOf(reference)
	owner := o.known[reference.UID]
	if owner == nil {
		key := keyOf(pod.Namespace, reference.UID)
		if owner = o.known[key]; owner == nil {
			if len(validation.IsDNS1123Subdomain(reference.Name)) > 0 {
				return nil
			}
			listed := rebalance.Listed(kind)
			owner = &rebalance.Owner{UID: key, Kind: kind, Namespace: pod.Namespace, Name: reference.Name, Known: listed, Gone: listed}
			o.known[key] = owner
		}
	}
	if owner.Namespace != pod.Namespace || owner.Name != reference.Name || owner.Kind != kind {
		return nil
	}
	if above := o.above[reference.UID]; above != nil {
		return above
	}
	return owner
}

// budget is a PodDisruptionBudget.
type budget struct {
	name     string
	selector labels.Selector
}

// budgetsOf are all budgets by namespace, and how many disruptions each allows: none while
// it has not been counted since it was changed. One whose selector is none that is known here
// allows nothing to any pod of its namespace.
func budgetsOf(factory informers.SharedInformerFactory) (map[string][]budget, map[string]int, error) {
	list, err := factory.Policy().V1().PodDisruptionBudgets().Lister().List(labels.Everything())
	if err != nil {
		return nil, nil, err
	}
	budgets, allowed := map[string][]budget{}, map[string]int{}
	for _, pdb := range list {
		selector, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector)
		if err != nil {
			selector = labels.Everything()
		}
		name := pdb.Namespace + "/" + pdb.Name
		budgets[pdb.Namespace] = append(budgets[pdb.Namespace], budget{name: name, selector: selector})
		if err == nil && pdb.Status.ObservedGeneration >= pdb.Generation {
			allowed[name] = int(pdb.Status.DisruptionsAllowed)
		}
	}
	return budgets, allowed, nil
}
