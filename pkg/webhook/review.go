package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"

	"golang.org/x/sync/semaphore"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/api/admission/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const (
	// largestReview is what controller-runtime reads of a body at most. The largest
	// object of an API server is much smaller.
	largestReview = 7 << 20
	// A review larger than largeReview takes tens of megabytes while it is decoded,
	// so that only largeReviews of them are at the same time.
	largeReview  = 1 << 20
	largeReviews = 4
)

// reviewsOnly lets only reviews of known versions through to next, which would
// take any object for a review of its own version. Others are answered with an
// admission error; an API server sends none, because the webhook configuration
// names the versions.
func reviewsOnly(next http.Handler) http.Handler {
	large := semaphore.NewWeighted(largeReviews)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength < 0 || r.ContentLength > largeReview {
			if err := large.Acquire(r.Context(), 1); err != nil {
				refuse(w, r, http.StatusServiceUnavailable, fmt.Errorf("waiting for other large reviews: %w", err))
				return
			}
			defer large.Release(1)
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, largestReview))
		if err != nil {
			refuse(w, r, http.StatusBadRequest, fmt.Errorf("reading the body: %w", err))
			return
		}
		if len(body) == largestReview {
			refuse(w, r, http.StatusRequestEntityTooLarge, fmt.Errorf("the body has %d bytes or more", largestReview))
			return
		}
		if err := isReview(r.Header.Get("Content-Type"), body); err != nil {
			refuse(w, r, http.StatusBadRequest, err)
			return
		}
		r.Header.Set("Content-Type", "application/json") // without parameters
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

// isReview returns why a body is no review that can be answered.
func isReview(contentType string, body []byte) error {
	if media, _, err := mime.ParseMediaType(contentType); err != nil || media != "application/json" {
		return fmt.Errorf("the content type %s is not application/json", quote(contentType))
	}
	var kind metav1.TypeMeta
	if err := json.Unmarshal(body, &kind); err != nil {
		return fmt.Errorf("the body is not JSON: %w", err)
	}
	known := kind.APIVersion == admissionv1.SchemeGroupVersion.String() || kind.APIVersion == v1beta1.SchemeGroupVersion.String()
	if kind.Kind != "AdmissionReview" || !known {
		return fmt.Errorf("%s %s is not an AdmissionReview of a known version", quote(kind.APIVersion), quote(kind.Kind))
	}
	return nil
}

// refuse answers with an admission error.
func refuse(w http.ResponseWriter, r *http.Request, code int32, reason error) {
	logger := klog.FromContext(r.Context())
	logger.Error(reason, "A request is no admission review", "from", r.RemoteAddr)
	response := admission.Errored(code, reason)
	review := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: &response.AdmissionResponse,
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(review); err != nil {
		logger.Error(err, "The answer could not be sent", "to", r.RemoteAddr)
	}
}
