package volumes

import (
	"unique"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Trim is an informer transform for a process that asks OfNew and nothing else.
// It keeps of PVCs, PVs and StorageClasses what OfNew reads, so that a hundred
// thousand claims fit into a small process. What it keeps of a PV has no handle
// and does not say whose it is. Objects of other types pass unchanged.
func Trim(object any) (any, error) {
	switch object := object.(type) {
	case *v1.PersistentVolumeClaim:
		return trimClaim(object), nil
	case *v1.PersistentVolume:
		return trimVolume(object), nil
	case *storagev1.StorageClass:
		return trimClass(object), nil
	default:
		return object, nil
	}
}

func trimClaim(pvc *v1.PersistentVolumeClaim) *v1.PersistentVolumeClaim {
	trimmed := &v1.PersistentVolumeClaim{ObjectMeta: trimMeta(&pvc.ObjectMeta)}
	trimmed.Spec.VolumeName = pvc.Spec.VolumeName
	if pvc.Spec.StorageClassName != nil {
		class := unique.Make(*pvc.Spec.StorageClassName).Value()
		trimmed.Spec.StorageClassName = &class
	}
	if pvc.Spec.VolumeName != "" { // its volume knows the driver
		trimmed.Annotations = keep(pvc.Annotations, v1.BetaStorageClassAnnotation)
	} else {
		trimmed.Annotations = keep(pvc.Annotations, v1.BetaStorageClassAnnotation, annStorageProvisioner, annBetaStorageProvisioner)
	}
	return trimmed
}

func trimVolume(pv *v1.PersistentVolume) *v1.PersistentVolume {
	trimmed := &v1.PersistentVolume{ObjectMeta: trimMeta(&pv.ObjectMeta)}
	switch {
	case pv.Spec.CSI != nil:
		trimmed.Spec.CSI = &v1.CSIPersistentVolumeSource{Driver: unique.Make(pv.Spec.CSI.Driver).Value()}
	case pv.Spec.PortworxVolume != nil:
		trimmed.Spec.PortworxVolume = &v1.PortworxVolumeSource{}
	}
	return trimmed
}

func trimClass(class *storagev1.StorageClass) *storagev1.StorageClass {
	trimmed := &storagev1.StorageClass{ObjectMeta: trimMeta(&class.ObjectMeta), Provisioner: class.Provisioner}
	trimmed.CreationTimestamp = class.CreationTimestamp
	trimmed.Annotations = keep(class.Annotations, annDefaultClass, annBetaDefaultClass)
	return trimmed
}

func trimMeta(meta *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:       unique.Make(meta.Namespace).Value(),
		Name:            meta.Name,
		ResourceVersion: meta.ResourceVersion,
	}
}

// keep returns the entries of some keys, nil if there are none.
func keep(annotations map[string]string, keys ...string) map[string]string {
	var kept map[string]string
	for _, key := range keys {
		if value, found := annotations[key]; found {
			if kept == nil {
				kept = make(map[string]string, 1)
			}
			kept[key] = unique.Make(value).Value()
		}
	}
	return kept
}
