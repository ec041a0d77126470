package hyperconverge

import (
	"strings"

	v1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// hopeless are the replica nodes that can never take a pod, so that it does not wait for
// them (F16): those that its affinity or selector rules out, that have a taint which it
// does not tolerate, or that cannot allocate what it asks for though they were empty.
func (dec *decider) hopeless(pod *v1.Pod, d *decision) map[*placement.Node]struct{} {
	if dec.nodes == nil {
		return nil
	}
	volumes := make([]*placement.Volume, 0, len(d.pod.Volumes))
	for i := range d.pod.Volumes {
		if v := &d.pod.Volumes[i]; v.Kind == placement.Near && !v.Unknown {
			volumes = append(volumes, v)
		}
	}
	var hopeless map[*placement.Node]struct{}
	affinity := nodeaffinity.GetRequiredNodeAffinity(pod)
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, n := range placement.ReplicaNodes(volumes) {
		node, err := dec.nodes.Get(n.Name)
		if err == nil && canEverTake(node, pod, affinity, requests) {
			continue
		}
		if hopeless == nil {
			hopeless = map[*placement.Node]struct{}{}
		}
		hopeless[n] = struct{}{}
	}
	return hopeless
}

func canEverTake(node *v1.Node, pod *v1.Pod, affinity nodeaffinity.RequiredNodeAffinity, requests v1.ResourceList) bool {
	// An affinity that cannot be understood matches nothing, here as in kube-scheduler.
	if matches, err := affinity.Match(node); err != nil || !matches {
		return false
	}
	if _, untolerated := corev1helpers.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, pod.Spec.Tolerations, lasting, false); untolerated {
		return false
	}
	for name, quantity := range requests {
		if allocatable := node.Status.Allocatable[name]; quantity.Cmp(allocatable) > 0 {
			return false
		}
	}
	return true
}

// lasting tells the taints that keep pods off for good. Those of Kubernetes itself say that
// a node is not ready, or cordoned, which is what the pod waits out.
func lasting(taint *v1.Taint) bool {
	return !strings.HasPrefix(taint.Key, "node.kubernetes.io/") && (taint.Effect == v1.TaintEffectNoSchedule || taint.Effect == v1.TaintEffectNoExecute)
}
