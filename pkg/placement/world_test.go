package placement_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// world is one cluster and one pod, as their owners would describe them.
type world struct {
	Nodes []worldNode
	Pod   worldPod
	// Tiers are the scores of local, rack, zone, region and remote.
	Tiers [5]int64
}

type worldNode struct {
	Name string
	// Labels has the keys rack, zone and region, where the node has them.
	Labels map[string]string
	// State is one of section 1; "" is a node that storage knows nothing about.
	State       string
	Annotations map[string]string
}

type worldPod struct {
	Annotations map[string]string
	// StoragePod is a pod whose name begins with px-csi-ext.
	StoragePod bool
	// Machine is "starting" or "migrating" for a virt-launcher pod, else "".
	Machine string
	Volumes []worldVolume
}

type worldVolume struct {
	Name                     string
	Service, Direct, Windows bool
	Claim, Labels, Class     map[string]string
	// Knowledge is "known", "unknown" or "stale".
	Knowledge string
	Sets      [][]worldReplica
	// Attached is the name of the node that the volume is attached to, or "".
	Attached string

	// Claim is how far the claim has come, "bound" for most; only bound volumes have
	// an id, and with it replicas.
	Progress string
	// Foreign is a claim of another driver, Classless one whose class is not known.
	Foreign, Classless bool
	// Restore is the value of the annotation restore-in-progress, "" for none.
	Restore string
	// Age is for how many milliseconds the index has followed the volume, -1 if it
	// does not.
	Age int
}

type worldReplica struct {
	// Node is the Kubernetes node's name; "" is a storage node without one.
	Node string
	// State is the state of the replica's own storage record; "" is that of the node.
	State string
}

// randomWorld makes small clusters, in which everything meets everything.
func randomWorld(rng *rand.Rand) world {
	chance := func(percent int) bool { return rng.IntN(100) < percent }
	flag := func(m map[string]string, key string, percent int) map[string]string {
		if !chance(percent) {
			return m
		}
		if m == nil {
			m = map[string]string{}
		}
		m[key] = pick(rng, "true", "true", "true", "T", "1", "false", "false", "F", "0", "yes", "")
		return m
	}
	w := world{Tiers: [5]int64{100, 50, 25, 10, 0}}
	if chance(30) {
		for i := range w.Tiers {
			w.Tiers[i] = rng.Int64N(101)
		}
		slices.Sort(w.Tiers[:])
		slices.Reverse(w.Tiers[:])
	}

	healthy := chance(30)
	labelled := map[string]int{"rack": pick(rng, 0, 60, 100), "zone": pick(rng, 0, 60, 100), "region": pick(rng, 0, 60, 100)}
	for i := range 1 + rng.IntN(1+rng.IntN(12)) {
		n := worldNode{Name: fmt.Sprintf("n%d", i+1), State: "Online", Labels: map[string]string{}}
		for _, level := range []string{"rack", "zone", "region"} {
			if chance(labelled[level]) {
				n.Labels[level] = pick(rng, "a", "b", "c")
			}
		}
		if !healthy && chance(40) {
			n.State = pick(rng, "StorageDown", "StorageDown", "Degraded", "Offline", "NoDriver", "")
		}
		if n.State != "" {
			n.Annotations = flag(nil, "operator.libopenstorage.org/unschedulable", 8)
		}
		w.Nodes = append(w.Nodes, n)
	}

	pod := &w.Pod
	pod.Annotations = flag(pod.Annotations, "stork.libopenstorage.org/preferLocalNodeOnly", 40)
	pod.Annotations = flag(pod.Annotations, "stork.libopenstorage.org/disableHyperconvergence", 15)
	pod.StoragePod = chance(2)
	pod.Machine = pick(rng, "", "", "", "starting", "migrating")
	windows := chance(10)
	for i := range rng.IntN(3 + rng.IntN(6)) {
		v := worldVolume{Name: string(rune('A' + i)), Knowledge: "known", Service: chance(35)}
		v.Direct = chance(6)
		v.Windows = windows && chance(30)
		for _, place := range []*map[string]string{&v.Claim, &v.Labels, &v.Class} {
			*place = flag(*place, "stork.libopenstorage.org/preferRemoteNode", 15)
			*place = flag(*place, "stork.libopenstorage.org/preferRemoteNodeOnly", 15)
			*place = flag(*place, "stork.libopenstorage.org/skipSchedulerScoring", 4)
			*place = flag(*place, "fastpath", 4)
			if windows {
				*place = flag(*place, "winshare", 20)
			}
			if chance(10) {
				if *place == nil {
					*place = map[string]string{}
				}
				(*place)["hyperconverge.dev/volume-weight"] = pick(rng, "1", "2", "3", "7", "100", "0", "101", "-1", "many")
			}
		}
		if chance(10) {
			v.Knowledge = pick(rng, "unknown", "stale")
		}
		if !v.Direct && (v.Knowledge == "known" || chance(50)) {
			v.Sets = randomSets(rng, w.Nodes)
		}
		if chance(4) && (v.Direct || len(v.Sets) > 0) {
			v.Sets = append(v.Sets, nil) // a set of which storage names no holder
		}
		if chance(50) {
			v.Attached = randomReplica(rng, w.Nodes).Node
		}
		v.Progress, v.Age = "bound", pick(rng, -1, 10_000, 10_000, 0, 1000, 2000, 4000, 4998)+i
		if chance(2) {
			v.Restore = pick(rng, "true", "T", "false", "soon")
		}
		v.Classless = chance(30)
		if chance(5) {
			v.Progress = pick(rng, "unbound", "unbound", "inline", "missing", "not owned", "lost", "lost", "invalid")
			v.Foreign = (v.Progress == "lost" || v.Progress == "unbound") && chance(50) || v.Progress == "missing" || v.Progress == "not owned"
			v.Service, v.Direct, v.Windows, v.Labels, v.Sets, v.Attached, v.Knowledge = false, false, false, nil, nil, "", "known"
		}
		pod.Volumes = append(pod.Volumes, v)
	}
	return w
}

// randomSets gives every set one holder at least; holders tend to return in
// other sets, so that there are whole replica nodes.
func randomSets(rng *rand.Rand, nodes []worldNode) [][]worldReplica {
	var sets [][]worldReplica
	for range pick(rng, 1, 1, 1, 2, 2, 3, 5) {
		var set []worldReplica
		for range 1 + rng.IntN(3) {
			if len(sets) > 0 && rng.IntN(100) < 70 {
				set = append(set, pick(rng, sets[0]...))
			} else {
				set = append(set, randomReplica(rng, nodes))
			}
		}
		sets = append(sets, set)
	}
	return sets
}

// randomReplica is on a node that storage knows, or on a storage node alone.
func randomReplica(rng *rand.Rand, nodes []worldNode) worldReplica {
	n := pick(rng, nodes...)
	if n.State == "" || rng.IntN(100) < 5 {
		return worldReplica{State: pick(rng, "Online", "StorageDown", "Degraded", "Offline")}
	}
	if rng.IntN(100) < 12 {
		return worldReplica{Node: n.Name, State: pick(rng, "Online", "StorageDown", "Degraded", "Offline")}
	}
	return worldReplica{Node: n.Name}
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

// build describes the world to the package under test. Nodes that storage knows
// nothing about are nil.
func (w world) build() (placement.Pod, map[string]*placement.Node, placement.Tiers) {
	interned, nodes := domains{}, map[string]*placement.Node{}
	for _, n := range w.Nodes {
		if n.State == "" {
			nodes[n.Name] = nil
			continue
		}
		closed, _ := placement.NodeUnschedulableOf(n.Annotations)
		nodes[n.Name] = &placement.Node{Name: n.Name, State: stateOf[n.State], Unschedulable: closed, Topology: interned.topology(n.Labels)}
	}
	policy, _ := placement.PodPolicyOf(w.Pod.Annotations)
	pod := placement.Pod{PodPolicy: policy, StoragePod: w.Pod.StoragePod, Machine: machineOf[w.Pod.Machine]}
	for _, v := range w.Pod.Volumes {
		annotations := map[string]string{}
		if v.Restore != "" {
			annotations["stork.libopenstorage.org/restore-in-progress"] = v.Restore
		}
		restoring, _ := placement.Restoring(annotations)
		pod.Claims = append(pod.Claims, placement.PodClaim{
			Name: v.Name, State: progress[v.Progress], Ours: !v.Foreign, HasClass: !v.Classless, Restoring: restoring,
		})
		policy, _ := placement.PolicyOf(placement.Traits{Service: v.Service, Direct: v.Direct, Windows: v.Windows},
			placement.Sources{Claim: v.Claim, Volume: volumeLabels(v.Labels), Class: v.Class})
		if v.Foreign || v.Progress != "bound" && !policy.Windows {
			continue
		}
		volume := placement.Volume{Name: v.Name, Policy: policy, Unknown: v.Knowledge != "known", Stale: v.Knowledge == "stale", Attached: nodes[v.Attached]}
		if v.Age >= 0 {
			volume.FirstSeen = worldNow.Add(-time.Duration(v.Age) * time.Millisecond)
		}
		for _, set := range v.Sets {
			var holders placement.ReplicaSet
			for _, r := range set {
				holders = append(holders, placement.Holder{Node: nodes[r.Node], State: stateOf[w.stateOf(r)]})
			}
			volume.Sets = append(volume.Sets, holders)
		}
		pod.Volumes = append(pod.Volumes, volume)
	}
	t := w.Tiers
	return pod, nodes, placement.Tiers{Local: t[0], Rack: t[1], Zone: t[2], Region: t[3], Remote: t[4]}
}

// worldNow is when all random pods are decided about, worldGrace the grace period.
var worldNow = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const worldGrace = 5 * time.Second

var progress = map[string]placement.ClaimState{
	"bound": placement.ClaimBound, "unbound": placement.ClaimUnbound, "missing": placement.ClaimMissing,
	"not owned": placement.ClaimNotOwned, "lost": placement.ClaimLost, "inline": placement.ClaimInline, "invalid": placement.ClaimInvalid,
}

// stateOf is the state of a replica's own record.
func (w world) stateOf(r worldReplica) string {
	if r.State == "" && r.Node != "" {
		return w.node(r.Node).State
	}
	return r.State
}

var machineOf = map[string]placement.Machine{
	"": placement.NoMachine, "starting": placement.MachineStarting, "migrating": placement.MachineMigrating,
}

// String shows all of the world, one line for each node and volume.
func (w world) String() string {
	var b strings.Builder
	for _, n := range w.Nodes {
		fmt.Fprintf(&b, "  %s %q labels %v annotations %v\n", n.Name, n.State, n.Labels, n.Annotations)
	}
	for _, v := range w.Pod.Volumes {
		fmt.Fprintf(&b, "  volume %s@", v.Name)
		for _, set := range v.Sets {
			var members []string
			for _, r := range set {
				if r.State != "" {
					r.Node += "?" + r.State
				}
				members = append(members, r.Node)
			}
			fmt.Fprintf(&b, "{%s}", strings.Join(members, ","))
		}
		fmt.Fprintf(&b, " %s for %d ms foreign=%t classless=%t restore=%q", v.Progress, v.Age, v.Foreign, v.Classless, v.Restore)
		fmt.Fprintf(&b, " %s service=%t direct=%t windows=%t attached=%q claim %v labels %v class %v\n",
			v.Knowledge, v.Service, v.Direct, v.Windows, v.Attached, v.Claim, v.Labels, v.Class)
	}
	fmt.Fprintf(&b, "  pod annotations %v storagePod=%t machine=%q tiers %v", w.Pod.Annotations, w.Pod.StoragePod, w.Pod.Machine, w.Tiers)
	return b.String()
}

// shrink takes parts away from a failing world while it still fails.
func shrink(w world, failure error) (world, error) {
	rng := rand.New(rand.NewPCG(*seed, 0))
	for smaller := true; smaller; {
		smaller = false
		for _, candidate := range w.simpler() {
			if err := compare(candidate, rng, sightings{}); err != nil {
				w, failure, smaller = candidate, err, true
				break
			}
		}
	}
	return w, failure
}

// simpler returns copies of the world that each lack one thing.
func (w world) simpler() []world {
	var all []world
	without := func(change func(*world)) {
		c := w.clone()
		change(&c)
		all = append(all, c)
	}
	for i, n := range w.Nodes {
		if len(w.Nodes) > 1 && !w.mentions(n.Name) {
			without(func(c *world) { c.Nodes = slices.Delete(c.Nodes, i, i+1) })
		}
		if n.State != "Online" {
			without(func(c *world) { c.Nodes[i].State = "Online" })
		}
		for key := range n.Labels {
			without(func(c *world) { delete(c.Nodes[i].Labels, key) })
		}
		for key := range n.Annotations {
			without(func(c *world) { delete(c.Nodes[i].Annotations, key) })
		}
	}
	for key := range w.Pod.Annotations {
		without(func(c *world) { delete(c.Pod.Annotations, key) })
	}
	if w.Pod.Machine != "" {
		without(func(c *world) { c.Pod.Machine = "" })
	}
	for i, v := range w.Pod.Volumes {
		without(func(c *world) { c.Pod.Volumes = slices.Delete(c.Pod.Volumes, i, i+1) })
		for key := range v.Claim {
			without(func(c *world) { delete(c.Pod.Volumes[i].Claim, key) })
		}
		for key := range v.Labels {
			without(func(c *world) { delete(c.Pod.Volumes[i].Labels, key) })
		}
		for key := range v.Class {
			without(func(c *world) { delete(c.Pod.Volumes[i].Class, key) })
		}
		if v.Attached != "" {
			without(func(c *world) { c.Pod.Volumes[i].Attached = "" })
		}
		for j, set := range v.Sets {
			if len(v.Sets) > 1 {
				without(func(c *world) { c.Pod.Volumes[i].Sets = slices.Delete(c.Pod.Volumes[i].Sets, j, j+1) })
			}
			for k := range set {
				if len(set) > 1 {
					without(func(c *world) { c.Pod.Volumes[i].Sets[j] = slices.Delete(c.Pod.Volumes[i].Sets[j], k, k+1) })
				}
			}
		}
	}
	return all
}

func (w world) mentions(node string) bool {
	for _, v := range w.Pod.Volumes {
		if v.Attached == node || slices.ContainsFunc(v.Sets, func(set []worldReplica) bool { return lists(set, node) }) {
			return true
		}
	}
	return false
}

func lists(set []worldReplica, node string) bool {
	return slices.ContainsFunc(set, func(r worldReplica) bool { return r.Node == node })
}

func (w world) clone() world {
	var c world
	text, err := json.Marshal(w)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		panic(err)
	}
	return c
}
