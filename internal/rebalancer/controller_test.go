package rebalancer

import (
	"context"
	"errors"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestAnswersToAnEviction(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	for _, tc := range []struct {
		name    string
		err     error
		machine bool
		want    answer
	}{
		{"it is taken", nil, false, accepted},
		{"a budget allows nothing", apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 10), false, refused},
		{"KubeVirt migrates the machine", apierrors.NewTooManyRequestsError(`Eviction triggered evacuation of VMI "shop/db"`), true, accepted},
		{"the pod is gone", apierrors.NewNotFound(pods, "db-0"), false, failed},
		{"another pod has its name", apierrors.NewConflict(pods, "db-0", errors.New("the UID differs")), false, failed},
		{"the controller may not", apierrors.NewForbidden(pods, "db-0", errors.New("no")), false, failed},
		{"the API server fails in the middle", apierrors.NewInternalError(errors.New("etcd")), false, unknown},
		{"the API server takes too long", apierrors.NewTimeoutError("slow", 1), false, unknown},
		{"nobody answers", &http.MaxBytesError{}, false, unknown},
		{"the controller is told to end", context.Canceled, false, unknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := answerOf(tc.err, tc.machine); got != tc.want {
				t.Errorf("answer %d, want %d", got, tc.want)
			}
		})
	}
}
