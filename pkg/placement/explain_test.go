package placement_test

import (
	"testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// Defaults are shown in the words in which the key would be written.
func TestDefaultsOfSettings(t *testing.T) {
	want := map[string]string{placement.VolumeWeight: "1", placement.VolumeSpread: "None"}
	for _, s := range placement.SettingsOf(placement.Traits{}, placement.Sources{}) {
		if value, found := want[s.Key]; found && (s.Value != value || s.Origin != placement.FromDefault) {
			t.Errorf("%s is %q by %v, want %q by default", s.Key, s.Value, s.Origin, value)
		}
		delete(want, s.Key)
	}
	for key := range want {
		t.Errorf("%s is not shown", key)
	}
}
