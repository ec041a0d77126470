package placement_test

import (
	"testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

func TestStorageState(t *testing.T) {
	tests := []struct {
		state  placement.StorageState
		name   string
		serves bool
	}{
		{placement.NoDriver, "NoDriver", false},
		{placement.Online, "Online", true},
		{placement.StorageDown, "StorageDown", true},
		{placement.Degraded, "Degraded", false},
		{placement.Offline, "Offline", false},
		{placement.StorageState(200), "Offline", false},
	}
	for _, tc := range tests {
		if got := tc.state.String(); got != tc.name {
			t.Errorf("StorageState(%d).String() = %q, want %q", tc.state, got, tc.name)
		}
		if got := tc.state.Serves(); got != tc.serves {
			t.Errorf("%s.Serves() = %t, want %t", tc.name, got, tc.serves)
		}
	}
}

func TestZeroNodeHasNoDriver(t *testing.T) {
	plan, rejection := placement.NewPlan(placement.Pod{}, placement.DefaultTiers)
	if rejection != nil {
		t.Fatal(rejection.Message())
	}
	if got := plan.Verdict(&placement.Node{}); got != placement.RejectedNoDriver {
		t.Errorf("verdict of a zero node is %q", got.Reason())
	}
}
