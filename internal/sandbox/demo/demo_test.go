package demo

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seen has two nodes with storage and one without. The volume "data" is on
// node-1, "log" on node-2, and "both" on both.
func seen(pods ...Pod) Snapshot {
	return Snapshot{
		Nodes: []Node{
			{Name: "node-1", Storage: Online},
			{Name: "node-2", Storage: Online},
			{Name: "node-3"},
		},
		Volumes: []Volume{
			{Name: "data", Replicas: []string{"node-1"}},
			{Name: "log", Replicas: []string{"node-2"}},
			{Name: "both", Replicas: []string{"node-1", "node-2"}},
		},
		Pods: pods,
	}
}

func on(node string, volumes ...string) Pod {
	return Pod{Name: "app", Node: node, Volumes: volumes, Running: true}
}

func pending(reason string, volumes ...string) Pod {
	return Pod{Name: "app", Volumes: volumes, Reason: reason}
}

func TestChecks(t *testing.T) {
	stuck := on("node-1", "data")
	stuck.Running = false

	for name, row := range map[string]struct {
		got check
		// broken is a part of what is seen instead; empty if the check holds.
		broken string
	}{
		"a pod on its data":             {runsOnData(seen(), on("node-1", "data", "both")), ""},
		"a pod on one of its volumes":   {runsOnData(seen(), on("node-2", "data", "both")), "it runs on node-2"},
		"a pod whose volumes are apart": {runsOnData(seen(), on("node-1", "data", "log")), "it runs on node-1"},
		"a pod on its data that does not run": {
			runsOnData(seen(), stuck), "it is on node-1 and does not run",
		},
		"a pending pod": {runsOnData(seen(), pending("no luck", "data")), "it is pending: no luck"},

		"the very node":    {runsOn(on("node-2"), "node-2", "as said"), ""},
		"another node":     {runsOn(on("node-1"), "node-2", "as said"), "it runs on node-1"},
		"not yet any node": {runsOn(pending(""), "node-2", "as said"), "no reason is given"},

		"pending for the right reason":     {waitsBecause(pending("apart: default/log"), "apart", "log"), ""},
		"pending for another reason":       {waitsBecause(pending("Insufficient cpu"), "apart", "log"), `does not say "apart": Insufficient cpu`},
		"pending, the volume is not named": {waitsBecause(pending("apart"), "apart", "log"), `does not say "log"`},
		"not pending at all":               {waitsBecause(on("node-1"), "apart"), "it runs on node-1"},

		"one pod on every storage node": {spreadEvenly(seen(on("node-1"), on("node-2"))), ""},
		"one more on one of them":       {spreadEvenly(seen(on("node-1"), on("node-2"), on("node-2"))), ""},
		"two more on one of them":       {spreadEvenly(seen(on("node-1"), on("node-1"))), "2 on one node and 0 on another"},
		"one where there is no storage": {spreadEvenly(seen(on("node-1"), on("node-3"))), "1 on node-3"},

		"all on their data":     {allOnData(seen(on("node-1", "data"), on("node-2", "log")), "all"), ""},
		"one not on its data":   {allOnData(seen(on("node-1", "data"), on("node-1", "log")), "all"), "1 of 2"},
		"one still without one": {allOnData(seen(on("node-1", "data"), pending("", "log")), "all"), "1 of 2"},

		"better than stock":   {moreOnData(Tally{OnData: 60}, Tally{OnData: 12}, "with theirs"), ""},
		"no better than that": {moreOnData(Tally{OnData: 12}, Tally{OnData: 12}, "with theirs"), "12, and 12 with theirs"},
	} {
		t.Run(name, func(t *testing.T) {
			switch {
			case row.broken == "" && row.got.instead != "":
				t.Errorf("broken: %s", row.got)
			case !strings.Contains(row.got.instead, row.broken):
				t.Errorf("instead: %q; want it to say %q", row.got.instead, row.broken)
			}
		})
	}
}

func TestACheckSaysWhatWasSeenOnlyIfItFails(t *testing.T) {
	kept := runsOnData(seen(), on("node-1", "data"))
	if got, want := kept.String(), "app runs on node-1, which holds data"; got != want {
		t.Errorf("kept: %q, want %q", got, want)
	}
	broken := runsOnData(seen(), on("node-3", "both"))
	if got, want := broken.String(), "app runs on a node that holds both (node-1 or node-2); instead: it runs on node-3"; got != want {
		t.Errorf("broken: %q, want %q", got, want)
	}
	nowhere := runsOnData(seen(), pending("x", "data", "log"))
	if got, want := nowhere.String(), "app runs on a node that holds data and log (of which there is none); instead: it is pending: x"; got != want {
		t.Errorf("nowhere: %q, want %q", got, want)
	}
}

func TestBothSchedulersStandSideBySide(t *testing.T) {
	got := sideBySide(
		Tally{OnData: 12, Away: 33, NoStorage: 15},
		Tally{OnData: 60},
	)
	want := `
                                     default-scheduler  hyperconverge-scheduler
  on a node with their data                   12 of 60                 60 of 60
  on another node, over the network           33 of 60                  0 of 60
  on a node where they cannot start           15 of 60                  0 of 60
`
	if diff := cmp.Diff(want, "\n"+got); diff != "" {
		t.Errorf("table differs (-want +got):\n%s", diff)
	}
}
