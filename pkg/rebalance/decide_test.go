package rebalance

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// noon is the time of these tests.
var noon = time.Date(2026, time.November, 27, 12, 0, 0, 0, time.UTC)

// fakeWorld lands every pod where it is told.
type fakeWorld struct {
	landings map[string]Landing // name of the pod → landing; home for the others
	pending  map[string]string
	// room: node → for how many pods; all of them need some if it is not nil.
	room  map[string]int
	err   error
	asked []string
}

var home = Landing{Node: "n1", Before: 0, After: 100, Needed: 10, Locality: placement.LocalityLocal}

func (w *fakeWorld) Land(p *RunningPod) (Landing, error) {
	w.asked = append(w.asked, p.Name)
	if landing, told := w.landings[p.Name]; told {
		if w.room != nil && w.room[landing.Node] == 0 {
			return Landing{}, w.err
		}
		return landing, w.err
	}
	return home, w.err
}

func (w *fakeWorld) LandPending(p *Pending) (string, error) {
	for _, node := range slices.Sorted(maps.Keys(w.room)) {
		if w.room[node] > 0 {
			return node, nil
		}
	}
	return w.pending[p.Name], nil
}

func (w *fakeWorld) Keep(_ *RunningPod, l *Landing) { w.take(l.Node) }

func (w *fakeWorld) KeepPending(_ *Pending, node string) { w.take(node) }

func (w *fakeWorld) take(node string) {
	if w.room != nil {
		w.room[node]--
	}
}

// scene is a cluster in which the pod db-0 of a StatefulSet of two runs off its data, and
// nothing speaks against its return.
type scene struct {
	c     *Configuration
	s     *ClusterState
	j     *Journal
	w     *fakeWorld
	pod   *RunningPod
	owner *Owner
}

func newScene() *scene {
	s := &scene{c: Default(), j: &Journal{}, w: &fakeWorld{}}
	s.c.DryRun = false
	s.owner = &Owner{UID: "set", Kind: kindStatefulSet, Namespace: "shop", Name: "db", Known: true, Wanted: 2}
	s.s = &ClusterState{
		Owners:  map[types.UID]*Owner{"set": s.owner},
		Storage: Storage{NodeList: noon.Add(-10 * time.Second), MaxAge: 40 * time.Second},
		Pods:    []RunningPod{remotePod("db-0", "set"), remotePod("db-1", "set")},
	}
	s.s.Pods[1].Locality = placement.LocalityLocal
	s.pod = &s.s.Pods[0]
	return s
}

func remotePod(name string, owner types.UID) RunningPod {
	return RunningPod{
		Namespace: "shop", Name: name, UID: types.UID("uid-" + name), Node: "n9", Owner: owner, Consent: Yes, Locality: placement.LocalityRemote,
		Created: noon.Add(-2 * time.Hour), ReadySince: noon.Add(-time.Hour), Grace: 30 * time.Second,
		Volumes: []VolumeState{{Name: "shop/data", Certain: true, AllOnline: true}},
	}
}

func (s *scene) decide(demand Demand) *HomePlan { return Decide(noon, s.c, s.s, s.j, s.w, demand) }

func TestEachReason(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(s *scene)
		want StayReason
	}{
		{"nothing speaks against it", func(*scene) {}, ""},
		{"the pod says yes where the default is no", func(s *scene) { s.pod.Consent = Yes }, ""},
		{"all are in that do not say no", func(s *scene) { s.pod.Consent, s.c.OptIn = Unsaid, OptInAll }, ""},
		{"the pod says no where all are in", func(s *scene) { s.pod.Consent, s.c.OptIn = No, OptInAll }, NotOptedIn},
		{"nobody has said anything", func(s *scene) { s.pod.Consent = Unsaid }, NotOptedIn},
		{"it is of kube-system, where the admission policy denies it", func(s *scene) { s.pod.Namespace = "kube-system" }, OfTheSystem},
		{"it is of the rebalancer's own namespace", func(s *scene) { s.s.Namespace = "shop" }, OfTheSystem},
		{"a value is no boolean, even where all are in", func(s *scene) { s.pod.Consent, s.c.OptIn = Invalid, OptInAll }, OptInInvalid},
		{"it is being deleted", func(s *scene) { s.pod.Terminating = true }, Leaving},
		{"it is a bare pod", func(s *scene) { s.pod.Owner = "" }, NoOwner},
		{"it is a mirror of the kubelet's file", func(s *scene) { s.pod.Mirror = true }, NoOwner},
		{"a DaemonSet would make it on the same node", func(s *scene) { s.owner.Kind = "DaemonSet.apps" }, OwnerKind},
		{"a Job would count a failure", func(s *scene) { s.owner.Kind = "Job.batch" }, OwnerKind},
		{"an operator that nobody has named", func(s *scene) { s.owner.Kind = "Cluster.postgresql.cnpg.io" }, OwnerKind},
		{"an operator that the configuration names, with a budget that counts its pods", func(s *scene) {
			s.owner.Kind, s.owner.Known, s.c.OwnerKinds = "Cluster.postgresql.cnpg.io", false, []string{"Cluster.postgresql.cnpg.io"}
			s.pod.Budgets, s.s.Disruptions = []string{"db"}, map[string]int{"db": 1}
		}, ""},
		{"an operator that the configuration names, whose missing pods nobody would see", func(s *scene) {
			s.owner.Kind, s.owner.Known, s.c.OwnerKinds = "Cluster.postgresql.cnpg.io", false, []string{"Cluster.postgresql.cnpg.io"}
		}, NoBudget},
		{"the owner is gone", func(s *scene) { s.owner.Gone = true }, OwnerGone},
		{"another scheduler places it", func(s *scene) { s.pod.Foreign = true }, OtherScheduler},
		{"its machine cannot migrate", func(s *scene) { s.pod.Machine = Immovable }, MachineStays},
		{"a machine's pod that nothing is known of", func(s *scene) { s.owner.Kind = kindMachine }, MachineStays},
		{"a machine that migrates, whose budget is KubeVirt's", func(s *scene) {
			s.owner.Kind, s.owner.Known, s.pod.Machine, s.pod.Budgets = kindMachine, false, Migratable, []string{"kubevirt"}
			s.s.Pods = s.s.Pods[:1]
		}, ""},
		{"a machine that migrates already", func(s *scene) { s.owner.Kind, s.owner.Known, s.pod.Machine = kindMachine, false, Migratable }, OwnerBusy},
		{"an emptyDir", func(s *scene) { s.pod.LocalData = true }, LocalData},
		{"an emptyDir that is allowed", func(s *scene) { s.pod.LocalData, s.c.AllowLocalData = true, true }, ""},
		{"it is not ready", func(s *scene) { s.pod.ReadySince = time.Time{} }, NotReady},
		{"it was not ready half an hour ago", func(s *scene) { s.pod.ReadySince = noon.Add(-29 * time.Minute) }, TooYoung},
		{"a volume is not known for certain", func(s *scene) { s.pod.Volumes[0].Certain = false }, VolumeUnknown},
		{"a replica is offline", func(s *scene) { s.pod.Volumes[0].AllOnline = false }, ReplicaDown},
		{"a volume resyncs", func(s *scene) { s.pod.Volumes[0].Resyncing = true }, Resyncing},
		{"its owner cools down", func(s *scene) { s.j.Cooldowns = []Cooldown{{Owner: "set", Until: noon.Add(time.Second)}} }, CoolingDown},
		{"the cool-down is over", func(s *scene) { s.j.Cooldowns = []Cooldown{{Owner: "set", Until: noon}} }, ""},
		{"another pod of the owner is on its way", func(s *scene) { s.c.Budgets.MaxConcurrent, s.j.Evictions = 9, []Eviction{{Owner: "set"}} }, OwnerBusy},
		{"another pod of the owner is not ready", func(s *scene) { s.s.Pods[1].ReadySince = time.Time{} }, OwnerBusy},
		{"another pod of the owner is leaving", func(s *scene) { s.s.Pods[1].Terminating = true }, OwnerBusy},
		{"another pod of the owner has no node", func(s *scene) { s.owner.Unplaced = 1 }, OwnerBusy},
		{"the owner lacks a pod", func(s *scene) { s.owner.Wanted = 3 }, OwnerBusy},
		{"the owner is scaled down", func(s *scene) { s.owner.Wanted = 1 }, OwnerBusy},
		{"the owner changes", func(s *scene) { s.owner.Changing = true }, OwnerBusy},
		{"its successor would be of another revision", func(s *scene) { s.pod.Outdated = true }, OwnerBusy},
		{"two PodDisruptionBudgets, of which the API takes none", func(s *scene) {
			s.pod.Budgets, s.s.Disruptions = []string{"db", "all"}, map[string]int{"db": 1, "all": 1}
		}, BudgetOfPods},
		{"a PodDisruptionBudget allows nothing", func(s *scene) { s.pod.Budgets = []string{"db"} }, BudgetOfPods},
		{"no node would take it", func(s *scene) { s.w.landings = map[string]Landing{"db-0": {Message: "0/9 nodes"}} }, NoRoom},
		{"it would land as far", func(s *scene) { s.w.landings = map[string]Landing{"db-0": {Node: "n8", Needed: 10}} }, NotNearer},
		{"it would gain less than a tier", func(s *scene) {
			s.w.landings = map[string]Landing{"db-0": {Node: "n8", Before: 30, After: 40, Needed: 55}}
		}, NotNearer},
		{"a pending pod of higher priority goes there", func(s *scene) {
			s.s.Pending, s.w.pending = []Pending{{Name: "web", Priority: 1}}, map[string]string{"web": "n1"}
		}, PendingFirst},
		{"a pending pod of higher priority might go there", func(s *scene) {
			s.s.Pending, s.w.pending = []Pending{{Name: "web", Priority: 1}}, map[string]string{"web": "n2"}
			both := home
			both.Equals = []string{"n2"}
			s.w.landings = map[string]Landing{"db-0": both}
		}, PendingFirst},
		{"a pending pod of the same priority is behind it", func(s *scene) { s.s.Pending, s.w.pending = []Pending{{Name: "web"}}, map[string]string{"web": "n1"} }, ""},
		{"pending pods need the room of both nodes", func(s *scene) {
			s.s.Pending, s.w.room = []Pending{{Name: "web-0"}, {Name: "web-1"}}, map[string]int{"n1": 1, "n2": 1}
			s.w.landings = map[string]Landing{"db-0": {Node: "n2", After: 100, Needed: 10}}
		}, NoRoom},
		{"it may take a day to end", func(s *scene) { s.pod.Grace = 24 * time.Hour }, LongGrace},
		{"a plugin fails", func(s *scene) { s.w.err = errors.New("a plugin has failed") }, Unsimulated},
		{"what was refused a moment ago", nil, NotEvicted},
		{"the hour's budget is spent", func(s *scene) { s.c.Budgets.MaxPerHour, s.j.Recent = 1, []time.Time{noon.Add(-59 * time.Minute)} }, WaitsForTurn},
		{"the budget of an hour ago is back", func(s *scene) { s.c.Budgets.MaxPerHour, s.j.Recent = 1, []time.Time{noon.Add(-time.Hour)} }, ""},
		{"the clock was a year ahead", func(s *scene) {
			s.c.Budgets.MaxPerHour, s.j.Recent = 1, []time.Time{noon.Add(365 * 24 * time.Hour)}
		}, ""},
		{"another owner's pod is on its way", func(s *scene) { s.j.Evictions = []Eviction{{Owner: "other"}} }, WaitsForTurn},
		{"the controller is paused", func(s *scene) { s.s.Paused = true }, Paused},
		{"a successor was late", func(s *scene) { s.j.Halt = &Halt{} }, Halted},
		{"the window is closed", func(s *scene) { s.c.Window = window(t, "0 22 * * *", "2h", "") }, WindowClosed},
		{"the storage API fails", func(s *scene) { s.s.Storage.Conditions = []string{"StorageUnreachable"} }, StorageProblem},
		{"the node list is old", func(s *scene) { s.s.Storage.NodeList = noon.Add(-41 * time.Second) }, NodeListOld},
		{"storage has never listed its nodes", func(s *scene) { s.s.Storage.NodeList = time.Time{} }, NodeListOld},
		{"the journal is full", func(s *scene) { s.j.Cooldowns = make([]Cooldown, maxCooldowns) }, JournalFull},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, memory := newScene(), Memory{}
			if tc.do != nil {
				tc.do(s)
			} else {
				memory[s.pod.UID] = Finding{At: noon, Reason: NotEvicted}
			}
			plan := s.decide(Demand{Memory: memory})
			got := StayReason("")
			for _, k := range plan.Kept {
				got = k.Reason
			}
			if got != tc.want || got == "" && (len(plan.Moves) != 1 || !plan.Moves[0].Now) || got != "" && len(plan.Moves) != 0 {
				t.Errorf("kept for %q with %d moves, want %q", got, len(plan.Moves), tc.want)
			}
			seen[tc.want] = true
		})
	}
	for _, reason := range Reasons() {
		if !seen[reason] {
			t.Errorf("no case ends with %s", reason)
		}
		if reason.Sentence() == "" {
			t.Errorf("%s has no sentence", reason)
		}
	}
}

var seen = map[StayReason]bool{}

func TestTheNoOfANamespaceIsThatOfItsPods(t *testing.T) {
	for _, tc := range []struct {
		name           string
		pod, namespace string // empty for nothing
		want           Consent
	}{
		{"nobody says anything", "", "", Unsaid},
		{"the pod says yes", "true", "", Yes},
		{"the pod says no", "false", "", No},
		{"the namespace says yes", "", "true", Yes},
		{"the namespace says no", "", "false", No},
		{"the pod knows better than its namespace what goes home", "false", "true", No},
		{"an administrator has excluded the tenant", "true", "false", No},
		{"the namespace says nonsense", "", "maybe", Invalid},
		{"the namespace says nonsense, and the pod yes", "true", "maybe", Yes},
		{"the pod says nonsense", "maybe", "true", Invalid},
		{"the pod says nonsense in a namespace that is excluded", "maybe", "false", No},
	} {
		t.Run(tc.name, func(t *testing.T) {
			said := func(value string) map[string]string {
				if value == "" {
					return nil
				}
				return map[string]string{ReturnHome: value}
			}
			if got := ConsentOf(said(tc.pod), said(tc.namespace)); got != tc.want {
				t.Errorf("consent %d, want %d", got, tc.want)
			}
		})
	}
}

func TestATenantsBudgetsDoNotFillTheMemory(t *testing.T) {
	s := newScene()
	s.pod.Budgets = slices.Repeat([]string{"shop/db"}, 2000)
	if plan := s.decide(Demand{}); len(plan.Kept) != 1 || len(plan.Kept[0].Detail) > 100 {
		t.Errorf("kept are %.200v", plan.Kept)
	}
}

func TestPodsThatAreHomeAreNoCandidates(t *testing.T) {
	for _, locality := range []placement.Locality{placement.LocalityNone, placement.LocalityLocal, placement.LocalityAway, placement.LocalityUnknown} {
		s := newScene()
		s.pod.Locality = locality
		if plan := s.decide(Demand{All: true}); len(plan.Moves)+len(plan.Kept) != 0 {
			t.Errorf("a pod whose locality is %q is a candidate", locality)
		}
	}
}

// crowd has a pod of each of n owners run off its data.
func crowd(n int) *scene {
	s := newScene()
	s.s.Pods = nil
	for i := range n {
		uid := types.UID(fmt.Sprintf("set-%d", i))
		s.s.Owners[uid] = &Owner{UID: uid, Kind: kindStatefulSet, Known: true, Wanted: 1}
		s.s.Pods = append(s.s.Pods, remotePod(fmt.Sprintf("db-%d", i), uid))
	}
	return s
}

func TestTheOrder(t *testing.T) {
	s := crowd(5)
	s.s.Pods[0].Locality = placement.LocalityPartly
	s.s.Pods[1].Priority = -1
	s.s.Pods[3].ReadySince = noon.Add(-3 * time.Hour)
	s.s.Pods[4].Priority = 1
	s.decide(Demand{All: true})
	if diff := cmp.Diff([]string{"db-4", "db-3", "db-2", "db-1", "db-0"}, s.w.asked); diff != "" {
		t.Errorf("important ones first, then those that are remote for long, then those that have a part: %s", diff)
	}
}

func TestBudgetsAreSpentInOrder(t *testing.T) {
	for _, tc := range []struct {
		name                 string
		perHour, atOnce, was int
		underWay             int
		want                 int
	}{
		{"one at a time", 10, 1, 0, 0, 1},
		{"three at a time", 10, 3, 0, 0, 3},
		{"what is under way takes a place", 10, 3, 0, 2, 1},
		{"the hour allows two more", 10, 5, 8, 0, 2},
		{"nothing is left of the hour", 10, 5, 10, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := crowd(6)
			s.c.Budgets = Budgets{MaxPerHour: tc.perHour, MaxConcurrent: tc.atOnce}
			s.j.Recent = slices.Repeat([]time.Time{noon}, tc.was)
			s.j.Evictions = make([]Eviction, tc.underWay)
			plan := s.decide(Demand{})
			if len(plan.Moves) != tc.want || len(plan.Kept) != 6-tc.want || len(s.w.asked) != tc.want {
				t.Errorf("%d go, %d stay, %d simulations, want %d to go", len(plan.Moves), len(plan.Kept), len(s.w.asked), tc.want)
			}
			all := s.decide(Demand{All: true})
			now := 0
			for _, m := range all.Moves {
				if m.Now {
					now++
				}
			}
			if len(all.Moves) != 6 || now != tc.want {
				t.Errorf("a report has %d moves, %d of them now, want 6 and %d", len(all.Moves), now, tc.want)
			}
		})
	}
}

func TestOnePodOfAnOwnerAtATime(t *testing.T) {
	s := newScene()
	s.c.Budgets.MaxConcurrent = 5
	s.s.Pods[1].Locality = placement.LocalityRemote
	plan := s.decide(Demand{})
	if len(plan.Moves) != 1 || len(plan.Kept) != 1 || plan.Kept[0].Reason != WaitsForTurn {
		t.Errorf("of two pods of one owner %d go and %v stay", len(plan.Moves), plan.Kept)
	}
}

func TestABudgetThatPodsShareIsSpentOnce(t *testing.T) {
	s := crowd(5)
	s.c.Budgets.MaxConcurrent = 5
	s.s.Disruptions = map[string]int{"all": 2, "some": 1}
	for i := range s.s.Pods {
		s.s.Pods[i].Budgets = []string{"all"}
	}
	s.s.Pods[0].Budgets, s.s.Pods[1].Budgets = []string{"some"}, []string{"some"}
	var names []string
	for _, m := range s.decide(Demand{}).Moves {
		names = append(names, m.Pod.Name)
	}
	if diff := cmp.Diff([]string{"db-0", "db-2", "db-3"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestHopelessPodsAreNotSimulatedAtEveryLook(t *testing.T) {
	s, memory := crowd(3*simulations), Memory{}
	s.w.landings = map[string]Landing{}
	for i := range s.s.Pods {
		s.w.landings[s.s.Pods[i].Name] = Landing{Message: "no room"}
	}
	for look := range 3 {
		s.w.asked = nil
		plan := s.decide(Demand{Memory: memory})
		if len(s.w.asked) != simulations {
			t.Fatalf("look %d simulates %d landings, want %d", look, len(s.w.asked), simulations)
		}
		counts := map[StayReason]int{}
		for _, k := range plan.Kept {
			counts[k.Reason]++
		}
		want := map[StayReason]int{NoRoom: (look + 1) * simulations}
		if look < 2 {
			want[WaitsForTurn] = (2 - look) * simulations
		}
		if diff := cmp.Diff(want, counts); diff != "" {
			t.Fatalf("look %d: %s", look, diff)
		}
	}
	s.w.asked = nil
	s.decide(Demand{Memory: memory})
	if len(s.w.asked) != 0 {
		t.Errorf("%d landings are simulated again at once", len(s.w.asked))
	}
	s.s.Storage.NodeList = noon.Add(looksRemembered * s.c.Interval.Duration)
	Decide(noon.Add(looksRemembered*s.c.Interval.Duration), s.c, s.s, s.j, s.w, Demand{Memory: memory})
	if len(s.w.asked) != simulations {
		t.Errorf("%d landings are simulated when the findings are old", len(s.w.asked))
	}
	s.s.Pods = s.s.Pods[:1]
	s.decide(Demand{Memory: memory})
	if got := slices.Collect(maps.Keys(memory)); len(got) != 1 {
		t.Errorf("%d pods that are gone are remembered", len(got)-1)
	}
}

func TestPodsThatFindNoRoomKeepNobodyFromTheirTurn(t *testing.T) {
	s := newScene()
	s.s.Pods = nil
	s.w.landings = map[string]Landing{}
	const crowd = looksRemembered*simulations + 50
	for i := range crowd + 1 {
		owner := types.UID(fmt.Sprint("owner-", i))
		s.s.Owners[owner] = &Owner{UID: owner, Kind: kindStatefulSet, Known: true, Wanted: 1}
		pod := remotePod(fmt.Sprintf("db-%04d", i), owner)
		if i < crowd {
			s.w.landings[pod.Name] = Landing{}
			pod.Priority = 1
		}
		s.s.Pods = append(s.s.Pods, pod)
	}
	memory, now := Memory{}, noon
	for range 2 * looksRemembered {
		s.s.Storage.NodeList = now
		if plan := Decide(now, s.c, s.s, s.j, s.w, Demand{Memory: memory}); len(plan.Moves) > 0 {
			return
		}
		now = now.Add(s.c.Interval.Duration)
	}
	t.Error("the least important pod is never asked about")
}
