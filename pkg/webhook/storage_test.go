package webhook

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	k8stesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2/ktesting"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// without returns the objects except those of the names.
func without(objects []runtime.Object, names ...string) []runtime.Object {
	var kept []runtime.Object
	for _, object := range objects {
		accessor, err := meta.Accessor(object)
		if err != nil {
			panic(err)
		}
		absent := false
		for _, name := range names {
			absent = absent || accessor.GetName() == name
		}
		if !absent {
			kept = append(kept, object)
		}
	}
	return kept
}

// reads returns what was read past the caches, as "resource/name".
func (w *world) reads() []string {
	var reads []string
	for _, action := range w.read.Actions() {
		if get, ok := action.(k8stesting.GetAction); ok {
			reads = append(reads, get.GetResource().Resource+"/"+get.GetName())
		}
	}
	return reads
}

// lookups returns the metric of reads, as "resource result" → count.
func (w *world) lookups() map[string]float64 {
	w.Helper()
	counts := map[string]float64{}
	for _, metric := range w.gather("hyperconverge_webhook_lookups_total") {
		labels := make([]string, len(metric.GetLabel()))
		for i, label := range metric.GetLabel() {
			labels[i] = label.GetValue()
		}
		counts[strings.Join(labels, " ")] = metric.GetCounter().GetValue()
	}
	return counts
}

func (w *world) gather(name string) []*dto.Metric {
	w.Helper()
	families, err := w.handler.metrics.registry.Gather()
	if err != nil {
		w.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()
		}
	}
	return nil
}

func TestLateClaims(t *testing.T) {
	tests := map[string]struct {
		cached, late []runtime.Object
		pod          []podOption
		want         Outcome
		reads        []string
		lookups      map[string]float64
	}{
		"what the caches know is not read": {
			cached: stored(), late: stored(), pod: []podOption{pvc("data"), pvc("other"), ephemeral("px")},
			want: Mutated, lookups: map[string]float64{},
		},
		"nothing is read if one known volume decides": {
			cached: stored(), late: stored(), pod: []podOption{pvc("missing"), pvc("data")},
			want: Mutated, lookups: map[string]float64{},
		},
		"a claim that the caches lack is read": {
			cached: without(stored(), "coming"), late: stored(), pod: []podOption{pvc("coming")},
			want: Mutated, reads: []string{"persistentvolumeclaims/coming"},
			lookups: map[string]float64{"persistentvolumeclaims found": 1},
		},
		"so are the volume of a claim and its class, and only once": {
			late: stored(), pod: []podOption{pvc("data")},
			want:    Mutated,
			reads:   []string{"persistentvolumeclaims/data", "storageclasses/px", "persistentvolumes/data"},
			lookups: map[string]float64{"persistentvolumeclaims found": 1, "storageclasses found": 1, "persistentvolumes found": 1},
		},
		"a class that the caches lack is read": {
			cached: without(stored(), "px"), late: stored(), pod: []podOption{ephemeral("px")},
			want: Mutated, reads: []string{"storageclasses/px"}, lookups: map[string]float64{"storageclasses found": 1},
		},
		"reading may show that the pod is not ours": {
			cached: without(stored(), "other-coming"), late: stored(), pod: []podOption{pvc("other-coming")},
			want: NotOurs, reads: []string{"persistentvolumeclaims/other-coming"}, lookups: map[string]float64{"persistentvolumeclaims found": 1},
		},
		"what does not exist is read once, and the pod is left": {
			cached: stored(), late: stored(), pod: []podOption{pvc("missing")},
			want: Undecided, reads: []string{"persistentvolumeclaims/missing"}, lookups: map[string]float64{"persistentvolumeclaims absent": 1},
		},
		"exempt pods cause no reads": {
			late: stored(), pod: []podOption{pvc("data"), onNode("n1")},
			want: Pinned, lookups: map[string]float64{},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, defaultRules, test.cached, test.late)
			if _, got := w.admit(podWith(test.pod...)); got.Outcome != test.want {
				t.Errorf("the outcome is %s (%q), want %s", got.Outcome, got.Warnings, test.want)
			}
			if diff := cmp.Diff(test.reads, w.reads()); diff != "" {
				t.Errorf("reads (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.lookups, w.lookups()); diff != "" {
				t.Errorf("metric of reads (-want +got):\n%s", diff)
			}
		})
	}
}

// A claim in the caches says less of itself than one that was read; both have to
// find a volume that was read to be their own.
func TestReadVolumeOfCachedClaim(t *testing.T) {
	var claims []runtime.Object
	for _, object := range stored() {
		if _, isVolume := object.(*v1.PersistentVolume); !isVolume {
			claims = append(claims, object)
		}
	}
	w := newWorld(t, defaultRules, without(claims, "px"), without(stored(), "px"))
	if _, got := w.admit(podWith(pvc("data"))); got.Outcome != Mutated {
		t.Errorf("the outcome is %s (%q)", got.Outcome, got.Warnings)
	}
}

func TestFailedReadsLeaveThePodAsItIs(t *testing.T) {
	w := newWorld(t, defaultRules, stored(), nil)
	w.read.PrependReactor("get", "*", func(action k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: action.GetResource().Resource}, "", errors.New("no rule"))
	})
	if _, got := w.admit(podWith(pvc("missing"))); got.Outcome != Undecided || len(got.Warnings) != 1 {
		t.Errorf("the verdict is %+v", got)
	}
	if diff := cmp.Diff(map[string]float64{"persistentvolumeclaims failed": 1}, w.lookups()); diff != "" {
		t.Errorf("metric of reads (-want +got):\n%s", diff)
	}
}

// silence is an API server that never answers.
type silence struct{}

func (silence) RoundTrip(request *http.Request) (*http.Response, error) {
	<-request.Context().Done()
	return nil, request.Context().Err()
}

func TestReadsOfAnyNumberHaveOneDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, ctx := ktesting.NewTestContext(t)
		silent, err := kubernetes.NewForConfig(&rest.Config{Host: "http://api", Transport: silence{}, QPS: -1})
		if err != nil {
			t.Fatal(err)
		}
		s := newStorage(fake.NewClientset(), silent, []string{portworx}, newMetrics())
		var claims []podOption
		for i := range 100 {
			claims = append(claims, pvc("missing-"+strconv.Itoa(i)))
		}
		start := time.Now()
		found := s.claimsOf(ctx, podWith(claims...))
		if took := time.Since(start); took != lookupTimeout {
			t.Errorf("took %v, want %v", took, lookupTimeout)
		}
		if len(found) != 100 || found[99].State != volumes.ClaimMissing {
			t.Errorf("found %d claims, the last of them %+v", len(found), found[len(found)-1])
		}
	})
}
