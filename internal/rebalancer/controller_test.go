package rebalancer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"

	"github.com/hyperconverge/scheduler/pkg/rebalance"
)

// A tenant may make any number of pods that nobody can bring home.
func TestFewPodsAreToldOfAtEachLookAndAllInTheEnd(t *testing.T) {
	recorder := events.NewFakeRecorder(100)
	c := NewController(&Options{Configuration: rebalance.Default(), Events: recorder})
	plan := &rebalance.HomePlan{}
	for i := range 2*eventsKept + 5 {
		pod := &rebalance.RunningPod{Name: fmt.Sprint("db-", i), UID: types.UID(fmt.Sprint(i))}
		plan.Kept = append(plan.Kept, rebalance.Kept{Pod: pod, Reason: rebalance.OptInInvalid})
	}
	for look, want := range []int{eventsKept, 2 * eventsKept, 2*eventsKept + 5, 2*eventsKept + 5} {
		c.tell(t.Context(), plan, &Picture{})
		if got := len(recorder.Events); got != want {
			t.Errorf("after look %d there are %d events, want %d", look+1, got, want)
		}
	}
}

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
