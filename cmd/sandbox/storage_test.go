package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
)

func volumeFor(id, namespace, claim string) openstoragesim.VolumeSummary {
	return openstoragesim.VolumeSummary{ID: id, Name: "pvc-" + id, Labels: map[string]string{
		openstoragesim.LabelNamespace: namespace, openstoragesim.LabelPVC: claim,
	}}
}

func TestAVolumeIsFoundByWhatPeopleCallIt(t *testing.T) {
	volumes := []openstoragesim.VolumeSummary{
		volumeFor("1", "shop", "mysql-data"),
		volumeFor("2", "shop", "cache"),
		volumeFor("3", "test", "cache"),
		{ID: "4", Name: "by-hand"},
	}
	for name, row := range map[string]struct{ meant, want, err string }{
		"claim":                              {meant: "mysql-data", want: "1"},
		"claim with namespace":               {meant: "test/cache", want: "3"},
		"id":                                 {meant: "2", want: "2"},
		"name":                               {meant: "pvc-3", want: "3"},
		"volume without a claim":             {meant: "by-hand", want: "4"},
		"claim that several namespaces have": {meant: "cache", err: "shop/cache, test/cache"},
		"nothing of that name":               {meant: "nope", err: `"nope"`},
		"what stands for no claim":           {meant: "-", want: "4"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := findVolume(volumes, row.meant)
			if row.err != "" {
				if err == nil || !strings.Contains(err.Error(), row.err) {
					t.Errorf("error is %v, want one that says %s", err, row.err)
				}
				return
			}
			if err != nil || got.ID != row.want {
				t.Errorf("findVolume() = %q, %v; want %q", got.ID, err, row.want)
			}
		})
	}
}

func TestListsNameNodesAndClaims(t *testing.T) {
	nodes := []openstoragesim.Node{
		{ID: "uuid-1", SchedulerNodeName: "node-1", Status: openstoragesim.StatusOK, Region: "east", Zone: "east-a", Rack: "rack-1"},
		{ID: "uuid-2", Hostname: "bare", Status: openstoragesim.StatusOffline, Region: "east", Zone: "east-a", Rack: "rack-2"},
	}
	replicas := func(ids ...string) (set []openstoragesim.Replica) {
		for _, id := range ids {
			set = append(set, openstoragesim.Replica{NodeID: id})
		}
		return set
	}
	striped := volumeFor("1", "shop", "mysql-data")
	striped.ReplicaSets = [][]openstoragesim.Replica{replicas("uuid-1", "uuid-2"), replicas("uuid-1", "uuid-gone")}
	striped.AttachedOn = "uuid-1"
	volumes := []openstoragesim.VolumeSummary{striped, {ID: "2", Name: "by-hand"}}

	var out strings.Builder
	if err := printNodes(&out, nodes, volumes); err != nil {
		t.Fatal(err)
	}
	out.WriteString("\n")
	if err := printVolumes(&out, volumes, nodes); err != nil {
		t.Fatal(err)
	}
	want := `
NODE     STATE     REPLICAS   REGION   ZONE     RACK     ID
node-1   online    2          east     east-a   rack-1   uuid-1
bare     offline   1          east     east-a   rack-2   uuid-2

CLAIM             REPLICAS                         ATTACHED   ID   NAME
shop/mysql-data   node-1,bare | node-1,uuid-gone   node-1     1    pvc-1
-                 -                                -          2    by-hand
`
	if diff := cmp.Diff(want, "\n"+out.String()); diff != "" {
		t.Errorf("lists differ (-want +got):\n%s", diff)
	}
}

func TestParseFaults(t *testing.T) {
	all := func(f openstoragesim.CallFault) openstoragesim.Faults {
		return openstoragesim.Faults{Calls: map[string]openstoragesim.CallFault{"*": f}}
	}
	for name, row := range map[string]struct {
		args string
		want openstoragesim.Faults
		err  string
	}{
		"healthy again":         {args: "none"},
		"outage":                {args: "outage", want: all(openstoragesim.CallFault{Code: codes.Unavailable})},
		"hang":                  {args: "hang", want: all(openstoragesim.CallFault{Hang: true})},
		"latency":               {args: "latency 2s", want: all(openstoragesim.CallFault{Latency: 2 * time.Second})},
		"JSON":                  {args: `{"hideVolumes":0.5}`, want: openstoragesim.Faults{HideVolumes: 0.5}},
		"JSON with a typo":      {args: `{"hideVolume":0.5}`, err: "hideVolume"},
		"latency of what":       {args: "latency", err: "duration"},
		"latency that is none":  {args: "latency soon", err: `"soon"`},
		"latency into the past": {args: "latency -1s", err: `"-1s"`},
		"an unknown word":       {args: "explode", err: `"explode"`},
		"one word too many":     {args: "outage now", err: "no further argument"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseFaults(strings.Fields(row.args))
			if row.err != "" {
				if err == nil || !strings.Contains(err.Error(), row.err) {
					t.Errorf("error is %v, want one that says %s", err, row.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("faults differ (-want +got):\n%s", diff)
			}
		})
	}
}
