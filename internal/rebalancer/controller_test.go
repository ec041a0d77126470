package rebalancer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"

	"github.com/hyperconverge/scheduler/pkg/rebalance"
)

// A tenant may make any number of pods that nobody can bring home.
func TestFewPodsAreToldOfAtEachLookAndAllInTheEnd(t *testing.T) {
	recorder := events.NewFakeRecorder(100)
	c := NewController(&Options{Configuration: rebalance.Default(), Events: recorder})
	plan := &rebalance.HomePlan{}
	for i := range 2*eventsKept + 5 {
		name := fmt.Sprint("db-", i)
		pod := &rebalance.RunningPod{Name: name, UID: types.UID(name)}
		plan.Kept = append(plan.Kept, rebalance.Kept{Pod: pod, Reason: rebalance.OptInInvalid})
	}
	for look, want := range []int{eventsKept, 2 * eventsKept, 2*eventsKept + 5, 2*eventsKept + 5} {
		c.tell(t.Context(), plan, &Picture{})
		if got := len(recorder.Events); got != want {
			t.Errorf("after look %d there are %d events, want %d", look+1, got, want)
		}
	}
}

// The API server says Retry-After while a budget has not been counted, which a tenant can keep
// it from for ever.
func TestAnEvictionIsAskedForOnce(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		status := apierrors.NewTooManyRequests("The disruption budget is still being processed by the server.", 1).Status()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		_ = json.NewEncoder(w).Encode(&status)
	}))
	defer server.Close()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	err = evict(t.Context(), client, &rebalance.RunningPod{Namespace: "shop", Name: "db-0", UID: "x"})
	if asked != 1 || answerOf(err, false) != refused {
		t.Errorf("asked %d times: %v", asked, err)
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
		{"the API server has too much to do to ask KubeVirt", apierrors.NewTooManyRequests("too many requests, please try again later", 1), true, refused},
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
