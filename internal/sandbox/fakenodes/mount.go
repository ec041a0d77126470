package fakenodes

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
)

// cannotMount returns why a volume of the pod cannot be mounted on its node, or
// nothing if all can: a volume of the storage driver needs the driver there.
func (k *Kubelet) cannotMount(pod *corev1.Pod) (reason string, err error) {
	if k.nodes[pod.Spec.NodeName].StorageID != "" {
		return "", nil
	}
	for _, volume := range pod.Spec.Volumes {
		claimName := ""
		switch {
		case volume.PersistentVolumeClaim != nil:
			claimName = volume.PersistentVolumeClaim.ClaimName
		case volume.Ephemeral != nil:
			claimName = pod.Name + "-" + volume.Name
		default:
			continue
		}
		claim, err := k.claims.PersistentVolumeClaims(pod.Namespace).Get(claimName)
		if err != nil {
			return "", err
		}
		pv, err := k.volumes.Get(claim.Spec.VolumeName)
		if err != nil {
			return "", err
		}
		if pv.Spec.CSI != nil && pv.Spec.CSI.Driver == driver.Name {
			return fmt.Sprintf("MountVolume.MountDevice failed for volume %q: driver name %s not found in the list of registered CSI drivers", pv.Name, driver.Name), nil
		}
	}
	return "", nil
}
