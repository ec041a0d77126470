package webhook

import (
	"context"
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
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	k8stesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2/ktesting"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/pkg/placement"
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

// lookups returns what the metric of reads has counted, as "resource result" → count.
func (w *world) lookups() map[string]float64 {
	w.Helper()
	counts := map[string]float64{}
	for _, metric := range w.gather("hyperconverge_webhook_lookups_total") {
		if metric.GetCounter().GetValue() == 0 {
			continue
		}
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
		"one missing claim of two volumes is read once": {
			cached: stored(), late: stored(), pod: []podOption{pvc("missing"), pvc("missing")},
			want: Undecided, reads: []string{"persistentvolumeclaims/missing"}, lookups: map[string]float64{"persistentvolumeclaims absent": 1},
		},
		"the first volume of ours ends the reads": {
			cached: without(stored(), "coming", "other-coming"), late: stored(), pod: []podOption{pvc("coming"), pvc("other-coming"), pvc("missing")},
			want: Mutated, reads: []string{"persistentvolumeclaims/coming"}, lookups: map[string]float64{"persistentvolumeclaims found": 1},
		},
		"a claim that waits for its volume is read again": {
			cached: waiting(), late: stored(), pod: []podOption{pvc("data")},
			want: Mutated, reads: []string{"persistentvolumeclaims/data"}, lookups: map[string]float64{"persistentvolumeclaims found": 1},
		},
		"without a default class the classes are read": {
			cached: stored(), late: withDefaultClass(), pod: []podOption{template(nil)},
			want: Mutated, lookups: map[string]float64{"storageclasses found": 1},
		},
		"no pod reads more than its share": {
			cached: stored(), late: stored(), pod: missing(maxLookups + 5),
			want: Undecided, reads: readsOf(maxLookups),
			lookups: map[string]float64{"persistentvolumeclaims absent": maxLookups, "persistentvolumeclaims aborted": 5},
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

// waiting is what the API server held before claim data had its volume.
func waiting() []runtime.Object {
	return append(without(stored(), "data"), &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "db", Name: "data", UID: "uid"},
		Spec:       v1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("")},
	}, stored()[2])
}

func withDefaultClass() []runtime.Object {
	return append(stored(), &storagev1.StorageClass{Provisioner: portworx, ObjectMeta: metav1.ObjectMeta{
		Name: "default", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}}})
}

func missing(count int) []podOption {
	var claims []podOption
	for i := range count {
		claims = append(claims, pvc("missing-"+strconv.Itoa(i)))
	}
	return claims
}

func readsOf(count int) []string {
	var reads []string
	for i := range count {
		reads = append(reads, "persistentvolumeclaims/missing-"+strconv.Itoa(i))
	}
	return reads
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

// refusal is an API server that does not listen.
type refusal struct{}

func (refusal) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("connection refused")
}

func TestResultsOfLookups(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	broken, err := kubernetes.NewForConfig(&rest.Config{Host: "http://api", Transport: refusal{}})
	if err != nil {
		t.Fatal(err)
	}
	_, refused := broken.CoreV1().PersistentVolumes().Get(t.Context(), "pv", metav1.GetOptions{})
	short, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	slow, limited := newShares(0.001, 1), error(nil)
	for range 2 { // the first uses the burst up
		limited = slow.wait(short, "db")
	}
	<-short.Done()
	for name, test := range map[string]struct {
		ctx  context.Context
		err  error
		want string
	}{
		"an object":                       {t.Context(), nil, lookupFound},
		"no object":                       {t.Context(), apierrors.NewNotFound(v1.Resource("persistentvolumes"), "pv"), lookupAbsent},
		"no right":                        {t.Context(), apierrors.NewForbidden(v1.Resource("persistentvolumes"), "pv", errors.New("no rule")), lookupFailed},
		"the time is over":                {short, errors.New("context deadline exceeded"), lookupAborted},
		"the API server has hung up":      {over, errors.New("canceled"), lookupAborted},
		"the rate would take too long":    {t.Context(), limited, lookupAborted},
		"the pod has had its share":       {t.Context(), errTooManyLookups, lookupAborted},
		"the connection to it was broken": {t.Context(), refused, lookupFailed},
	} {
		t.Run(name, func(t *testing.T) {
			if got := resultOf(test.ctx, test.err); got != test.want {
				t.Errorf("%v is %q, want %q", test.err, got, test.want)
			}
		})
	}
}

func TestFailedReadsLeaveThePodAsItIs(t *testing.T) {
	w := newWorld(t, defaultRules, stored(), nil)
	w.read.PrependReactor("get", "*", func(action k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: action.GetResource().Resource}, "", errors.New("no rule"))
	})
	if _, got := w.admit(podWith(pvc("missing"))); got.Outcome != Undecided || len(got.Warnings) != 1 ||
		!strings.Contains(got.Warnings[0], "not all of it could be read") {
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
		s := newStorage(fake.NewClientset(), silent, []string{portworx}, newShares(50, 1000), newMetrics())
		start := time.Now()
		found, complete := s.claimsOf(ctx, podWith(missing(100)...), false)
		if took := time.Since(start); took != lookupTimeout {
			t.Errorf("took %v, want %v", took, lookupTimeout)
		}
		if len(found) != 100 || found[99].State != placement.ClaimMissing || complete {
			t.Errorf("found %d claims, the last of them %+v; complete: %t", len(found), found[len(found)-1], complete)
		}
	})
}
