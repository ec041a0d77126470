package openstoragesim_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/libopenstorage/openstorage/api"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

var seed = flag.Uint64("strategies.seed", 1, "seed of the random clusters")

// randomStrategy is one strategy as the storage system and as the scheduler see it.
func randomStrategy(rng *rand.Rand) (*api.VolumePlacementStrategy, placement.Strategy) {
	stored, known := &api.VolumePlacementStrategy{}, placement.Strategy{}
	conditions := func(keys ...string) (stored []*api.LabelSelectorRequirement, known []placement.Requirement) {
		for range rng.IntN(3) {
			operator := pick(rng, "In", "In", "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
			var values []string
			switch operator {
			case "In", "NotIn":
				for range 1 + rng.IntN(3) {
					values = append(values, strconv.Itoa(rng.IntN(4)))
				}
			case "Gt", "Lt":
				values = []string{strconv.Itoa(rng.IntN(4))}
			}
			key := pick(rng, keys...)
			stored = append(stored, &api.LabelSelectorRequirement{Key: key, Operator: api.LabelSelectorRequirement_Operator(api.LabelSelectorRequirement_Operator_value[operator]), Values: values})
			known = append(known, placement.Requirement{Key: key, Operator: placement.Operator(operator), Values: values})
		}
		return stored, known
	}
	topology := func() string {
		return pick(rng, "", "", openstoragesim.LabelZone, openstoragesim.LabelRack, "speed", openstoragesim.LabelPool)
	}
	for range rng.IntN(3) {
		s, k := conditions("disk", "speed", openstoragesim.LabelZone, openstoragesim.LabelRack, "medium")
		key := topology()
		if len(s) == 0 && key == "" {
			key = openstoragesim.LabelZone
		}
		preferred, weight, affected := rng.IntN(3) == 0, 1+rng.Int64N(100), rng.Int32N(4)
		rule := &api.ReplicaPlacementSpec{MatchExpressions: s, TopologyKey: key, AffectedReplicas: affected, Weight: weight}
		if preferred {
			rule.Enforcement = api.EnforcementType_preferred
		}
		ours := placement.StrategyRule{Match: k, TopologyKey: key, Replicas: int(affected), Weight: uint64(weight), Preferred: preferred}
		if rng.IntN(2) == 0 {
			stored.ReplicaAffinity, known.ReplicaAffinity = append(stored.ReplicaAffinity, rule), append(known.ReplicaAffinity, ours)
		} else {
			stored.ReplicaAntiAffinity, known.ReplicaAntiAffinity = append(stored.ReplicaAntiAffinity, rule), append(known.ReplicaAntiAffinity, ours)
		}
	}
	return stored, known
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

// TestExcludedNodesGetNoReplica compares what the scheduler expects with what an allocator
// does that was written without it: a node that is excluded never receives a replica, so
// that no strict pod is turned down by a node that would have got one.
func TestExcludedNodesGetNoReplica(t *testing.T) {
	cases := 100_000
	if testing.Short() {
		cases = 5_000
	}
	seen := map[string]int{}
	for i := range cases {
		rng := rand.New(rand.NewPCG(*seed, uint64(i)))
		stored, known := randomStrategy(rng)
		c := openstoragesim.NewCluster(openstoragesim.Options{Seed: uint64(i)})
		nodes := map[string]*placement.Node{}
		for n := range 1 + rng.IntN(6) {
			made := randomNode(t, rng, c, fmt.Sprintf("n%d", n+1))
			nodes[made.ID] = nodeOf(rng, made)
		}
		replicas := 1 + rng.IntN(3)
		request := openstoragesim.CreateRequest{Name: "v", Strategy: stored, SelectedNode: pick(rng, "", "n1", "n2"),
			Parameters: map[string]string{"repl": strconv.Itoa(replicas), "aggregation_level": pick(rng, "1", "1", "2")}}
		rules := &placement.StrategyRules{Strategy: known, Replicas: replicas}
		if rng.IntN(4) == 0 {
			rules.Zones = []string{pick(rng, "0", "1", "2")}
			request.Parameters["zones"] = rules.Zones[0]
		}
		if rng.IntN(4) == 0 {
			rules.Racks = []string{pick(rng, "0", "1", "2"), "3"}
			request.Parameters["racks"] = rules.Racks[0] + ";" + rules.Racks[1]
		}
		if rng.IntN(4) == 0 {
			rules.BestEffort = true
			request.Parameters["best_effort_location_provisioning"] = "true"
		}
		if rng.IntN(5) == 0 {
			rules.Nodes = slices.Sorted(maps.Keys(nodes))[:1+rng.IntN(len(nodes))]
			request.Parameters["nodes"] = strings.Join(rules.Nodes, ",")
		}
		v, err := c.CreateVolume(request)
		switch {
		case errors.Is(err, openstoragesim.ErrExhausted):
			seen["impossible"]++
			continue
		case err != nil:
			t.Fatalf("cluster %d: %v", i, err)
		}
		seen["placed"]++
		for id, n := range nodes {
			excluded := rules.Excludes(n)
			if excluded {
				seen["excluded"]++
			}
			for _, set := range v.GetReplicaSets() {
				if slices.Contains(set.GetNodes(), id) && excluded {
					t.Fatalf("seed %d, cluster %d: node %s is excluded by %v and %v, and has a replica\n%+v %+v", *seed, i, n.Name, stored, request.Parameters, n.Site, n.Disks)
				}
			}
		}
	}
	for _, corner := range []string{"impossible", "placed", "excluded"} {
		if seen[corner] < cases/20 {
			t.Errorf("%q was met %d times in %d clusters, which proves nothing", corner, seen[corner], cases)
		}
	}
	t.Logf("%v", seen)
}

// randomNode adds a storage node with labels and pools.
func randomNode(t *testing.T, rng *rand.Rand, c *openstoragesim.Cluster, name string) openstoragesim.Node {
	t.Helper()
	n := openstoragesim.Node{SchedulerNodeName: name, Labels: map[string]string{}, Zone: pick(rng, "", "0", "1", "2"), Rack: pick(rng, "", "0", "1", "3")}
	for _, key := range []string{"disk", "speed", "medium"} {
		if rng.IntN(2) == 0 {
			n.Labels[key] = pick(rng, "0", "1", "2", "3", "x")
		}
	}
	switch rng.IntN(8) {
	case 0:
		n.Storageless = true
	case 1:
		n.Status = openstoragesim.StatusStorageDown
	}
	for p := 0; !n.Storageless && p < rng.IntN(3); p++ {
		pool := openstoragesim.Pool{UUID: fmt.Sprint(name, "-", p), Labels: map[string]string{}}
		if rng.IntN(2) == 0 {
			pool.Labels[pick(rng, "medium", "disk")] = pick(rng, "0", "1", "2")
		}
		n.Pools = append(n.Pools, pool)
	}
	made, err := c.AddNode(n)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// nodeOf is the node as the scheduler sees it. Of some it has not heard from storage: it
// takes their pools to have the labels of the node, which those of a pool may hide.
func nodeOf(rng *rand.Rand, made openstoragesim.Node) *placement.Node {
	labels := maps.Clone(made.Labels)
	if made.Zone != "" {
		labels[openstoragesim.LabelZone] = made.Zone
	}
	if made.Rack != "" {
		labels[openstoragesim.LabelRack] = made.Rack
	}
	n := &placement.Node{Name: made.SchedulerNodeName, State: placement.Online,
		Site: &placement.Site{Labels: placement.LabelsOf(labels), Zone: made.Zone, Rack: made.Rack}}
	hidden := slices.ContainsFunc(made.Pools, func(p openstoragesim.Pool) bool {
		for key := range p.Labels {
			if _, hides := made.Labels[key]; hides {
				return true
			}
		}
		return false
	})
	if !hidden && rng.IntN(10) == 0 {
		return n
	}
	n.Disks = &placement.Disks{ID: made.ID}
	for _, p := range made.Pools {
		n.Disks.Pools = append(n.Disks.Pools, placement.Pool{UUID: p.UUID, Labels: placement.LabelsOf(p.Labels), Free: -1})
	}
	return n
}
