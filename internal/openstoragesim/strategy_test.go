package openstoragesim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libopenstorage/openstorage/api"
)

// conditions reads "disk In ssd nvme; zone Exists".
func conditions(t testing.TB, text string) (list []*api.LabelSelectorRequirement) {
	t.Helper()
	for part := range strings.SplitSeq(text, ";") {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		operator, known := api.LabelSelectorRequirement_Operator_value[words[1]]
		if !known {
			t.Fatalf("operator %q", words[1])
		}
		list = append(list, &api.LabelSelectorRequirement{Key: words[0], Operator: api.LabelSelectorRequirement_Operator(operator), Values: words[2:]})
	}
	return list
}

func TestStrategies(t *testing.T) {
	const zone = LabelZone
	replica := func(text, topology string, affected int32, weight int64) []*api.ReplicaPlacementSpec {
		spec := &api.ReplicaPlacementSpec{MatchExpressions: conditions(t, text), TopologyKey: topology, AffectedReplicas: affected, Weight: weight}
		if weight > 0 {
			spec.Enforcement = api.EnforcementType_preferred
		}
		return []*api.ReplicaPlacementSpec{spec}
	}
	other := func(text, topology string) []*api.VolumePlacementSpec {
		return []*api.VolumePlacementSpec{{MatchExpressions: conditions(t, text), TopologyKey: topology}}
	}
	// n1 to n6 in zones a, a, b, b, c, c; n1, n3, n5 have ssd, n6 has an ssd pool beside another.
	for _, row := range []struct {
		name     string
		replicas int
		strategy *api.VolumePlacementStrategy
		// existing is a volume with the label app=db on these nodes; own are the labels of
		// the new volume.
		existing []string
		own      map[string]string
		selected string
		// among are the nodes of which the replicas are some, in any order; zones how many
		// zones they are in, 0 for any.
		among string
		zones int
		first string
		err   error
		says  string
	}{
		{name: "a required affinity", replicas: 3, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("disk In ssd", "", 0, 0)}, among: "n1 n3 n5 n6"},
		{name: "a required anti-affinity", replicas: 3, strategy: &api.VolumePlacementStrategy{ReplicaAntiAffinity: replica("disk In ssd", "", 0, 0)}, among: "n2 n4 n6"},
		{name: "all in one zone", replicas: 2, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("", zone, 0, 0)}, among: "n1 n2 n3 n4 n5 n6", zones: 1},
		{name: "all in one zone and on ssd", replicas: 2, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("disk In ssd", zone, 0, 0)}, among: "n5 n6", zones: 1},
		{name: "each in a zone of its own", replicas: 3, strategy: &api.VolumePlacementStrategy{ReplicaAntiAffinity: replica("", zone, 0, 0)}, among: "n1 n2 n3 n4 n5 n6", zones: 3},
		{name: "those on ssd in zones of their own", replicas: 3, strategy: &api.VolumePlacementStrategy{
			ReplicaAffinity: replica("disk In ssd", "", 0, 0), ReplicaAntiAffinity: replica("disk In ssd", zone, 0, 0)}, among: "n1 n3 n5 n6", zones: 3},
		{name: "one on ssd", replicas: 2, strategy: &api.VolumePlacementStrategy{
			ReplicaAffinity: replica("disk In ssd; kubernetes.io/name In n1", "", 1, 0), ReplicaAntiAffinity: replica("kubernetes.io/name In n2 n3 n4 n5", "", 0, 0)}, among: "n1 n6"},
		{name: "a wish comes before balance", replicas: 1, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("kubernetes.io/name In n4", "", 0, 5)}, among: "n4"},
		{name: "a wish that cannot be kept is no reason to fail", replicas: 3, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("kubernetes.io/name In n9", "", 0, 5)}, among: "n1 n2 n3 n4 n5 n6"},
		{name: "a wish for one zone comes before balance", replicas: 2, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("", zone, 0, 5)}, among: "n1 n2", zones: 1},
		{name: "a wish that some replicas can keep", replicas: 2, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("kubernetes.io/name In n4", "", 0, 5)}, among: "n1 n4", first: "n4"},
		{name: "the heaviest wish that can be kept counts", replicas: 2, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: slices.Concat(
			replica("kubernetes.io/name In n1", "", 0, 9), replica("kubernetes.io/name In n3 n4", "", 0, 5), replica("kubernetes.io/name In n5 n6", "", 0, 2))}, among: "n3 n4"},
		{name: "two of three in one zone", replicas: 3, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("", zone, 2, 0)}, among: "n1 n2 n3 n4 n5 n6", zones: 2},
		{name: "two of three in zones of their own, and all on a and b", replicas: 3, strategy: &api.VolumePlacementStrategy{
			ReplicaAffinity: replica("topology.kubernetes.io/zone In a b", "", 0, 0), ReplicaAntiAffinity: replica("", zone, 2, 0)}, among: "n1 n2 n3 n4", zones: 2},
		{name: "by a number", replicas: 3, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("number Gt 2; number Lt 6", "", 0, 0)}, among: "n3 n4 n5"},
		{name: "a place that a pool gives itself is none", replicas: 1, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("", "shelf", 0, 0)}, err: ErrExhausted,
			says: "rule replicaAffinity[0] is required and leaves 0 node(s) in one shelf for 1 replicas"},
		{name: "beside another volume", replicas: 2, strategy: &api.VolumePlacementStrategy{VolumeAffinity: other("app In db", "")}, existing: []string{"n2", "n5"}, among: "n2 n5"},
		{name: "in the zone of another volume", replicas: 2, strategy: &api.VolumePlacementStrategy{VolumeAffinity: other("app In db", zone)}, existing: []string{"n2"}, among: "n1 n2"},
		{name: "apart from another volume", replicas: 3, strategy: &api.VolumePlacementStrategy{VolumeAntiAffinity: other("app In db", zone)}, existing: []string{"n2"}, among: "n3 n4 n5 n6"},
		{name: "in another pool", replicas: 1, strategy: &api.VolumePlacementStrategy{
			VolumeAntiAffinity: other("app In db", LabelPool), ReplicaAffinity: replica("kubernetes.io/name In n6", "", 0, 0)}, existing: []string{"n6"}, among: "n6"},
		{name: "the first of a group", replicas: 1, strategy: &api.VolumePlacementStrategy{VolumeAffinity: other("app In db", "")}, own: map[string]string{"app": "db"}, among: "n1 n2 n3 n4 n5 n6"},
		{name: "the node of the pod holds the first replica", replicas: 2, selected: "n4", among: "n1 n2 n3 n4 n5 n6", first: "n4"},
		{name: "if the rules let it", replicas: 2, selected: "n4", strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("disk In ssd", "", 0, 0)}, among: "n1 n3 n5 n6"},
		{name: "and with them", replicas: 2, selected: "n5", strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("disk In ssd", "", 0, 0)}, among: "n1 n3 n5 n6", first: "n5"},

		{name: "a rule that leaves too few", replicas: 3, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("disk In ssd; zone Exists", "", 0, 0)}, err: ErrExhausted,
			says: "rule replicaAffinity[0] is required and leaves 0 node(s) for 3 replicas"},
		{name: "a zone that is too small", replicas: 3, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("", zone, 0, 0)}, err: ErrExhausted,
			says: "rule replicaAffinity[0] is required and leaves 2 node(s) in one topology.kubernetes.io/zone for 3 replicas"},
		{name: "more racks than there are", replicas: 3, strategy: &api.VolumePlacementStrategy{ReplicaAntiAffinity: replica("", "rack", 0, 0)}, err: ErrExhausted,
			says: "rule replicaAntiAffinity[0] is required and leaves 2 node(s) apart by rack for 3 replicas"},
		{name: "every rule that leaves too few is named", replicas: 2, strategy: &api.VolumePlacementStrategy{
			ReplicaAffinity: replica("kubernetes.io/name In n1", "", 0, 0), ReplicaAntiAffinity: replica("kubernetes.io/name Exists", "", 1, 0)}, err: ErrExhausted,
			says: "rule replicaAffinity[0] is required and leaves 1 node(s) for 2 replicas, rule replicaAntiAffinity[0] is required and leaves 0 node(s) for 1 of 2 replicas"},
		{name: "rules that contradict each other", replicas: 2, strategy: &api.VolumePlacementStrategy{
			ReplicaAffinity: replica("disk In ssd", "", 0, 0), ReplicaAntiAffinity: replica("kubernetes.io/name In n1 n3 n5", "", 0, 0)}, err: ErrExhausted,
			says: "no 2 nodes keep all required rules, which they do one by one (rule replicaAffinity[0] leaves 4 node(s), rule replicaAntiAffinity[0] leaves 3 node(s))"},
		{name: "a rule about fewer than no replicas", replicas: 2, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("disk Exists", "", -1, 0)}, err: ErrInvalid,
			says: "rule replicaAffinity[0] is about -1 replicas"},
		{name: "an operator that does not exist", replicas: 1, strategy: &api.VolumePlacementStrategy{VolumeAntiAffinity: []*api.VolumePlacementSpec{{
			MatchExpressions: []*api.LabelSelectorRequirement{{Key: "app", Operator: 9}}}}}, err: ErrInvalid, says: "rule volumeAntiAffinity[0]: operator 9 does not go with values"},
		{name: "an enforcement that does not exist", replicas: 1, strategy: &api.VolumePlacementStrategy{ReplicaAntiAffinity: []*api.ReplicaPlacementSpec{{
			TopologyKey: zone, Enforcement: 7}}}, err: ErrInvalid, says: "rule replicaAntiAffinity[0] has the unknown enforcement 7"},
		{name: "the first of two wrong rules is named", replicas: 1, strategy: &api.VolumePlacementStrategy{
			VolumeAffinity: other("", ""), ReplicaAntiAffinity: replica("", "", 0, 0)}, err: ErrInvalid, says: "rule replicaAntiAffinity[0] has neither"},
		{name: "no volume to be beside", replicas: 1, strategy: &api.VolumePlacementStrategy{VolumeAffinity: other("app In db", "")}, err: ErrExhausted,
			says: "rule volumeAffinity[0] is required and no volume matches it"},
		{name: "a rule that says nothing", replicas: 1, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("", "", 0, 0)}, err: ErrInvalid,
			says: "rule replicaAffinity[0] has neither matchExpressions nor topologyKey"},
		{name: "a volume rule about no volume", replicas: 1, strategy: &api.VolumePlacementStrategy{VolumeAffinity: other("", "zone")}, err: ErrInvalid, says: "rule volumeAffinity[0] has no matchExpressions"},
		{name: "Gt without a number", replicas: 1, strategy: &api.VolumePlacementStrategy{ReplicaAffinity: replica("disk Gt many", "", 0, 0)}, err: ErrInvalid, says: "operator Gt does not go with values"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := NewCluster(Options{})
			zones := map[string]string{}
			for i := range 6 {
				name := fmt.Sprintf("n%d", i+1)
				zones[name] = string(rune('a' + i/2))
				n := Node{SchedulerNodeName: name, Zone: zones[name], Labels: map[string]string{"kubernetes.io/name": name, "number": name[1:], "rack": strconv.Itoa(i % 2)}}
				if i%2 == 0 {
					n.Labels["disk"] = "ssd"
				}
				if i == 5 {
					n.Pools = []Pool{{UUID: "n6-hdd"}, {UUID: "n6-ssd", Labels: map[string]string{"disk": "ssd", "shelf": "top"}}}
				}
				if _, err := c.AddNode(n); err != nil {
					t.Fatal(err)
				}
			}
			if row.existing != nil {
				v, err := c.CreateVolume(CreateRequest{Name: "existing", Labels: map[string]string{"app": "db"}})
				if err == nil {
					err = c.SetReplicaSets(v.GetId(), row.existing)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			v, err := c.CreateVolume(CreateRequest{Name: "new", Parameters: map[string]string{"repl": strconv.Itoa(row.replicas)},
				Labels: row.own, Strategy: row.strategy, SelectedNode: row.selected})
			if row.err != nil {
				if !errors.Is(err, row.err) || !strings.Contains(err.Error(), row.says) {
					t.Errorf("error is %v, want %v that says %q", err, row.err, row.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			nodes := placedOn(t, c, v)[0]
			in := map[string]bool{}
			for _, n := range nodes {
				in[zones[n]] = true
				if !slices.Contains(strings.Fields(row.among), n) {
					t.Errorf("replicas on %v, want them among %s", nodes, row.among)
				}
			}
			if len(nodes) != row.replicas || row.zones > 0 && len(in) != row.zones || row.first != "" && nodes[0] != row.first {
				t.Errorf("replicas on %v in %d zones", nodes, len(in))
			}
		})
	}
}

func TestNewVolumesGoWhereThereIsRoom(t *testing.T) {
	c := placementCluster(t)
	for _, full := range []string{"n1", "n2", "n3", "n4", "n5"} {
		if err := c.SetUsed(full, 1<<40); err != nil {
			t.Fatal(err)
		}
	}
	for _, selected := range []string{"", "n9"} { // by either way of placing
		v, err := c.CreateVolume(CreateRequest{Name: "v" + selected, SelectedNode: selected})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([][]string{{"n6"}}, placedOn(t, c, v)); diff != "" {
			t.Errorf("selected node %q: %s", selected, diff)
		}
	}
	if _, err := c.CreateVolume(CreateRequest{Name: "big", Parameters: map[string]string{"repl": "3"}}); err != nil {
		t.Errorf("that there is no room is no reason to refuse: %v", err)
	}
}

func TestClonesLieWhereTheirSourceLies(t *testing.T) {
	c := placementCluster(t)
	source, err := c.CreateVolume(CreateRequest{Name: "source", Parameters: map[string]string{"repl": "2"}, Labels: map[string]string{LabelPVC: "a", "app": "db"}})
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := c.Clone("snapshot", source.GetId(), nil)
	if err != nil {
		t.Fatal(err)
	}
	clone, err := c.Clone("clone", "snapshot", map[string]string{LabelPVC: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(placedOn(t, c, source), placedOn(t, c, clone)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{LabelPVC: "b", "app": "db"}, clone.GetLocator().GetVolumeLabels()); diff != "" {
		t.Error(diff)
	}
	if clone.GetSource().GetParent() != snapshot.GetId() || clone.GetId() == source.GetId() {
		t.Errorf("clone %s of %s has parent %s", clone.GetId(), snapshot.GetId(), clone.GetSource().GetParent())
	}
	if again, err := c.Clone("clone", "snapshot", nil); err != nil || again != clone {
		t.Errorf("the same once more: %v, %v", again.GetId(), err)
	}
	if _, err := c.Clone("clone", "source", nil); !errors.Is(err, ErrExists) {
		t.Errorf("the name of another copy: %v", err)
	}
	if _, err := c.Clone("other", "lost", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("of nothing: %v", err)
	}
}

func TestBestEffortLeavesTheZonesForAStrategy(t *testing.T) {
	c := placementCluster(t)
	request := CreateRequest{Name: "v", Parameters: map[string]string{"repl": "2", "zones": "a"}, Strategy: &api.VolumePlacementStrategy{
		ReplicaAntiAffinity: []*api.ReplicaPlacementSpec{{TopologyKey: LabelZone}}}}
	if _, err := c.CreateVolume(request); !errors.Is(err, ErrExhausted) {
		t.Errorf("two zones out of one: %v", err)
	}
	request.Parameters["best_effort_location_provisioning"] = "true"
	v, err := c.CreateVolume(request)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"n1", "n3"}}, placedOn(t, c, v)); diff != "" {
		t.Error(diff)
	}
}

func TestTheNodeOfThePodIsOfEverySetAndItsPoolsFillEvenly(t *testing.T) {
	c := NewCluster(Options{})
	for _, name := range []string{"n1", "n2", "n3"} {
		// The record of a node that storage could not ask Kubernetes about.
		_, err := c.AddNode(Node{Hostname: name, Pools: []Pool{{UUID: name + "-a"}, {UUID: name + "-b"}}})
		must(t, err)
	}
	for _, strategy := range []*api.VolumePlacementStrategy{nil, {}} {
		pools := map[string]int{}
		for i := range 4 {
			v, err := c.CreateVolume(CreateRequest{Name: fmt.Sprint(strategy != nil, i), SelectedNode: "n2", Strategy: strategy,
				Parameters: map[string]string{"repl": "2", "aggregation_level": "2"}})
			must(t, err)
			for _, set := range v.GetReplicaSets() {
				pools[set.GetPoolUuids()[0]]++
			}
		}
		if diff := cmp.Diff(map[string]int{"n2-a": 4, "n2-b": 4}, pools); diff != "" {
			t.Errorf("strategy %v: %s", strategy, diff)
		}
	}
}

// What cannot be placed is found out soon, however many nodes there are: creation holds up
// everything else.
func TestContradictionsInLargeClustersAreFoundSoon(t *testing.T) {
	c := newZonedCluster(t, 1000)
	started := time.Now()
	_, err := c.CreateVolume(CreateRequest{Name: "v", Parameters: map[string]string{"repl": "3"}, Strategy: &api.VolumePlacementStrategy{
		// Two in one zone, and none in the zone of another, by nodes of which none is like another.
		ReplicaAffinity:     []*api.ReplicaPlacementSpec{{TopologyKey: LabelZone, AffectedReplicas: 2}},
		ReplicaAntiAffinity: []*api.ReplicaPlacementSpec{{TopologyKey: LabelZone}, {TopologyKey: LabelPool}},
	}})
	if took := time.Since(started); !errors.Is(err, ErrExhausted) || took > 5*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}
