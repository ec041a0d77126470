package strategies

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

func claim(namespace, name string, labels map[string]string) *v1.PersistentVolumeClaim {
	return &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}}
}

func require(key string, operator placement.Operator, values ...string) placement.Requirement {
	return placement.Requirement{Key: key, Operator: operator, Values: values}
}

// world is a store whose claims change without an API server.
type world struct {
	*testing.T
	*Store
}

func newWorld(t *testing.T) world {
	t.Helper()
	pvcs := informers.NewSharedInformerFactory(fake.NewClientset(), 0).Core().V1().PersistentVolumeClaims().Informer()
	store, err := New(nil, pvcs)
	if err != nil {
		t.Fatal(err)
	}
	return world{t, store}
}

func (w world) set(old, claim *v1.PersistentVolumeClaim) {
	w.Helper()
	var err error
	handler := w.labelled.handler()
	switch {
	case claim == nil:
		err = w.pvcs.GetStore().Delete(old)
		handler.OnDelete(old)
	case old == nil:
		err = w.pvcs.GetStore().Add(claim)
		handler.OnAdd(claim, false)
	default:
		err = w.pvcs.GetStore().Update(claim)
		handler.OnUpdate(old, claim)
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w world) follow(keys ...string) {
	set := map[string]struct{}{}
	for _, key := range keys {
		set[key] = struct{}{}
	}
	w.labelled.follow(set, w.pvcs.GetStore().List)
}

func (w world) matches(match ...placement.Requirement) (count int, all bool) {
	found, all := w.Matches(&placement.StrategyRule{Match: match})
	return len(found), all
}

func TestClaimsAreFoundByTheLabelsOfRules(t *testing.T) {
	w := newWorld(t)
	db, web := claim("a", "db", map[string]string{"app": "db", "tier": "1"}), claim("b", "web", map[string]string{"app": "web"})
	w.set(nil, db)
	w.follow("app", "tier")
	w.set(nil, web)
	for _, row := range []struct {
		name  string
		match []placement.Requirement
		want  int
		all   bool
	}{
		{"by a value", []placement.Requirement{require("app", placement.In, "db", "none")}, 1, true},
		{"by a key", []placement.Requirement{require("app", placement.Exists)}, 2, true},
		{"by a number", []placement.Requirement{require("tier", placement.Lt, "2")}, 1, true},
		{"all conditions must hold", []placement.Requirement{require("app", placement.Exists), require("tier", placement.DoesNotExist)}, 1, true},
		{"the namespace is a label of every volume", []placement.Requirement{require(LabelNamespace, placement.In, "a", "c")}, 1, true},
		{"so is the name of the claim", []placement.Requirement{require("app", placement.Exists), require(LabelPVC, placement.In, "web")}, 1, true},
		{"a rule that says only what is not there cannot be looked up", []placement.Requirement{require("app", placement.NotIn, "db")}, 0, false},
		{"nor can one about the name alone", []placement.Requirement{require(LabelPVC, placement.In, "db")}, 0, false},
	} {
		if got, all := w.matches(row.match...); got != row.want || all != row.all {
			t.Errorf("%s: %d, %t, want %d, %t", row.name, got, all, row.want, row.all)
		}
	}
	changed := claim("a", "db", map[string]string{"app": "web"})
	w.set(db, changed)
	if got, _ := w.matches(require("app", placement.In, "web")); got != 2 {
		t.Errorf("a claim that was labelled anew: %d, want 2", got)
	}
	w.set(changed, nil)
	w.set(web, nil)
	if got, _ := w.matches(require("app", placement.Exists)); got != 0 || len(w.labelled.keys["app"]) != 0 {
		t.Errorf("deleted claims: %d, and %d values are kept", got, len(w.labelled.keys["app"]))
	}
	w.follow("app")
	if _, found := w.labelled.keys["tier"]; found {
		t.Error("a key is followed that no strategy looks for")
	}
}

// TestRulesAboutTooManyVolumes: tenants make and label claims as they like.
func TestRulesAboutTooManyVolumes(t *testing.T) {
	w := newWorld(t)
	w.follow("app")
	for i := range looksLimit + 10 {
		w.set(nil, claim("a", fmt.Sprint("c", i), map[string]string{"app": "db", "even": strconv.FormatBool(i%2 == 0 && i < 2*matchesLimit)}))
	}
	for _, match := range []placement.Requirement{require("app", placement.In, "db"), require(LabelNamespace, placement.In, "a")} {
		if _, all := w.matches(match); all {
			t.Errorf("%d claims are looked at for %v", looksLimit+10, match)
		}
	}
}

func TestRulesAreShared(t *testing.T) {
	w := newWorld(t)
	pod := &v1.Pod{}
	first, _ := w.Rules(claim("a", "x", nil), map[string]string{"repl": "2", "zones": "a;b"}, pod)
	second, _ := w.Rules(claim("b", "y", nil), map[string]string{"repl": "2", "zones": "a;b", "io_profile": "db"}, pod)
	third, _ := w.Rules(claim("a", "x", nil), map[string]string{"repl": "3"}, pod)
	if first != second || first == third {
		t.Errorf("rules are %p, %p and %p: the same ones are one", first, second, third)
	}
	if first.Replicas != 2 || len(first.Zones) != 2 || third.Replicas != 3 {
		t.Errorf("rules are %+v and %+v", first, third)
	}
}

func TestParametersAreReadAsStorageReadsThem(t *testing.T) {
	for name, row := range map[string]struct {
		parameters map[string]string
		want       placement.StrategyRules
	}{
		"none of ours":             {map[string]string{"io_profile": "db"}, placement.StrategyRules{Replicas: 1}},
		"both separators of lists": {map[string]string{"zones": "a;b", "racks": "r1,r2"}, placement.StrategyRules{Replicas: 1, Zones: []string{"a", "b"}, Racks: []string{"r1", "r2"}}},
		"best effort":              {map[string]string{"zones": "a", "best_effort_location_provisioning": "true"}, placement.StrategyRules{Replicas: 1, Zones: []string{"a"}, BestEffort: true}},
		"best effort, whose value storage ignores": {map[string]string{"zones": "a", "best_effort_location_provisioning": "false"}, placement.StrategyRules{Replicas: 1, Zones: []string{"a"}, BestEffort: true}},
		"replicas that are no number":              {map[string]string{"repl": "many"}, placement.StrategyRules{Replicas: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newWorld(t).Rules(claim("a", "x", nil), row.parameters, &v1.Pod{})
			if err != nil || !equality.Semantic.DeepEqual(*got, row.want) {
				t.Errorf("rules are %+v (%v), want %+v", *got, err, row.want)
			}
		})
	}
}

// TestClaimsChangeWhileTheyAreFound: whatever happens at the same time, in the end every
// claim is found by the labels that it has, and by no others.
func TestClaimsChangeWhileTheyAreFound(t *testing.T) {
	w := newWorld(t)
	const claims, rounds = 20, 200
	var running sync.WaitGroup
	for writer := range 4 {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(writer)))
			old := map[int]*v1.PersistentVolumeClaim{}
			for range rounds {
				i := writer*claims + rng.IntN(claims) // each writer has claims of its own
				var next *v1.PersistentVolumeClaim
				if old[i] == nil || rng.IntN(4) > 0 {
					next = claim("a", strconv.Itoa(i), map[string]string{"app": strconv.Itoa(rng.IntN(3))})
				}
				w.set(old[i], next)
				old[i] = next
			}
		})
	}
	running.Go(func() {
		for i := range rounds {
			w.follow([]string{"app", "tier"}[:1+i%2]...)
		}
	})
	running.Go(func() {
		for range rounds {
			w.matches(require("app", placement.In, "1"))
		}
	})
	running.Wait()
	w.follow("app")
	for value := range 3 {
		want := 0
		for _, object := range w.pvcs.GetStore().List() {
			if object.(*v1.PersistentVolumeClaim).Labels["app"] == strconv.Itoa(value) {
				want++
			}
		}
		if got, _ := w.matches(require("app", placement.In, strconv.Itoa(value))); got != want || len(w.labelled.keys["app"][strconv.Itoa(value)]["a"]) != want {
			t.Errorf("value %d: %d claims are found, and %d are kept, of %d", value, got, len(w.labelled.keys["app"][strconv.Itoa(value)]["a"]), want)
		}
	}
}

// What is copied lies where its source does, even if nobody can tell where that is.
func TestCopiesAreKnown(t *testing.T) {
	group := "snapshot.storage.k8s.io"
	for name, row := range map[string]struct {
		source *v1.TypedObjectReference
		want   bool
	}{
		"of nothing":                     {nil, false},
		"of a claim":                     {&v1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "s"}, true},
		"of a snapshot":                  {&v1.TypedObjectReference{APIGroup: &group, Kind: "VolumeSnapshot", Name: "s"}, true},
		"of what somebody else fills in": {&v1.TypedObjectReference{APIGroup: &group, Kind: "Backup", Name: "s"}, false},
	} {
		c := claim("a", "x", nil)
		c.Spec.DataSourceRef = row.source
		if got := IsCopy(c); got != row.want {
			t.Errorf("%s: %t, want %t", name, got, row.want)
		}
	}
}

// TestRulesOfOneNamespaceAreTheirOwn: however many claims another tenant makes with the
// same labels, and whatever their values are, a rule about a namespace or another label
// finds its own.
func TestRulesOfOneNamespaceAreTheirOwn(t *testing.T) {
	w := newWorld(t)
	w.follow("app", "size", "team")
	w.set(nil, claim("mine", "data", map[string]string{"app": "db", "size": "7", "team": "me"}))
	for i := range looksLimit + 10 {
		w.set(nil, claim("theirs", fmt.Sprint("c", i), map[string]string{"app": "db", "size": strconv.Itoa(-i), "team": fmt.Sprint("team-", i)}))
	}
	mine := require(LabelNamespace, placement.In, "mine", "mine")
	for _, row := range []struct {
		name  string
		match []placement.Requirement
	}{
		{"a label that others have as well", []placement.Requirement{require("app", placement.In, "db", "db"), mine}},
		{"a key that others have as well", []placement.Requirement{require("app", placement.Exists), mine}},
		{"a number among many", []placement.Requirement{require("size", placement.Gt, "0"), mine}},
		{"a key with many values", []placement.Requirement{require("team", placement.Exists), mine}},
		{"a second label that is rarer", []placement.Requirement{require("app", placement.In, "db"), require("team", placement.In, "me")}},
		{"the rarer label first", []placement.Requirement{require("team", placement.In, "me"), require("app", placement.Exists)}},
	} {
		if got, all := w.matches(row.match...); got != 1 || !all {
			t.Errorf("%s: %d, %t, want the one", row.name, got, all)
		}
	}
	// Storage takes a label of that name for the namespace.
	w.set(nil, claim("else", "data", map[string]string{"app": "db", LabelNamespace: "mine"}))
	if got, all := w.matches(require("app", placement.In, "db"), mine); got != 2 || !all {
		t.Errorf("with a claim that says that it is of another namespace: %d, %t, want 2", got, all)
	}
}
