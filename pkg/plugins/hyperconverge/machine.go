package hyperconverge

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// What KubeVirt writes on the pods that run virtual machines.
const (
	kubevirtLabel        = "kubevirt.io"
	kubevirtLauncher     = "virt-launcher"
	kubevirtCreatedLabel = "kubevirt.io/created-by" // UID of the VirtualMachineInstance
	kubevirtOwnerKind    = "VirtualMachineInstance" // of the owner with the same UID
)

// machineIndex names the index of virt-launcher pods by their virtual machine.
const machineIndex = "hyperconverge/virtual-machine"

// machines tells which pods are launchers of a virtual machine, and whether the
// machine runs elsewhere already.
type machines struct {
	pods cache.Indexer
}

// newMachines adds an index to the pod informer, unless it has it already.
func newMachines(factory informers.SharedInformerFactory) (*machines, error) {
	informer := factory.Core().V1().Pods().Informer()
	m := &machines{pods: informer.GetIndexer()}
	if _, found := m.pods.GetIndexers()[machineIndex]; found {
		return m, nil
	}
	if err := informer.AddIndexers(cache.Indexers{machineIndex: indexByMachine}); err != nil {
		return nil, fmt.Errorf("indexing virt-launcher pods: %w", err)
	}
	return m, nil
}

func indexByMachine(obj any) ([]string, error) {
	if pod, ok := obj.(*v1.Pod); ok {
		if key := machineKey(pod); key != "" {
			return []string{key}, nil
		}
	}
	return nil, nil
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

// of tells what the pod is to its virtual machine (S8).
func (m *machines) of(pod *v1.Pod) placement.Machine {
	key := machineKey(pod)
	if key == "" {
		return placement.NoMachine
	}
	siblings, err := m.pods.ByIndex(machineIndex, key)
	if err != nil { // only an index that does not exist
		return placement.MachineStarting
	}
	for _, obj := range siblings { // and the pod itself, which does not run
		if sibling, ok := obj.(*v1.Pod); ok && sibling.Status.Phase == v1.PodRunning {
			return placement.MachineMigrating
		}
	}
	return placement.MachineStarting
}
