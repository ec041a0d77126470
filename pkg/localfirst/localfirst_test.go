package localfirst

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultbinder"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/queuesort"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	schedulermetrics "k8s.io/kubernetes/pkg/scheduler/metrics"
	"k8s.io/kubernetes/pkg/scheduler/profile"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	tf "k8s.io/kubernetes/pkg/scheduler/testing/framework"

	"github.com/hyperconverge/scheduler/pkg/metrics"
)

func TestMain(m *testing.M) {
	schedulermetrics.Register()
	// The recorder of the framework looks once a second whether it is over.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("k8s.io/kubernetes/pkg/scheduler/metrics.(*MetricAsyncRecorder).run"))
}

// groups is an Offer.
type groups [][]string

func (g groups) Groups() iter.Seq[[]string] { return slices.Values(g) }
func (g groups) Avoids(node string) bool    { return node == "n5" }
func (g groups) Clone() fwk.StateData       { return g }

// notAnOffer is something else under the key.
type notAnOffer struct{}

func (n notAnOffer) Clone() fwk.StateData { return n }

// plugin is a PreFilter and a Filter plugin.
type plugin struct {
	name string
	// offer is left in the cycle state, unless it is nil.
	offer fwk.StateData
	// nodes are the node set of its PreFilter; nil for all.
	nodes []string
	// status is that of its PreFilter.
	status *fwk.Status
	// full are the nodes that its Filter turns down.
	full sets.Set[string]
	// alone turns down nodes on which there is a pod.
	alone bool
	// fails are the nodes on which its Filter breaks.
	fails sets.Set[string]
	// asked are the nodes that its Filter was asked about.
	mu    sync.Mutex
	asked []string
}

func (p *plugin) Name() string { return p.name }

func (p *plugin) PreFilter(_ context.Context, state fwk.CycleState, _ *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	if p.offer != nil {
		state.Write(OfferKey, p.offer)
	}
	if p.nodes != nil {
		return &fwk.PreFilterResult{NodeNames: sets.New(p.nodes...)}, p.status
	}
	return nil, p.status
}

func (p *plugin) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

func (p *plugin) Filter(_ context.Context, _ fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	name := node.Node().Name
	p.mu.Lock()
	p.asked = append(p.asked, name)
	p.mu.Unlock()
	switch {
	case p.fails.Has(name):
		return fwk.AsStatus(errors.New("broken"))
	case p.full.Has(name), p.alone && len(node.GetPods()) > 0:
		return fwk.NewStatus(fwk.Unschedulable, "full")
	}
	return nil
}

// nominator has one pod nominated for one node.
type nominator struct {
	fwk.PodNominator
	node string
}

func (n nominator) NominatedPodsForNode(node string) []fwk.PodInfo {
	if node != n.node {
		return nil
	}
	info, _ := framework.NewPodInfo(st.MakePod().Name("nominated").UID("nominated").Priority(10).Obj())
	return []fwk.PodInfo{info}
}

// extender is an extender that turns nodes down.
func extender(turnsDown ...string) *tf.FakeExtender {
	return &tf.FakeExtender{Predicates: []tf.FitPredicate{func(_ *v1.Pod, node fwk.NodeInfo) *fwk.Status {
		if sets.New(turnsDown...).Has(node.Node().Name) {
			return fwk.NewStatus(fwk.Unschedulable)
		}
		return nil
	}}}
}

func brokenExtender() *tf.FakeExtender {
	return &tf.FakeExtender{Predicates: []tf.FitPredicate{tf.ErrorPredicateExtender}}
}

// newProfile makes a wrapped profile on the nodes n1 to n5.
func newProfile(t testing.TB, plugins []*plugin, options ...frameworkruntime.Option) (context.Context, framework.Framework) {
	t.Helper()
	var nodes []*v1.Node
	for _, name := range []string{"n1", "n2", "n3", "n4", "n5"} {
		nodes = append(nodes, st.MakeNode().Name(name).Obj())
	}
	register := []tf.RegisterPluginFunc{
		tf.RegisterQueueSortPlugin(queuesort.Name, queuesort.New),
		tf.RegisterBindPlugin(defaultbinder.Name, defaultbinder.New),
	}
	for _, pl := range plugins {
		register = append(register, tf.RegisterPluginAsExtensions(pl.name,
			func(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) { return pl, nil }, "PreFilter", "Filter"))
	}
	ctx := klog.NewContext(t.Context(), ktesting.NewLogger(t, ktesting.NewConfig()))
	inner, err := tf.NewFramework(ctx, register, "test-scheduler", append([]frameworkruntime.Option{
		frameworkruntime.WithSnapshotSharedLister(cache.NewSnapshot(nil, nodes)),
		frameworkruntime.WithPodNominator(nominator{}),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	profiles := profile.Map{"test-scheduler": inner}
	Wrap(profiles, inner.Extenders())
	return ctx, profiles["test-scheduler"]
}

func TestPreferFirst(t *testing.T) {
	for _, tc := range []struct {
		name    string
		plugins []*plugin
		options []frameworkruntime.Option
		// want is the node set of the cycle; nil for all nodes.
		want []string
		// narrowing are the plugins that are named as having narrowed it.
		narrowing []string
	}{
		{
			name:    "the feasible nodes of the offer become the node set",
			plugins: []*plugin{{name: "A", offer: groups{{"n2", "n4"}}}},
			want:    []string{"n2", "n4"},
		},
		{
			name:    "nodes of the offer that a Filter turns down are left out",
			plugins: []*plugin{{name: "A", offer: groups{{"n2", "n4"}}}, {name: "B", full: sets.New("n4")}},
			want:    []string{"n2"},
		},
		{
			name:    "the Filter of the offering plugin itself counts",
			plugins: []*plugin{{name: "A", offer: groups{{"n2", "n4"}}, full: sets.New("n2")}},
			want:    []string{"n4"},
		},
		{
			name:    "the second group is taken when no node of the first is feasible",
			plugins: []*plugin{{name: "A", offer: groups{{"n1"}, {"n2", "n3"}, {"n4"}}, full: sets.New("n1", "n3")}},
			want:    []string{"n2"},
		},
		{
			name:    "with no feasible node in any group all nodes are searched",
			plugins: []*plugin{{name: "A", offer: groups{{"n1"}, {"n2"}}, full: sets.New("n1", "n2")}},
		},
		{
			name:    "an empty offer leaves all nodes",
			plugins: []*plugin{{name: "A", offer: groups{}}},
		},
		{
			name:    "an offer of empty groups leaves all nodes",
			plugins: []*plugin{{name: "A", offer: groups{{}, nil}}},
		},
		{
			name:    "without an offer nothing happens",
			plugins: []*plugin{{name: "A"}},
		},
		{
			name:    "without an offer the node set of a plugin stands",
			plugins: []*plugin{{name: "A", nodes: []string{"n1", "n2"}}},
			want:    []string{"n1", "n2"}, narrowing: []string{"A"},
		},
		{
			name:    "something else under the key is no offer",
			plugins: []*plugin{{name: "A", offer: notAnOffer{}}},
		},
		{
			name:    "nodes outside of another plugin's node set are not preferred",
			plugins: []*plugin{{name: "A", offer: groups{{"n1", "n2"}}}, {name: "B", nodes: []string{"n2", "n3"}}},
			want:    []string{"n2"}, narrowing: []string{"B"},
		},
		{
			name:    "an offer outside of another plugin's node set leaves that set",
			plugins: []*plugin{{name: "A", offer: groups{{"n1"}}}, {name: "B", nodes: []string{"n2", "n3"}}},
			want:    []string{"n2", "n3"}, narrowing: []string{"B"},
		},
		{
			name:    "a Filter whose PreFilter skips the pod has no say",
			plugins: []*plugin{{name: "A", offer: groups{{"n1"}}}, {name: "B", status: fwk.NewStatus(fwk.Skip), full: sets.New("n1")}},
			want:    []string{"n1"},
		},
		{
			name:    "a pod that is nominated for a node takes its place there",
			plugins: []*plugin{{name: "A", offer: groups{{"n1", "n2"}}}, {name: "B", alone: true}},
			options: []frameworkruntime.Option{frameworkruntime.WithPodNominator(nominator{node: "n1"})},
			want:    []string{"n2"},
		},
		{
			name:    "nodes that the scheduler does not know are left out",
			plugins: []*plugin{{name: "A", offer: groups{{"n9", "n2", ""}}}},
			want:    []string{"n2"},
		},
		{
			name:    "an extender turns nodes down",
			plugins: []*plugin{{name: "A", offer: groups{{"n1", "n2"}}}},
			options: []frameworkruntime.Option{frameworkruntime.WithExtenders([]fwk.Extender{extender("n1")})},
			want:    []string{"n2"},
		},
		{
			name:    "extenders that turn down all nodes of a group leave the next one",
			plugins: []*plugin{{name: "A", offer: groups{{"n1", "n2"}, {"n3"}}}},
			options: []frameworkruntime.Option{frameworkruntime.WithExtenders([]fwk.Extender{extender("n1"), extender("n2"), extender()})},
			want:    []string{"n3"},
		},
		{
			name:    "an extender that fails leaves the cycle to report it",
			plugins: []*plugin{{name: "A", offer: groups{{"n1"}}}},
			options: []frameworkruntime.Option{frameworkruntime.WithExtenders([]fwk.Extender{brokenExtender()})},
		},
		{
			name:    "an extender that fails and may be ignored is ignored",
			plugins: []*plugin{{name: "A", offer: groups{{"n1", "n2"}}}},
			options: []frameworkruntime.Option{frameworkruntime.WithExtenders([]fwk.Extender{ignorable(brokenExtender()), extender("n1")})},
			want:    []string{"n2"},
		},
		{
			name:    "an extender that is not interested in the pod is not asked",
			plugins: []*plugin{{name: "A", offer: groups{{"n1"}}}},
			options: []frameworkruntime.Option{frameworkruntime.WithExtenders([]fwk.Extender{uninterested(brokenExtender())})},
			want:    []string{"n1"},
		},
		{
			name:    "an extender without a filter verb is not asked",
			plugins: []*plugin{{name: "A", offer: groups{{"n1"}}}},
			options: []frameworkruntime.Option{frameworkruntime.WithExtenders([]fwk.Extender{noFilter{extender("n1")}})},
			want:    []string{"n1"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, wrapped := newProfile(t, tc.plugins, tc.options...)
			result, status, narrowing := wrapped.RunPreFilterPlugins(ctx, framework.NewCycleState(), st.MakePod().Name("db").UID("db").Obj())
			if !status.IsSuccess() {
				t.Fatalf("status: %v", status)
			}
			var got []string
			if !result.AllNodes() {
				got = sets.List(result.NodeNames)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("node set (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(sets.New(tc.narrowing...), narrowing); diff != "" {
				t.Errorf("plugins that narrowed (-want +got):\n%s", diff)
			}
		})
	}
}

func ignorable(e *tf.FakeExtender) *tf.FakeExtender {
	e.Ignorable = true
	return e
}

func uninterested(e *tf.FakeExtender) *tf.FakeExtender {
	e.UnInterested = true
	return e
}

// noFilter is an extender that only scores.
type noFilter struct{ *tf.FakeExtender }

func (noFilter) IsFilter() bool { return false }

// A pod that PreFilter turns down is turned down as it was, and no Filter runs.
func TestRejectionsAreLeftAlone(t *testing.T) {
	for _, tc := range []struct {
		name    string
		plugins []*plugin
		want    *fwk.Status
	}{
		{
			name:    "a plugin rejects the pod",
			plugins: []*plugin{{name: "A", offer: groups{{"n1"}}}, {name: "B", status: fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "no")}},
			want:    fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "no").WithPlugin("B"),
		},
		{
			name:    "a plugin rejects the pod, but preemption may help",
			plugins: []*plugin{{name: "A", offer: groups{{"n1"}}}, {name: "B", status: fwk.NewStatus(fwk.Unschedulable, "not now")}},
			want:    fwk.NewStatus(fwk.Unschedulable, "not now").WithPlugin("B"),
		},
		{
			name:    "the node sets of two plugins have nothing in common",
			plugins: []*plugin{{name: "A", offer: groups{{"n1"}}, nodes: []string{"n1"}}, {name: "B", nodes: []string{"n2"}}},
			want:    fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "node(s) didn't satisfy plugin(s) [A B] simultaneously"),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, wrapped := newProfile(t, tc.plugins)
			_, status, _ := wrapped.RunPreFilterPlugins(ctx, framework.NewCycleState(), st.MakePod().Name("db").Obj())
			if diff := cmp.Diff(tc.want, status); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
			for _, pl := range tc.plugins {
				if pl.asked != nil {
					t.Errorf("the Filter of %s was asked about %v", pl.name, pl.asked)
				}
			}
		})
	}
}

// A pod is not bound elsewhere because a Filter plugin broke on its best node.
func TestAFilterThatBreaksEndsTheCycle(t *testing.T) {
	ctx, wrapped := newProfile(t, []*plugin{{name: "A", offer: groups{{"n2", "n1"}}}, {name: "B", fails: sets.New("n1")}})
	result, status, _ := wrapped.RunPreFilterPlugins(ctx, framework.NewCycleState(), st.MakePod().Name("db").Obj())
	if status.Code() != fwk.Error || status.Plugin() != "B" || result != nil {
		t.Errorf("result %v and status %v of plugin %q, want an error of B", result, status, status.Plugin())
	}
}

func TestLargeGroupsPassAsSmallOnesDo(t *testing.T) {
	everyNode := groups{{"n1", "n2", "n3", "n4", "n5"}}
	t.Run("all that are feasible become the node set", func(t *testing.T) {
		ctx, p := newProfile(t, []*plugin{{name: "offering", offer: everyNode}, {name: "filter", full: sets.New("n1", "n4")}})
		result, status, _ := p.RunPreFilterPlugins(ctx, framework.NewCycleState(), st.MakePod().Name("p").Obj())
		if want := sets.New("n2", "n3", "n5"); !status.IsSuccess() || !result.NodeNames.Equal(want) {
			t.Errorf("node set %v, %v, want %v", result, status, want)
		}
	})
	t.Run("a Filter that breaks on one ends the cycle", func(t *testing.T) {
		ctx, p := newProfile(t, []*plugin{{name: "offering", offer: everyNode}, {name: "filter", fails: sets.New("n5")}})
		if _, status, _ := p.RunPreFilterPlugins(ctx, framework.NewCycleState(), st.MakePod().Name("p").Obj()); status.Code() != fwk.Error {
			t.Errorf("status %v, want an error", status)
		}
	})
	t.Run("a scheduler that stops takes no node for feasible that was not asked about", func(t *testing.T) {
		ctx, p := newProfile(t, []*plugin{{name: "offering", offer: everyNode}, {name: "filter"}})
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		if result, status, _ := p.RunPreFilterPlugins(ctx, framework.NewCycleState(), st.MakePod().Name("p").Obj()); status.Code() != fwk.Error {
			t.Errorf("node set %v, %v, want an error", result, status)
		}
	})
}

func TestFilterWakesNobodyWhereItHasLittleToDo(t *testing.T) {
	for _, row := range []struct {
		name     string
		offering *plugin
		filter   *plugin
		inline   bool
	}{
		{name: "nodes that have passed already", offering: &plugin{offer: groups{{"n1", "n2", "n3", "n4", "n5"}}}, inline: true},
		{name: "all nodes, because none that is offered is feasible", offering: &plugin{offer: groups{{"n1"}}}, filter: &plugin{full: sets.New("n1")}},
		{name: "all nodes without an offer"},
		{name: "the few nodes of a PreFilter plugin", offering: &plugin{nodes: []string{"n1", "n2", "n3", "n4"}}, inline: true},
		{name: "the many nodes of a PreFilter plugin", offering: &plugin{nodes: []string{"n1", "n2", "n3", "n4", "n5"}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			plugins := []*plugin{{name: "neither"}}
			if row.offering != nil {
				row.offering.name = "offering"
				plugins = append(plugins, row.offering)
			}
			if row.filter != nil {
				row.filter.name = "filter"
				plugins = append(plugins, row.filter)
			}
			ctx, p := newProfile(t, plugins)
			if _, status, _ := p.RunPreFilterPlugins(ctx, framework.NewCycleState(), st.MakePod().Name("p").Obj()); !status.IsSuccess() {
				t.Fatal(status)
			}
			if _, is := p.Parallelizer().(inline); is != row.inline {
				t.Errorf("Filter runs by %T", p.Parallelizer())
			}
		})
	}
}

func TestInlineDoesAllPiecesUntilTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var done []int
	inline{}.Until(ctx, 5, func(i int) {
		if done = append(done, i); i == 2 {
			cancel() // enough nodes are found
		}
	}, "")
	if want := []int{0, 1, 2}; !slices.Equal(done, want) {
		t.Errorf("done are %v, want %v", done, want)
	}
}

// The pass looks at the nodes of the offer and at no others, and not at the
// second group when the first will do.
func TestOnlyOfferedNodesAreVisited(t *testing.T) {
	pl := &plugin{name: "A", offer: groups{{"n3", "n1"}, {"n2"}}}
	ctx, wrapped := newProfile(t, []*plugin{pl})
	wrapped.RunPreFilterPlugins(ctx, framework.NewCycleState(), st.MakePod().Name("db").Obj())
	if diff := cmp.Diff([]string{"n3", "n1"}, pl.asked); diff != "" {
		t.Errorf("nodes that Filter was asked about (-want +got):\n%s", diff)
	}
}

// What has passed in the pass has passed for the cycle, and nothing else has.
func TestFilterRunsOncePerNodeAndCycle(t *testing.T) {
	for _, tc := range []struct {
		name string
		// node is the one whose Filter the cycle runs after the pass.
		node func(lister fwk.NodeInfoLister) fwk.NodeInfo
		want []string // the nodes that the plugin is asked about
		code fwk.Code
	}{
		{
			name: "a node that has passed is not asked about again",
			node: func(lister fwk.NodeInfoLister) fwk.NodeInfo { return nodeOf(lister, "n1") },
		},
		{
			name: "a node that was turned down is",
			node: func(lister fwk.NodeInfoLister) fwk.NodeInfo { return nodeOf(lister, "n2") },
			want: []string{"n2"}, code: fwk.Unschedulable,
		},
		{
			name: "a node outside of the offer is",
			node: func(lister fwk.NodeInfoLister) fwk.NodeInfo { return nodeOf(lister, "n4") },
			want: []string{"n4"},
		},
		{
			name: "a changed copy of a node that has passed is another node",
			node: func(lister fwk.NodeInfoLister) fwk.NodeInfo {
				node := nodeOf(lister, "n1").Snapshot()
				info, _ := framework.NewPodInfo(st.MakePod().Name("other").UID("other").Obj())
				node.AddPodInfo(info)
				return node
			},
			want: []string{"n1"}, code: fwk.Unschedulable,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pl := &plugin{name: "A", offer: groups{{"n1", "n2"}}, full: sets.New("n2"), alone: true}
			ctx, wrapped := newProfile(t, []*plugin{pl})
			pod, state := st.MakePod().Name("db").UID("db").Obj(), framework.NewCycleState()
			wrapped.RunPreFilterPlugins(ctx, state, pod)
			pl.asked = nil
			status := wrapped.RunFilterPluginsWithNominatedPods(ctx, state, pod, tc.node(wrapped.SnapshotSharedLister().NodeInfos()))
			if status.Code() != tc.code {
				t.Errorf("status %v, want %v", status, tc.code)
			}
			if diff := cmp.Diff(tc.want, pl.asked); diff != "" {
				t.Errorf("nodes that Filter was asked about (-want +got):\n%s", diff)
			}
		})
	}
}

// Another cycle begins with another state, and knows nothing of the last one.
func TestACycleForgetsTheLastOne(t *testing.T) {
	pl := &plugin{name: "A", offer: groups{{"n1"}}}
	ctx, wrapped := newProfile(t, []*plugin{pl})
	pod := st.MakePod().Name("db").UID("db").Obj()
	wrapped.RunPreFilterPlugins(ctx, framework.NewCycleState(), pod)
	pl.asked = nil
	wrapped.RunFilterPluginsWithNominatedPods(ctx, framework.NewCycleState(), pod, nodeOf(wrapped.SnapshotSharedLister().NodeInfos(), "n1"))
	if diff := cmp.Diff([]string{"n1"}, pl.asked); diff != "" {
		t.Errorf("nodes that Filter was asked about (-want +got):\n%s", diff)
	}
}

func TestPassesAreCountedByWhatHasComeOfThem(t *testing.T) {
	metrics.RegisterScheduling()
	for _, tc := range []struct {
		name, outcome string
		plugins       []*plugin
	}{
		{"a node of the best group", metrics.PassBest, []*plugin{{name: "A", offer: groups{{"n1"}, {"n2"}}}}},
		{"a node of a further group", metrics.PassLater, []*plugin{{name: "A", offer: groups{{"n9"}, {"n2"}}}}},
		{"none of them", metrics.PassNone, []*plugin{{name: "A", offer: groups{{"n9"}}}}},
		{"a plugin breaks", metrics.PassFailed, []*plugin{{name: "A", offer: groups{{"n1"}}, fails: sets.New("n1")}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			read := func() (outcomes float64, durations uint64) {
				outcomes, err := testutil.GetCounterMetricValue(metrics.PreferFirst.WithLabelValues(tc.outcome))
				if err != nil {
					t.Fatal(err)
				}
				all, err := testutil.GetHistogramVecFromGatherer(legacyregistry.DefaultGatherer, metrics.Subsystem+"_prefer_first_duration_seconds", nil)
				if err != nil {
					t.Fatal(err)
				}
				return outcomes, all.GetAggregatedSampleCount()
			}
			counted, timed := read()
			ctx, wrapped := newProfile(t, tc.plugins)
			wrapped.RunPreFilterPlugins(ctx, framework.NewCycleState(), st.MakePod().Name("db").UID("db").Obj())
			if outcomes, durations := read(); outcomes != counted+1 || durations != timed+1 {
				t.Errorf("counted %v times, timed %d times", outcomes-counted, durations-timed)
			}
		})
	}
}

// placedSnapshot is the snapshot while pods of a group are tried on n2 and n3.
type placedSnapshot struct{ *cache.Snapshot }

func (s placedSnapshot) NodeInfos() fwk.NodeInfoLister { return s }

func (s placedSnapshot) GetNodeInPlacement(name string) (fwk.NodeInfo, error) {
	if name != "n2" && name != "n3" {
		return nil, errors.New("not in the placement")
	}
	return s.Get(name)
}

// The pass would make the pod unschedulable in this placement by a node outside of it.
func TestNodesOutsideOfThePlacementAreNotPreferred(t *testing.T) {
	var nodes []*v1.Node
	for _, name := range []string{"n1", "n2", "n3"} {
		nodes = append(nodes, st.MakeNode().Name(name).Obj())
	}
	ctx, wrapped := newProfile(t, []*plugin{{name: "A", offer: groups{{"n1"}, {"n1", "n2"}}}},
		frameworkruntime.WithSnapshotSharedLister(placedSnapshot{cache.NewSnapshot(nil, nodes)}))
	result, status, _ := wrapped.RunPreFilterPlugins(ctx, framework.NewCycleState(), st.MakePod().Name("db").UID("db").Obj())
	if !status.IsSuccess() || !result.NodeNames.Equal(sets.New("n2")) {
		t.Errorf("node set is %v, %v", result, status)
	}
}

// counting counts how often an extender is asked about each node.
type counting struct {
	*tf.FakeExtender
	asked map[string]int
}

func (c *counting) Filter(pod *v1.Pod, nodes []fwk.NodeInfo) ([]fwk.NodeInfo, extenderv1.FailedNodesMap, extenderv1.FailedNodesMap, error) {
	for _, node := range nodes {
		c.asked[node.Node().Name]++
	}
	return c.FakeExtender.Filter(pod, nodes)
}

// The pass asks, kube-scheduler asks about the nominated node, and again about all
// that is feasible.
func TestExtendersAreAskedOncePerNodeAndCycle(t *testing.T) {
	asked := &counting{FakeExtender: extender("n1"), asked: map[string]int{}}
	broken := &counting{FakeExtender: brokenExtender(), asked: map[string]int{}}
	pl := &plugin{name: "A", offer: groups{{"n1"}, {"n2", "n3"}}, full: sets.New("n3")}
	ctx, wrapped := newProfile(t, []*plugin{pl}, frameworkruntime.WithExtenders([]fwk.Extender{asked, ignored(broken)}))
	pod := st.MakePod().Name("db").UID("db").Obj()
	for cycle := 1; cycle <= 2; cycle++ {
		state := framework.NewCycleState()
		wrapped.RunPreFilterPlugins(ctx, state, pod)
		lister := wrapped.SnapshotSharedLister().NodeInfos()
		for range 2 {
			var passed []string
			nodes, _, _, err := wrapped.Extenders()[0].Filter(pod, []fwk.NodeInfo{nodeOf(lister, "n1"), nodeOf(lister, "n2"), nodeOf(lister, "n4")})
			if err != nil {
				t.Fatal(err)
			}
			for _, node := range nodes {
				passed = append(passed, node.Node().Name)
			}
			if diff := cmp.Diff([]string{"n2", "n4"}, passed); diff != "" {
				t.Errorf("passed (-want +got):\n%s", diff)
			}
			if _, _, _, err := wrapped.Extenders()[1].Filter(pod, nodes); err == nil {
				t.Error("an extender that has failed in this cycle has an answer")
			}
		}
		if diff := cmp.Diff(map[string]int{"n1": cycle, "n2": cycle, "n4": cycle}, asked.asked); diff != "" {
			t.Errorf("how often the extender was asked (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]int{"n2": cycle}, broken.asked); diff != "" {
			t.Errorf("how often the broken extender was asked (-want +got):\n%s", diff)
		}
		for node, want := range map[string]string{"n1": `FakeExtender: node "n1" failed`, "n2": "", "n3": "full", "n4": "", "n5": ""} {
			if got := WhyNot(state, node); got != want {
				t.Errorf("against %s: %q, want %q", node, got, want)
			}
		}
	}
}

func ignored(e *counting) *counting {
	e.Ignorable = true
	return e
}

// kube-scheduler asks about the node for which a pod is nominated before it looks at
// the node set, and takes it if it passes.
func TestNominations(t *testing.T) {
	refused := fwk.NewStatus(fwk.Unschedulable, nominationRefused)
	for _, tc := range []struct {
		name, nominated string
		offer           groups
		full            sets.Set[string]
		// want are the answers about the nominated node: at first, and afterwards.
		want [2]*fwk.Status
	}{
		{name: "a better node is feasible: the nomination is refused", nominated: "n4", offer: groups{{"n1"}}, want: [2]*fwk.Status{refused, nil}},
		{name: "no offered node is feasible: the nomination stands", nominated: "n4", offer: groups{{"n1"}}, full: sets.New("n1")},
		{name: "the nominated node is one of the best", nominated: "n2", offer: groups{{"n1", "n2"}}},
		{name: "the pod has failed on the nominated node: it is one of many", nominated: "n5", offer: groups{{"n1"}}, full: sets.New("n1"), want: [2]*fwk.Status{refused, nil}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, wrapped := newProfile(t, []*plugin{{name: "A", offer: tc.offer, full: tc.full}})
			pod, state := st.MakePod().Name("db").UID("db").NominatedNodeName(tc.nominated).Obj(), framework.NewCycleState()
			wrapped.RunPreFilterPlugins(ctx, state, pod)
			for i, want := range tc.want {
				got := wrapped.RunFilterPluginsWithNominatedPods(ctx, state, pod, nodeOf(wrapped.SnapshotSharedLister().NodeInfos(), tc.nominated))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("answer %d (-want +got):\n%s", i+1, diff)
				}
			}
		})
	}
}

func nodeOf(lister fwk.NodeInfoLister, name string) fwk.NodeInfo {
	node, err := lister.Get(name)
	if err != nil {
		panic(err)
	}
	return node
}

func TestEveryProfileIsWrapped(t *testing.T) {
	_, a := newProfile(t, nil)
	_, b := newProfile(t, nil)
	profiles := profile.Map{"a": a, "b": b}
	Wrap(profiles, nil)
	for name, inner := range map[string]framework.Framework{"a": a, "b": b} {
		wrapped, ok := profiles[name].(*pass)
		if !ok || wrapped.Framework != inner {
			t.Errorf("profile %s is not wrapped", name)
		}
	}
}

func BenchmarkPass(b *testing.B) {
	for _, bm := range []struct {
		name  string
		offer fwk.StateData
	}{{"no offer", nil}, {"three nodes", groups{{"n1", "n2", "n3"}}}} {
		b.Run(bm.name, func(b *testing.B) {
			pl := &plugin{name: "A", offer: bm.offer}
			ctx, wrapped := newProfile(b, []*plugin{pl})
			pod, state := st.MakePod().Name("db").Obj(), framework.NewCycleState()
			wrapped.RunPreFilterPlugins(ctx, state, pod)
			b.ReportAllocs()
			for b.Loop() {
				pl.asked = pl.asked[:0]
				wrapped.RunPreFilterPlugins(ctx, state, pod)
			}
		})
	}
}
