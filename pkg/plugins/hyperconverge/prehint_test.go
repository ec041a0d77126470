package hyperconverge

import (
	"slices"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

func TestAnEventOfAClaimConcernsThePodsThatWaitForIt(t *testing.T) {
	pods := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{claimIndex: indexByClaim})
	running := makePod("running", "data").Node("n1").Obj()
	elsewhere := makePod("elsewhere", "data").Namespace("other").Obj()
	ephemeral := makePod("scratch").Obj()
	ephemeral.Spec.Volumes = []v1.Volume{{Name: "data", VolumeSource: v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{}}}}
	machine := launcher("virt-launcher", "vm", "disk").Obj()
	for _, pod := range []*v1.Pod{makePod("db", "data", "log").Obj(), makePod("reader", "data").Obj(), makePod("web").Obj(), running, elsewhere, ephemeral, machine} {
		if err := pods.Add(pod); err != nil {
			t.Fatal(err)
		}
	}
	claim := func(name string) *v1.PersistentVolumeClaim {
		return &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	for _, tc := range []struct {
		name     string
		old, now any
		want     []string
	}{
		{"a claim of two pods is made", nil, claim("data"), []string{"db", "reader"}},
		{"one is changed", claim("log"), claim("log"), []string{"db"}},
		{"one is deleted", claim("log"), nil, []string{"db"}},
		{"the claim of an ephemeral volume", nil, claim("scratch-data"), []string{"scratch"}},
		{"nobody waits for it", nil, claim("other"), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			found, err := podsOfClaim(pods, tc.old, tc.now)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, pod := range found {
				if pod.Namespace != namespace {
					t.Errorf("%s is in another namespace", pod)
				}
				names = append(names, pod.Name)
			}
			slices.Sort(names)
			// What is plugged into a machine is not in its pod.
			same(t, "pods", slices.Sorted(slices.Values(append(tc.want, "virt-launcher"))), names)
		})
	}
	if _, err := podsOfClaim(pods, nil, running); err == nil {
		t.Error("a pod is taken for a claim")
	}
}
