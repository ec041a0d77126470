package rebalance

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// evicted is a scene in which db-0 has been evicted, and is gone.
func evicted(t *testing.T) *scene {
	t.Helper()
	s := newScene()
	plan := s.decide(Demand{})
	if len(plan.Moves) != 1 {
		t.Fatalf("%d moves", len(plan.Moves))
	}
	s.j.Begin(noon, s.c, s.s, &plan.Moves[0])
	s.j.Accept(s.pod.UID)
	s.s.Pods = s.s.Pods[1:]
	s.owner.Unplaced = 1
	return s
}

// successor is the pod that has been made in the place of db-0.
func (s *scene) successor(locality placement.Locality, node string) {
	p := remotePod("db-0", "set")
	p.UID, p.Created, p.ReadySince, p.Locality, p.Node = "uid-new", noon.Add(time.Second), noon.Add(time.Minute), locality, node
	s.s.Pods, s.owner.Unplaced = append(s.s.Pods, p), 0
}

func TestHowEvictionsEnd(t *testing.T) {
	later := noon.Add(5 * time.Minute)
	late := noon.Add(time.Hour)
	for _, tc := range []struct {
		name string
		do   func(s *scene)
		at   time.Time
		want EvictionResult // empty: it goes on
		cool bool
		halt bool
	}{
		{"no successor yet", func(*scene) {}, later, "", false, false},
		{"a successor that is not ready", func(s *scene) { s.successor(placement.LocalityLocal, "n1"); s.s.Pods[1].ReadySince = time.Time{} }, later, "", false, false},
		{"home", func(s *scene) { s.successor(placement.LocalityLocal, "n1") }, later, Home, false, false},
		{"off the replicas, where it wants to be", func(s *scene) { s.successor(placement.LocalityAway, "n1") }, later, Home, false, false},
		{"it has lost its wish", func(s *scene) { s.successor(placement.LocalityNone, "n1") }, later, Home, false, false},
		{"home, but late", func(s *scene) { s.successor(placement.LocalityLocal, "n1") }, late, Home, false, false},
		{"where it should, with a part of its data", func(s *scene) { s.successor(placement.LocalityPartly, "n1") }, later, Nearer, true, false},
		{"elsewhere with a part of its data", func(s *scene) { s.successor(placement.LocalityPartly, "n2") }, later, Elsewhere, true, false},
		{"the room was taken in between", func(s *scene) { s.successor(placement.LocalityRemote, "n8") }, later, Elsewhere, true, false},
		{"storage is lost in the middle, and waited for", func(s *scene) { s.successor(placement.LocalityUnknown, "n1") }, later, "", false, false},
		{"storage is lost in the middle, for long", func(s *scene) { s.successor(placement.LocalityUnknown, "n1") }, late, Elsewhere, true, false},
		{"another scheduler has made it go elsewhere", func(s *scene) { s.successor(placement.LocalityRemote, "n8"); s.s.Pods[1].Foreign = true }, later, Elsewhere, true, false},
		{"a pod that is older is no successor", func(s *scene) {
			s.successor(placement.LocalityLocal, "n1")
			s.s.Pods[1].Created = noon.Add(-3 * time.Hour)
			s.j.Evictions[0].OwnerKind, s.owner.Wanted = kindDeployment, 3
		}, later, "", false, false},
		{"another pod of the set that was made at the same time is no successor", func(s *scene) {
			s.successor(placement.LocalityLocal, "n1")
			s.s.Pods[1].Name, s.owner.Wanted = "db-2", 3
		}, later, "", false, false},
		{"no successor in time", func(*scene) {}, late, Late, true, true},
		{"a successor that does not get ready", func(s *scene) { s.successor(placement.LocalityLocal, "n1"); s.s.Pods[1].ReadySince = time.Time{} }, late, Late, true, true},
		{"the owner is gone", func(s *scene) { s.owner.Gone = true }, later, NotReplaced, false, false},
		{"the owner was scaled down", func(s *scene) { s.owner.Wanted = 1 }, later, NotReplaced, false, false},
		{"the owner has been deleted with all its pods", func(s *scene) { delete(s.s.Owners, "set") }, late, NotReplaced, false, false},
		{"an owner of another kind has no pod left", func(s *scene) { delete(s.s.Owners, "set"); s.j.Evictions[0].OwnerKind = "Cluster.db" }, late, NotReplaced, false, false},
		{"the machine was stopped while it migrated", func(s *scene) {
			s.s.Pods, s.s.Owners, s.j.Evictions[0].OwnerKind = nil, map[types.UID]*Owner{}, kindMachine
		}, late, NotReplaced, false, false},
		{"nothing is known of an owner of another kind", func(s *scene) { delete(s.s.Owners, "set"); s.j.Evictions[0].OwnerKind = "Cluster.db" }, later, "", false, false},
		{"the pod is still ending", func(s *scene) { s.old(true) }, later, "", false, false},
		{"the pod does not end", func(s *scene) { s.old(true) }, late, Stayed, true, false},
		{"the pod does not end, and is not wanted any more", func(s *scene) { s.old(true); s.owner.Gone = true }, late, NotReplaced, false, false},
		{"the pod is still ending, and its successor is home", func(s *scene) { s.besides() }, later, "", false, false},
		{"the pod does not end, and its successor is home", func(s *scene) { s.besides() }, late, Home, false, false},
		{"the machine still migrates", func(s *scene) { s.old(false); s.successor(placement.LocalityLocal, "n1") }, later, "", false, false},
		{"the machine has stayed", func(s *scene) { s.old(false) }, late, Stayed, true, false},
		{"killed before the eviction, a moment ago", func(s *scene) { s.old(false); s.j.Evictions[0].Accepted = false }, noon.Add(answerTimeout), "", false, false},
		{"killed before the eviction", func(s *scene) { s.old(false); s.j.Evictions[0].Accepted = false }, noon.Add(answerTimeout + 1), NotBegun, false, false},
		{"killed after the eviction", func(s *scene) { s.j.Evictions[0].Accepted = false; s.successor(placement.LocalityLocal, "n1") }, later, Home, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := evicted(t)
			tc.do(s)
			ended := s.j.Follow(tc.at, s.c, s.s)
			got := EvictionResult("")
			for _, o := range ended {
				got = o.Result
			}
			if got != tc.want || len(s.j.Evictions) != 1-len(ended) {
				t.Fatalf("ended as %q, want %q; %d are under way", got, tc.want, len(s.j.Evictions))
			}
			if (len(s.j.Cooldowns) == 1) != tc.cool || (s.j.Halt != nil) != tc.halt {
				t.Errorf("cool-downs %v, halt %v", s.j.Cooldowns, s.j.Halt)
			}
		})
	}
}

// old has the pod that was evicted still be there.
func (s *scene) old(terminating bool) {
	p := remotePod("db-0", "set")
	p.Terminating = terminating
	s.s.Pods, s.owner.Unplaced = append([]RunningPod{p}, s.s.Pods...), 0
}

// besides has the pod of a Deployment hang in its end, while its successor is ready and home.
func (s *scene) besides() {
	s.owner.Kind, s.j.Evictions[0].OwnerKind = kindDeployment, kindDeployment
	s.successor(placement.LocalityLocal, "n1")
	s.old(true)
}

// The grace period of a machine is its tenant's.
func TestAMachineKeepsItsPlaceForAnHourAtMost(t *testing.T) {
	s := newScene()
	s.owner.Kind, s.owner.Known, s.pod.Machine, s.pod.Grace = kindMachine, false, Migratable, (1<<31-1)*time.Second
	s.s.Pods = s.s.Pods[:1]
	plan := s.decide(Demand{})
	if len(plan.Moves) != 1 {
		t.Fatal(plan.Kept)
	}
	s.j.Begin(noon, s.c, s.s, &plan.Moves[0])
	s.j.Accept(s.pod.UID)
	if ended := s.j.Follow(noon.Add(maxGrace+s.c.ReadyTimeout.Duration+1), s.c, s.s); len(ended) != 1 || ended[0].Result != Stayed {
		t.Errorf("ended are %v, under way %v", ended, s.j.Evictions)
	}
}

func TestCooldownsDouble(t *testing.T) {
	s := newScene()
	now, want := noon, s.c.Cooldown.Duration
	for range 12 {
		s.s.Storage.NodeList = now
		plan := Decide(now, s.c, s.s, s.j, s.w, Demand{})
		if len(plan.Moves) != 1 {
			t.Fatalf("nothing goes at %s: %v", now, plan.Kept)
		}
		s.j.Begin(now, s.c, s.s, &plan.Moves[0])
		s.j.Accept(s.pod.UID)
		now = now.Add(time.Minute)
		s.pod.UID, s.pod.Created, s.pod.ReadySince = types.UID("uid-"+now.String()), now, now
		ended := s.j.Follow(now, s.c, s.s)
		if len(ended) != 1 || ended[0].Result != Elsewhere || ended[0].Cooldown.Until.Sub(now) != want {
			t.Fatalf("ended as %+v, want a cool-down of %s", ended, want)
		}
		now = now.Add(max(want, s.c.MinAge.Duration))
		want = min(2*want, MaxCooldown)
	}
	s.j.Follow(now.Add(MaxCooldown+time.Second), s.c, s.s)
	if len(s.j.Cooldowns) != 0 {
		t.Error("a cool-down is remembered for ever")
	}
}

func TestComingHomeEndsTheCooldowns(t *testing.T) {
	s := evicted(t)
	s.j.Cooldowns = []Cooldown{{Owner: "set", Failures: 3, Until: noon}, {Owner: "other", Failures: 1, Until: noon}}
	s.successor(placement.LocalityLocal, "n1")
	s.j.Follow(noon.Add(time.Minute), s.c, s.s)
	if len(s.j.Cooldowns) != 1 || s.j.Cooldowns[0].Owner != "other" {
		t.Errorf("left are %v", s.j.Cooldowns)
	}
}

func TestAFullJournalForgetsWhatHasRunOut(t *testing.T) {
	s := newScene()
	for i := range maxCooldowns {
		until := noon.Add(-time.Hour)
		if i == 0 {
			until = noon.Add(time.Hour)
		}
		s.j.Cooldowns = append(s.j.Cooldowns, Cooldown{Owner: types.UID(strconv.Itoa(i)), Kind: "Cluster.postgresql.cnpg.io", Until: until})
	}
	s.j.Follow(noon, s.c, s.s)
	if len(s.j.Cooldowns) != 1 || s.j.Cooldowns[0].Owner != "0" {
		t.Errorf("%d are left", len(s.j.Cooldowns))
	}
}

func TestTheCooldownOfADeletedOwnerIsForgotten(t *testing.T) {
	s := newScene()
	s.j.Cooldowns = []Cooldown{
		{Owner: "set", Kind: kindStatefulSet, Until: noon.Add(time.Hour)},
		{Owner: "deleted", Kind: kindStatefulSet, Until: noon.Add(time.Hour)},
		{Owner: "unlisted", Kind: "Cluster.postgresql.cnpg.io", Until: noon.Add(time.Hour)},
	}
	s.j.Follow(noon, s.c, s.s)
	if len(s.j.Cooldowns) != 2 || s.j.Cooldowns[0].Owner != "set" || s.j.Cooldowns[1].Owner != "unlisted" {
		t.Errorf("left are %v", s.j.Cooldowns)
	}
}

func TestOnlyTheTimeOfTheHaltResumes(t *testing.T) {
	s := evicted(t)
	s.j.Follow(noon.Add(time.Hour), s.c, s.s)
	halt := s.j.Halt
	if halt == nil || !strings.Contains(halt.Message, "shop/db-0") {
		t.Fatalf("halt is %v", halt)
	}
	if s.j.Resume("") || s.j.Resume("true") || s.j.Halt == nil {
		t.Error("any word resumes")
	}
	if !s.j.Resume(halt.ID) || s.j.Halt != nil || s.j.Resume(halt.ID) {
		t.Error("the time of the halt does not resume, once")
	}
}

func TestTheJournalSurvivesItsEncoding(t *testing.T) {
	s := evicted(t)
	s.j.Cooldowns = []Cooldown{{Owner: "set", Namespace: "shop", Name: "db", Failures: 2, Until: noon}}
	s.j.Halt = &Halt{ID: "now", Message: "why"}
	data, err := s.j.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeJournal(data)
	if diff := cmp.Diff(s.j, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if empty, err := DecodeJournal(nil); err != nil || len(empty.Evictions) != 0 {
		t.Error("nothing is no empty journal", err)
	}
	if _, err := DecodeJournal([]byte("{")); err == nil {
		t.Error("half a journal is accepted")
	}
}

func TestAFullJournalFitsIntoAConfigMap(t *testing.T) {
	long := strings.Repeat("x", 253)
	j := &Journal{Recent: slices.Repeat([]time.Time{noon.Add(1)}, 1000)}
	for range maxCooldowns {
		j.Cooldowns = append(j.Cooldowns, Cooldown{Owner: types.UID(long[:100]), Kind: long, Namespace: long[:63], Name: long, Failures: 9, Until: noon.Add(1)})
	}
	e := Eviction{Namespace: long[:63], Name: long, UID: types.UID(long[:36]), Owner: types.UID(long[:100]), OwnerKind: long, OwnerName: long, From: long, To: long, Volume: long, At: noon.Add(1), Deadline: noon.Add(1), Newest: noon}
	j.Evictions = slices.Repeat([]Eviction{e}, 100)
	data, err := j.Encode()
	if err != nil || len(data) >= 1<<20 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if !j.full() {
		t.Error("it is not full")
	}
}

func TestAFullJournalOfOddNamesFitsIntoAConfigMap(t *testing.T) {
	j := &Journal{}
	for range maxCooldowns {
		j.Cooldowns = append(j.Cooldowns, Cooldown{Owner: "set", Kind: "Cluster.db", Namespace: "a", Name: strings.Repeat("<", 253), Until: noon})
	}
	if data, err := j.Encode(); err != nil || len(data) >= 1<<20 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

func TestAnEvictionThatWasNotMadeTakesNoBudget(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(s *scene)
	}{
		{"refused", func(s *scene) { s.j.Withdraw(s.pod.UID) }},
		{"not begun", func(s *scene) { s.j.Follow(noon.Add(2*answerTimeout), s.c, s.s) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScene()
			plan := s.decide(Demand{})
			s.j.Begin(noon, s.c, s.s, &plan.Moves[0])
			tc.end(s)
			if len(s.j.Evictions) != 0 || len(s.j.Recent) != 0 {
				t.Errorf("left is %+v", s.j)
			}
		})
	}
}
