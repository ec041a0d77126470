package placement_test

import (
	"flag"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

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
	"ok", "F4", "F5 Degraded", "F5 Offline", "F5 NoDriver", "F6", "F7",
	"rejected by F6 nowhere", "rejected by F6 unknown", "rejected by F6 stale", "rejected by F8", "rejected by F10",
	"indifferent", "score 0", "score 100", "score cut", "whole group", "whole and part group", "part group",
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
	"F8": placement.ReasonNoOnlineReplica, "F10": placement.ReasonStrictRemoteOnly,
}

// compare returns an error where the package and the plain statement differ, or
// where an invariant does not hold.
func compare(w world, rng *rand.Rand, seen sightings) error {
	pod, nodes, tiers := w.build()
	plan, rejection := placement.NewPlan(pod, tiers)
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
	return comparePlaces(w, plan, nodes, near, seen)
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

// comparePlaces compares the lists of nodes that a plan names.
func comparePlaces(w world, plan *placement.Plan, nodes map[string]*placement.Node, near []worldVolume, seen sightings) error {
	whole, part := w.preferred()
	var want []map[string]bool
	for _, group := range []map[string]bool{whole, part} {
		if len(group) > 0 {
			want = append(want, group)
		}
	}
	got := plan.Preferred()
	if len(got) != len(want) {
		return fmt.Errorf("section 6: %d preferred groups, want %v", len(got), want)
	}
	for i := range got {
		if err := sameNodes(got[i], want[i]); err != nil {
			return fmt.Errorf("section 6: preferred group %d: %w", i, err)
		}
		for _, n := range got[i] {
			if plan.Verdict(n) != placement.Feasible {
				return fmt.Errorf("section 6: %s is preferred and rejected", n.Name)
			}
		}
	}
	switch {
	case len(whole) > 0 && len(part) > 0:
		seen["whole and part group"]++
	case len(whole) > 0:
		seen["whole group"]++
	case len(part) > 0:
		seen["part group"]++
	}

	replicaNodes := map[string]bool{}
	for _, n := range w.Nodes {
		onData := !w.Pod.StoragePod && slices.ContainsFunc(near, func(v worldVolume) bool { return v.isReplicaNode(n.Name) })
		if got := plan.OnData(nodes[n.Name]); got != onData {
			return fmt.Errorf("%s: OnData is %t, want %t", n.Name, got, onData)
		}
		if onData {
			replicaNodes[n.Name] = true
		}
	}
	if err := sameNodes(plan.ReplicaNodes(), replicaNodes); err != nil {
		return fmt.Errorf("ReplicaNodes(): %w", err)
	}

	confined, isConfined := plan.Confined()
	local, applies := w.strictNodes(len(w.Pod.Volumes))
	if applies = applies && w.isStrict() && !w.hasWindows() && !w.Pod.StoragePod; applies != isConfined {
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
		"indifferent":           indifferent,
		"F9":                    w.hasWindows(),
		"F11":                   w.Pod.StoragePod,
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
