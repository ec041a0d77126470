package volumes

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

var modelOperations = flag.Int("model.operations", modelOperationsByDefault, "operations of the model-based test, all seeds together")

// TestIndexAgreesWithAPlainStatementOfTheContract has random things happen to
// nodes, CSINodes, PVs, volumes, the watch and the storage API, and compares the
// index with the oracle after each of them.
func TestIndexAgreesWithAPlainStatementOfTheContract(t *testing.T) {
	const runs = 8
	operations := *modelOperations / runs
	if testing.Short() {
		operations /= 20
	}
	for seed := range uint64(runs) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			m := newModelRun(t, seed)
			for range operations {
				m.operate()
			}
		})
	}
}

// modelRun compares a world's index with its oracle.
type modelRun struct {
	*world
	t       *testing.T
	told    []Change
	before  map[string]answer
	oldView *View
	picture *oraclePicture // compared with the view
	pending int            // operations since the last comparison
}

// answer is what a change of which subscribers must hear of.
type answer struct {
	firstSeen time.Duration
	known     bool
	stale     bool
	content   content
	holders   []answerHolder
}

type answerHolder struct {
	oracleHolder
	nodeState placement.StorageState
}

// equal says that the same can be said of a replica, but for a node whose own state
// has changed: that is told as a change of the node.
func (h answerHolder) equal(o answerHolder) bool {
	return h.node == o.node && (h.state == o.state || h.node != "" && h.nodeState != o.nodeState)
}

func (a *answer) equal(b *answer) bool {
	return a.stale == b.stale && equalContent(a.content, b.content) &&
		slices.EqualFunc(a.holders, b.holders, answerHolder.equal)
}

func newModelRun(t *testing.T, seed uint64) *modelRun {
	m := &modelRun{world: newWorld(seed), t: t}
	m.ix.Subscribe(func(c Change) { m.told = append(m.told, c) })
	m.oldView = m.ix.View()
	return m
}

func (m *modelRun) operate() {
	m.world.operate()
	m.pending++
	// Mostly the index looks after each operation, sometimes after a burst.
	if m.chance(8) && m.pending < 5 {
		return
	}
	m.ix.step()
	m.oracle.step()
	m.compare()
	m.pending = 0
}

func (m *modelRun) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s\nlast operations:\n%s", fmt.Sprintf(format, args...), strings.Join(m.history, "\n"))
}

func (m *modelRun) compare() {
	if m.oracle.picture != m.picture || m.ix.View() != m.oldView {
		m.picture = m.oracle.picture
		m.compareNodes()
	}
	after := map[string]answer{}
	for _, handle := range modelHandles {
		if a, found := m.compareEntry(handle); found {
			after[handle] = a
		}
	}
	m.compareClaims()
	m.compareChanges(after)
	m.before, m.oldView, m.told = after, m.ix.View(), m.told[:0]
}

func (m *modelRun) compareNodes() {
	view := m.ix.View()
	if view.Fresh() != m.oracle.fresh || view.Reached() != m.oracle.reached {
		m.fail("view is fresh=%v reached=%v, want %v %v", view.Fresh(), view.Reached(), m.oracle.fresh, m.oracle.reached)
	}
	if view.NumNodes() != len(m.oracle.nodes) {
		m.fail("view has %d nodes, want %d", view.NumNodes(), len(m.oracle.nodes))
	}
	problems := 0
	for name, object := range m.oracle.nodes {
		for _, id := range m.oracle.picture.ids[name] {
			if m.oracle.picture.nodes[id] != name {
				problems++
				if !slices.ContainsFunc(view.Problems(), func(p NodeProblem) bool {
					return p.Node == name && p.Key == CSINodeID && p.Value == id
				}) {
					m.fail("the CSINode of %s names %s in vain, which is not reported", name, id)
				}
			}
		}
		node := view.Node(name)
		if node == nil {
			m.fail("node %s is not in the view", name)
		}
		if want := m.oracle.picture.states[name]; node.State != want {
			m.fail("node %s is %v, want %v", name, node.State, want)
		}
		text, found := object.Annotations[placement.NodeUnschedulable]
		if want := text == "true" || text == "1"; node.Unschedulable != want {
			m.fail("node %s: unschedulable %v, want %v", name, node.Unschedulable, want)
		}
		if found && (text == "" || text == "maybe") {
			problems++
			if !slices.ContainsFunc(view.Problems(), func(p NodeProblem) bool {
				return p.Node == name && p.Key == placement.NodeUnschedulable && p.Value == text
			}) {
				m.fail("node %s: %q is not reported", name, text)
			}
		}
		for other, otherObject := range m.oracle.nodes {
			rack, zone, region := sameDomains(object, otherObject)
			a, b := node.Topology, view.Node(other).Topology
			if same(a.Rack, b.Rack) != rack || same(a.Zone, b.Zone) != zone || same(a.Region, b.Region) != region {
				m.fail("nodes %s %v and %s %v: want same rack %v, zone %v, region %v", name, a, other, b, rack, zone, region)
			}
		}
	}
	if len(view.Problems()) != problems {
		m.fail("problems %v, want %d", view.Problems(), problems)
	}
	for _, id := range slices.Concat([]string{"gone"}, modelIDs, modelIPs) {
		node, state := view.Holder(m.ix.ids.ref(id))
		if got, want := (oracleHolder{nameOf(node), state}), m.oracle.picture.holders[id]; got != want {
			m.fail("storage node %s is %+v, want %+v", id, got, want)
		}
		if node != nil && view.Node(node.Name) != node {
			m.fail("storage node %s leads to a node that is not in the view", id)
		}
	}
}

func (m *modelRun) compareClaims() {
	for _, name := range modelPVCs {
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default"}, Spec: v1.PodSpec{Volumes: []v1.Volume{{
			VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}}}}
		claims := m.claims.Of(pod)
		state, handle := m.oracle.claim(name)
		if len(claims) != 1 || claims[0].State != state || claims[0].Handle != handle {
			m.fail("claim %s: %+v, want %v and handle %q", name, claims, state, handle)
		}
	}
}

func same(a, b placement.Domain) bool { return a == b && a != 0 }

func (m *modelRun) compareEntry(handle string) (answer, bool) {
	entry, want := m.ix.Lookup(handle), m.oracle.entries[handle]
	if want == nil {
		if entry != (Entry{}) {
			m.fail("%s: %+v, want nothing", handle, entry)
		}
		return answer{}, false
	}
	firstSeen := entry.FirstSeen.Sub(m.ix.start)
	if firstSeen != want.firstSeen {
		m.fail("%s: first seen at %v, want %v", handle, firstSeen, want.firstSeen)
	}
	if wantFreshness := m.oracle.freshness(want); entry.Freshness != wantFreshness {
		m.fail("%s is %v, want %v", handle, entry.Freshness, wantFreshness)
	}
	if (entry.Volume != nil) != want.known {
		m.fail("%s: known is %v, want %v", handle, entry.Volume != nil, want.known)
	}
	a := answer{firstSeen: firstSeen, known: want.known, stale: entry.Freshness == Stale}
	if !want.known {
		return a, true
	}
	if verified := entry.Verified.Sub(m.ix.start); verified != want.verified {
		m.fail("%s: verified at %v, want %v", handle, verified, want.verified)
	}
	a.content = m.contentOf(entry.Volume)
	if !equalContent(a.content, want.content) {
		m.fail("%s: content differs (-want +got):\n%s", handle, cmp.Diff(want.content, a.content, cmpopts.EquateEmpty()))
	}
	for _, set := range a.content.Sets {
		for _, id := range set {
			holder := m.oracle.picture.holders[id]
			a.holders = append(a.holders, answerHolder{holder, m.oracle.picture.states[holder.node]})
		}
	}
	return a, true
}

func (m *modelRun) contentOf(v *StorageVolume) content {
	view := m.ix.View()
	c := content{ID: v.ID(), Service: v.Service(), Direct: v.Direct(), Winshare: v.Winshare(), Labels: map[string]string{}}
	if ref, attached := v.Attached(); attached {
		c.Attached = view.StorageNodeID(ref)
	}
	for i := range v.NumSets() {
		var set []string
		for _, ref := range v.Set(i) {
			set = append(set, view.StorageNodeID(ref))
		}
		c.Sets = append(c.Sets, set)
	}
	for _, key := range labelKeys {
		if value, set := v.Label(key); set {
			c.Labels[key] = value
		}
	}
	return c
}

func equalContent(a, b content) bool {
	return a.ID == b.ID && a.Attached == b.Attached && a.Service == b.Service && a.Direct == b.Direct &&
		a.Winshare == b.Winshare && maps.Equal(a.Labels, b.Labels) &&
		slices.EqualFunc(a.Sets, b.Sets, slices.Equal[[]string])
}

// compareChanges holds that subscribers are told of every volume and node whose
// answer changed, and, after a single operation, of no other.
func (m *modelRun) compareChanges(after map[string]answer) {
	told := map[string]bool{}
	nodes := map[string]NodeChange{}
	cluster := false
	for _, c := range m.told {
		for _, handle := range c.Volumes {
			told[handle] = true
		}
		for _, n := range c.Nodes {
			nodes[n.name()] = n
		}
		cluster = cluster || c.Cluster
	}
	if same := m.oldView == m.ix.View(); (m.oldView.generation == m.ix.View().generation) != same || m.oldView.generation > m.ix.View().generation {
		m.fail("view %d came after view %d", m.ix.View().generation, m.oldView.generation)
	}
	for handle, now := range after {
		before, followed := m.before[handle]
		if cluster { // says that everything is stale now
			before.stale = now.stale
		}
		changed := now.known && !before.known ||
			before.known && now.known && followed && before.firstSeen == now.firstSeen && !before.equal(&now)
		if changed && !told[handle] {
			m.fail("subscribers were not told of %s: %+v is now %+v", handle, before, now)
		}
		if told[handle] && !changed && m.pending == 1 && !cluster {
			m.fail("subscribers were told of %s, which is as before: %+v", handle, now)
		}
	}
	view := m.ix.View()
	for _, name := range modelNodes {
		before, now := m.oldView.Node(name), view.Node(name)
		change, toldOf := nodes[name]
		if before != now && !toldOf {
			m.fail("subscribers were not told of node %s: %+v is now %+v", name, before, now)
		}
		if toldOf && (change.Old != before || change.New != now) {
			m.fail("subscribers were told of node %s as %+v, which is %+v, %+v", name, change, before, now)
		}
		if before != nil && now != nil && before != now && *before == *now {
			m.fail("node %s was replaced by an equal one", name)
		}
	}
	if want := m.oldView.Fresh() != view.Fresh() || m.oldView.Reached() != view.Reached(); cluster != want {
		m.fail("subscribers were told of the cluster: %v, want %v", cluster, want)
	}
}
