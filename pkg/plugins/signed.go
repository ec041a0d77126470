package plugins

import (
	"context"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
	qos "k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
	"sigs.k8s.io/scheduler-plugins/pkg/noderesources"
	"sigs.k8s.io/scheduler-plugins/pkg/noderesourcetopology"
)

// kube-scheduler places alike pods by what was decided for the one before, unless a plugin of
// the profile says nothing of what makes pods alike to it. Those of scheduler-plugins do not,
// so it is said for them here and in internal/minor.

// signedAllocatable scores by nodes alone.
type signedAllocatable struct{ *noderesources.Allocatable }

// SignPod implements fwk.SignPlugin.
func (signedAllocatable) SignPod(context.Context, *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	return nil, nil
}

// signedTopology looks at the resources of each container, init containers apart from others,
// at the overhead of the pod, and at its class of service.
type signedTopology struct {
	*noderesourcetopology.TopologyMatch
}

// SignPod implements fwk.SignPlugin.
func (signedTopology) SignPod(_ context.Context, pod *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	type container struct {
		Resources v1.ResourceRequirements
		Restarts  *v1.ContainerRestartPolicy // of a sidecar
	}
	of := func(containers []v1.Container) []container {
		all := make([]container, len(containers))
		for i := range containers {
			all[i] = container{containers[i].Resources, containers[i].RestartPolicy}
		}
		return all
	}
	return []fwk.SignFragment{{Key: noderesourcetopology.Name, Value: struct {
		Init, Containers []container
		Overhead         v1.ResourceList
		Class            v1.PodQOSClass
	}{of(pod.Spec.InitContainers), of(pod.Spec.Containers), pod.Spec.Overhead, qos.GetPodQOS(pod)}}}, nil
}
