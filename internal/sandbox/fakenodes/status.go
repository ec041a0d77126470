package fakenodes

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// setRunning writes the status of a pod all of whose containers run and are
// ready.
func setRunning(status *corev1.PodStatus, spec corev1.PodSpec, hostIP, podIP string, now metav1.Time) {
	if spec.HostNetwork {
		podIP = hostIP
	}
	status.Phase = corev1.PodRunning
	status.HostIP, status.HostIPs = hostIP, []corev1.HostIP{{IP: hostIP}}
	status.PodIP, status.PodIPs = podIP, []corev1.PodIP{{IP: podIP}}
	status.StartTime = &now
	for _, kind := range []corev1.PodConditionType{
		corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady,
	} {
		setCondition(status, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}

	status.InitContainerStatuses = nil
	for _, c := range spec.InitContainers {
		state := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: now, FinishedAt: now}}
		if ptr.Deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways { // a sidecar
			state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
		}
		status.InitContainerStatuses = append(status.InitContainerStatuses, containerStatus(c, state))
	}
	status.ContainerStatuses = nil
	for _, c := range spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, containerStatus(c,
			corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}))
	}
}

func containerStatus(c corev1.Container, state corev1.ContainerState) corev1.ContainerStatus {
	return corev1.ContainerStatus{
		Name: c.Name, Image: c.Image, State: state, Ready: true, Started: ptr.To(state.Running != nil),
	}
}

// setCondition replaces the condition of the same type or adds it. Others, such
// as PodScheduled, belong to other components.
func setCondition(status *corev1.PodStatus, condition corev1.PodCondition) {
	for i := range status.Conditions {
		if status.Conditions[i].Type == condition.Type {
			status.Conditions[i] = condition
			return
		}
	}
	status.Conditions = append(status.Conditions, condition)
}
