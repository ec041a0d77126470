package claims

import (
	"iter"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// Annotations that make a StorageClass the default one.
const (
	annDefaultClass     = "storageclass.kubernetes.io/is-default-class"
	annBetaDefaultClass = "storageclass.beta.kubernetes.io/is-default-class"
)

// OfNew returns the claims of a pod that is only about to be created; its
// namespace must be set. It differs from Of where a new pod does:
//
//   - The PVC of a generic ephemeral volume cannot exist yet, because the pod
//     will own it: the template counts as the unbound claim that it will be.
//   - A claim without a class will be given the default class.
//
// A volume that the pod mounts twice is returned twice. Objects are looked up as the
// sequence proceeds.
func (f *Finder) OfNew(pod *v1.Pod) iter.Seq[Claim] {
	return func(yield func(Claim) bool) {
		for i := range pod.Spec.Volumes {
			if claim, found := f.of(pod, &pod.Spec.Volumes[i], f.ofNewPVC, f.ofNewEphemeral); found && !yield(claim) {
				return
			}
		}
	}
}

func (f *Finder) ofNewPVC(pod *v1.Pod, name string) Claim {
	claim, found := f.find(pod.Namespace, name)
	if found {
		f.resolve(&claim, f.futureClassOf(claim.PVC))
	}
	return claim
}

func (f *Finder) ofNewEphemeral(pod *v1.Pod, volume *v1.Volume) Claim {
	template := volume.Ephemeral.VolumeClaimTemplate
	claim := Claim{Namespace: pod.Namespace, Name: volume.Name, PVC: &v1.PersistentVolumeClaim{
		ObjectMeta: template.ObjectMeta, Spec: template.Spec,
	}}
	f.resolve(&claim, f.futureClassOf(claim.PVC))
	return claim
}

// futureClassOf is the class that a claim has, or will be given because it asks
// for none. An empty class name asks for no class at all.
func (f *Finder) futureClassOf(pvc *v1.PersistentVolumeClaim) *storagev1.StorageClass {
	_, asksByAnnotation := pvc.Annotations[v1.BetaStorageClassAnnotation]
	if asksByAnnotation || pvc.Spec.StorageClassName != nil || pvc.Spec.VolumeName != "" {
		return f.classOf(pvc)
	}
	return f.defaultClass()
}

// defaultClass is the class that Kubernetes gives to claims that name none: of
// several the newest, and of equally old ones the first by name.
func (f *Finder) defaultClass() *storagev1.StorageClass {
	classes, err := f.objects.StorageClasses()
	if err != nil {
		return nil
	}
	var chosen *storagev1.StorageClass
	for _, class := range classes {
		if class.Annotations[annDefaultClass] != "true" && class.Annotations[annBetaDefaultClass] != "true" {
			continue
		}
		if chosen == nil || isNewer(class, chosen) {
			chosen = class
		}
	}
	return chosen
}

func isNewer(class, other *storagev1.StorageClass) bool {
	if class.CreationTimestamp.Equal(&other.CreationTimestamp) {
		return class.Name < other.Name
	}
	return other.CreationTimestamp.Before(&class.CreationTimestamp)
}
