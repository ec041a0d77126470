package volumes

import (
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
)

// InTreeDriver is the name under which volumes of the in-tree plugin are known.
const InTreeDriver = "kubernetes.io/portworx-volume"

// Annotations by which Kubernetes notes the provisioner and the class of a claim.
const (
	annStorageProvisioner     = "volume.kubernetes.io/storage-provisioner"
	annBetaStorageProvisioner = "volume.beta.kubernetes.io/storage-provisioner"
)

// ClaimState says how far a pod's volume has come on its way to a volume handle.
type ClaimState uint8

const (
	// ClaimBound has a PV, or needs none (in-tree volume in the pod).
	ClaimBound ClaimState = iota
	// ClaimUnbound has no PV yet.
	ClaimUnbound
	// ClaimMissing means that the PVC does not exist.
	ClaimMissing
	// ClaimNotOwned means that the PVC of a generic ephemeral volume exists, but
	// was not made for this pod.
	ClaimNotOwned
	// ClaimLost means that the PVC names a PV that does not exist or belongs to
	// another claim.
	ClaimLost
)

// Claim is one volume of a pod on the way pod → PVC → PV → handle.
type Claim struct {
	State ClaimState
	// Driver is the name under which the volume is the driver's; empty if it is
	// none of our business, or if that cannot be known (missing claims).
	Driver string
	// Handle is the volume's id or name in the storage system. It is set for
	// bound claims of the driver only.
	Handle string
	// Namespace and Name are those of the PVC; for an in-tree volume in the pod
	// itself, Name is the handle and Namespace is empty.
	Namespace, Name string
	// PVC is nil for missing claims and for in-tree volumes in the pod.
	PVC *v1.PersistentVolumeClaim
	// Class is the StorageClass of the claim; nil if it has none or it is gone.
	Class *storagev1.StorageClass
}

// String is what messages call the volume.
func (c *Claim) String() string {
	if c.Namespace == "" {
		return c.Name
	}
	return c.Namespace + "/" + c.Name
}

// Parameters are the StorageClass parameters that apply to the claim.
func (c *Claim) Parameters() map[string]string {
	if c.Class == nil {
		return nil
	}
	return c.Class.Parameters
}

// Annotations are those of the PVC.
func (c *Claim) Annotations() map[string]string {
	if c.PVC == nil {
		return nil
	}
	return c.PVC.Annotations
}

// Objects is where the claims of pods are looked up.
type Objects interface {
	// PVC, PV and StorageClass return an error for what does not exist, or is not
	// known.
	PVC(namespace, name string) (*v1.PersistentVolumeClaim, error)
	PV(name string) (*v1.PersistentVolume, error)
	StorageClass(name string) (*storagev1.StorageClass, error)
	// StorageClasses returns all of them.
	StorageClasses() ([]*storagev1.StorageClass, error)
}

// Listers are the Objects of a process that caches them whole. An informer's
// store is updated before its handlers run, so a pod that an event has put back
// into the queue sees at least that event here.
type Listers struct {
	PVCs    corelisters.PersistentVolumeClaimLister
	PVs     corelisters.PersistentVolumeLister
	Classes storagelisters.StorageClassLister
}

// PVC implements Objects.
func (l Listers) PVC(namespace, name string) (*v1.PersistentVolumeClaim, error) {
	return l.PVCs.PersistentVolumeClaims(namespace).Get(name)
}

// PV implements Objects.
func (l Listers) PV(name string) (*v1.PersistentVolume, error) { return l.PVs.Get(name) }

// StorageClass implements Objects.
func (l Listers) StorageClass(name string) (*storagev1.StorageClass, error) {
	return l.Classes.Get(name)
}

// StorageClasses implements Objects.
func (l Listers) StorageClasses() ([]*storagev1.StorageClass, error) {
	return l.Classes.List(labels.Everything())
}

// Claims finds the claims of pods.
type Claims struct {
	objects Objects
	drivers sets.Set[string]
}

// NewClaims returns a finder for volumes of the given drivers.
func NewClaims(objects Objects, drivers []string) *Claims {
	return &Claims{objects: objects, drivers: sets.New(drivers...)}
}

// Of returns the claims of a pod, those of other drivers included, each of them
// once; two claims may have the same handle. It returns nil, without allocating,
// for a pod that has none.
func (c *Claims) Of(pod *v1.Pod) []Claim {
	var claims []Claim
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		var claim Claim
		switch name, ephemeral := ClaimName(pod, volume); {
		case name != "":
			claim = c.ofPVC(pod, name, ephemeral)
		case volume.PortworxVolume != nil && c.drivers.Has(InTreeDriver):
			claim = Claim{Driver: InTreeDriver, Handle: volume.PortworxVolume.VolumeID, Name: volume.PortworxVolume.VolumeID}
		default:
			continue
		}
		if isNew(claims, &claim) {
			if claims == nil {
				claims = make([]Claim, 0, len(pod.Spec.Volumes)-i)
			}
			claims = append(claims, claim)
		}
	}
	return claims
}

// isNew keeps a claim that a pod mounts twice from counting twice.
func isNew(claims []Claim, claim *Claim) bool {
	for i := range claims {
		if claims[i].Name == claim.Name && claims[i].Namespace == claim.Namespace {
			return false
		}
	}
	return true
}

// ClaimName returns the name of the PVC behind a pod's volume, and whether it
// belongs to a generic ephemeral volume; the name is empty if there is no PVC.
func ClaimName(pod *v1.Pod, volume *v1.Volume) (name string, ephemeral bool) {
	switch {
	case volume.PersistentVolumeClaim != nil:
		return volume.PersistentVolumeClaim.ClaimName, false
	case volume.Ephemeral != nil:
		return pod.Name + "-" + volume.Name, true
	default:
		return "", false
	}
}

func (c *Claims) ofPVC(pod *v1.Pod, name string, ephemeral bool) Claim {
	claim := Claim{Namespace: pod.Namespace, Name: name}
	pvc, err := c.objects.PVC(pod.Namespace, name)
	if err != nil {
		claim.State = ClaimMissing
		return claim
	}
	claim.PVC = pvc
	if ephemeral && !metav1.IsControlledBy(pvc, pod) {
		claim.State = ClaimNotOwned
		return claim
	}
	c.resolve(&claim, c.classOf(pvc))
	return claim
}

// resolve follows a claim whose PVC is known to its driver and handle.
func (c *Claims) resolve(claim *Claim, class *storagev1.StorageClass) {
	pvc := claim.PVC
	claim.Class = class
	if pvc.Spec.VolumeName == "" {
		claim.State = ClaimUnbound
		claim.Driver = c.driverOfUnbound(pvc, class)
		return
	}
	pv, err := c.objects.PV(pvc.Spec.VolumeName)
	if err != nil || !freeFor(pv, pvc) {
		claim.State = ClaimLost
		claim.Driver = c.driverOfUnbound(pvc, class)
		return
	}
	claim.Driver, claim.Handle = HandleOf(pv, c.drivers)
}

// freeFor reports whether the PV is the claim's, or free for it.
func freeFor(pv *v1.PersistentVolume, pvc *v1.PersistentVolumeClaim) bool {
	ref := pv.Spec.ClaimRef
	return ref == nil ||
		(ref.Name == pvc.Name && ref.Namespace == pvc.Namespace && (ref.UID == "" || ref.UID == pvc.UID))
}

// ClassName is the name of the StorageClass of a claim; empty if it names none.
func ClassName(pvc *v1.PersistentVolumeClaim) string {
	if name := pvc.Annotations[v1.BetaStorageClassAnnotation]; name != "" || pvc.Spec.StorageClassName == nil {
		return name
	}
	return *pvc.Spec.StorageClassName
}

func (c *Claims) classOf(pvc *v1.PersistentVolumeClaim) *storagev1.StorageClass {
	name := ClassName(pvc)
	if name == "" {
		return nil
	}
	class, err := c.objects.StorageClass(name)
	if err != nil {
		return nil
	}
	return class
}

// driverOfUnbound tells whose a claim without a PV will be.
func (c *Claims) driverOfUnbound(pvc *v1.PersistentVolumeClaim, class *storagev1.StorageClass) string {
	if class != nil && c.drivers.Has(class.Provisioner) {
		return class.Provisioner
	}
	for _, key := range [...]string{annStorageProvisioner, annBetaStorageProvisioner} {
		if name := pvc.Annotations[key]; c.drivers.Has(name) {
			return name
		}
	}
	return ""
}

// HandleOf returns the driver and the volume handle of a PV, or two empty
// strings if the PV is of another driver. The handle is a volume id, or, for
// in-tree volumes, an id or a name.
func HandleOf(pv *v1.PersistentVolume, drivers sets.Set[string]) (driver, handle string) {
	switch {
	case pv.Spec.CSI != nil && drivers.Has(pv.Spec.CSI.Driver):
		return pv.Spec.CSI.Driver, pv.Spec.CSI.VolumeHandle
	case pv.Spec.PortworxVolume != nil && drivers.Has(InTreeDriver):
		return InTreeDriver, pv.Spec.PortworxVolume.VolumeID
	default:
		return "", ""
	}
}
