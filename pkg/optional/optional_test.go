package optional

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"
)

func TestCauseOfAResourceThatCannotBeFollowedIsToldOnce(t *testing.T) {
	resource := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "things"}
	logger := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true)))
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), logger))
	tell := tellOfWatchError(resource, "things do not count")
	for range 3 {
		tell(ctx, nil, apierrors.NewNotFound(resource.GroupResource(), ""))
		tell(ctx, nil, apierrors.NewResourceExpired("too old"))
		tell(ctx, nil, apierrors.NewForbidden(resource.GroupResource(), "", errors.New("no role")))
		tell(ctx, nil, errors.New("connection refused"))
	}
	cancel()
	tell(ctx, nil, apierrors.NewUnauthorized("at the end"))
	log := logger.GetSink().(ktesting.Underlier).GetBuffer().String()
	for text, want := range map[string]int{"things do not count": 2, "no role": 1, "connection refused": 1} {
		if got := strings.Count(log, text); got != want {
			t.Errorf("%q is in the log %d times, want %d:\n%s", text, got, want, log)
		}
	}
}

func TestResourcesAreTriedUntilItIsKnownWhetherTheyCanBeRead(t *testing.T) {
	resource := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "things"}
	group := resource.GroupResource()
	for _, tc := range []struct {
		name string
		// failure is what the first list answers, and nil what others do.
		failure       error
		tried, synced bool // after the first list
	}{
		{"one that is there", nil, true, true},
		{"one that does not exist", apierrors.NewNotFound(group, ""), true, false},
		{"one that may not be read", apierrors.NewForbidden(group, "", errors.New("no role")), true, false},
		{"an API server that is busy", apierrors.NewTooManyRequests("later", 1), false, false},
		{"an API server that nobody reaches", errors.New("connection refused"), false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{resource: "ThingList"})
				failure := tc.failure
				client.PrependReactor("list", "things", func(clienttesting.Action) (bool, runtime.Object, error) {
					err := failure
					failure = nil
					return err != nil, nil, err
				})
				informer, err := NewInformer(client, resource, func(object any) (any, error) { return object, nil }, nil, "things do not count")
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), ktesting.NewLogger(t, ktesting.NewConfig())))
				defer cancel()
				go informer.RunWithContext(ctx)
				time.Sleep(200 * time.Millisecond) // less than the reflector waits before it tries again
				if informer.Tried() != tc.tried || informer.HasSynced() != tc.synced {
					t.Errorf("tried %t, synced %t, want %t, %t", informer.Tried(), informer.HasSynced(), tc.tried, tc.synced)
				}
				time.Sleep(time.Minute)
				if !informer.Tried() || !informer.HasSynced() {
					t.Errorf("later: tried %t, synced %t", informer.Tried(), informer.HasSynced())
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}
