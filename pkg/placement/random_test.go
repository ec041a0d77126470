package placement_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

var seed = flag.Uint64("placement.seed", 1, "seed of the random clusters")

// TestRandomClusters compares the package with the plain statement of the
// contract in oracle_test.go on random clusters. Other clusters than those of
// every day: go test -args -placement.seed=N.
func TestRandomClusters(t *testing.T) {
	cases := 100_000
	if testing.Short() {
		cases = 5_000
	}
	seen := sightings{}
	for i := range cases {
		rng := rand.New(rand.NewPCG(*seed, uint64(i)))
		w := randomWorld(rng)
		if err := compare(w, rng, seen); err != nil {
			small, reason := shrink(w, err)
			t.Fatalf("seed %d, cluster %d: %v\n\nsmallest cluster found that fails:\n%v\n%v", *seed, i, err, reason, small)
		}
	}
	for _, corner := range corners {
		if seen[corner] < cases/5_000 {
			t.Errorf("%q was met %d times in %d clusters, which proves nothing", corner, seen[corner], cases)
		}
	}
	t.Logf("%d clusters: %v", cases, seen)
}

// sightings counts what the random clusters came to.
type sightings map[string]int

// corners are the outcomes without which the comparison would be an idle one.
var corners = []string{
	"ok", "F4", "F5 Degraded", "F5 Offline", "F5 NoDriver", "F6", "F14", "F7",
	"rejected by F6 nowhere", "rejected by F6 unknown", "rejected by F6 stale", "rejected by F8", "rejected by F10",
	"indifferent", "score 0", "score 100", "score cut", "taken from the offer", "taken beside the offer", "no offer",
	"held back", "ignored", "not concerned", "rejected by F2", "rejected by F3 missing", "rejected by F3 not owned", "rejected by F3 lost", "rejected by F13",
	"another record",
	"F9", "F11", "S5 with S4", "S8 starting", "S8 migrating", "S8 for an away volume",
}

func (s sightings) String() string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(s)) {
		lines = append(lines, fmt.Sprintf("%s %d", key, s[key]))
	}
	return strings.Join(lines, ", ")
}

var reasonOf = map[string]string{
	"F4": placement.ReasonNodeUnschedulable, "F5 NoDriver": placement.ReasonNoDriver, "F5 Degraded": placement.ReasonDegraded,
	"F5 Offline": placement.ReasonOffline, "F6": placement.ReasonNotLocal, "F7": placement.ReasonRemoteOnly,
	"F6 nowhere": placement.ReasonStrictNowhere, "F6 unknown": placement.ReasonStrictUnknown, "F6 stale": placement.ReasonStrictStale,
	"F14": placement.ReasonNotFast, "F14 nowhere": placement.ReasonFastNowhere, "F14 unknown": placement.ReasonFastUnknown, "F14 stale": placement.ReasonFastStale,
	"F2": placement.ReasonRestoring, "F3 missing": placement.ReasonClaimMissing, "F3 not owned": placement.ReasonClaimNotOwned,
	"F3 lost": placement.ReasonClaimLost, "F13": placement.ReasonHandleInvalid,
	"F8": placement.ReasonNoOnlineReplica, "F10": placement.ReasonStrictRemoteOnly,
}

// compare returns an error where the package and the plain statement differ, or
// where an invariant does not hold.
func compare(w world, rng *rand.Rand, seen sightings) error {
	pod, nodes, tiers := w.build()
	decision := placement.Decide(&pod, &placement.Settings{Tiers: tiers, Grace: worldGrace}, worldNow)
	if decided, err := compareClaims(w, &decision, seen); err != nil || decided {
		return err
	}
	for _, described := range append(w.Nodes, worldNode{Name: "unknown to the view"}) {
		got, want := placement.LocalityOf(&pod, nodes[described.Name]).String(), w.locality(described.Name)
		if got != want {
			return fmt.Errorf("section 11: locality on %s is %q, want %q", described.Name, got, want)
		}
		seen["locality "+want]++
	}
	plan, rejection := decision.Plan, decision.Rejection
	if err := compareRejection(w, rejection, seen); err != nil {
		return err
	}
	shuffled, shuffledRejection := placement.NewPlan(shuffle(pod, rng), tiers)
	if (rejection == nil) != (shuffledRejection == nil) {
		return fmt.Errorf("rejection depends on an order: %v, then %v", rejection, shuffledRejection)
	}
	if rejection != nil {
		return nil
	}
	near, away := w.scoring()
	indifferent := !w.Pod.StoragePod && len(near) == 0 && len(away) == 0
	if plan.Indifferent() != indifferent {
		return fmt.Errorf("S1: Indifferent() = %t, want %t", plan.Indifferent(), indifferent)
	}
	seen.note(w, near, away, indifferent)
	common := int64(-1)
	for _, described := range w.Nodes {
		n := nodes[described.Name]
		objection, verdict := w.objectionTo(described), plan.Verdict(n)
		if verdict.Reason() != reasonOf[objection] {
			return fmt.Errorf("%s: verdict %q, want %q (%s)", described.Name, verdict.Reason(), reasonOf[objection], objection)
		}
		if got := shuffled.Verdict(n); got != verdict {
			return fmt.Errorf("%s: verdict depends on an order: %q, then %q", described.Name, verdict.Reason(), got.Reason())
		}
		if objection == "" {
			objection = "ok"
		}
		seen[objection]++

		score := plan.Score(n)
		if score < 0 || score > placement.MaxScore {
			return fmt.Errorf("%s: score %d is out of range", described.Name, score)
		}
		if got := shuffled.Score(n); got != score {
			return fmt.Errorf("%s: score depends on an order: %d, then %d", described.Name, score, got)
		}
		if indifferent {
			if n != nil && n.State.Serves() {
				if common >= 0 && score != common {
					return fmt.Errorf("S1: indifferent, but nodes score %d and %d", common, score)
				}
				common = score
			}
			continue
		}
		exact := w.score(described)
		if want := new(big.Int).Quo(exact.Num(), exact.Denom()).Int64(); score != want {
			return fmt.Errorf("%s: score %d, want %d, which is %s cut off", described.Name, score, want, exact.RatString())
		}
		switch {
		case !exact.IsInt():
			seen["score cut"]++
		case score == 0 || score == placement.MaxScore:
			seen[fmt.Sprintf("score %d", score)]++
		}
	}
	return comparePlaces(w, plan, nodes, near, rng, seen)
}

// compareClaims compares what is decided without looking at replicas: F1 to F3, F13
// and section 7. It reports whether that decides all.
func compareClaims(w world, d *placement.Decision, seen sightings) (decided bool, err error) {
	if w.Pod.StoragePod {
		return false, nil // F11
	}
	if rule, claim, found := w.claimObjection(); found {
		seen["rejected by "+rule]++
		want := placement.Rejection{Reason: reasonOf[rule], Blame: claim}
		if d.Rejection == nil || *d.Rejection != want || d.Plan != nil {
			return true, fmt.Errorf("%s: rejection %v, want %v", rule, d.Rejection, want)
		}
		return true, nil
	}
	if concerned := w.isConcerned(); d.Concerned != concerned {
		return true, fmt.Errorf("F1: concerned is %t, want %t", d.Concerned, concerned)
	} else if !concerned {
		seen["not concerned"]++
		if d.Plan != nil || d.Rejection != nil {
			return true, fmt.Errorf("F1: plan %v, rejection %v for a pod that is none of our business", d.Plan, d.Rejection)
		}
		return true, nil
	}
	holding, ignored := w.unlocated()
	if len(holding) > 0 {
		seen["held back"]++
		last := slices.MinFunc(holding, func(a, b worldVolume) int { return a.Age - b.Age })
		want := placement.Rejection{Reason: placement.ReasonVolumeUnknown, Blame: last.Name}
		until := worldNow.Add(worldGrace - time.Duration(last.Age)*time.Millisecond)
		if d.Rejection == nil || *d.Rejection != want || !d.HeldUntil.Equal(until) {
			return true, fmt.Errorf("section 7: rejection %v until %v, want %v until %v", d.Rejection, d.HeldUntil, want, until)
		}
		return true, nil
	}
	if !d.HeldUntil.IsZero() {
		return true, fmt.Errorf("section 7: held until %v though nothing holds the pod back", d.HeldUntil)
	}
	var got, want []string
	for _, v := range d.Ignored {
		got = append(got, v.Name)
	}
	for _, v := range ignored {
		seen["ignored"]++
		want = append(want, v.Name)
	}
	if !slices.Equal(got, want) {
		return true, fmt.Errorf("section 7: ignored %v, want %v", got, want)
	}
	return false, nil
}

func compareRejection(w world, rejection *placement.Rejection, seen sightings) error {
	objections := w.objections()
	if rejection == nil {
		if len(objections) > 0 {
			return fmt.Errorf("the pod is accepted, want one of %v", objections)
		}
		return nil
	}
	for _, o := range objections {
		if rejection.Reason == reasonOf[o.rule] && rejection.Blame == o.volume {
			seen["rejected by "+o.rule]++
			return nil
		}
	}
	return fmt.Errorf("rejected by %q, want one of %v", rejection.Message(), objections)
}

// compareOffer lets other plugins turn down nodes at random, and looks at what the
// prefer-first pass would take: the node with the highest score of all that are left,
// as far as the offer reaches.
func compareOffer(w world, plan *placement.Plan, nodes map[string]*placement.Node, rng *rand.Rand, seen sightings) error {
	left, best := map[*placement.Node]bool{}, int64(-1)
	anywhere := plan.Score(&placement.Node{State: placement.Online})
	var c cluster
	for _, described := range w.Nodes {
		n := nodes[described.Name]
		c.nodes = append(c.nodes, n)
		if n == nil || rng.IntN(2) == 0 || plan.Verdict(n) != placement.Feasible || !n.State.Serves() {
			continue
		}
		left[n] = true
		if w.isCandidate(described, plan.Score(n), anywhere) {
			best = max(best, plan.Score(n))
		}
	}
	offered := false
	before := int64(placement.MaxScore + 1)
	for group := range plan.Offer(&c, rng.Uint64()) {
		offered = true
		score := plan.Score(group[0])
		if score >= before {
			return fmt.Errorf("section 6: a group of score %d after one of %d", score, before)
		}
		before = score
		for _, n := range group {
			if plan.Score(n) != score || plan.Verdict(n) != placement.Feasible {
				return fmt.Errorf("section 6: %s is in a group of score %d", n.Name, score)
			}
		}
		if !slices.ContainsFunc(group, func(n *placement.Node) bool { return left[n] }) {
			continue
		}
		if score != best {
			return fmt.Errorf("section 6: a node of score %d is taken, and one of %d is feasible", score, best)
		}
		seen["taken from the offer"]++
		return nil
	}
	if offered != w.hasOffer() && offered {
		return errors.New("section 6: there is an offer")
	}
	if !w.hasOffer() {
		seen["no offer"]++
		return nil
	}
	for _, described := range w.Nodes {
		n := nodes[described.Name]
		if !left[n] {
			continue
		}
		seen["taken beside the offer"]++
		if score := plan.Score(n); w.isCandidate(described, score, anywhere) {
			return fmt.Errorf("section 6: %s is feasible and near, scores %d, and is not offered", n.Name, score)
		}
	}
	return nil
}

// comparePlaces compares the lists of nodes that a plan names.
func comparePlaces(w world, plan *placement.Plan, nodes map[string]*placement.Node, near []worldVolume, rng *rand.Rand, seen sightings) error {
	if err := compareOffer(w, plan, nodes, rng, seen); err != nil {
		return err
	}
	replicaNodes := map[string]bool{}
	for _, n := range w.Nodes {
		var lacking []string
		for _, v := range near {
			if !w.Pod.StoragePod && !w.isOnData(v, n.Name) {
				lacking = append(lacking, v.Name)
			}
		}
		if got := volumeNames(plan.Lacking(nodes[n.Name])); !slices.Equal(got, lacking) {
			return fmt.Errorf("%s: lacks %v, want %v", n.Name, got, lacking)
		}
		if !w.Pod.StoragePod && slices.ContainsFunc(near, func(v worldVolume) bool { return w.isReplicaNode(v, n.Name) }) {
			replicaNodes[n.Name] = true
		}
	}
	if err := sameNodes(placement.ReplicaNodes(plan.Lacking(nil)), replicaNodes); err != nil {
		return fmt.Errorf("ReplicaNodes(): %w", err)
	}

	confined, isConfined := plan.Confined()
	local, applies := w.strictNodes(len(w.Pod.Volumes))
	if applies = applies && !w.hasWindows() && !w.Pod.StoragePod; applies != isConfined {
		return fmt.Errorf("F6: confined is %t, want %t", isConfined, applies)
	}
	if !applies {
		return nil
	}
	if err := sameNodes(confined, local); err != nil {
		return fmt.Errorf("F6: confined: %w", err)
	}
	return nil
}

func volumeNames(volumes []*placement.Volume) (names []string) {
	for _, v := range volumes {
		names = append(names, v.Name)
	}
	return names
}

// sameNodes wants each node once.
func sameNodes(got []*placement.Node, want map[string]bool) error {
	var have []string
	for _, n := range got {
		have = append(have, n.Name)
	}
	slices.Sort(have)
	if wanted := slices.Sorted(maps.Keys(want)); !slices.Equal(have, wanted) {
		return fmt.Errorf("nodes %v, want %v", have, wanted)
	}
	return nil
}

func (s sightings) note(w world, near, away []worldVolume, indifferent bool) {
	for corner, met := range map[string]bool{
		"indifferent": indifferent,
		"F9":          w.hasWindows(),
		"F11":         w.Pod.StoragePod,
		"another record": slices.ContainsFunc(near, func(v worldVolume) bool {
			return slices.ContainsFunc(v.Sets, func(set []worldReplica) bool {
				return slices.ContainsFunc(set, func(r worldReplica) bool { return r.Node != "" && r.State != "" && r.State != w.node(r.Node).State })
			})
		}),
		"S5 with S4":            len(near) > 0 && len(away) > 0,
		"S8 starting":           len(near) > 0 && w.Pod.Machine == "starting",
		"S8 migrating":          len(near) > 0 && w.Pod.Machine == "migrating",
		"S8 for an away volume": slices.ContainsFunc(near, worldVolume.isAway),
	} {
		if met {
			s[corner]++
		}
	}
}

// shuffle returns the pod with its volumes, their sets and holders in another
// order, which must change nothing but the volume that a rejection names.
func shuffle(pod placement.Pod, rng *rand.Rand) placement.Pod {
	pod.Volumes = slices.Clone(pod.Volumes)
	for i := range pod.Volumes {
		v := &pod.Volumes[i]
		v.Sets = slices.Clone(v.Sets)
		for j := range v.Sets {
			v.Sets[j] = slices.Clone(v.Sets[j])
			rng.Shuffle(len(v.Sets[j]), func(a, b int) { v.Sets[j][a], v.Sets[j][b] = v.Sets[j][b], v.Sets[j][a] })
		}
		rng.Shuffle(len(v.Sets), func(a, b int) { v.Sets[a], v.Sets[b] = v.Sets[b], v.Sets[a] })
	}
	rng.Shuffle(len(pod.Volumes), func(a, b int) { pod.Volumes[a], pod.Volumes[b] = pod.Volumes[b], pod.Volumes[a] })
	return pod
}
