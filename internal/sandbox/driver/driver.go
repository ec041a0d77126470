// Package driver is what the storage driver brings to Kubernetes in a sandbox:
// its CSIDriver and CSINode objects, its StorageClasses, and dynamic
// provisioning.
package driver

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/libopenstorage/openstorage/api"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
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

const (
	// workers is how many claims are provisioned at the same time.
	workers = 8
	// A failed claim is tried again after this time, then after twice as much.
	firstRetry = 500 * time.Millisecond
	lastRetry  = 15 * time.Second

	defaultFilesystem = "ext4"
)

// provisioner makes a volume for a claim by way of the SDK, as the driver's CSI
// controller does.
type provisioner struct {
	storage *Storage
	client  kubernetes.Interface
	// resources has placement strategies and snapshots.
	resources dynamic.Interface
	// identity is written into PVs, as the external provisioner does.
	identity string
}

// RunProvisioner provisions and deletes volumes until the context ends, and
// returns when nothing of it runs any more.
func RunProvisioner(ctx context.Context, client kubernetes.Interface, resources dynamic.Interface, storage *Storage) {
	var running sync.WaitGroup
	c := controller.NewProvisionController(ctx, client, Name,
		&provisioner{storage: storage, client: client, resources: resources, identity: fmt.Sprintf("%d-%s", time.Now().UnixMilli(), Name)},
		controller.LeaderElection(false),
		controller.Threadiness(workers),
		controller.AddFinalizer(true),
		controller.RateLimiter(workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry)),
	)
	c.ControllerWaitGroup(&running)
	c.Run(ctx)
	running.Wait()
}

// Provision implements controller.Provisioner.
func (p *provisioner) Provision(ctx context.Context, options controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	volume, err := p.make(ctx, options)
	switch {
	case err == nil:
	case outcomeUnknown(err):
		// The volume may exist; the next attempt has the same name and will find it.
		return nil, controller.ProvisioningInBackground, err
	default:
		return nil, controller.ProvisioningFinished, err
	}
	return p.persistentVolume(options, volume), controller.ProvisioningFinished, nil
}

// make creates the volume of a claim, or copies that of its source.
func (p *provisioner) make(ctx context.Context, options controller.ProvisionOptions) (*api.Volume, error) {
	parent, err := p.parent(ctx, options.PVC)
	if err != nil {
		return nil, err
	}
	if parent != "" {
		return p.storage.clone(ctx, &api.SdkVolumeCloneRequest{Name: options.PVName, ParentId: parent, AdditionalLabels: labelsOf(options.PVC)})
	}
	request, err := createRequest(options)
	if err != nil {
		return nil, err
	}
	if request.Spec.PlacementStrategy, err = p.strategy(ctx, options); err != nil {
		return nil, err
	}
	return p.storage.create(ctx, request)
}

// labelsOf are the labels that a volume has from its claim.
func labelsOf(claim *corev1.PersistentVolumeClaim) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, claim.Labels)
	labels[openstoragesim.LabelPVC], labels[openstoragesim.LabelNamespace] = claim.Name, claim.Namespace
	return labels
}

// Delete implements controller.Provisioner.
func (p *provisioner) Delete(ctx context.Context, pv *corev1.PersistentVolume) error {
	if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != Name {
		return &controller.IgnoredError{Reason: "not a volume of " + Name}
	}
	return p.storage.remove(ctx, pv.Spec.CSI.VolumeHandle)
}

// createRequest turns a claim and its class into what the SDK wants.
func createRequest(options controller.ProvisionOptions) (*api.SdkVolumeCreateRequest, error) {
	parameters := map[string]string{}
	maps.Copy(parameters, options.StorageClass.Parameters)
	// What the external provisioner adds with --extra-create-metadata.
	parameters["csi.storage.k8s.io/pvc/name"] = options.PVC.Name
	parameters["csi.storage.k8s.io/pvc/namespace"] = options.PVC.Namespace
	parameters["csi.storage.k8s.io/pv/name"] = options.PVName

	spec, labels, err := openstoragesim.ParseParameters(parameters)
	if err != nil {
		return nil, err
	}
	size := options.PVC.Spec.Resources.Requests[corev1.ResourceStorage]
	spec.Size = uint64(max(size.Value(), 0))
	ofClaim := labelsOf(options.PVC)
	for _, key := range []string{api.SpecZones, api.SpecRacks, api.SpecBestEffortLocationProvisioning} {
		delete(ofClaim, key) // storage would take it for a parameter, which only the class has
	}
	maps.Copy(labels, ofClaim)
	if node := options.SelectedNodeName; node != "" {
		spec.TopologyRequirement = &api.TopologyRequirement{Labels: map[string]string{openstoragesim.LabelHostname: node}}
	}
	return &api.SdkVolumeCreateRequest{Name: options.PVName, Spec: spec, Labels: labels}, nil
}

func (p *provisioner) persistentVolume(options controller.ProvisionOptions, volume *api.Volume) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      options.PVC.Spec.Resources.Requests.DeepCopy(),
			AccessModes:                   options.PVC.Spec.AccessModes,
			VolumeMode:                    options.PVC.Spec.VolumeMode,
			MountOptions:                  options.StorageClass.MountOptions,
			PersistentVolumeReclaimPolicy: ptr.Deref(options.StorageClass.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete),
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{
					Driver:           Name,
					VolumeHandle:     volume.GetId(),
					FSType:           cmp.Or(options.StorageClass.Parameters["csi.storage.k8s.io/fstype"], defaultFilesystem),
					VolumeAttributes: p.attributes(volume),
				},
			},
		},
	}
}

// attributes are the volume as it was at creation. Nobody keeps them up to date,
// here as on a real cluster.
func (p *provisioner) attributes(volume *api.Volume) map[string]string {
	return map[string]string{
		"attached": volume.GetAttachedState().String(),
		"error":    volume.GetError(),
		"parent":   volume.GetSource().GetParent(),
		"readonly": strconv.FormatBool(volume.GetReadonly()),
		"secure":   strconv.FormatBool(volume.GetSpec().GetEncrypted()),
		"shared":   strconv.FormatBool(volume.GetSpec().GetShared()),
		"sharedv4": strconv.FormatBool(volume.GetSpec().GetSharedv4()),
		"state":    volume.GetState().String(),
		"storage.kubernetes.io/csiProvisionerIdentity": p.identity,
	}
}
