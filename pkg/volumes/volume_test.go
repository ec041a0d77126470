package volumes

import (
	"errors"
	"math"
	"strconv"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

func TestObservationBecomesVolume(t *testing.T) {
	tests := []struct {
		name    string
		o       Observation
		unknown bool // no replicas are known
		sets    [][]string
	}{
		{"one set is kept in order", Observation{ID: "1", ReplicaSets: [][]string{{"b", "a", "c"}}}, false, [][]string{{"b", "a", "c"}}},
		{"more replicas than fit inline are kept", Observation{ID: "1", ReplicaSets: [][]string{{"a", "b", "c", "d"}}}, false, [][]string{{"a", "b", "c", "d"}}},
		{"the sets of an aggregated volume stay apart", Observation{ID: "1", ReplicaSets: [][]string{{"a", "b"}, {"a", "c"}}}, false, [][]string{{"a", "b"}, {"a", "c"}}},
		{"a set without holders is an answer that is empty in part", Observation{ID: "1", ReplicaSets: [][]string{{"a"}, {}}}, true, nil},
		{"a set without holders stays where there need be none", Observation{ID: "1", Direct: true, ReplicaSets: [][]string{{"a"}, {}}}, false, [][]string{{"a"}, nil}},
		{"a node counts once per set", Observation{ID: "1", ReplicaSets: [][]string{{"a", "a", "b"}, {"a"}}}, false, [][]string{{"a", "b"}, {"a"}}},
		{"an empty node id is none", Observation{ID: "1", ReplicaSets: [][]string{{"", "a"}}}, false, [][]string{{"a"}}},
		{"no set at all is an empty answer", Observation{ID: "1"}, true, nil},
		{"empty sets are an empty answer", Observation{ID: "1", ReplicaSets: [][]string{{}, {""}}}, true, nil},
		{"a direct access volume has no replicas by design", Observation{ID: "1", Direct: true}, false, nil},
		{"a Windows volume may have no replicas", Observation{ID: "1", Winshare: true}, false, nil},
		{"an id that is no number is kept", Observation{ID: "vol-1", ReplicaSets: [][]string{{"a"}}}, false, [][]string{{"a"}}},
		{"an id that is no number may have no replicas", Observation{ID: "vol-1", Direct: true}, false, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ids := newNodeIDs()
			v, err := newVolume(&test.o, ids)
			if unknown := errors.Is(err, ErrNoReplicas); unknown != test.unknown {
				t.Errorf("unknown is %v: %v", unknown, err)
			}
			if test.unknown {
				return
			}
			if v.ID() != test.o.ID {
				t.Errorf("id is %q, want %q", v.ID(), test.o.ID)
			}
			var sets [][]string
			for i := range v.NumSets() {
				var set []string
				for _, ref := range v.Set(i) {
					set = append(set, ids.id(ref))
				}
				sets = append(sets, set)
			}
			if diff := cmp.Diff(test.sets, sets); diff != "" {
				t.Errorf("sets differ (-want +got):\n%s", diff)
			}
			if again, _ := newVolume(&test.o, ids); !again.sameContent(&v) {
				t.Error("the same observation is taken for another content")
			}
		})
	}
}

func TestContentThatDiffersInOneThingIsAChange(t *testing.T) {
	base := func() Observation {
		return Observation{ID: "1", ReplicaSets: [][]string{{"a", "b"}}, Labels: map[string]string{placement.VolumeSkipScoring: "true"}}
	}
	tests := []struct {
		name   string
		change func(*Observation)
	}{
		{"a replica more", func(o *Observation) { o.ReplicaSets = [][]string{{"a", "b", "c"}} }},
		{"a replica moved", func(o *Observation) { o.ReplicaSets = [][]string{{"a", "c"}} }},
		{"another set", func(o *Observation) { o.ReplicaSets = [][]string{{"a", "b"}, {"a"}} }},
		{"attached", func(o *Observation) { o.Attached = "a" }},
		{"a service", func(o *Observation) { o.Service = true }},
		{"direct access", func(o *Observation) { o.Direct = true }},
		{"Windows", func(o *Observation) { o.Winshare = true }},
		{"a label changed", func(o *Observation) { o.Labels = map[string]string{placement.VolumeSkipScoring: "false"} }},
		{"a label gone", func(o *Observation) { o.Labels = nil }},
		{"a spec label more", func(o *Observation) { o.SpecLabels = map[string]string{placement.VolumeWindows: ""} }},
		{"another id", func(o *Observation) { o.ID = "2" }},
		{"an id that is no number", func(o *Observation) { o.ID = "x" }},
	}
	ids := newNodeIDs()
	o := base()
	before, _ := newVolume(&o, ids)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := base()
			test.change(&o)
			after, _ := newVolume(&o, ids)
			if before.sameContent(&after) {
				t.Error("is not seen")
			}
		})
	}
}

func TestLocatorLabelBeatsSpecLabel(t *testing.T) {
	o := Observation{ID: "1", ReplicaSets: [][]string{{"a"}},
		Labels:     map[string]string{placement.VolumePreferRemote: "false", "other": "x"},
		SpecLabels: map[string]string{placement.VolumePreferRemote: "true", placement.VolumeSkipScoring: "maybe"},
	}
	v, _ := newVolume(&o, newNodeIDs())
	for key, want := range map[string]string{placement.VolumePreferRemote: "false", placement.VolumeSkipScoring: "maybe"} {
		if got, set := v.Label(key); got != want || !set {
			t.Errorf("%s is %q, %v, want %q", key, got, set, want)
		}
	}
	for _, key := range []string{placement.VolumeWindows, "other"} {
		if got, set := v.Label(key); set {
			t.Errorf("%s is %q, want none", key, got)
		}
	}
}

func TestVolumeStaysSmall(t *testing.T) {
	if size := unsafe.Sizeof(StorageVolume{}); size > 48 {
		t.Errorf("a Volume takes %d bytes; 100 000 of them must fit beside a scheduler", size)
	}
	if size := unsafe.Sizeof(record{}); size > 48 {
		t.Errorf("a record takes %d bytes", size)
	}
}

func FuzzParseID(f *testing.F) {
	for _, handle := range []string{"", "0", "1", "007", "+1", "-1", "1_0", "18446744073709551615", "18446744073709551616", "pvc-1", "1 "} {
		f.Add(handle)
	}
	f.Fuzz(func(t *testing.T, handle string) {
		n, ok := parseID(handle)
		want, err := strconv.ParseUint(handle, 10, 64)
		isID := err == nil && want != 0 && strconv.FormatUint(want, 10) == handle
		if ok != isID || ok && n != want {
			t.Errorf("parseID(%q) = %d, %v", handle, n, ok)
		}
		if back := keyOf(handle).handle(); back != handle {
			t.Errorf("handle %q became %q", handle, back)
		}
	})
}

func TestLargestIDIsANumber(t *testing.T) {
	if n, ok := parseID("18446744073709551615"); !ok || n != math.MaxUint64 {
		t.Errorf("got %d, %v", n, ok)
	}
}
