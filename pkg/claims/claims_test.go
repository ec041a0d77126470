package claims

import (
	"fmt"
	"slices"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

func podWith(claims ...string) *v1.Pod {
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "db", Name: "pod"}}
	for _, name := range claims {
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: name, VolumeSource: v1.VolumeSource{
			PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name}}})
	}
	return pod
}

func namesOf(claims []Claim) []string {
	var names []string
	for i := range claims {
		names = append(names, claims[i].Name)
	}
	return names
}

func TestClaimsThatThePodDoesNotMount(t *testing.T) {
	finder := NewFinder(listersOver(storesOf(t, newPodWorld(), func(object any) (any, error) { return object, nil })), []string{portworx, InTreeDriver})
	for _, tc := range []struct {
		name string
		pod  []string
		more []string
		want []string
	}{
		{"none", []string{"unbound"}, nil, []string{"unbound"}},
		{"bound ones come behind those of the pod", []string{"unbound"}, []string{"bound-in-tree", "bound"}, []string{"unbound", "bound-in-tree", "bound"}},
		{"one that the pod mounts counts once", []string{"bound"}, []string{"bound", "bound"}, []string{"bound"}},
		{"a pod without volumes may have some", nil, []string{"bound"}, []string{"bound"}},
		{"those that are missing, lost, unbound or another driver's are left out", []string{"bound"},
			[]string{"gone", "lost", "unbound", "bound-elsewhere", "bound-to-nfs", "not-here", ""}, []string{"bound"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := namesOf(finder.Of(podWith(tc.pod...), tc.more...)); !slices.Equal(got, tc.want) {
				t.Errorf("claims %v, want %v", got, tc.want)
			}
		})
	}
}

func TestClaimsThatThePodDoesNotMountAreBounded(t *testing.T) {
	var objects []runtime.Object
	var names []string
	for i := range placement.MaxVolumes + 5 {
		name := fmt.Sprint("claim-", i)
		names = append(names, name)
		objects = append(objects,
			&v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "db", Name: name}, Spec: v1.PersistentVolumeClaimSpec{VolumeName: name}},
			&v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PersistentVolumeSpec{PersistentVolumeSource: v1.PersistentVolumeSource{
				CSI: &v1.CSIPersistentVolumeSource{Driver: portworx, VolumeHandle: name}}}})
	}
	finder := NewFinder(listersOver(storesOf(t, objects, func(object any) (any, error) { return object, nil })), []string{portworx})
	if got := len(finder.Of(podWith(names[:2]...), names...)); got != placement.MaxVolumes+1 {
		t.Errorf("%d claims, want %d", got, placement.MaxVolumes+1)
	}
}
