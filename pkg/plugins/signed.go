package plugins

import (
	"context"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
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

// signedTopology looks at the resources of each container, of which the pod's class of service
// follows.
type signedTopology struct {
	*noderesourcetopology.TopologyMatch
}

// SignPod implements fwk.SignPlugin.
func (signedTopology) SignPod(_ context.Context, pod *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	var resources []v1.ResourceRequirements
	for i := range pod.Spec.InitContainers {
		resources = append(resources, pod.Spec.InitContainers[i].Resources)
	}
	for i := range pod.Spec.Containers {
		resources = append(resources, pod.Spec.Containers[i].Resources)
	}
	return []fwk.SignFragment{{Key: noderesourcetopology.Name, Value: resources}}, nil
}
