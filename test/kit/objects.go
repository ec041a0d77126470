package kit

import (
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/ptr"
)

// Driver is the CSI driver whose volumes the scheduler knows.
const Driver = "pxd.portworx.com"

// bindCompleted is what the volume controller writes on a claim that it has bound.
const bindCompleted = "pv.kubernetes.io/bind-completed"

// Node is a Kubernetes node of the size that scheduler_perf uses, with room for so
// many pods.
func Node(name string, pods int64) *v1.Node {
	room := v1.ResourceList{
		v1.ResourceCPU: resource.MustParse("4"), v1.ResourceMemory: resource.MustParse("32Gi"),
		v1.ResourcePods: *resource.NewQuantity(pods, resource.DecimalSI),
	}
	return &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1.LabelHostname: name}},
		Status:     v1.NodeStatus{Capacity: room, Allocatable: room},
	}
}

// CSINode says that the driver runs on the node, as the kubelet does, and under which
// id storage knows the node.
func CSINode(node, storageID string) *storagev1.CSINode {
	return &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: node},
		Spec:       storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: Driver, NodeID: storageID}}},
	}
}

// Class is a StorageClass, whose volumes are provisioned at once.
func Class(name, provisioner string) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner}
}

// LateClass is a StorageClass whose volumes wait for their first pod.
func LateClass(name, provisioner string) *storagev1.StorageClass {
	class := Class(name, provisioner)
	class.VolumeBindingMode = ptr.To(storagev1.VolumeBindingWaitForFirstConsumer)
	return class
}

// Claim is a claim of one gibibyte that is not bound. Without class it waits for the
// default one.
func Claim(namespace, name string, class *string) *v1.PersistentVolumeClaim {
	return &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{}},
		Spec: v1.PersistentVolumeClaimSpec{
			StorageClassName: class,
			AccessModes:      []v1.PersistentVolumeAccessMode{v1.ReadWriteMany},
			Resources:        v1.VolumeResourceRequirements{Requests: v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
}

// Ephemeral is the source of a generic ephemeral volume of the class.
func Ephemeral(class *string) v1.VolumeSource {
	return v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{
		VolumeClaimTemplate: &v1.PersistentVolumeClaimTemplate{Spec: Claim("", "", class).Spec},
	}}
}

// Bind writes into a claim what the volume controller does when it binds the claim to
// a volume. The API server takes the status only by itself.
func Bind(claim *v1.PersistentVolumeClaim, volume string) {
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, bindCompleted, "yes")
	claim.Spec.VolumeName = volume
	claim.Status.Phase = v1.ClaimBound
}

// CSI is the source of a volume of the driver.
func CSI(driver, handle string) v1.PersistentVolumeSource {
	return v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: handle}}
}

// Volume is the PV of that name that is bound to the claim.
func Volume(name string, claim *v1.PersistentVolumeClaim, source v1.PersistentVolumeSource) *v1.PersistentVolume {
	volume := &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1.PersistentVolumeSpec{
			Capacity:    claim.Spec.Resources.Requests,
			AccessModes: claim.Spec.AccessModes,
			ClaimRef: &v1.ObjectReference{
				Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: source,
		},
		Status: v1.PersistentVolumeStatus{Phase: v1.VolumeBound},
	}
	if claim.Spec.StorageClassName != nil {
		volume.Spec.StorageClassName = *claim.Spec.StorageClassName
	}
	return volume
}

// Pod is a pod for a scheduler's profile that uses the claims. What it asks for makes
// its container.
func Pod(namespace, name, profile string, claims ...string) *st.PodWrapper {
	pod := st.MakePod().Namespace(namespace).Name(name).SchedulerName(profile)
	for _, claim := range claims {
		pod = pod.PVC(claim)
	}
	return pod
}

// CPU asks for so many CPUs.
func CPU(amount string) map[v1.ResourceName]string {
	return map[v1.ResourceName]string{v1.ResourceCPU: amount}
}

// On is the node selector for one node.
func On(node string) map[string]string { return map[string]string{v1.LabelHostname: node} }

// Unplaced is what the scheduler says of a pod that it could not place: Untried if it
// has said nothing yet.
func Unplaced(pod *v1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == v1.PodScheduled && condition.Status == v1.ConditionFalse {
			return condition.Message
		}
	}
	return Untried
}

// Untried is what Unplaced says of a pod that no scheduler has tried.
const Untried = "the scheduler has said nothing"
