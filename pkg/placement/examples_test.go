package placement_test

import (
	"testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// TestWorkedExamples is section 9 of the behaviour contract, row by row.
func TestWorkedExamples(t *testing.T) {
	racks := []string{"rack=r1", "rack=r2", "rack=r1", "rack=r2", "rack=r3"}
	runScenarios(t, []scenario{
		{
			name:    "1: no labels, V@{1,2}, 5 nodes",
			nodes:   online(5),
			volumes: []volume{near("V@{1,2}")},
			scores:  "100 100 0 0 0",
		},
		{
			name:    "2: racks r1,r2,r1,r2,r3 and no zone label anywhere, V@{1,2}",
			nodes:   racks,
			volumes: []volume{near("V@{1,2}")},
			scores:  "100 100 50 50 0",
		},
		{
			name:    "3: racks with the same names in several zones; A@{1,2}, B@{2,3}",
			nodes:   []string{"rack=r1 zone=a", "rack=r2 zone=a", "rack=r1 zone=b", "rack=r2 zone=b", "rack=r1 zone=c"},
			volumes: []volume{near("A@{1,2}"), near("B@{2,3}")},
			scores:  "62 100 50 12 0",
		},
		{
			name: "4: zones only, all in one region; V@{1}",
			nodes: []string{"zone=a region=r1", "zone=a region=r1", "zone=b region=r1", "zone=b region=r1",
				"zone=c region=r1"},
			volumes: []volume{near("V@{1}")},
			scores:  "100 25 10 10 10",
		},
		{
			name:    "5: racks as in 2, n1 StorageDown, V@{1,2}",
			nodes:   []string{"rack=r1 StorageDown", "rack=r2", "rack=r1", "rack=r2", "rack=r3"},
			volumes: []volume{near("V@{1,2}")},
			scores:  "25 100 50 50 0",
		},
		{
			name:    "6: all one rack; near@{1,2,3}, away@{4,5,6}",
			nodes:   []string{"rack=r", "rack=r", "rack=r", "rack=r", "rack=r", "rack=r"},
			volumes: []volume{near("near@{1,2,3}"), away("away@{4,5,6}")},
			scores:  "100 100 100 0 0 0",
		},
		{
			name:    "7: n1 to n5 one rack, n6 elsewhere; near@{1,2,3}, away@{3,4,5}",
			nodes:   []string{"rack=r", "rack=r", "rack=r", "rack=r", "rack=r", ""},
			volumes: []volume{near("near@{1,2,3}"), away("away@{3,4,5}")},
			scores:  "100 100 0 0 0 50",
		},
		{
			name:     "8: strict, A@{1,2}, B@{2,3}",
			nodes:    online(5),
			pod:      strict,
			volumes:  []volume{near("A@{1,2}"), near("B@{2,3}")},
			verdicts: "NotLocal ok NotLocal NotLocal NotLocal",
		},
		{
			name:     "9: strict, A@{1}, B@{2}",
			nodes:    online(5),
			pod:      strict,
			volumes:  []volume{near("A@{1}"), near("B@{2}")},
			rejected: placement.ReasonStrictNowhere + ": B",
		},
		{
			name:     "10: 6 nodes, away-only@{1,2,3}",
			nodes:    online(6),
			volumes:  []volume{remoteOnly("V@{1,2,3}")},
			verdicts: "RemoteOnly RemoteOnly RemoteOnly ok ok ok",
		},
		{
			name:     "10: the same with disableHyperconvergence",
			nodes:    online(6),
			pod:      off,
			volumes:  []volume{remoteOnly("V@{1,2,3}")},
			verdicts: "ok ok ok ok ok ok",
			scores:   "equal",
		},
		{
			name:     "11: strict and disableHyperconvergence, V@{1,2,3} of 6",
			nodes:    online(6),
			pod:      strictOff,
			volumes:  []volume{near("V@{1,2,3}")},
			verdicts: "ok ok ok NotLocal NotLocal NotLocal",
			scores:   "equal",
		},
		{
			name:     "12: two replica sets {1,2} and {1,3}, strict",
			nodes:    online(4),
			pod:      strict,
			volumes:  []volume{near("V@{1,2}{1,3}")},
			verdicts: "ok NotLocal NotLocal NotLocal",
		},
		{
			name:     "13: V@{1,2}, n1 Offline, n2 StorageDown",
			nodes:    []string{"Offline", "StorageDown", "", ""},
			volumes:  []volume{near("V@{1,2}")},
			rejected: placement.ReasonNoOnlineReplica + ": V",
		},
		{
			name:     "14: direct access volume, strict",
			nodes:    []string{"", "", "", "NoDriver"},
			pod:      strict,
			volumes:  []volume{neutral("V")},
			verdicts: "ok ok ok NoDriver",
			scores:   "equal",
		},
		{
			name:     "15: 2 storage nodes, a third Kubernetes node without the driver, V@{1}",
			nodes:    []string{"", "", "NoDriver"},
			volumes:  []volume{near("V@{1}")},
			verdicts: "ok ok NoDriver",
		},
	})
}
