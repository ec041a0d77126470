package rebalance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const header = "apiVersion: hyperconverge.dev/v1\nkind: RebalancerConfiguration\n"

func window(t *testing.T, start, duration, zone string) *Window {
	t.Helper()
	c, err := Decode([]byte(header + fmt.Sprintf("window: {start: %q, duration: %s, timeZone: %q}\n", start, duration, zone)))
	if err != nil {
		t.Fatal(err)
	}
	return c.Window
}

func TestAnEmptyFileIsTheDefault(t *testing.T) {
	got, err := Decode([]byte(header))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got, cmpopts.IgnoreUnexported(Window{})); diff != "" {
		t.Error(diff)
	}
	if !got.DryRun || got.Rescue.Enabled {
		t.Error("the default evicts")
	}
}

func TestWrongValuesNameTheirField(t *testing.T) {
	for _, tc := range []struct{ name, file, want string }{
		{"no kind", "apiVersion: hyperconverge.dev/v1", "kind: Invalid value"},
		{"a file of another program", "apiVersion: v1\nkind: Pod\n", "apiVersion: Invalid value"},
		{"a field that does not exist", header + "dryrun: false", `unknown field "dryrun"`},
		{"a field that is there twice", header + "dryRun: false\ndryRun: true", "dryRun"},
		{"a nested field that does not exist", header + "budgets: {perHour: 3}", `unknown field "budgets.perHour"`},
		{"a budget of 0 per hour", header + "budgets: {maxPerHour: 0}", "budgets.maxPerHour: Invalid value: 0"},
		{"a budget of 0 at once", header + "budgets: {maxConcurrent: 0}", "budgets.maxConcurrent: Invalid value: 0"},
		{"an opt-in that is none", header + "optIn: some", "optIn: Invalid value"},
		{"a duration without a unit", header + "minAge: 30", "minAge"},
		{"an age below zero", header + "minAge: -1m", "minAge: Invalid value"},
		{"a cool-down that is none", header + "cooldown: 1s", "cooldown: Invalid value"},
		{"a timeout of nothing", header + "readyTimeout: 0s", "readyTimeout: Invalid value"},
		{"looks without a pause", header + "interval: 0s", "interval: Invalid value"},
		{"looks so rare that the alert takes them for none", header + "interval: 6m", "interval: Invalid value"},
		{"a second document", header + "---\n" + header + "dryRun: true\n", "second document"},
		{"owners that make pods on the same node", header + "ownerKinds: [DaemonSet.apps]", "ownerKinds[0]: Invalid value"},
		{"owners of another group that do", header + "ownerKinds: [DaemonSet.apps.kruise.io]", "ownerKinds[0]: Invalid value"},
		{"owners that count failures", header + "ownerKinds: [A.example.com, Job.batch]", "ownerKinds[1]: Invalid value"},
		{"a version in the place of a group", header + "ownerKinds: [Node.v1]", "ownerKinds[0]: Invalid value"},
		{"a group with a version", header + "ownerKinds: [ReplicaSet.extensions/v1]", "ownerKinds[0]: Invalid value"},
		{"a kind without a group", header + "ownerKinds: [Cluster]", "ownerKinds[0]: Invalid value"},
		{"no cron expression", header + "window: {start: at noon, duration: 1h}", "window.start: Invalid value"},
		{"a window without a length", header + "window: {start: '0 22 * * *'}", "window.duration: Invalid value"},
		{"a window that never opens", header + "window: {start: '0 0 30 2 *', duration: 1h}", "never comes"},
		{"a window that counts from the start", header + "window: {start: '@every 1h', duration: 5m}", "window.start: Invalid value"},
		{"a zone inside of the expression", header + "window: {start: 'TZ=UTC 0 22 * * *', duration: 1h}", "timeZone"},
		{"a zone that does not exist", header + "window: {start: '0 22 * * *', duration: 1h, timeZone: Mars/Olympus}", "window.timeZone: Invalid value"},
		{"the zone of whatever machine", header + "window: {start: '0 22 * * *', duration: 1h, timeZone: Local}", "window.timeZone: Invalid value"},
		{"a rescue too hasty", header + "rescue: {after: 1s}", "rescue.after: Invalid value"},
		{"force without rescue", header + "rescue: {forceDelete: true}", "rescue.forceDelete: Invalid value"},
		{"a batch of none", header + "rescue: {batch: 0}", "rescue.batch: Invalid value"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := Decode([]byte(tc.file)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

func TestCommentsAreNoDocuments(t *testing.T) {
	if _, err := Decode([]byte("# Ours.\n---\n" + header + "---\n# The end.\n")); err != nil {
		t.Error(err)
	}
}

func TestAnyPauseButAClearNoPauses(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "": true, "no": true, "false": false} {
		if got := PausedBy(map[string]string{PauseAnnotation: value}); got != want {
			t.Errorf("%q pauses: %t", value, got)
		}
	}
	if PausedBy(nil) {
		t.Error("it pauses without the annotation")
	}
}

func TestTheWindow(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string) time.Time {
		got, err := time.ParseInLocation("2006-01-02 15:04:05", text, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, tc := range []struct {
		name, start, duration string
		at                    time.Time
		want                  bool
	}{
		{"before it opens", "0 22 * * *", "4h", at("2026-11-27 21:59:59"), false},
		{"when it opens", "0 22 * * *", "4h", at("2026-11-27 22:00:00"), true},
		{"after midnight", "0 22 * * *", "4h", at("2026-11-28 01:59:59"), true},
		{"when it closes", "0 22 * * *", "4h", at("2026-11-28 02:00:00"), false},
		{"seen from another zone", "0 22 * * *", "4h", at("2026-11-27 22:30:00").UTC(), true},
		{"on another day of the week", "0 22 * * SAT", "4h", at("2026-11-27 23:00:00"), false},
		{"in summer, by the clock on the wall", "0 22 * * *", "4h", at("2026-07-01 22:00:00"), true},
		{"windows that overlap", "@hourly", "2h", at("2026-11-27 12:34:56"), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := window(t, tc.start, tc.duration, "Europe/Berlin").Open(tc.at); got != tc.want {
				t.Errorf("open is %t", got)
			}
		})
	}
	if !(*Window)(nil).Open(noon) {
		t.Error("no window is not always open")
	}
}

// FuzzDecode: whatever stands in the file, a configuration that is accepted can be asked.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(header + "window: {start: '0 22 * * *', duration: 1h}\n"))
	f.Add([]byte(header + "budgets: {maxPerHour: 3}\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if c, err := Decode(data); err == nil {
			c.Window.Open(noon)
		}
	})
}
