package placement_test

import (
	"testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

func TestSharedFastPath(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name:    "S1: disableHyperconvergence makes all nodes equal for near volumes",
			nodes:   online(3),
			pod:     off,
			volumes: []volume{near("A@{1}")},
			scores:  "equal",
		},
		{
			name:    "S1: disableHyperconvergence makes all nodes equal for away volumes",
			nodes:   online(3),
			pod:     off,
			volumes: []volume{away("A@{1}"), remoteOnly("B@{2}"), near("C@{3}")},
			scores:  "equal",
		},
		{
			name:    "S1: disableHyperconvergence makes all nodes equal for a migrating virtual machine",
			nodes:   online(3),
			pod:     off,
			machine: placement.MachineMigrating,
			volumes: []volume{near("A@{1}").attached(1)},
			scores:  "equal",
		},
		{
			name:    "S1: neutral volumes alone make all nodes equal",
			nodes:   online(3),
			volumes: []volume{neutral("A@{1}"), neutral("B"), windows("C@{2}")},
			scores:  "equal",
		},
		{
			name:   "S1: unbound volumes alone make all nodes equal",
			nodes:  online(3),
			scores: "equal",
		},
		{
			name:    "S1: unknown volumes alone make all nodes equal",
			nodes:   online(3),
			volumes: []volume{near("A").unknown(), near("B@{1}").stale(), away("C@{1}").stale()},
			scores:  "equal",
		},
		{
			name:    "S1: one near volume is enough for scores",
			nodes:   online(3),
			volumes: []volume{neutral("A@{2}"), near("B@{1}")},
			scores:  "100 0 0",
		},
		{
			name:    "S1: one away volume is enough for scores",
			nodes:   online(3),
			volumes: []volume{neutral("A@{2}"), away("B@{1}")},
			scores:  "0 100 100",
		},
		{
			name:    "S1: a strict pod is scored among the nodes that F6 leaves",
			nodes:   online(3),
			pod:     strict,
			volumes: []volume{near("A@{1,2}"), away("B@{2}")},
			scores:  "100 0 50",
		},
	})
}

func TestNearVolume(t *testing.T) {
	const here = "rack=r1 zone=a region=x"
	everyTier := []string{here, here, "rack=r2 zone=a region=x", "rack=r1 zone=b region=x", "rack=r1 zone=a region=y"}
	runScenarios(t, []scenario{
		{
			name:    "S2: local 100, rack 50, zone 25, region 10, remote 0",
			nodes:   everyTier,
			volumes: []volume{near("A@{1}")},
			scores:  "100 50 25 10 0",
		},
		{
			name:    "S2: the scores of the tiers are configurable",
			nodes:   everyTier,
			tiers:   placement.Tiers{Local: 90, Rack: 80, Zone: 70, Region: 60, Remote: 50},
			volumes: []volume{near("A@{1}")},
			scores:  "90 80 70 60 50",
		},
		{
			name:    "S2: the nearest replica counts",
			nodes:   everyTier,
			volumes: []volume{near("A@{5,4,2}")},
			scores:  "50 100 25 100 100",
		},
		{
			name:    "S2: stripes count alike, so half a replica is not mistaken for a whole one",
			nodes:   online(4),
			volumes: []volume{near("A@{1,2}{1,3}")},
			scores:  "100 50 50 0",
		},
		{
			name:    "S2: each stripe has its own nearest replica",
			nodes:   []string{here, "rack=r2 zone=a region=x", "rack=r1 zone=b region=x"},
			volumes: []volume{near("A@{1}{2}{3}")},
			scores:  "45 45 40", // (100+25+10)/3, (25+100+10)/3, (10+10+100)/3
		},
		{
			name:    "S2: fractions are cut off, not rounded",
			nodes:   online(2),
			volumes: []volume{near("A@{1}{1}{2}")},
			scores:  "66 33",
		},
		{
			name:    "S2: three thirds are a whole",
			nodes:   online(2),
			tiers:   placement.Tiers{Local: 70},
			volumes: []volume{near("A@{1}{1}{1}"), near("B@{1}{1}{1}{1}{1}{1}"), near("C@{1}").weighing(7)},
			scores:  "70 0",
		},
		{
			name:    "S2: replicas on Degraded, Offline and driverless nodes give no tier",
			nodes:   []string{"rack=r1 Degraded", "rack=r2 Offline", "rack=r3 NoDriver", "", "rack=r1", "rack=r2", "rack=r3"},
			volumes: []volume{near("A@{1,2,3,4}")},
			scores:  "0 0 0 100 0 0 0",
		},
		{
			name:    "S2: replicas on StorageDown nodes give tiers",
			nodes:   []string{"rack=r1 StorageDown", "rack=r1", "rack=r2", "rack=r3"},
			volumes: []volume{near("A@{1,4}")},
			scores:  "25 50 0 100",
		},
		{
			name:    "S2: a StorageDown node gets half of what it would",
			nodes:   []string{here, "rack=r1 zone=a region=x StorageDown", "zone=a region=x StorageDown", "region=x StorageDown", "StorageDown"},
			volumes: []volume{near("A@{1}")},
			scores:  "100 25 12 5 0",
		},
		{
			name:    "S2: a StorageDown node gets half of rack for a replica of its own",
			nodes:   []string{"StorageDown", ""},
			volumes: []volume{near("A@{1,2}")},
			scores:  "25 100",
		},
		{
			name:    "S2: a StorageDown node is judged for each stripe that it holds",
			nodes:   []string{"StorageDown zone=a", "zone=a"},
			volumes: []volume{near("A@{1,2}{2}")},
			scores:  "18 100", // (50+25)/2 halved is 18.75
		},
		{
			name:    "S2: half of rack follows the configuration",
			nodes:   []string{"StorageDown", ""},
			tiers:   placement.Tiers{Local: 100, Rack: 80, Zone: 60, Region: 40, Remote: 20},
			volumes: []volume{near("A@{1,2}")},
			scores:  "40 100",
		},
		{
			name:    "S2: a replica on a storage node without a Kubernetes node gives no tier",
			nodes:   []string{"", "rack=r1"},
			volumes: []volume{near("A@{?Online,2}")},
			scores:  "0 100",
		},
		{
			name:    "S2: a volume that lives outside of Kubernetes alone is remote everywhere",
			nodes:   []string{"", "StorageDown", "absent"},
			volumes: []volume{near("A@{?Online,?Offline}")},
			scores:  "0 0 0",
		},
		{
			name:    "S2: a node that holds two replicas of a set is one replica node",
			nodes:   online(2),
			volumes: []volume{near("A@{1,1}")},
			scores:  "100 0",
		},
	})
}

func TestRelate(t *testing.T) {
	tests := []struct {
		name string
		a, b string
		want placement.Relation
	}{
		{"S3: same rack, zone and region is rack", "rack=1 zone=a region=x", "rack=1 zone=a region=x", placement.SameRack},
		{"S3: the same rack name in two zones is two racks", "rack=1 zone=a region=x", "rack=1 zone=b region=x", placement.SameRegion},
		{"S3: the same zone name in two regions is two zones", "zone=a region=x", "zone=a region=y", placement.Remote},
		{"S3: the same rack and zone name in two regions are remote", "rack=1 zone=a region=x", "rack=1 zone=a region=y", placement.Remote},
		{"S3: without rack labels the same zone is zone, not rack", "zone=a region=x", "zone=a region=x", placement.SameZone},
		{"S3: without zone labels the same region is region", "region=x", "region=x", placement.SameRegion},
		{"S3: with rack labels alone the same rack is rack", "rack=1", "rack=1", placement.SameRack},
		{"S3: with zone labels alone the same zone is zone", "zone=a", "zone=a", placement.SameZone},
		{"S3: without labels all nodes are remote", "", "", placement.Remote},
		{"S3: a rack without a zone matches when the zone is absent on both", "rack=1 region=x", "rack=1 region=x", placement.SameRack},
		{"S3: a rack with a zone on one side only does not match", "rack=1 zone=a", "rack=1", placement.Remote},
		{"S3: a zone with a region on one side only does not match", "zone=a region=x", "zone=a", placement.Remote},
		{"S3: a rack label on one side only falls back to the zone", "rack=1 zone=a", "zone=a", placement.SameZone},
		{"S3: different racks of one zone are zone", "rack=1 zone=a", "rack=2 zone=a", placement.SameZone},
		{"S3: different zones of one region are region", "zone=a region=x", "zone=b region=x", placement.SameRegion},
		{"S3: a rack name that is also a zone name is no match", "rack=a", "zone=a", placement.Remote},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, []string{tc.a, tc.b})
			for _, pair := range [][2]int{{0, 1}, {1, 0}} {
				if got := placement.Relate(c.nodes[pair[0]], c.nodes[pair[1]]); got != tc.want {
					t.Errorf("relation of n%d to n%d is %v, want %v", pair[0]+1, pair[1]+1, got, tc.want)
				}
			}
			if got := placement.Relate(c.nodes[0], c.nodes[0]); got != placement.Local {
				t.Errorf("a node is %v to itself", got)
			}
		})
	}
}

func TestSeveralNearVolumes(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name:    "S4: the mean of the volumes",
			nodes:   online(4),
			volumes: []volume{near("A@{1}"), near("B@{1,2}"), near("C@{2,3}")},
			scores:  "66 66 33 0",
		},
		{
			name:    "S4: a heavier volume counts for more",
			nodes:   online(3),
			volumes: []volume{near("A@{1}").weighing(3), near("B@{2}")},
			scores:  "75 25 0",
		},
		{
			name:    "S4: the greatest weight against the least",
			nodes:   online(2),
			volumes: []volume{near("A@{1}").weighing(placement.MaxVolumeWeight), near("B@{2}")},
			scores:  "99 0",
		},
		{
			name:    "S4: volumes of equal weight count alike, whatever the weight",
			nodes:   online(2),
			volumes: []volume{near("A@{1}").weighing(50), near("B@{2}").weighing(50)},
			scores:  "50 50",
		},
		{
			name:    "S4: fractions are cut off once, at the end",
			nodes:   []string{"zone=a", "zone=a StorageDown"},
			volumes: []volume{near("A@{1}"), near("B@{1}"), near("C@{1,2}")},
			scores:  "100 16", // (12.5 + 12.5 + 25) / 3
		},
		{
			name:    "S4: neutral volumes are no part of the mean",
			nodes:   online(2),
			volumes: []volume{near("A@{1}"), neutral("B@{2}").weighing(9), windows("C@{2}")},
			scores:  "100 0",
		},
	})
}

func TestAwayVolumes(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name:    "S5: nodes with a replica score 0, Online ones without 100, StorageDown ones without 0",
			nodes:   []string{"", "", "StorageDown"},
			volumes: []volume{away("A@{1}")},
			scores:  "0 100 0",
		},
		{
			name:    "S5: a replica of any set is enough",
			nodes:   online(4),
			volumes: []volume{away("A@{1,2}{1,3}")},
			scores:  "0 0 0 100",
		},
		{
			name:    "S5: several away volumes add one volume to the mean, not several",
			nodes:   online(4),
			volumes: []volume{near("N@{1}"), away("A@{2}"), away("B@{3}"), away("C@{2,3}")},
			scores:  "100 0 0 50",
		},
		{
			name:    "S5: the weight of an away volume is not asked",
			nodes:   online(3),
			volumes: []volume{near("N@{1}"), away("A@{2}").weighing(9)},
			scores:  "100 0 50",
		},
		{
			name:    "S5: the one more volume has weight 1 beside heavy near volumes",
			nodes:   online(3),
			volumes: []volume{near("N@{1}").weighing(4), away("A@{2}")},
			scores:  "100 0 20",
		},
		{
			name:    "S5: a StorageDown node without a replica counts as one more volume scored 0",
			nodes:   []string{"rack=r1", "rack=r1 StorageDown", "rack=r1"},
			volumes: []volume{near("N@{1}"), away("A@{3}")},
			scores:  "100 12 0", // (25 + 0) / 2
		},
		{
			name:    "S5: a near replica on the node does not make up for an away one",
			nodes:   online(2),
			volumes: []volume{near("N@{1}").weighing(99), away("A@{1}")},
			scores:  "0 1",
		},
		{
			name:    "S5: replicas on Offline nodes and outside of Kubernetes push nothing away",
			nodes:   []string{"Offline", "", ""},
			volumes: []volume{away("A@{1,?Online}")},
			scores:  "0 100 100",
		},
	})
}

func TestNodesThatDoNotServe(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name:    "S6: a node that F5 would reject scores 0, whatever it holds",
			nodes:   []string{"Degraded", "Offline", "NoDriver", "Unheard", "absent", ""},
			volumes: []volume{near("A@{1,2,3,4,6}")},
			scores:  "0 0 0 0 0 100",
		},
		{
			name:    "S6: it scores 0 for away volumes too",
			nodes:   []string{"Degraded", "Offline", "NoDriver", "absent", ""},
			volumes: []volume{away("A@{?Online}")},
			scores:  "0 0 0 0 100",
		},
		{
			name:     "S6: it scores 0 although a Windows volume makes it feasible",
			nodes:    []string{"Offline", ""},
			volumes:  []volume{near("A@{1,2}"), windows("W")},
			verdicts: "ok ok",
			scores:   "0 100",
		},
		{
			name:    "S6: remote is worth nothing there, even when it is worth something elsewhere",
			nodes:   []string{"Offline", "", ""},
			tiers:   placement.Tiers{Local: 100, Rack: 40, Zone: 40, Region: 40, Remote: 40},
			volumes: []volume{near("A@{3}")},
			scores:  "0 40 100",
		},
	})
}

func TestUnknownVolumes(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name:    "S7: an unknown near volume is left out of the mean",
			nodes:   online(3),
			volumes: []volume{near("A@{1}"), near("B").unknown().weighing(9)},
			scores:  "100 0 0",
		},
		{
			name:    "S7: replicas that are known no more are left out of the mean",
			nodes:   online(3),
			volumes: []volume{near("A@{1}"), near("B@{2}").stale()},
			scores:  "100 0 0",
		},
		{
			name:    "S7: an unknown away volume is no one more volume",
			nodes:   online(3),
			volumes: []volume{near("A@{1}"), away("B@{1}").stale()},
			scores:  "100 0 0",
		},
		{
			name:    "S7: replicas outside of Kubernetes count as remote in the mean",
			nodes:   online(2),
			volumes: []volume{near("A@{1}"), near("B@{?Online}")},
			scores:  "50 0",
		},
	})
}

func TestNearerByOneTier(t *testing.T) {
	odd := placement.Tiers{Local: 80, Rack: 40, Zone: 40, Region: 20, Remote: 10}
	for _, tc := range []struct {
		name  string
		tiers placement.Tiers
		score int64
		want  int64
	}{
		{"from nowhere to the region", placement.DefaultTiers, 0, 10},
		{"from the region to the zone", placement.DefaultTiers, 10, 25},
		{"from the zone to the rack", placement.DefaultTiers, 25, 50},
		{"from the rack to the replica", placement.DefaultTiers, 50, 100},
		{"from the mean of two volumes", placement.DefaultTiers, 30, 55},
		{"from one that has most of it, to all", placement.DefaultTiers, 62, 100},
		{"from the replica to nowhere", placement.DefaultTiers, 100, 101},
		{"from between two tiers that are equal", odd, 20, 40},
		{"from a rack that is worth as much as its zone", odd, 40, 80},
		{"from below the lowest tier", odd, 0, 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.tiers.NearerThan(tc.score); got != tc.want {
				t.Errorf("more than %d begins at %d, want %d", tc.score, got, tc.want)
			}
		})
	}
}
