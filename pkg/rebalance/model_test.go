package rebalance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// The model is a cluster with a scheduler, a storage system, PodDisruptionBudgets and other
// people, on which the decisions of this package are carried out by a controller that is
// killed at any moment. It keeps its own books of what was evicted and what came of it, and
// checks every eviction against them.
type model struct {
	*testing.T
	random *rand.Rand
	now    time.Time
	c      *Configuration
	nodes  []*modelNode
	owners []*modelOwner
	pods   []*modelPod // with or without a node
	made   int

	// storageDown has the API fail; contrary is the share of pods that the real scheduler
	// puts elsewhere than the simulated one, and sick that of those that do not get ready.
	storageDown    bool
	contrary, sick float64
	paused         bool
	resume         string

	// kept is the journal as it stands in the API, memory that of the process.
	kept   []byte
	memory Memory
	// evictions are the times of all evictions that the API has taken.
	evictions []time.Time
	underWay  map[*modelOwner]*departure
	results   map[EvictionResult]int
}

type modelNode struct {
	name              string
	offline, cordoned bool
	room              int // for pods, and for what others put there
	others            int
}

type modelOwner struct {
	name        string
	wanted, min int
	failures    int
	notBefore   time.Time
}

type modelPod struct {
	name    string
	uid     types.UID
	owner   *modelOwner
	node    *modelNode
	data    []*modelNode
	created time.Time
	// ready is when it becomes ready, never if that is zero; ends is when a pod that was
	// evicted is gone.
	ready, ends time.Time
}

// departure is an eviction in the books of the model.
type departure struct {
	pod      string
	uid      types.UID
	deadline time.Time
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{T: t, random: rand.New(rand.NewPCG(seed, 0)), now: noon, c: Default(), memory: Memory{}, underWay: map[*modelOwner]*departure{}, results: map[EvictionResult]int{}}
	m.c.DryRun, m.c.OptIn = false, OptInAll
	m.c.Budgets = Budgets{MaxPerHour: 1 + m.random.IntN(10), MaxConcurrent: 1 + m.random.IntN(3)}
	m.contrary, m.sick = []float64{0, 0.1, 1}[m.random.IntN(3)], []float64{0, 0.02}[m.random.IntN(2)]
	for i := range 4 + m.random.IntN(5) {
		m.nodes = append(m.nodes, &modelNode{name: fmt.Sprintf("n%d", i), room: 3 + m.random.IntN(4)})
	}
	for i := range 1 + m.random.IntN(4) {
		o := &modelOwner{name: fmt.Sprintf("set-%d", i), wanted: 1 + m.random.IntN(3)}
		o.min = m.random.IntN(o.wanted + 1)
		m.owners = append(m.owners, o)
		for k := range o.wanted {
			data := []*modelNode{m.nodes[m.random.IntN(len(m.nodes))], m.nodes[m.random.IntN(len(m.nodes))]}
			m.make(fmt.Sprintf("%s-%d", o.name, k), o, data)
		}
	}
	return m
}

func (m *model) make(name string, o *modelOwner, data []*modelNode) {
	m.made++
	m.pods = append(m.pods, &modelPod{name: name, uid: types.UID(fmt.Sprintf("%s#%d", name, m.made)), owner: o, data: data, created: m.now})
}

func (m *model) isReady(p *modelPod) bool {
	return p.node != nil && p.ends.IsZero() && !p.ready.IsZero() && !m.now.Before(p.ready)
}

func (m *model) ready(o *modelOwner) (n int) {
	for _, p := range m.pods {
		if p.owner == o && m.isReady(p) {
			n++
		}
	}
	return n
}

func (m *model) isHome(p *modelPod) bool { return slices.Contains(p.data, p.node) && !p.node.offline }

// choose is the scheduler: a node with the data, or else any that has room.
func (m *model) choose(p *modelPod, used map[*modelNode]int) *modelNode {
	fits := func(n *modelNode) bool { return !n.offline && !n.cordoned && used[n]+n.others < n.room }
	if i := slices.IndexFunc(p.data, fits); i >= 0 {
		return p.data[i]
	}
	if i := slices.IndexFunc(m.nodes, fits); i >= 0 {
		return m.nodes[i]
	}
	return nil
}

func (m *model) used() map[*modelNode]int {
	used := map[*modelNode]int{}
	for _, p := range m.pods {
		if p.node != nil {
			used[p.node]++
		}
	}
	return used
}

// tick lets time pass: pods end, are made anew, get nodes.
func (m *model) tick(d time.Duration) {
	m.now = m.now.Add(d)
	for _, p := range slices.Clone(m.pods) {
		if !p.ends.IsZero() && !m.now.Before(p.ends) {
			m.remove(p)
		}
	}
	used := m.used()
	for _, p := range m.pods {
		if p.node != nil {
			continue
		}
		if p.node = m.choose(p, used); p.node != nil && m.random.Float64() < m.contrary {
			if i := m.random.IntN(len(m.nodes)); used[m.nodes[i]] < m.nodes[i].room && !m.nodes[i].offline {
				p.node = m.nodes[i]
			}
		}
		if p.node == nil {
			continue
		}
		used[p.node]++
		if m.random.Float64() >= m.sick {
			p.ready = m.now.Add(time.Duration(m.random.IntN(4)) * time.Minute)
		}
	}
}

// remove ends a pod; its owner makes it anew.
func (m *model) remove(p *modelPod) {
	m.pods = slices.DeleteFunc(m.pods, func(o *modelPod) bool { return o == p })
	m.make(p.name, p.owner, p.data)
}

// disturb is what other people and the hardware do.
func (m *model) disturb() {
	n := m.nodes[m.random.IntN(len(m.nodes))]
	switch m.random.IntN(14) {
	case 0: // a drain
		n.cordoned = true
		for _, p := range slices.Clone(m.pods) {
			if p.node == n {
				m.remove(p)
			}
		}
	case 1, 2, 3:
		n.cordoned = false
	case 4:
		n.offline = true
	case 5, 6, 7:
		n.offline = false
	case 8: // the node is full of others
		n.others = m.random.IntN(n.room + 1)
	case 9:
		n.others = 0
	case 10:
		m.storageDown = !m.storageDown
	case 11: // a replica moves
		p := m.pods[m.random.IntN(len(m.pods))]
		p.data[m.random.IntN(2)] = n
	case 12:
		m.paused = !m.paused
	case 13: // an administrator repairs what is sick, and resumes
		m.repair()
	}
}

func (m *model) repair() {
	for _, p := range m.pods {
		if p.node != nil && p.ready.IsZero() {
			p.ready = m.now
		}
	}
	if j := m.journal(); j.Halt != nil {
		m.resume = j.Halt.ID
	}
}

func (m *model) journal() *Journal {
	j, err := DecodeJournal(m.kept)
	if err != nil {
		m.Fatal(err)
	}
	return j
}

func (m *model) write(j *Journal) {
	var err error
	if m.kept, err = j.Encode(); err != nil {
		m.Fatal(err)
	}
}

// state is the cluster as an observer sees it.
func (m *model) state() *ClusterState {
	s := &ClusterState{Owners: map[types.UID]*Owner{}, Disruptions: map[string]int{}, Paused: m.paused, Storage: Storage{NodeList: m.now, MaxAge: time.Minute}}
	if m.storageDown {
		s.Storage.Conditions = []string{"StorageUnreachable"}
	}
	for _, o := range m.owners {
		s.Disruptions[o.name] = m.ready(o) - o.min
		s.Owners[types.UID(o.name)] = &Owner{UID: types.UID(o.name), Kind: kindStatefulSet, Name: o.name, Known: true, Wanted: o.wanted}
	}
	for _, p := range m.pods {
		if p.node == nil {
			s.Owners[types.UID(p.owner.name)].Unplaced++
			continue
		}
		seen := RunningPod{
			Name: p.name, UID: p.uid, Node: p.node.name, Owner: types.UID(p.owner.name), Created: p.created, Terminating: !p.ends.IsZero(),
			Grace: 30 * time.Second, Locality: placement.LocalityRemote, Budgets: []string{p.owner.name},
			Volumes: []VolumeState{{Name: p.name, Certain: true, AllOnline: !slices.ContainsFunc(p.data, func(n *modelNode) bool { return n.offline })}},
		}
		if m.isReady(p) {
			seen.ReadySince = p.ready
		}
		if m.storageDown {
			seen.Locality = placement.LocalityUnknown
		} else if m.isHome(p) {
			seen.Locality = placement.LocalityLocal
		}
		s.Pods = append(s.Pods, seen)
	}
	return s
}

// modelWorld is the simulation of the model's scheduler.
type modelWorld struct {
	m    *model
	used map[*modelNode]int
}

func (w *modelWorld) pod(uid types.UID) *modelPod {
	return w.m.pods[slices.IndexFunc(w.m.pods, func(p *modelPod) bool { return p.uid == uid })]
}

func (w *modelWorld) Land(seen *RunningPod) (Landing, error) {
	p := w.pod(seen.UID)
	w.used[p.node]--
	defer func() { w.used[p.node]++ }()
	n := w.m.choose(p, w.used)
	if n == nil {
		return Landing{}, nil
	}
	landing := Landing{Node: n.name, Needed: 10}
	if slices.Contains(p.data, n) {
		landing.After = 100
	}
	return landing, nil
}

func (w *modelWorld) LandPending(*Pending) (string, error) { return "", nil }

func (w *modelWorld) KeepPending(*Pending, string) {}

func (w *modelWorld) Keep(seen *RunningPod, landing *Landing) {
	w.used[w.pod(seen.UID).node]--
	w.used[w.m.nodes[slices.IndexFunc(w.m.nodes, func(n *modelNode) bool { return n.name == landing.Node })]]++
}

// control is one look of the controller, which may be killed in the middle of it.
func (m *model) control(killed bool) {
	m.judge()
	j, s := m.journal(), m.state()
	j.Resume(m.resume)
	for _, o := range j.Follow(m.now, m.c, s) {
		m.results[o.Result]++
	}
	m.write(j)
	held := j.Halt != nil || m.paused || m.storageDown
	plan := Decide(m.now, m.c, s, j, &modelWorld{m: m, used: m.used()}, Demand{Memory: m.memory})
	for i := range plan.Moves {
		move := &plan.Moves[i]
		if !move.Now {
			continue
		}
		if held {
			m.Fatalf("%s goes although everything is held", move.Pod.Name)
		}
		stage := 3
		if killed {
			stage = m.random.IntN(3)
			defer func() { m.memory = Memory{} }()
		}
		j.Begin(m.now, m.c, s, move)
		if stage == 0 {
			return
		}
		m.write(j)
		if stage == 1 {
			return
		}
		m.evict(move)
		if stage == 2 {
			return
		}
		j.Accept(move.Pod.UID)
		m.write(j)
	}
}

// evict is the API server, and the check of the books.
func (m *model) evict(move *Move) {
	i := slices.IndexFunc(m.pods, func(p *modelPod) bool { return p.uid == move.Pod.UID })
	p := m.pods[i]
	o := p.owner
	complain := func(what string) {
		m.Fatalf("%s: eviction of %s from %s to %s: %s", m.now, p.name, move.Pod.Node, move.Node, what)
	}
	switch hour := m.now.Add(-time.Hour); {
	case !p.ends.IsZero():
		complain("it is evicted already")
	case m.ready(o) <= o.min:
		complain("its PodDisruptionBudget allows nothing")
	case m.ready(o) < o.wanted:
		complain("another pod of its owner is away")
	case m.underWay[o] != nil:
		complain("another pod of its owner is on its way")
	case m.now.Before(o.notBefore):
		complain("its owner cools down until " + o.notBefore.String())
	case m.now.Sub(p.ready) < m.c.MinAge.Duration:
		complain("it is too young")
	case m.isHome(p):
		complain("it is at home")
	case len(m.underWay) >= m.c.Budgets.MaxConcurrent:
		complain("too many are on their way")
	case len(slices.DeleteFunc(slices.Clone(m.evictions), func(at time.Time) bool { return !at.After(hour) })) >= m.c.Budgets.MaxPerHour:
		complain("too many within an hour")
	}
	p.ends = m.now.Add(30 * time.Second)
	m.evictions = append(m.evictions, m.now)
	m.underWay[o] = &departure{pod: p.name, uid: p.uid, deadline: m.now.Add(30*time.Second + m.c.ReadyTimeout.Duration)}
}

// judge finds out in the model's own way what has come of evictions.
func (m *model) judge() {
	for o, d := range m.underWay {
		late := m.now.After(d.deadline)
		for _, p := range m.pods {
			if p.owner != o || p.name != d.pod {
				continue
			}
			switch {
			case p.uid == d.uid, !m.isReady(p) && !late, m.storageDown && !late:
				continue
			case m.isReady(p) && !m.storageDown && m.isHome(p):
				o.failures, o.notBefore = 0, time.Time{}
			default:
				o.notBefore = m.now.Add(min(m.c.Cooldown.Duration<<o.failures, MaxCooldown))
				o.failures++
			}
			delete(m.underWay, o)
		}
	}
}

// away is the potential: how many pods run off their data.
func (m *model) away() (n int) {
	for _, p := range m.pods {
		if p.node == nil || !m.isHome(p) {
			n++
		}
	}
	return n
}

func TestModel(t *testing.T) {
	seeds, results := 120, map[EvictionResult]int{}
	evictions := 0
	for seed := range seeds {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			m := newModel(t, uint64(seed)) //nolint:gosec // counts from 0
			for range 1500 {
				m.tick(time.Minute)
				if m.random.IntN(5) == 0 {
					m.disturb()
				}
				if m.random.IntN(4) > 0 { // at times there is no controller
					m.control(m.random.IntN(5) == 0)
				}
			}
			evictions += len(m.evictions)
			m.calm()
			for result, n := range m.results {
				results[result] += n
			}
		})
	}
	t.Logf("%d evictions, ended as %v", evictions, results)
	for _, result := range []EvictionResult{Home, Elsewhere, Late, NotBegun} {
		if results[result] == 0 {
			t.Errorf("no eviction has ended as %q: the model does not go there", result)
		}
	}
}

// calm ends all disturbances, and checks that the controller comes to rest: each eviction
// lowers the potential, until nothing would help any more.
func (m *model) calm() {
	m.contrary, m.sick, m.storageDown, m.paused = 0, 0, false, false
	for _, n := range m.nodes {
		n.cordoned, n.offline, n.others = false, false, 0
	}
	for range 30 { // what is under way ends
		m.repair()
		m.tick(time.Minute)
		m.control(false)
	}
	m.repair()
	before, potential := len(m.evictions), m.away()
	for range 2 * int(MaxCooldown/(10*time.Minute)) {
		m.tick(10 * time.Minute)
		m.control(false)
	}
	if n := len(m.evictions) - before; n != potential-m.away() {
		m.Errorf("%d evictions have brought %d pods home", n, potential-m.away())
	}
	s := m.state()
	j := m.journal()
	if plan := Decide(m.now, m.c, s, j, &modelWorld{m: m, used: m.used()}, Demand{All: true}); len(plan.Moves) > 0 || plan.Held != "" || len(j.Evictions) > 0 {
		m.Errorf("after two weeks of peace %d pods could still go home, %q, %d on their way", len(plan.Moves), plan.Held, len(j.Evictions))
	}
}
