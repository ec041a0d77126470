package claims

import (
	"iter"
	"slices"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/ephemeral"
	storagehelpers "k8s.io/component-helpers/storage/volume"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// InTreeDriver is the name under which volumes of the in-tree plugin are known.
const InTreeDriver = "kubernetes.io/portworx-volume"

// MaxHandle is the greatest length in bytes of the id or name of a volume that
// stands in a pod (F13). Kubernetes bounds names at 253; ids are shorter.
const MaxHandle = 256

// MigratedDriver is the CSI driver that mounts volumes of the in-tree plugin
// (PortworxDriverName of k8s.io/csi-translation-lib).
const MigratedDriver = "pxd.portworx.com"

// Claim is one volume of a pod on the way pod → PVC → PV → handle.
type Claim struct {
	State placement.ClaimState
	// Driver is the name under which the volume is the driver's; empty if it is
	// none of our business, or if that cannot be known (missing claims).
	Driver string
	// Handle is the volume's id or name in the storage system. It is set for
	// bound claims of the driver only.
	Handle string
	// Namespace and Name are those of the PVC; for an in-tree volume in the pod
	// itself, Name is the handle, for other volumes in the pod the volume's name, and
	// Namespace is empty.
	Namespace, Name string
	// PVC is nil for missing claims and for volumes in the pod.
	PVC *v1.PersistentVolumeClaim
	// Class is the StorageClass of the claim; nil if it has none or it is gone.
	Class *storagev1.StorageClass
	// Repeated tells that a claim of the same pod before this one has its handle.
	Repeated bool
}

// String is what messages call the volume.
func (c *Claim) String() string {
	if c.Namespace == "" {
		return c.Name
	}
	return c.Namespace + "/" + c.Name
}

// Shared reports whether several pods may use the volume at once.
func (c *Claim) Shared() bool {
	return c.PVC != nil && isShared(c.PVC)
}

func isShared(pvc *v1.PersistentVolumeClaim) bool {
	return slices.Contains(pvc.Spec.AccessModes, v1.ReadWriteMany) || slices.Contains(pvc.Spec.AccessModes, v1.ReadOnlyMany)
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
	// PVCs is the store behind a lister, which is asked for a claim of every pod: a
	// lister allocates once more.
	PVCs    cache.Store
	PVs     corelisters.PersistentVolumeLister
	Classes storagelisters.StorageClassLister
}

// PVC implements Objects.
func (l Listers) PVC(namespace, name string) (*v1.PersistentVolumeClaim, error) {
	object, _, err := l.PVCs.GetByKey(namespace + "/" + name)
	if err != nil {
		return nil, err
	}
	if pvc, found := object.(*v1.PersistentVolumeClaim); found {
		return pvc, nil
	}
	return nil, apierrors.NewNotFound(v1.Resource("persistentvolumeclaims"), name)
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

// Finder finds the claims of pods.
type Finder struct {
	objects Objects
	drivers sets.Set[string]
}

// NewFinder returns a finder for volumes of the given drivers.
func NewFinder(objects Objects, drivers []string) *Finder {
	return &Finder{objects: objects, drivers: sets.New(drivers...)}
}

// Of returns the claims of a pod in the order of its volumes, those of other
// drivers included, each of them once; two claims may have the same handle. Behind
// placement.MaxVolumes volumes of the driver it returns one more and stops. It returns nil,
// without allocating, for a pod that has none.
//
// More names PVCs in the pod's namespace that the pod does not mount, but that
// count as its own. They come last, and only those that are bound and of the driver:
// the pod can run without the others.
func (f *Finder) Of(pod *v1.Pod, more ...string) []Claim {
	var claims []Claim
	var seen seen
	ours := 0
	add := func(claim *Claim) (full bool) {
		if claims == nil {
			claims = make([]Claim, 0, min(len(pod.Spec.Volumes)+len(more), placement.MaxVolumes+1))
		}
		if seen.before(claims, claim) {
			return false
		}
		claims = append(claims, *claim)
		if claim.Driver != "" {
			ours++
		}
		return ours > placement.MaxVolumes
	}
	for i := range pod.Spec.Volumes {
		claim, found := f.of(pod, &pod.Spec.Volumes[i], f.ofPVC, f.ofEphemeral)
		if found && add(&claim) {
			return claims
		}
	}
	for _, name := range more {
		claim := f.ofPVC(pod, name)
		if claim.State == placement.ClaimBound && claim.Driver != "" && add(&claim) {
			return claims
		}
	}
	return claims
}

// of is the one place that tells which volumes of a pod count. A claim is resolved
// by one of the two functions: pods that are there and pods that are coming differ
// in them.
func (f *Finder) of(pod *v1.Pod, volume *v1.Volume,
	pvc func(*v1.Pod, string) Claim, ephemeral func(*v1.Pod, *v1.Volume) Claim) (claim Claim, found bool) {
	switch {
	case volume.PersistentVolumeClaim != nil:
		return pvc(pod, volume.PersistentVolumeClaim.ClaimName), true
	case volume.Ephemeral != nil && volume.Ephemeral.VolumeClaimTemplate != nil:
		return ephemeral(pod, volume), true
	case volume.PortworxVolume != nil && f.drivers.Has(InTreeDriver):
		return inTree(volume), true
	case volume.CSI != nil && f.drivers.Has(volume.CSI.Driver):
		return Claim{State: placement.ClaimInline, Driver: volume.CSI.Driver, Name: volume.Name}, true
	}
	return Claim{}, false
}

// inTree is a volume that stands in the pod by its id or name.
func inTree(volume *v1.Volume) Claim {
	id := volume.PortworxVolume.VolumeID
	if len(id) > MaxHandle {
		// Nobody keeps the text, nor repeats it in a message.
		return Claim{State: placement.ClaimInvalid, Driver: InTreeDriver, Name: volume.Name}
	}
	return Claim{Driver: InTreeDriver, Handle: id, Name: id}
}

// seen finds what a pod mounts twice. Up to a few claims, comparing them is cheaper
// than a set.
type seen struct {
	claims  map[claimKey]struct{}
	handles map[string]struct{}
}

type claimKey struct {
	state           placement.ClaimState
	namespace, name string
}

func (c *Claim) key() claimKey { return claimKey{c.State, c.Namespace, c.Name} }

const comparedClaims = 8

// before reports whether a claim is among those before it, and notes in the claim
// whether its handle is.
func (s *seen) before(claims []Claim, claim *Claim) bool {
	if len(claims) < comparedClaims {
		for i := range claims {
			if claims[i].key() == claim.key() {
				return true
			}
			claim.Repeated = claim.Repeated || claim.Handle != "" && claims[i].Handle == claim.Handle
		}
		return false
	}
	if s.claims == nil {
		s.claims, s.handles = map[claimKey]struct{}{}, map[string]struct{}{}
		for i := range claims {
			s.claims[claims[i].key()] = struct{}{}
			s.handles[claims[i].Handle] = struct{}{}
		}
	}
	if _, found := s.claims[claim.key()]; found {
		return true
	}
	_, repeated := s.handles[claim.Handle]
	claim.Repeated = repeated && claim.Handle != ""
	s.claims[claim.key()], s.handles[claim.Handle] = struct{}{}, struct{}{}
	return false
}

// Names are those of the claims that are volumes of a pod.
func Names(pod *v1.Pod) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range pod.Spec.Volumes {
			name := ""
			switch volume := &pod.Spec.Volumes[i]; {
			case volume.PersistentVolumeClaim != nil:
				name = volume.PersistentVolumeClaim.ClaimName
			case volume.Ephemeral != nil:
				name = ephemeral.VolumeClaimName(pod, volume)
			default:
				continue
			}
			if !yield(name) {
				return
			}
		}
	}
}

// Uses reports whether a volume of the pod is the claim of this name.
func Uses(pod *v1.Pod, claim string) bool {
	for name := range Names(pod) {
		if name == claim {
			return true
		}
	}
	return false
}

func (f *Finder) ofPVC(pod *v1.Pod, name string) Claim {
	return f.Claim(pod.Namespace, name)
}

func (f *Finder) ofEphemeral(pod *v1.Pod, volume *v1.Volume) Claim {
	claim, found := f.find(pod.Namespace, ephemeral.VolumeClaimName(pod, volume))
	switch {
	case !found:
	case ephemeral.VolumeIsForPod(pod, claim.PVC) != nil:
		claim.State = placement.ClaimNotOwned
	default:
		f.resolve(&claim, f.classOf(claim.PVC))
	}
	return claim
}

// Claim finds one claim by its name, for whomever.
func (f *Finder) Claim(namespace, name string) Claim {
	claim, found := f.find(namespace, name)
	if found {
		f.resolve(&claim, f.classOf(claim.PVC))
	}
	return claim
}

// Ours reports whether a driver goes by this name.
func (f *Finder) Ours(driver string) bool { return f.drivers.Has(driver) }

// find looks a claim up by name.
func (f *Finder) find(namespace, name string) (claim Claim, found bool) {
	claim = Claim{Namespace: namespace, Name: name}
	pvc, err := f.objects.PVC(namespace, name)
	if err != nil {
		claim.State = placement.ClaimMissing
		return claim, false
	}
	claim.PVC = pvc
	return claim, true
}

// resolve follows a claim whose PVC is known to its driver and handle.
func (f *Finder) resolve(claim *Claim, class *storagev1.StorageClass) {
	pvc := claim.PVC
	claim.Class = class
	if pvc.Spec.VolumeName == "" {
		claim.State = placement.ClaimUnbound
		claim.Driver = f.driverOfUnbound(pvc, class)
		return
	}
	pv, err := f.objects.PV(pvc.Spec.VolumeName)
	if err != nil || !freeFor(pv, pvc) {
		claim.State = placement.ClaimLost
		claim.Driver = f.driverOfUnbound(pvc, class)
		return
	}
	claim.Driver, claim.Handle = HandleOf(pv, f.drivers)
}

// freeFor reports whether the PV is the claim's, or free for it.
func freeFor(pv *v1.PersistentVolume, pvc *v1.PersistentVolumeClaim) bool {
	return pv.Spec.ClaimRef == nil || storagehelpers.IsVolumeBoundToClaim(pv, pvc)
}

func (f *Finder) classOf(pvc *v1.PersistentVolumeClaim) *storagev1.StorageClass {
	name := storagehelpers.GetPersistentVolumeClaimClass(pvc)
	if name == "" {
		return nil
	}
	class, err := f.objects.StorageClass(name)
	if err != nil {
		return nil
	}
	return class
}

// driverOfUnbound tells whose a claim without a PV will be.
func (f *Finder) driverOfUnbound(pvc *v1.PersistentVolumeClaim, class *storagev1.StorageClass) string {
	if class != nil && f.drivers.Has(class.Provisioner) {
		return class.Provisioner
	}
	for _, key := range [...]string{storagehelpers.AnnStorageProvisioner, storagehelpers.AnnBetaStorageProvisioner} {
		if name := pvc.Annotations[key]; f.drivers.Has(name) {
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
