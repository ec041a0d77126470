package claims

import (
	"fmt"
	"unique"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	storagehelpers "k8s.io/component-helpers/storage/volume"
)

// Digest is an informer transform for a process that asks OfNew and nothing else.
// It makes a *ClaimDigest of a PVC and a *VolumeDigest of a PV, so that a hundred
// thousand claims fit into a small process, and drops of a StorageClass what
// OfNew does not read. Everything else passes unchanged.
func Digest(object any) (any, error) {
	switch object := object.(type) {
	case *v1.PersistentVolumeClaim:
		return DigestOfClaim(object), nil
	case *v1.PersistentVolume:
		return DigestOfVolume(object), nil
	case *storagev1.StorageClass:
		return trimClass(object), nil
	default:
		return object, nil
	}
}

// Digests are the Objects of a process whose caches hold what Digest returns.
type Digests struct {
	PVCs, PVs cache.KeyGetter
	Classes   storagelisters.StorageClassLister
}

// PVC implements Objects.
func (d Digests) PVC(namespace, name string) (*v1.PersistentVolumeClaim, error) {
	digest, err := digestIn[*ClaimDigest](d.PVCs, "persistentvolumeclaims", namespace+"/"+name)
	if err != nil {
		return nil, err
	}
	return digest.PVC(), nil
}

// PV implements Objects.
func (d Digests) PV(name string) (*v1.PersistentVolume, error) {
	digest, err := digestIn[*VolumeDigest](d.PVs, "persistentvolumes", name)
	if err != nil {
		return nil, err
	}
	return digest.PV(), nil
}

// StorageClass implements Objects.
func (d Digests) StorageClass(name string) (*storagev1.StorageClass, error) {
	return d.Classes.Get(name)
}

// StorageClasses implements Objects.
func (d Digests) StorageClasses() ([]*storagev1.StorageClass, error) {
	return d.Classes.List(labels.Everything())
}

func digestIn[T any](store cache.KeyGetter, resource, key string) (digest T, err error) {
	object, found, err := store.GetByKey(key)
	if err != nil {
		return digest, err
	}
	if !found {
		return digest, apierrors.NewNotFound(v1.Resource(resource), key)
	}
	digest, ok := object.(T)
	if !ok {
		return digest, fmt.Errorf("the cache of %s holds a %T", resource, object)
	}
	return digest, nil
}

// ClaimDigest is what OfNew reads of a PVC: its name, that of its volume, and a
// reference to what it shares with others.
type ClaimDigest struct {
	traits           unique.Handle[claimTraits]
	name, volumeName string
}

// claimTraits are what claims have in common with many others.
type claimTraits struct {
	namespace                    string
	class, classAnnotation       optional
	provisioner, betaProvisioner string
	shared                       bool
}

// optional tells an empty string, which asks for no class, from none at all.
type optional struct {
	value string
	set   bool
}

// DigestOfClaim returns the digest of a PVC.
func DigestOfClaim(pvc *v1.PersistentVolumeClaim) *ClaimDigest {
	traits := claimTraits{namespace: pvc.Namespace, shared: isShared(pvc)}
	if class := pvc.Spec.StorageClassName; class != nil {
		traits.class = optional{*class, true}
	}
	if class, set := pvc.Annotations[v1.BetaStorageClassAnnotation]; set {
		traits.classAnnotation = optional{class, true}
	}
	traits.provisioner = pvc.Annotations[storagehelpers.AnnStorageProvisioner]
	traits.betaProvisioner = pvc.Annotations[storagehelpers.AnnBetaStorageProvisioner]
	return &ClaimDigest{traits: unique.Make(traits), name: pvc.Name, volumeName: pvc.Spec.VolumeName}
}

// GetObjectMeta implements metav1.ObjectMetaAccessor, for the key in the cache.
func (d *ClaimDigest) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: d.traits.Value().namespace, Name: d.name}
}

// PVC returns as much of the claim as OfNew reads.
func (d *ClaimDigest) PVC() *v1.PersistentVolumeClaim {
	traits := d.traits.Value()
	pvc := &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: traits.namespace, Name: d.name},
		Spec:       v1.PersistentVolumeClaimSpec{VolumeName: d.volumeName},
	}
	if traits.class.set {
		pvc.Spec.StorageClassName = &traits.class.value
	}
	if traits.shared { // by which of the two modes is nobody's question
		pvc.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteMany}
	}
	annotate := func(key, value string, set bool) {
		if set {
			metav1.SetMetaDataAnnotation(&pvc.ObjectMeta, key, value)
		}
	}
	annotate(v1.BetaStorageClassAnnotation, traits.classAnnotation.value, traits.classAnnotation.set)
	annotate(storagehelpers.AnnStorageProvisioner, traits.provisioner, traits.provisioner != "")
	annotate(storagehelpers.AnnBetaStorageProvisioner, traits.betaProvisioner, traits.betaProvisioner != "")
	return pvc
}

// VolumeDigest is what OfNew reads of a PV: whose it is, but neither its handle
// nor its claim.
type VolumeDigest struct {
	driver unique.Handle[string]
	name   string
}

// DigestOfVolume returns the digest of a PV.
func DigestOfVolume(pv *v1.PersistentVolume) *VolumeDigest {
	driver := ""
	switch {
	case pv.Spec.CSI != nil:
		driver = pv.Spec.CSI.Driver
	case pv.Spec.PortworxVolume != nil:
		driver = InTreeDriver
	}
	return &VolumeDigest{driver: unique.Make(driver), name: pv.Name}
}

// GetObjectMeta implements metav1.ObjectMetaAccessor, for the key in the cache.
func (d *VolumeDigest) GetObjectMeta() metav1.Object { return &metav1.ObjectMeta{Name: d.name} }

// PV returns as much of the volume as OfNew reads.
func (d *VolumeDigest) PV() *v1.PersistentVolume {
	pv := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: d.name}}
	switch driver := d.driver.Value(); driver {
	case "":
	case InTreeDriver:
		pv.Spec.PortworxVolume = &v1.PortworxVolumeSource{}
	default:
		pv.Spec.CSI = &v1.CSIPersistentVolumeSource{Driver: driver}
	}
	return pv
}

func trimClass(class *storagev1.StorageClass) *storagev1.StorageClass {
	trimmed := &storagev1.StorageClass{Provisioner: class.Provisioner, ObjectMeta: metav1.ObjectMeta{
		Name: class.Name, ResourceVersion: class.ResourceVersion, CreationTimestamp: class.CreationTimestamp,
	}}
	for _, key := range [...]string{annDefaultClass, annBetaDefaultClass} {
		if value, set := class.Annotations[key]; set {
			metav1.SetMetaDataAnnotation(&trimmed.ObjectMeta, key, value)
		}
	}
	return trimmed
}
