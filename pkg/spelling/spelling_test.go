package spelling_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/spelling"
)

func TestMisspelt(t *testing.T) {
	for _, tc := range []struct {
		name, key, meant string
	}{
		{name: "section 2: a letter too many is told", key: "stork.libopenstorage.org/preferLocalNodesOnly", meant: placement.PodPreferLocalOnly},
		{name: "section 2: other capitals are told", key: "stork.libopenstorage.org/preferlocalnodeonly", meant: placement.PodPreferLocalOnly},
		{name: "section 2: another letter is told", key: "stork.libopenstorage.org/disableHyperconvergance", meant: placement.PodDisableHyperconvergence},
		{name: "section 2: the nearest of two keys is told", key: "stork.libopenstorage.org/preferRemoteNodes", meant: placement.VolumePreferRemote},
		{name: "section 2: the longer of two keys is told", key: "stork.libopenstorage.org/preferRemoteNodesOnly", meant: placement.VolumePreferRemoteOnly},
		{name: "section 2: a key under the other prefix is told", key: "hyperconverge.dev/preferLocalNodeOnly", meant: placement.PodPreferLocalOnly},
		{name: "section 2: a key of our own is told", key: "hyperconverge.dev/volume-weigth", meant: placement.VolumeWeight},
		{name: "section 2: a key that is right is left alone", key: placement.PodPreferLocalOnly},
		{name: "section 2: Stork's keys for snapshots are left alone", key: "stork.libopenstorage.org/snapshot-type"},
		{name: "section 2: Stork's keys for migrations are left alone", key: "stork.libopenstorage.org/skip-resource"},
		{name: "section 2: Stork's keys for backups are left alone", key: "stork.libopenstorage.org/backup-id"},
		{name: "section 2: keys of others are left alone", key: "example.com/preferLocalNodesOnly"},
		{name: "section 2: what cannot be a key is left alone", key: "stork.libopenstorage.org/preferLocalNodeOnly\n"},
		{name: "section 2: a prefix alone is left alone", key: "hyperconverge.dev/"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var want []placement.Problem
			if tc.meant != "" {
				want = []placement.Problem{{Key: tc.key, Value: "true", Detail: "has no effect: did you mean " + tc.meant + "?"}}
			}
			if diff := cmp.Diff(want, spelling.Misspelt(map[string]string{tc.key: "true", "example.com/other": "x"})); diff != "" {
				t.Errorf("Misspelt() (-want +got):\n%s", diff)
			}
		})
	}

	t.Run("section 2: several are told in their order", func(t *testing.T) {
		problems := spelling.Misspelt(map[string]string{
			"stork.libopenstorage.org/prefrLocalNodeOnly": "a", "hyperconverge.dev/volumeweight": "b",
		})
		var keys []string
		for _, p := range problems {
			keys = append(keys, p.Key)
		}
		if diff := cmp.Diff([]string{"hyperconverge.dev/volumeweight", "stork.libopenstorage.org/prefrLocalNodeOnly"}, keys); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
	})
}

// An object has room for some ten thousand keys.
func BenchmarkMisspeltOfTenThousandKeys(b *testing.B) {
	keys := map[string]string{}
	for i := range 10_000 {
		keys[fmt.Sprintf("stork.libopenstorage.org/preferLocalNodeOn%02d", i)] = ""
	}
	for b.Loop() {
		spelling.Misspelt(keys)
	}
}
