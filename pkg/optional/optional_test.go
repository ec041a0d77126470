package optional

import (
	"context"
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
