package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hyperconverge/scheduler/pkg/claims"
)

// review is a body around the request for a pod of ours.
func review(t testing.TB, change func(*admissionv1.AdmissionRequest)) []byte {
	t.Helper()
	raw, err := json.Marshal(podWith(pvc("data")))
	if err != nil {
		t.Fatal(err)
	}
	request := podRequest(raw, "db")
	change(&request)
	return reviewOf(t, request)
}

func unchanged(*admissionv1.AdmissionRequest) {}

func TestBadInput(t *testing.T) {
	object := func(raw string) func(*admissionv1.AdmissionRequest) {
		return func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte(raw) }
	}
	version := func(version string) []byte {
		return bytes.Replace(review(t, unchanged), []byte("admission.k8s.io/v1"), []byte("admission.k8s.io/"+version), 1)
	}
	tests := map[string]struct {
		body []byte
		// code of an admission error, or 200: allowed, with a warning that has the words.
		code    int32
		warning string
	}{
		"an empty body":                   {body: nil, code: http.StatusBadRequest},
		"no JSON":                         {body: []byte("pod"), code: http.StatusBadRequest},
		"JSON that is no object":          {body: []byte("[1]"), code: http.StatusBadRequest},
		"an object without kind":          {body: []byte("{}"), code: http.StatusBadRequest},
		"another kind of object":          {body: []byte(`{"apiVersion":"v1","kind":"Pod"}`), code: http.StatusBadRequest},
		"an unknown version of reviews":   {body: version("v7"), code: http.StatusBadRequest},
		"a review without request":        {body: []byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`), code: http.StatusOK, warning: "only pods"},
		"a review whose request is null":  {body: []byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}`), code: http.StatusOK, warning: "only pods"},
		"a review that is cut off":        {body: review(t, unchanged)[:200], code: http.StatusBadRequest},
		"a body of eight megabytes":       {body: bytes.Repeat([]byte(" "), 8<<20), code: http.StatusRequestEntityTooLarge},
		"not a pod by its resource":       {body: review(t, func(r *admissionv1.AdmissionRequest) { r.Resource.Resource = "secrets" }), code: http.StatusOK, warning: `only pods are judged, not "secrets/"`},
		"a subresource of a pod":          {body: review(t, func(r *admissionv1.AdmissionRequest) { r.SubResource = "status" }), code: http.StatusOK, warning: `not "pods/status"`},
		"a version of pods yet to come":   {body: review(t, func(r *admissionv1.AdmissionRequest) { r.Resource.Version = "v2" }), code: http.StatusOK, warning: "only pods"},
		"a pod that is being changed":     {body: review(t, func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Update }), code: http.StatusOK, warning: `not on "UPDATE"`},
		"a pod that is being deleted":     {body: review(t, func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Delete }), code: http.StatusOK, warning: `not on "DELETE"`},
		"no object":                       {body: review(t, func(r *admissionv1.AdmissionRequest) { r.Object = runtime.RawExtension{} }), code: http.StatusOK, warning: "the pod cannot be read"},
		"an object that is null":          {body: review(t, object("null")), code: http.StatusOK, warning: "the pod cannot be read"},
		"an object that is a list":        {body: review(t, object("[]")), code: http.StatusOK, warning: "the pod cannot be read"},
		"an object of another kind":       {body: review(t, object(`{"apiVersion":"v1","kind":"Secret"}`)), code: http.StatusOK, warning: "the pod cannot be read"},
		"a pod with a field of that kind": {body: review(t, object(`{"apiVersion":"v1","kind":"Pod","spec":{"volumes":"all"}}`)), code: http.StatusOK, warning: "the pod cannot be read"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, defaultRules, stored(), nil)
			response := post(t, w.hook, test.body).Response
			if response.Result.Code != test.code || response.Allowed != (test.code == http.StatusOK) {
				t.Errorf("allowed: %t, code %d, want %d: %s", response.Allowed, response.Result.Code, test.code, response.Result.Message)
			}
			if len(response.Patch) > 0 {
				t.Errorf("something is changed: %s", response.Patch)
			}
			if test.code == http.StatusOK && !strings.Contains(strings.Join(response.Warnings, "\n"), test.warning) {
				t.Errorf("the warnings are %q, want %q in them", response.Warnings, test.warning)
			}
		})
	}
}

func TestOnlyJSONIsRead(t *testing.T) {
	w := newWorld(t, defaultRules, stored(), nil)
	for contentType, allowed := range map[string]bool{
		"application/json": true, "application/json; charset=utf-8": true, "Application/JSON": true,
		"application/yaml": false, "": false, ";": false,
	} {
		request := httptest.NewRequest(http.MethodPost, Path, bytes.NewReader(review(t, unchanged)))
		request.Header.Set("Content-Type", contentType)
		recorder := httptest.NewRecorder()
		w.hook.ServeHTTP(recorder, request)
		var answer admissionv1.AdmissionReview
		if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		if answer.Kind != "AdmissionReview" || answer.Response.Allowed != allowed {
			t.Errorf("of content type %q the answer is %+v, want it allowed: %t", contentType, answer, allowed)
		}
	}
}

func TestOldReviewsAreAnsweredInTheirVersion(t *testing.T) {
	w := newWorld(t, defaultRules, stored(), nil)
	answer := post(t, w.hook, bytes.Replace(review(t, unchanged), []byte("admission.k8s.io/v1"), []byte("admission.k8s.io/v1beta1"), 1))
	if answer.APIVersion != "admission.k8s.io/v1beta1" || !answer.Response.Allowed || len(answer.Response.Patch) == 0 {
		t.Errorf("the answer is %+v", answer)
	}
}

// Fields of later versions of Kubernetes are not known here; they have to
// survive, which a patch made from the decoded pod would not let them.
func TestUnknownFieldsSurvive(t *testing.T) {
	w := newWorld(t, defaultRules, stored(), nil)
	body := review(t, func(r *admissionv1.AdmissionRequest) {
		r.Object.Raw = []byte(`{"apiVersion":"v1","kind":"Pod","spec":{"fieldOfTomorrow":1,"volumes":[
			{"name":"v","persistentVolumeClaim":{"claimName":"data","fieldOfTomorrow":2}}]}}`)
	})
	var operations []struct{ Op, Path string }
	if err := json.Unmarshal(post(t, w.hook, body).Response.Patch, &operations); err != nil {
		t.Fatal(err)
	}
	if len(operations) != 2 {
		t.Errorf("the patch is %+v, want two operations", operations)
	}
	for _, operation := range operations {
		if operation.Op != "add" || (operation.Path != "/spec/schedulerName" && operation.Path != "/spec/tolerations") {
			t.Errorf("the patch touches %s %s", operation.Op, operation.Path)
		}
	}
}

func TestDefectAllowsThePod(t *testing.T) {
	w := newWorld(t, defaultRules, stored(), nil)
	w.handler.claimsOf = func(context.Context, *v1.Pod, bool) ([]claims.Claim, bool) { panic("a defect") }
	pod := podWith(pvc("data"))
	out, got := w.admit(pod)
	if got.Outcome != Crashed || len(got.Warnings) != 1 {
		t.Errorf("the verdict is %+v", got)
	}
	if out.Spec.SchedulerName != pod.Spec.SchedulerName {
		t.Error("the pod was changed")
	}
	if got := w.outcomes()[Crashed]; got != 1 {
		t.Errorf("%v crashes are counted, want 1", got)
	}
}

func TestOutcomesAreCounted(t *testing.T) {
	w := newWorld(t, defaultRules, stored(), nil)
	for _, pod := range []*v1.Pod{podWith(pvc("data")), podWith(pvc("data")), podWith(), podWith(pvc("missing"))} {
		w.admit(pod)
	}
	for outcome, want := range map[Outcome]float64{Mutated: 2, NotOurs: 1, Undecided: 1, Pinned: 0} {
		if got := w.outcomes()[outcome]; got != want {
			t.Errorf("%v pods are %s, want %v", got, outcome, want)
		}
	}
}

func (w *world) outcomes() map[Outcome]float64 {
	w.Helper()
	counts := map[Outcome]float64{}
	for _, metric := range w.gather("hyperconverge_webhook_pods_total") {
		counts[Outcome(metric.GetLabel()[0].GetValue())] = metric.GetCounter().GetValue()
	}
	return counts
}

// FuzzReview: whatever is sent, the answer is a review; a review that can be read
// is allowed, carries the UID, and its patch fits the pod and needs no second one.
func FuzzReview(f *testing.F) {
	w := newWorld(f, defaultRules, stored(), nil)
	f.Add(review(f, unchanged))
	f.Add(review(f, func(r *admissionv1.AdmissionRequest) {
		r.Object.Raw = []byte(`{"apiVersion":"v1","kind":"Pod"}`)
	}))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"1","resource":{"version":"v1","resource":"pods"},"operation":"CREATE","namespace":"db","object":{"kind":"Pod","apiVersion":"v1","spec":{"tolerations":null,"volumes":[null,{"csi":{"driver":"pxd.portworx.com"}}]}}}}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, body []byte) {
		answer := post(t, w.hook, body).Response
		var sent admissionv1.AdmissionReview
		if answer.Result.Code == http.StatusBadRequest || json.Unmarshal(body, &sent) != nil || sent.Request == nil {
			return
		}
		if !answer.Allowed || answer.UID != sent.Request.UID {
			t.Fatalf("the answer is %+v", answer)
		}
		if len(answer.Patch) == 0 {
			return
		}
		patch, err := jsonpatch.DecodePatch(answer.Patch)
		if err != nil {
			t.Fatal(err)
		}
		patched, err := patch.Apply(sent.Request.Object.Raw)
		if err != nil {
			t.Fatalf("the patch %s does not fit %s: %v", answer.Patch, sent.Request.Object.Raw, err)
		}
		request := podRequest(patched, sent.Request.Namespace)
		if again := post(t, w.hook, reviewOf(t, request)).Response; len(again.Patch) > 0 {
			t.Fatalf("after %s there is a second patch: %s", answer.Patch, again.Patch)
		}
	})
}
