package hyperconverge

import (
	"context"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/hyperconverge/scheduler/pkg/optional"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// What KubeVirt writes on the pods that run virtual machines, and on those through
// which it plugs disks into running ones (pkg/virt-controller/services/template.go of
// KubeVirt).
const (
	kubevirtLabel        = "kubevirt.io"
	kubevirtLauncher     = "virt-launcher"
	kubevirtAttachment   = "hotplug-disk"
	kubevirtCreatedLabel = "kubevirt.io/created-by" // UID of the VirtualMachineInstance
	kubevirtOwnerKind    = "VirtualMachineInstance" // of the owner with the same UID
)

// virtualMachineInstances is the resource of the machines themselves. Only they name
// the disks that are plugged in while a machine runs.
var virtualMachineInstances = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstances"}

// machineIndex names the index of virt-launcher pods and of virtual machines by
// their virtual machine.
const machineIndex = "hyperconverge/virtual-machine"

// machines tells which pods are launchers of a virtual machine, whether the machine
// runs elsewhere already, and which disks it has besides those of the pod.
type machines struct {
	pods cache.Indexer
	// instances holds a *machineDisks for each virtual machine; nil without a client
	// to list them with.
	instances *optional.Informer
}

// newMachines adds an index to the pod informer, unless it has it already. A nil
// client leaves plugged disks unknown.
func newMachines(factory informers.SharedInformerFactory, client dynamic.Interface) (*machines, error) {
	informer := factory.Core().V1().Pods().Informer()
	m := &machines{pods: informer.GetIndexer()}
	if _, found := m.pods.GetIndexers()[machineIndex]; !found {
		if err := informer.AddIndexers(cache.Indexers{machineIndex: indexByMachine}); err != nil {
			return nil, fmt.Errorf("indexing virt-launcher pods: %w", err)
		}
	}
	if client == nil {
		return m, nil
	}
	var err error
	m.instances, err = optional.NewInformer(client, virtualMachineInstances, disksOf, cache.Indexers{machineIndex: indexByMachine},
		"disks that are plugged into running virtual machines do not count")
	if err != nil {
		return nil, err
	}
	return m, nil
}

// newDynamicClient returns no client where there is no API server, as in simulators.
func newDynamicClient(config *rest.Config) (dynamic.Interface, error) {
	if config == nil {
		return nil, nil //nolint:nilnil // newMachines does without
	}
	return dynamic.NewForConfig(config)
}

// run follows the virtual machines until the context ends. Nobody waits for the
// first list: a cluster without KubeVirt never has one.
func (m *machines) run(ctx context.Context) {
	if m.instances != nil {
		m.instances.RunWithContext(ctx)
	}
}

// machineDisks is what is kept of a VirtualMachineInstance, which may have 50 kB.
type machineDisks struct {
	namespace, name string
	uid             types.UID
	// claims are the PVCs of all its disks.
	claims []string
	// migrates says that the machine moves while it runs when its pod is evicted.
	migrates bool
}

// GetObjectMeta implements metav1.ObjectMetaAccessor, for the key in the cache.
func (d *machineDisks) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: d.namespace, Name: d.name}
}

// disksOf is an informer transform. A DataVolume and its PVC have the same name.
func disksOf(obj any) (any, error) {
	instance, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return obj, nil
	}
	d := &machineDisks{namespace: instance.GetNamespace(), name: instance.GetName(), uid: instance.GetUID()}
	// A field of another type is none of the ones we know.
	volumes, _, _ := unstructured.NestedFieldNoCopy(instance.Object, "spec", "volumes")
	list, _ := volumes.([]any)
	for _, item := range list {
		volume, _ := item.(map[string]any)
		for _, source := range [...][2]string{{"persistentVolumeClaim", "claimName"}, {"dataVolume", "name"}} {
			if name, _, _ := unstructured.NestedString(volume, source[0], source[1]); name != "" {
				d.claims = append(d.claims, name)
			}
		}
	}
	d.migrates = migrates(instance)
	return d, nil
}

// migrates reports whether an eviction has KubeVirt migrate the machine: it can, and its
// own strategy says so. What a cluster has for machines that name no strategy is not known.
func migrates(instance *unstructured.Unstructured) bool {
	strategy, _, _ := unstructured.NestedString(instance.Object, "spec", "evictionStrategy")
	if strategy != "LiveMigrate" && strategy != "LiveMigrateIfPossible" {
		return false
	}
	conditions, _, _ := unstructured.NestedFieldNoCopy(instance.Object, "status", "conditions")
	list, _ := conditions.([]any)
	return slices.ContainsFunc(list, func(item any) bool {
		condition, _ := item.(map[string]any)
		return condition["type"] == "LiveMigratable" && condition["status"] == "True"
	})
}

func indexByMachine(obj any) ([]string, error) {
	key := ""
	switch obj := obj.(type) {
	case *v1.Pod:
		// Only whether one runs is ever asked, and whoever may create pods can give a
		// great many the labels of launchers.
		if obj.Status.Phase == v1.PodRunning {
			key = machineKey(obj)
		}
	case *machineDisks:
		key = obj.namespace + "/" + string(obj.uid)
	}
	if key == "" {
		return nil, nil
	}
	return []string{key}, nil
}

// machineKey is namespace and virtual machine of a virt-launcher pod, and empty
// for all other pods.
func machineKey(pod *v1.Pod) string {
	if pod.Labels[kubevirtLabel] != kubevirtLauncher {
		return ""
	}
	uid := pod.Labels[kubevirtCreatedLabel]
	for i := 0; uid == "" && i < len(pod.OwnerReferences); i++ {
		if owner := &pod.OwnerReferences[i]; owner.Kind == kubevirtOwnerKind {
			uid = string(owner.UID)
		}
	}
	if uid == "" {
		return ""
	}
	return pod.Namespace + "/" + uid
}

// roleOf tells what the pod is to its virtual machine (S8).
func (m *machines) roleOf(pod *v1.Pod) placement.Machine {
	key := machineKey(pod)
	if key == "" {
		return placement.NoMachine
	}
	running, err := m.pods.ByIndex(machineIndex, key)
	if err != nil || len(running) == 0 { // an error is only that of an index that does not exist
		return placement.MachineStarting
	}
	return placement.MachineMigrating
}

// disks returns the PVCs of all disks of the virtual machine that the pod launches,
// nil for other pods: those that the pod mounts, too, and those that are plugged in
// through a pod of their own once the machine runs. The slice must not be changed.
func (m *machines) disks(pod *v1.Pod) []string {
	if d := m.instance(pod); d != nil {
		return d.claims
	}
	return nil
}

// instance is the virtual machine that the pod launches; nil if that is not known.
func (m *machines) instance(pod *v1.Pod) *machineDisks {
	key := machineKey(pod)
	if key == "" || m.instances == nil {
		return nil
	}
	found, err := m.instances.GetIndexer().ByIndex(machineIndex, key)
	if err != nil || len(found) == 0 { // not yet, or no longer
		return nil
	}
	d, _ := found[0].(*machineDisks)
	return d
}

// attachment reports whether a pod does no more than bring a disk to the node of a
// running virtual machine. KubeVirt ties it to that node.
func (m *machines) attachment(pod *v1.Pod) bool {
	return pod.Labels[kubevirtLabel] == kubevirtAttachment
}
