package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/api/admission/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// largestReview is a little more than controller-runtime reads of a body before
// it answers that the body is too large.
const largestReview = 8 << 20

// reviewsOnly lets only reviews of known versions through to next, which would
// take any object for a review of its own version. Others are answered with an
// admission error; an API server sends none, because the webhook configuration
// names the versions.
func reviewsOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, largestReview))
		if err != nil {
			refuse(w, r, fmt.Errorf("reading the body: %w", err))
			return
		}
		var kind metav1.TypeMeta
		if len(body) < largestReview {
			if err := json.Unmarshal(body, &kind); err != nil {
				refuse(w, r, fmt.Errorf("the body is not JSON: %w", err))
				return
			}
			known := kind.APIVersion == admissionv1.SchemeGroupVersion.String() || kind.APIVersion == v1beta1.SchemeGroupVersion.String()
			if kind.Kind != "AdmissionReview" || !known {
				refuse(w, r, fmt.Errorf("%s %s is not an AdmissionReview of a known version", quote(kind.APIVersion), quote(kind.Kind)))
				return
			}
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

// refuse answers with an admission error.
func refuse(w http.ResponseWriter, r *http.Request, reason error) {
	logger := klog.FromContext(r.Context())
	logger.Error(reason, "A request is no admission review", "from", r.RemoteAddr)
	response := admission.Errored(http.StatusBadRequest, reason)
	review := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: &response.AdmissionResponse,
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(review); err != nil {
		logger.Error(err, "The answer could not be sent", "to", r.RemoteAddr)
	}
}
