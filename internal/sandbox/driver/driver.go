// Package driver is what the storage driver brings to Kubernetes in a sandbox:
// its CSIDriver and CSINode objects, its StorageClasses, and dynamic
// provisioning.
package driver

import (
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Name is the CSI driver's name, and that of its provisioner.
const Name = "pxd.portworx.com"

// StorageClasses that every sandbox has. All keep two replicas.
const (
	// ClassDB is for a volume that one pod uses at a time. It is the default class.
	ClassDB = "px-csi-db"
	// ClassDBWait is the same, provisioned only when a pod has been given a node.
	ClassDBWait = "px-csi-db-wait"
	// ClassSharedv4 is for a volume that many pods use at once.
	ClassSharedv4 = "px-csi-sharedv4"
	// ClassSharedv4Service is the same behind a service, which by default wants
	// its pods off the replica nodes.
	ClassSharedv4Service = "px-csi-sharedv4-svc"
)

// defaultClass marks the class of claims that name none.
const defaultClass = "storageclass.kubernetes.io/is-default-class"

// Object is the driver's CSIDriver. Volumes are mounted without an attachment
// that Kubernetes would have to make, and placement is the scheduler's business,
// not that of CSI capacity or topology.
func Object() *storagev1.CSIDriver {
	return &storagev1.CSIDriver{
		ObjectMeta: metav1.ObjectMeta{Name: Name},
		Spec: storagev1.CSIDriverSpec{
			AttachRequired:       ptr.To(false),
			PodInfoOnMount:       ptr.To(true),
			VolumeLifecycleModes: []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent},
		},
	}
}

// OnNode is the driver's entry in the CSINode of a node whose storage node has
// this id.
func OnNode(storageNodeID string) storagev1.CSINodeDriver {
	return storagev1.CSINodeDriver{Name: Name, NodeID: storageNodeID}
}

// StorageClasses are the classes named above.
func StorageClasses() []*storagev1.StorageClass {
	const immediate, wait = storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer
	db := NewClass(ClassDB, immediate, map[string]string{"repl": "2", "io_profile": "db_remote"})
	db.Annotations = map[string]string{defaultClass: "true"}
	return []*storagev1.StorageClass{
		db,
		NewClass(ClassDBWait, wait, map[string]string{"repl": "2", "io_profile": "db_remote"}),
		NewClass(ClassSharedv4, immediate, map[string]string{"repl": "2", "sharedv4": "true", "sharedv4_svc_type": ""}),
		NewClass(ClassSharedv4Service, immediate, map[string]string{"repl": "2", "sharedv4": "true", "sharedv4_svc_type": "ClusterIP"}),
	}
}

// NewClass makes a StorageClass of the driver.
func NewClass(name string, binding storagev1.VolumeBindingMode, parameters map[string]string) *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta:           metav1.ObjectMeta{Name: name},
		Provisioner:          Name,
		Parameters:           parameters,
		VolumeBindingMode:    ptr.To(binding),
		AllowVolumeExpansion: ptr.To(true),
	}
}
