package command

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hyperconverge/scheduler/internal/kubectl/view"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/rebalance"
)

// decided has two pods that would go, and three that stay.
func decided() *view.Decision {
	pod := func(namespace, name, node string, locality placement.Locality) *rebalance.RunningPod {
		return &rebalance.RunningPod{Namespace: namespace, Name: name, Node: node, Locality: locality, Owner: types.UID(name)}
	}
	return &view.Decision{
		Configuration: rebalance.Default(), Installed: true,
		Journal: &rebalance.Journal{Evictions: []rebalance.Eviction{{Namespace: "shop", Name: "db-9", From: "node-1", To: "node-2", At: time.Unix(0, 0)}}},
		Owners:  map[types.UID]*rebalance.Owner{"db-0": {Kind: "StatefulSet.apps", Name: "db"}},
		Plan: &rebalance.HomePlan{
			Moves: []rebalance.Move{
				{Pod: pod("shop", "db-0", "node-3", placement.LocalityRemote), Now: true, Landing: rebalance.Landing{
					Node: "node-7", Equals: []string{"node-8"}, Before: 20, After: 100, Locality: placement.LocalityLocal}},
				{Pod: pod("crm", "db-0", "node-4", placement.LocalityPartly), Landing: rebalance.Landing{Node: "node-9", Before: 50, After: 100, Locality: placement.LocalityLocal}},
			},
			Kept: []rebalance.Kept{
				{Pod: pod("crm", "queue-0", "node-4", placement.LocalityRemote), Reason: rebalance.NoRoom, Detail: "2 Insufficient cpu"},
				{Pod: pod("shop", "db-1", "node-3", placement.LocalityRemote), Reason: rebalance.OwnerBusy},
				{Pod: pod("shop", "db-2", "node-3", placement.LocalityRemote), Reason: rebalance.OwnerBusy},
			},
		},
	}
}

func TestHomeIsDrawn(t *testing.T) {
	draw := func(doc *view.Home, wide bool) string {
		var out bytes.Buffer
		if err := drawHome(&out, doc, wide); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	narrow := draw(view.NewHome(decided(), "", nil), false)
	want := `Rebalancer:  installed, in a dry run
Pods:        2 would go home, 1 of them now; 3 stay; 1 under way

Would go home, in this order
NAMESPACE   POD    FROM     TO       SCORE       WHEN
shop        db-0   node-3   node-7   20 to 100   now
crm         db-0   node-4   node-9   50 to 100   later

Not on their data, and stay
NAMESPACE   POD       NODE     LOCALITY   WHY
crm         queue-0   node-4   remote     NoRoom
shop        db-1      node-3   remote     OwnerBusy
shop        db-2      node-3   remote     OwnerBusy

NoRoom: no node would take the pod
OwnerBusy: its owner is short of a pod, has one too many, or is rolling out
`
	if diff := cmp.Diff(want, narrow); diff != "" {
		t.Errorf("the table (-want +got):\n%s", diff)
	}
	for _, tc := range []struct {
		name    string
		decided func(*view.Decision)
		wide    bool
		width   int
		says    []string
	}{
		{"a table fits into 80 columns", func(*view.Decision) {}, false, 80, nil},
		{"a wide one into 120, and says more", func(*view.Decision) {}, true, 120, []string{
			"now, as local instead of remote, or as well on node-8", "NoRoom: no node would take the pod: 2 Insufficient cpu",
		}},
		{"what holds all pods is told, and none goes now", func(d *view.Decision) {
			d.Plan.Held, d.Plan.Detail = rebalance.StorageProblem, "StorageUnreachable"
		}, false, 80, []string{"0 of them now", "None goes now:  something is wrong with the storage API: StorageUnreachable"}},
		{"one that evicts", func(d *view.Decision) { d.Configuration.DryRun = false }, false, 80, []string{"installed, and evicts"}},
		{"none is installed", func(d *view.Decision) { d.Installed = false }, false, 80, []string{"Rebalancer:  not installed"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := decided()
			tc.decided(d)
			got := draw(view.NewHome(d, "", nil), tc.wide)
			for line := range strings.Lines(got) {
				if len(strings.TrimRight(line, "\n")) > tc.width {
					t.Errorf("too long for %d columns: %s", tc.width, line)
				}
			}
			for _, want := range tc.says {
				if !strings.Contains(got, want) {
					t.Errorf("%q is not in\n%s", want, got)
				}
			}
		})
	}
	if one := draw(view.NewHome(decided(), "crm", nil), false); strings.Contains(one, "shop") || !strings.Contains(one, "1 would go home, 0 of them now; 1 stay; 0 under way") {
		t.Errorf("of one namespace:\n%s", one)
	}
}
