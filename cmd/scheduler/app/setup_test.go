package app

import (
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/informers"
)

// syncedFactory has informers that are in sync.
type syncedFactory struct {
	informers.SharedInformerFactory
}

func (syncedFactory) WaitForCacheSync(<-chan struct{}) map[reflect.Type]bool { return nil }

func TestSchedulingBeginsWhenAllIsRead(t *testing.T) {
	never := time.Duration(1<<63 - 1)
	for _, tc := range []struct {
		name                 string
		synced, tried, stops time.Duration
		want                 time.Duration
	}{
		{"nodes and volumes are waited for", time.Minute, 0, never, time.Minute},
		{"strategies and snapshots are waited for", 0, time.Second, never, time.Second},
		{"those that cannot be read, for a moment", 0, never, never, moment},
		{"those that cannot be read, no longer than for nodes and volumes", time.Minute, never, never, time.Minute},
		{"a scheduler that is stopped waits for nothing", never, never, 2 * time.Second, 2 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				after := func(d time.Duration) func() bool {
					return func() bool { return time.Since(begun) >= d }
				}
				stop := make(chan struct{})
				if tc.stops != never {
					time.AfterFunc(tc.stops, func() { close(stop) })
				}
				gate := &syncGate{SharedInformerFactory: syncedFactory{}, hasSynced: after(tc.synced), hasTried: after(tc.tried)}
				gate.WaitForCacheSync(stop)
				if got := time.Since(begun).Round(10 * time.Millisecond); got != tc.want {
					t.Errorf("scheduling begins after %v, want %v", got, tc.want)
				}
			})
		})
	}
}
