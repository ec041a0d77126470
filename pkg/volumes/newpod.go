package volumes

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
//     will own it: the template is judged as the unbound claim that it will be.
//   - A claim without a class will be given the default class.
//   - CSI inline volumes of the driver are returned, too. They have no replicas
//     to be near to, but they need a node that runs the driver.
//
// A volume that the pod mounts twice is returned twice. Objects are looked up as the
// sequence proceeds.
func (c *Claims) OfNew(pod *v1.Pod) iter.Seq[Claim] {
	return func(yield func(Claim) bool) {
		for i := range pod.Spec.Volumes {
			if claim, ok := c.ofNewVolume(pod.Namespace, &pod.Spec.Volumes[i]); ok && !yield(claim) {
				return
			}
		}
	}
}

// ofNewVolume returns false for volumes that are none of our business.
func (c *Claims) ofNewVolume(namespace string, volume *v1.Volume) (Claim, bool) {
	switch {
	case volume.PersistentVolumeClaim != nil:
		return c.ofNewPVC(namespace, volume.PersistentVolumeClaim.ClaimName), true
	case volume.Ephemeral != nil && volume.Ephemeral.VolumeClaimTemplate != nil:
		template := volume.Ephemeral.VolumeClaimTemplate
		claim := Claim{Namespace: namespace, Name: volume.Name, PVC: &v1.PersistentVolumeClaim{
			ObjectMeta: template.ObjectMeta, Spec: template.Spec,
		}}
		c.resolve(&claim, c.futureClassOf(claim.PVC))
		return claim, true
	case volume.PortworxVolume != nil && c.drivers.Has(InTreeDriver):
		return Claim{Driver: InTreeDriver, Handle: volume.PortworxVolume.VolumeID, Name: volume.Name}, true
	case volume.CSI != nil && c.drivers.Has(volume.CSI.Driver):
		return Claim{Driver: volume.CSI.Driver, Name: volume.Name}, true
	}
	return Claim{}, false
}

func (c *Claims) ofNewPVC(namespace, name string) Claim {
	claim := Claim{Namespace: namespace, Name: name}
	pvc, err := c.objects.PVC(namespace, name)
	if err != nil {
		claim.State = ClaimMissing
		return claim
	}
	claim.PVC = pvc
	c.resolve(&claim, c.futureClassOf(pvc))
	return claim
}

// futureClassOf is the class that a claim has, or will be given because it asks
// for none. An empty class name asks for no class at all.
func (c *Claims) futureClassOf(pvc *v1.PersistentVolumeClaim) *storagev1.StorageClass {
	_, asksByAnnotation := pvc.Annotations[v1.BetaStorageClassAnnotation]
	if asksByAnnotation || pvc.Spec.StorageClassName != nil || pvc.Spec.VolumeName != "" {
		return c.classOf(pvc)
	}
	return c.defaultClass()
}

// defaultClass is the class that Kubernetes gives to claims that name none: of
// several the newest, and of equally old ones the first by name.
func (c *Claims) defaultClass() *storagev1.StorageClass {
	classes, err := c.objects.StorageClasses()
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
