package volumes

import (
	"unique"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The three functions below are informer transforms for a process that asks
// OfNew and nothing else: they keep what it reads, so that a hundred thousand
// claims fit into a small process. What is kept of a PV does not say whose it
// is and has no handle. Objects of other types pass unchanged.

// TrimClaim keeps of a PVC its name, its volume, its class and, while it is
// unbound, its provisioner.
func TrimClaim(object any) (any, error) {
	pvc, ok := object.(*v1.PersistentVolumeClaim)
	if !ok {
		return object, nil
	}
	trimmed := &v1.PersistentVolumeClaim{ObjectMeta: trimMeta(&pvc.ObjectMeta)}
	trimmed.Spec.VolumeName = pvc.Spec.VolumeName
	if name := pvc.Spec.StorageClassName; name != nil {
		class := unique.Make(*name).Value()
		trimmed.Spec.StorageClassName = &class
	}
	keys := []string{v1.BetaStorageClassAnnotation}
	if pvc.Spec.VolumeName == "" {
		keys = append(keys, annStorageProvisioner, annBetaStorageProvisioner)
	}
	trimmed.Annotations = keep(pvc.Annotations, keys)
	return trimmed, nil
}

// TrimVolume keeps of a PV its name and its driver.
func TrimVolume(object any) (any, error) {
	pv, ok := object.(*v1.PersistentVolume)
	if !ok {
		return object, nil
	}
	trimmed := &v1.PersistentVolume{ObjectMeta: trimMeta(&pv.ObjectMeta)}
	switch {
	case pv.Spec.CSI != nil:
		trimmed.Spec.CSI = &v1.CSIPersistentVolumeSource{Driver: unique.Make(pv.Spec.CSI.Driver).Value()}
	case pv.Spec.PortworxVolume != nil:
		trimmed.Spec.PortworxVolume = &v1.PortworxVolumeSource{}
	}
	return trimmed, nil
}

// TrimClass keeps of a StorageClass its name, its provisioner, and what makes it
// the default one.
func TrimClass(object any) (any, error) {
	class, ok := object.(*storagev1.StorageClass)
	if !ok {
		return object, nil
	}
	trimmed := &storagev1.StorageClass{ObjectMeta: trimMeta(&class.ObjectMeta), Provisioner: class.Provisioner}
	trimmed.CreationTimestamp = class.CreationTimestamp
	trimmed.Annotations = keep(class.Annotations, []string{annDefaultClass, annBetaDefaultClass})
	return trimmed, nil
}

func trimMeta(meta *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:       unique.Make(meta.Namespace).Value(),
		Name:            meta.Name,
		ResourceVersion: meta.ResourceVersion,
	}
}

// keep returns the entries of some keys, nil if there are none.
func keep(annotations map[string]string, keys []string) map[string]string {
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
