package placement_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// benchmarked is a pod with count near volumes of three replicas each, in a
// cluster of six nodes in three zones.
func benchmarked(tb testing.TB, count int) (*cluster, placement.Pod) {
	c := newCluster(tb, []string{
		"rack=1 zone=a region=x", "rack=1 zone=b region=x", "rack=1 zone=c region=x",
		"rack=2 zone=a region=x", "rack=2 zone=b region=x", "rack=2 zone=c region=x",
	})
	var pod placement.Pod
	for i := range count {
		replicas := fmt.Sprintf("v%d@{%d,%d,%d}", i, i%6+1, (i+1)%6+1, (i+2)%6+1)
		pod.Volumes = append(pod.Volumes, c.volume(tb, near(replicas)))
	}
	return c, pod
}

func planFor(tb testing.TB, pod placement.Pod) *placement.Plan {
	plan, rejection := placement.NewPlan(pod, placement.DefaultTiers)
	if rejection != nil {
		tb.Fatal(rejection.Message())
	}
	return plan
}

func BenchmarkVerdict(b *testing.B) {
	for _, policy := range []placement.PodPolicy{{}, strict} {
		b.Run(fmt.Sprintf("strict=%t", policy.Strict), func(b *testing.B) {
			c, pod := benchmarked(b, 1)
			pod.PodPolicy = policy
			perNode(b, c, func(n *placement.Node, plan *placement.Plan) { plan.Verdict(n) }, planFor(b, pod))
		})
	}
}

func BenchmarkScore(b *testing.B) {
	for _, volumes := range []int{1, 8} {
		b.Run(fmt.Sprintf("volumes=%d", volumes), func(b *testing.B) {
			c, pod := benchmarked(b, volumes)
			perNode(b, c, func(n *placement.Node, plan *placement.Plan) { plan.Score(n) }, planFor(b, pod))
		})
	}
}

// perNode measures one call for one node, over all nodes of the cluster.
func perNode(b *testing.B, c *cluster, call func(*placement.Node, *placement.Plan), plan *placement.Plan) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i == len(c.nodes) {
			i = 0
		}
		call(c.nodes[i], plan)
	}
}

func BenchmarkNewPlan(b *testing.B) {
	for _, volumes := range []int{1, 8} {
		b.Run(fmt.Sprintf("volumes=%d", volumes), func(b *testing.B) {
			_, pod := benchmarked(b, volumes)
			b.ReportAllocs()
			for b.Loop() {
				placement.NewPlan(pod, placement.DefaultTiers)
			}
		})
	}
}

// BenchmarkOffer is what the first group of an offer costs, which is all that most pods
// need: in 5000 nodes, for volumes whose replicas are placed one by one.
func BenchmarkOffer(b *testing.B) {
	const nodes, zones, racks = 5000, 10, 50
	members := membersOf{}
	all := make([]*placement.Node, nodes)
	for i := range all {
		topology := placement.Topology{Region: 1, Zone: placement.Domain(2 + i%zones), Rack: placement.Domain(100 + i%racks)}
		all[i] = &placement.Node{Name: fmt.Sprintf("n%d", i), State: placement.Online, Topology: topology}
		for _, d := range []placement.Domain{topology.Region, topology.Zone, topology.Rack} {
			members[d] = append(members[d], all[i])
		}
	}
	for _, volumes := range []int{1, 3} {
		b.Run(fmt.Sprintf("volumes=%d", volumes), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 2))
			plans := make([]*placement.Plan, 256)
			for i := range plans {
				var pod placement.Pod
				for v := range volumes {
					var set placement.ReplicaSet
					for range 3 {
						set = append(set, placement.Holder{Node: all[rng.IntN(nodes)], State: placement.Online})
					}
					pod.Volumes = append(pod.Volumes, placement.Volume{
						Name: fmt.Sprintf("v%d", v), Policy: placement.Policy{Kind: placement.Near, Weight: 1}, Sets: []placement.ReplicaSet{set},
					})
				}
				plans[i] = planFor(b, pod)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				for group := range plans[i%len(plans)].Offer(members, 7) {
					if len(group) == 0 {
						b.Fatal("the first group is empty")
					}
					break
				}
			}
		})
	}
}

type membersOf map[placement.Domain][]*placement.Node

func (m membersOf) Members(d placement.Domain) []*placement.Node { return m[d] }

func BenchmarkPolicyOf(b *testing.B) {
	sources := placement.Sources{
		Claim:  text{"pv.kubernetes.io/bind-completed": "yes"},
		Volume: volumeLabels{placement.VolumePreferRemote: "false"},
		Class:  text{"repl": "3"},
	}
	b.ReportAllocs()
	for b.Loop() {
		placement.PolicyOf(placement.Traits{Service: true}, sources)
	}
}

// TestNodesCostNoMemory keeps the calls that are made for every node free of
// allocations.
func TestNodesCostNoMemory(t *testing.T) {
	for _, volumes := range []int{1, 8} {
		for _, machine := range []placement.Machine{placement.NoMachine, placement.MachineStarting, placement.MachineMigrating} {
			c, pod := benchmarked(t, volumes)
			pod.Machine = machine
			pod.Volumes = append(pod.Volumes, c.volume(t, away("away@{6}")), c.volume(t, remoteOnly("only@{5}")))
			plan := planFor(t, pod)
			calls := map[string]func(*placement.Node){
				"Verdict":  func(n *placement.Node) { plan.Verdict(n) },
				"Score":    func(n *placement.Node) { plan.Score(n) },
				"Locality": func(n *placement.Node) { placement.LocalityOf(&pod, n) },
				"Relation": func(n *placement.Node) { plan.Relation(n) },
			}
			for name, call := range calls {
				allocs := testing.AllocsPerRun(100, func() {
					for _, n := range c.nodes {
						call(n)
					}
				})
				if allocs != 0 {
					t.Errorf("%s allocates %v times with %d volumes, machine %d", name, allocs, volumes, machine)
				}
			}
		}
	}
}
