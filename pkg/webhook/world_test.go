package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

const (
	portworx = "pxd.portworx.com"
	inTree   = "kubernetes.io/portworx-volume"
	ours     = "hyperconverge-scheduler"
)

var defaultRules = Rules{SchedulerName: ours, Tolerate: true, ExcludedNamespaces: sets.New("kube-system", "hyperconverge")}

// stored is what the API server holds: bound, unbound and lost claims of the
// driver and of another one, in namespace db.
func stored() []runtime.Object {
	class := func(name, provisioner string) *storagev1.StorageClass {
		return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner}
	}
	volume := func(name, driver string) *v1.PersistentVolume {
		return &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PersistentVolumeSpec{
			ClaimRef:               &v1.ObjectReference{Namespace: "db", Name: name, UID: "uid"},
			PersistentVolumeSource: v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: "1"}},
		}}
	}
	claim := func(name, volume, class string) *v1.PersistentVolumeClaim {
		return &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "db", Name: name, UID: "uid"},
			Spec: v1.PersistentVolumeClaimSpec{VolumeName: volume, StorageClassName: &class}}
	}
	return []runtime.Object{
		class("px", portworx), class("disk", "disk.example.com"),
		volume("data", portworx), claim("data", "data", "px"),
		volume("other", "disk.example.com"), claim("other", "other", "disk"),
		claim("coming", "", "px"),
		claim("other-coming", "", "disk"),
		claim("lost", "gone", ""),
		claim("classless", "", "gone"),
		claim("manual", "", ""),
	}
}

// world is a webhook over caches of some objects, in front of an API server that
// may hold more.
type world struct {
	testing.TB
	ctx     context.Context
	hook    http.Handler
	handler *handler
	read    *fake.Clientset
}

func newWorld(t testing.TB, rules Rules, cached, late []runtime.Object) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), klog.Logger{})) // fuzzing must not log
	read, metrics := fake.NewClientset(late...), newMetrics()
	storage := newStorage(fake.NewClientset(cached...), read, []string{portworx, inTree}, newShares(50, 1000), metrics)
	storage.factory.Start(ctx.Done())
	t.Cleanup(func() {
		cancel()
		storage.factory.Shutdown()
	})
	for kind, synced := range storage.factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			t.Fatalf("%v has not synced", kind)
		}
	}
	w := &world{TB: t, ctx: ctx, read: read, handler: newHandler(rules, storage.claimsOf, metrics)}
	w.hook = newHook(w.handler)
	return w
}

// verdict is what a table says about a pod.
type verdict struct {
	Outcome       Outcome
	SchedulerName string
	Tolerations   []v1.Toleration
	Warnings      []string
}

// admit sends a pod through the webhook as the API server would, and returns the
// pod that comes out and the warnings.
func (w *world) admit(pod *v1.Pod) (*v1.Pod, verdict) {
	w.Helper()
	raw, err := json.Marshal(pod)
	if err != nil {
		w.Fatal(err)
	}
	response := post(w, w.hook, reviewOf(w, podRequest(raw, pod.Namespace))).Response
	if !response.Allowed || response.UID != "request" {
		w.Fatalf("the response is %+v, want it allowed", response)
	}
	out := pod.DeepCopy()
	if len(response.Patch) > 0 {
		patch, err := jsonpatch.DecodePatch(response.Patch)
		if err != nil {
			w.Fatal(err)
		}
		if raw, err = patch.Apply(raw); err != nil {
			w.Fatal(err)
		}
		out = &v1.Pod{}
		if err := json.Unmarshal(raw, out); err != nil {
			w.Fatal(err)
		}
	}
	return out, verdict{Outcome(response.Result.Message), out.Spec.SchedulerName, out.Spec.Tolerations, response.Warnings}
}

// post sends a body to the webhook and returns the review that comes back.
func post(t testing.TB, hook http.Handler, body []byte) admissionv1.AdmissionReview {
	t.Helper()
	request := httptest.NewRequest(http.MethodPost, Path, bytes.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	hook.ServeHTTP(recorder, request)
	if recorder.Code != http.StatusOK {
		t.Fatalf("status %d: %s", recorder.Code, recorder.Body)
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(recorder.Body.Bytes(), &review); err != nil {
		t.Fatalf("the answer is no review: %v: %s", err, recorder.Body)
	}
	if review.Response == nil {
		t.Fatalf("the review has no response: %s", recorder.Body)
	}
	return review
}

// reviewOf is a body around a request.
func reviewOf(t testing.TB, request admissionv1.AdmissionRequest) []byte {
	t.Helper()
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: &request,
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func podRequest(raw []byte, namespace string) admissionv1.AdmissionRequest {
	return admissionv1.AdmissionRequest{
		UID:       "request",
		Kind:      metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
		Resource:  metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
		Operation: admissionv1.Create,
		Namespace: namespace,
		Object:    runtime.RawExtension{Raw: raw},
	}
}

// podOption changes the usual pod of the tables.
type podOption func(*v1.Pod)

// podWith is a pod in namespace db as the API server hands it to webhooks:
// defaulted, and without a name.
func podWith(options ...podOption) *v1.Pod {
	pod := &v1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "db", GenerateName: "db-"},
		Spec:       v1.PodSpec{SchedulerName: v1.DefaultSchedulerName},
	}
	for _, option := range options {
		option(pod)
	}
	return pod
}

func source(source v1.VolumeSource) podOption {
	return func(pod *v1.Pod) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: "v", VolumeSource: source})
	}
}

func pvc(name string) podOption {
	return source(v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name}})
}

func ephemeral(class string) podOption { return template(&class) }

func template(class *string) podOption {
	return source(v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{VolumeClaimTemplate: &v1.PersistentVolumeClaimTemplate{
		Spec: v1.PersistentVolumeClaimSpec{StorageClassName: class}}}})
}

func scheduler(name string) podOption { return func(pod *v1.Pod) { pod.Spec.SchedulerName = name } }
func namespace(name string) podOption { return func(pod *v1.Pod) { pod.Namespace = name } }
func onNode(name string) podOption    { return func(pod *v1.Pod) { pod.Spec.NodeName = name } }

func annotation(key, value string) podOption {
	return func(pod *v1.Pod) { metav1.SetMetaDataAnnotation(&pod.ObjectMeta, key, value) }
}

func ownedBy(kind string) podOption {
	return func(pod *v1.Pod) {
		pod.OwnerReferences = append(pod.OwnerReferences, metav1.OwnerReference{
			APIVersion: "apps/v1", Kind: kind, Name: "owner", UID: "1", Controller: ptr.To(true)})
	}
}

func tolerating(tolerations ...v1.Toleration) podOption {
	return func(pod *v1.Pod) { pod.Spec.Tolerations = append(pod.Spec.Tolerations, tolerations...) }
}
