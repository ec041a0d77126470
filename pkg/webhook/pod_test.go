package webhook

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// What a tenant can stretch is bounded in what is kept of it, and nothing that counts
// is lost on the way.
func TestStretchedPods(t *testing.T) {
	const many = 45_000
	repeat := func(element string) string { return strings.Repeat(element+",", many-1) + element }
	unlike := func(format string) string {
		var text strings.Builder
		for i := range many {
			fmt.Fprintf(&text, format+",", i)
		}
		return strings.TrimSuffix(text.String(), ",")
	}
	const ours, foreign = `{"name":"v","persistentVolumeClaim":{"claimName":"data"}}`, `{"name":"v","csi":{"driver":"disk.example.com"}}`
	for name, test := range map[string]struct {
		pod     string
		want    Outcome
		warning string
	}{
		"volumes of no kind":                            {pod: `"spec":{"volumes":[` + repeat(`{}`) + `]}`, want: NotOurs},
		"volumes of no kind, and one of the driver":     {pod: `"spec":{"volumes":[` + repeat(`{"name":"v","emptyDir":{}}`) + `,` + ours + `]}`, want: Mutated},
		"volumes of another driver, and one of ours":    {pod: `"spec":{"volumes":[` + repeat(foreign) + `,` + ours + `]}`, want: Undecided, warning: "no more than 1024 volumes are looked at"},
		"claims that do not exist":                      {pod: `"spec":{"volumes":[` + unlike(`{"persistentVolumeClaim":{"claimName":"missing-%d"}}`) + `]}`, want: Undecided, warning: `claim "missing-0" cannot be found (and 1025 more)`},
		"volumes of the driver":                         {pod: `"spec":{"volumes":[` + repeat(ours) + `]}`, want: Mutated},
		"tolerations that tolerate nothing":             {pod: `"spec":{"volumes":[` + ours + `],"tolerations":[` + repeat(`{}`) + `]}`, want: Mutated},
		"tolerations, and the two that matter at last":  {pod: `"spec":{"schedulerName":"hyperconverge-scheduler","volumes":[` + ours + `],"tolerations":[` + repeat(`{}`) + `,{"key":"node.portworx.io/px-storage","operator":"Exists"},{"key":"node.portworx.io/px-storageless","operator":"Exists"}]}`, want: Unchanged},
		"annotations, and the one that matters at last": {pod: `"metadata":{"annotations":{` + unlike(`"a%d":"x"`) + `,"` + placement.PodDisableAdmission + `":"true"}},"spec":{"volumes":[` + ours + `]}`, want: OptedOut},
		"owners, and the one that matters at last":      {pod: `"metadata":{"ownerReferences":[` + repeat(`{}`) + `,{"kind":"DaemonSet","controller":true}]},"spec":{"volumes":[` + ours + `]}`, want: Pinned},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, defaultRules, stored(), nil)
			raw := []byte(`{"apiVersion":"v1","kind":"Pod",` + test.pod + `}`)
			response := post(t, w.hook, reviewOf(t, podRequest(raw, "db"))).Response
			if got := Outcome(response.Result.Message); got != test.want {
				t.Errorf("the outcome is %s, want %s", got, test.want)
			}
			if !strings.Contains(strings.Join(response.Warnings, "\n"), test.warning) {
				t.Errorf("the warnings are %q, want %q in them", response.Warnings, test.warning)
			}
			for _, warning := range response.Warnings {
				if len(warning) > 1000 {
					t.Errorf("a warning has %d bytes", len(warning))
				}
			}
			pod, err := decodePod(raw)
			if err != nil {
				t.Fatal(err)
			}
			if kept, err := json.Marshal(pod); err != nil || len(kept) > 200_000 {
				t.Errorf("of %d bytes %d are kept (%v)", len(raw), len(kept), err)
			}
		})
	}
}

func TestFieldsOfAnotherTypeAreNoPod(t *testing.T) {
	for name, pod := range map[string]string{
		"volumes that are an object":      `{"spec":{"volumes":{}}}`,
		"a volume that is a text":         `{"spec":{"volumes":["v"]}}`,
		"tolerations that are a number":   `{"spec":{"tolerations":1}}`,
		"an owner that is a list":         `{"metadata":{"ownerReferences":[[]]}}`,
		"annotations that are a list":     `{"metadata":{"annotations":[]}}`,
		"an annotation that is an object": `{"metadata":{"annotations":{"a":{}}}}`,
		"a scheduler that is a number":    `{"spec":{"schedulerName":1}}`,
	} {
		if pod, err := decodePod([]byte(pod)); err == nil {
			t.Errorf("%s: it is read as %+v", name, pod)
		}
	}
	pod, err := decodePod([]byte(`{"metadata":{"annotations":null,"ownerReferences":null},"spec":{"volumes":null,"tolerations":null,"Volumes":[{"csi":{}}]}}`))
	if err != nil || len(pod.Spec.Volumes) > 0 {
		t.Errorf("lists that are null: %+v, %v", pod, err)
	}
}

// BenchmarkReview is the work for one pod, by how many volumes it has.
func BenchmarkReview(b *testing.B) {
	for _, volumes := range []int{1, 100, 1000, 10_000, 45_000} {
		for name, source := range map[string]v1.VolumeSource{
			"missing-claims": {PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "missing"}},
			"foreign-claims": {PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "other"}},
			"empty-dirs":     {EmptyDir: &v1.EmptyDirVolumeSource{}},
		} {
			b.Run(fmt.Sprintf("%s=%d", name, volumes), func(b *testing.B) {
				w := newWorld(b, defaultRules, stored(), nil)
				pod := podWith()
				for i := range volumes {
					pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: fmt.Sprintf("v%d", i), VolumeSource: source})
				}
				raw, err := json.Marshal(pod)
				if err != nil {
					b.Fatal(err)
				}
				body := reviewOf(b, podRequest(raw, "db"))
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					post(b, w.hook, body)
				}
			})
		}
	}
}
