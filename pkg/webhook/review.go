package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"time"

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
	// smallReview is what may come without a reservation: most reviews are smaller.
	smallReview = 16 << 10
	// reviewBudget is how many bytes of reviews are received at the same time, small
	// ones aside, and how many are judged. Judging takes several times as much memory.
	reviewBudget = 8 << 20
	// receiveTimeout is how long the first bytes of a body may take to come, and how
	// long the rest of a large one once it has its reservation: as long as the manifests
	// let API servers wait for the answer.
	receiveTimeout = 3 * time.Second
	// longestWait is the longest time that Kubernetes lets a webhook take: after that
	// nobody waits for the answer.
	longestWait = 30 * time.Second
)

// errBusy is for reviews that did not get their turn.
var errBusy = errors.New("too many bytes of other reviews are being worked on")

// intake lets reviews through to next, so many at a time that their bytes stay
// within the budget, whoever sends them.
type intake struct {
	next http.Handler
	// receiving and judging are two, so that a body that does not end keeps nobody
	// from being judged.
	receiving, judging *semaphore.Weighted
}

func newIntake(next http.Handler) *intake {
	return &intake{next: next, receiving: semaphore.NewWeighted(reviewBudget), judging: semaphore.NewWeighted(reviewBudget)}
}

// ServeHTTP lets only reviews of known versions through: next would take any object
// for a review of its own version. Others are answered with an admission error; an
// API server sends none, because the webhook configuration names the versions. What
// does not come in time, or gets no turn, has no review for an answer, so that an API
// server creates its pod as it is.
func (i *intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), longestWait)
	defer cancel()
	body, received, err := i.receive(ctx, w, r)
	defer received()
	if err == nil && !acquire(ctx, i.judging, len(body)) {
		err = errBusy
	}
	switch {
	case errors.Is(err, errBusy):
		hangUp(w, r, http.StatusServiceUnavailable, err)
		return
	case errors.Is(err, os.ErrDeadlineExceeded):
		hangUp(w, r, http.StatusRequestTimeout, fmt.Errorf("the body has not come within %v", receiveTimeout))
		return
	case err != nil:
		refuse(w, r, http.StatusBadRequest, fmt.Errorf("reading the body: %w", err))
		return
	}
	defer i.judging.Release(int64(len(body)))
	if len(body) >= largestReview {
		refuse(w, r, http.StatusRequestEntityTooLarge, fmt.Errorf("the body has %d bytes or more", largestReview))
		return
	}
	if err := isReview(r.Header.Get("Content-Type"), body); err != nil {
		refuse(w, r, http.StatusBadRequest, err)
		return
	}
	r.Header.Set("Content-Type", "application/json") // without parameters
	r.Body = io.NopCloser(bytes.NewReader(body))
	i.next.ServeHTTP(w, r)
}

// receive reads a body of at most largestReview bytes. It counts as received until
// release is called.
func (i *intake) receive(ctx context.Context, w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	release = func() {}
	deadline := func(at time.Time) {
		// Only a server that is no server, in a test, has no deadlines.
		_ = http.NewResponseController(w).SetReadDeadline(at)
	}
	deadline(time.Now().Add(receiveTimeout))
	if body, err = io.ReadAll(io.LimitReader(r.Body, smallReview)); err != nil {
		return nil, release, err
	}
	if len(body) == smallReview {
		size, expected := largestReview, smallReview // unless it says how long it is
		if r.ContentLength > 0 {
			size = int(min(r.ContentLength, largestReview))
			expected = size
		}
		if !acquire(ctx, i.receiving, size) {
			return nil, release, errBusy
		}
		release = func() { i.receiving.Release(int64(size)) }
		deadline(time.Now().Add(receiveTimeout))
		whole := bytes.NewBuffer(make([]byte, 0, expected+bytes.MinRead))
		whole.Write(body)
		if _, err = whole.ReadFrom(io.LimitReader(r.Body, int64(largestReview-len(body)))); err != nil {
			return nil, release, err
		}
		body = whole.Bytes()
	}
	// A deadline that passes later would end the context of the request.
	deadline(time.Time{})
	return body, release, nil
}

// acquire reports whether there is room for so many bytes before the context ends.
func acquire(ctx context.Context, budget *semaphore.Weighted, bytes int) bool {
	return budget.Acquire(ctx, int64(bytes)) == nil
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
	w.Header().Set("Connection", "close")
	if err := json.NewEncoder(w).Encode(review); err != nil {
		logger.Error(err, "The answer could not be sent", "to", r.RemoteAddr)
	}
}

// hangUp ends a connection without a verdict: failurePolicy says what becomes of the
// pod.
func hangUp(w http.ResponseWriter, r *http.Request, code int, reason error) {
	klog.FromContext(r.Context()).Info("A request gets no verdict", "reason", reason.Error(), "from", r.RemoteAddr)
	w.Header().Set("Connection", "close")
	http.Error(w, reason.Error(), code)
}
