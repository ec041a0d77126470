package plugins

import (
	"encoding/json"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

func TestPodsThatNodeTopologyTellsApartSignApart(t *testing.T) {
	asks := func(cpus string) v1.Container {
		of := v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpus), v1.ResourceMemory: resource.MustParse("1Gi")}
		return v1.Container{Resources: v1.ResourceRequirements{Requests: of, Limits: of}}
	}
	sidecar := asks("1")
	sidecar.RestartPolicy = ptr.To(v1.ContainerRestartPolicyAlways)
	of := func(spec v1.PodSpec) *v1.Pod { return &v1.Pod{Spec: spec} }
	guaranteed := asks("1").Resources
	pods := []struct {
		name string
		pod  *v1.Pod
	}{
		{"one container", of(v1.PodSpec{Containers: []v1.Container{asks("4")}})},
		{"more init containers", of(v1.PodSpec{InitContainers: []v1.Container{asks("4")}, Containers: []v1.Container{asks("1"), asks("1")}})},
		{"the same list, divided in another place", of(v1.PodSpec{InitContainers: []v1.Container{asks("4"), asks("1")}, Containers: []v1.Container{asks("1")}})},
		{"an init container", of(v1.PodSpec{InitContainers: []v1.Container{asks("1")}, Containers: []v1.Container{asks("4")}})},
		{"a sidecar", of(v1.PodSpec{InitContainers: []v1.Container{sidecar}, Containers: []v1.Container{asks("4")}})},
		{"overhead", of(v1.PodSpec{Overhead: v1.ResourceList{v1.ResourceCPU: resource.MustParse("1")}, Containers: []v1.Container{asks("4")}})},
		{"no resources", of(v1.PodSpec{Containers: []v1.Container{{}}})},
		{"a class of service by the resources of the pod", of(v1.PodSpec{Resources: &guaranteed, Containers: []v1.Container{{}}})},
	}
	seen := map[string]string{}
	for _, p := range pods {
		fragments, status := signedTopology{}.SignPod(t.Context(), p.pod)
		if !status.IsSuccess() {
			t.Fatalf("%s: %v", p.name, status)
		}
		text, err := json.Marshal(fragments)
		if err != nil {
			t.Fatal(err)
		}
		if other, found := seen[string(text)]; found {
			t.Errorf("%s signs as %s does", p.name, other)
		}
		seen[string(text)] = p.name
		again, _ := signedTopology{}.SignPod(t.Context(), p.pod.DeepCopy())
		if same, err := json.Marshal(again); err != nil || string(same) != string(text) {
			t.Errorf("%s signs as %s, and again as %s", p.name, text, same)
		}
	}
}
