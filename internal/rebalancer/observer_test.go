package rebalancer

import (
	"testing"

	v1 "k8s.io/api/core/v1"
)

func TestWhetherAPodHasRun(t *testing.T) {
	state := func(s v1.ContainerState) v1.ContainerStatus { return v1.ContainerStatus{State: s} }
	running := state(v1.ContainerState{Running: &v1.ContainerStateRunning{}})
	waiting := state(v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "ContainerCreating"}})
	ended := state(v1.ContainerState{Terminated: &v1.ContainerStateTerminated{}})
	crashing := waiting
	crashing.LastTerminationState = ended.State
	for _, tc := range []struct {
		name            string
		init, container []v1.ContainerStatus
		want            bool
	}{
		{"the kubelet has said nothing", nil, nil, false},
		{"it waits for its volumes", []v1.ContainerStatus{waiting}, []v1.ContainerStatus{waiting}, false},
		{"it runs", nil, []v1.ContainerStatus{running}, true},
		{"it crashes", nil, []v1.ContainerStatus{crashing}, true},
		{"its init container has ended", []v1.ContainerStatus{ended}, []v1.ContainerStatus{waiting}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pod := &v1.Pod{Status: v1.PodStatus{InitContainerStatuses: tc.init, ContainerStatuses: tc.container}}
			if got := hasRun(pod); got != tc.want {
				t.Errorf("%t, want %t", got, tc.want)
			}
		})
	}
}
