package webhook

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"

	admissionv1 "k8s.io/api/admission/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/hyperconverge/scheduler/pkg/claims"
)

// handler answers admission requests. It allows all of them: failurePolicy
// Ignore does not help against a webhook that says no.
type handler struct {
	rules    Rules
	claimsOf func(ctx context.Context, pod *v1.Pod, askShared bool) (claims []claims.Claim, complete bool)
	metrics  *metrics
}

func newHandler(rules Rules, claimsOf func(context.Context, *v1.Pod, bool) ([]claims.Claim, bool), metrics *metrics) *handler {
	return &handler{rules: rules, claimsOf: claimsOf, metrics: metrics}
}

// newHook is what is served at Path.
func newHook(handler *handler) http.Handler {
	return newIntake(&admission.Webhook{Handler: handler})
}

// Handle implements admission.Handler.
func (h *handler) Handle(ctx context.Context, request admission.Request) (response admission.Response) {
	logger := klog.FromContext(ctx)
	defer func() {
		// controller-runtime would deny the pod.
		if crash := recover(); crash != nil {
			logger.Error(nil, "Deciding about a pod crashed, it is created as it is", "panic", crash, "stack", string(debug.Stack()))
			response = h.answer(Admission{Outcome: Crashed, Warnings: []string{"the pod is created as it is, because deciding about it failed"}})
		}
	}()
	decision := h.decide(ctx, request)
	logger.V(4).Info("Decided about a pod", "outcome", decision.Outcome, "warnings", decision.Warnings)
	return h.answer(decision)
}

func (h *handler) decide(ctx context.Context, request admission.Request) Admission {
	pod, err := podOf(request)
	if err != nil {
		klog.FromContext(ctx).Info("A request cannot be judged, check the rules of the webhook configuration", "reason", err.Error())
		return Admission{Outcome: Unreadable, Warnings: []string{"the object is created as it is: " + err.Error()}}
	}
	decision, done := h.rules.Ignores(pod)
	if done {
		return decision
	}
	warnings := decision.Warnings
	claims, complete := h.claimsOf(ctx, pod, h.rules.asksForShared(pod))
	decision = h.rules.Decide(pod, claims, complete)
	decision.Warnings = append(warnings, decision.Warnings...)
	return decision
}

// podOf returns the pod that a request is about to create.
func podOf(request admission.Request) (*v1.Pod, error) {
	pods := metav1.GroupVersionResource{Version: "v1", Resource: "pods"}
	if request.Resource != pods || request.SubResource != "" {
		return nil, fmt.Errorf("only pods are judged, not %s", quote(request.Resource.Resource+"/"+request.SubResource))
	}
	if request.Operation != admissionv1.Create {
		return nil, fmt.Errorf("pods are judged when they are created, not on %s", quote(string(request.Operation)))
	}
	pod, err := decodePod(request.Object.Raw)
	if err != nil {
		return nil, fmt.Errorf("the pod cannot be read: %s", quote(err.Error()))
	}
	pod.Namespace = request.Namespace // the pod itself may not name it
	return pod, nil
}

func (h *handler) answer(decision Admission) admission.Response {
	h.metrics.pods.WithLabelValues(string(decision.Outcome)).Inc()
	response := admission.Patched(string(decision.Outcome), decision.Patch...)
	for _, warning := range decision.Warnings {
		response.Warnings = append(response.Warnings, "hyperconverge: "+warning)
	}
	return response
}
