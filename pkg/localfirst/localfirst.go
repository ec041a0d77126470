// Package localfirst lets a plugin name nodes that are to be tried before all
// others. kube-scheduler looks at a sample of the nodes of a large cluster, so a
// score alone cannot bring a pod to one of a few nodes; here they are looked at
// first, and the sample only when none of them is feasible
// (docs/behaviour.md, section 6).
package localfirst

import (
	"context"
	"iter"
	"strings"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/profile"

	"github.com/hyperconverge/scheduler/pkg/metrics"
)

// OfferKey is where a plugin's PreFilter leaves its Offer in the cycle state.
const OfferKey fwk.StateKey = "localfirst/offer"

// Offer is what a plugin knows of the nodes that a pod should get.
type Offer interface {
	fwk.StateData
	// Groups yields groups of node names, best first. The first group of which any
	// node is feasible becomes the node set of the cycle. It is read no further.
	Groups() iter.Seq[[]string]
	// Avoids reports whether the pod should not be sent to this node again for now,
	// although it was nominated for it.
	Avoids(node string) bool
}

// Wrap puts the prefer-first pass around every profile, and a memory around every
// extender. It must happen before the scheduler runs.
func Wrap(profiles profile.Map, extenders []fwk.Extender) {
	memory := &answers{}
	for i, inner := range extenders {
		extenders[i] = &remembering{Extender: inner, answers: memory}
	}
	for name, inner := range profiles {
		profiles[name] = &pass{Framework: inner, extenders: extenders, answers: memory}
	}
}

// pass is a profile whose PreFilter ends with a look at the preferred nodes.
type pass struct {
	framework.Framework
	extenders []fwk.Extender
	answers   *answers
	// cycle is what the pass has found in the cycle of the moment, nil in most. A
	// profile has one scheduling cycle at a time. It stands here and not in the
	// cycle state, because Filter asks for it for every node of every pod.
	cycle atomic.Pointer[cycle]
	// inline says that the Filter of this cycle has so little to do that to wake other
	// goroutines would take longer.
	inline atomic.Bool
}

// cycle is one scheduling cycle of a pod with an offer.
type cycle struct {
	state fwk.CycleState
	// feasible are nodes of the snapshot that have passed every Filter plugin. Copies
	// of them, which preemption changes to see what would be, are not among them.
	feasible map[fwk.NodeInfo]struct{}
	// refused is the node for which the pod was nominated and which it shall not get
	// by that, though perhaps by being the best. Nil once it was refused: the next
	// question about it is the cycle's own.
	refused atomic.Pointer[string]
}

// operation is what the goroutines of the pass count as in kube-scheduler's metrics.
const operation = "prefer_first"

// nominationRefused is what kube-scheduler sees of a refused nomination. It goes on
// with the node set of the cycle.
const nominationRefused = "node(s) were nominated, but a better one is to be looked for"

// RunPreFilterPlugins runs all PreFilter plugins and then, if one of them offers
// preferred nodes, every plugin's Filter on these. It cannot happen inside the
// PreFilter of the offering plugin: which Filter plugins the pod skips is known
// only after the last PreFilter.
//
// The plugins that narrowed the node set are returned as the inner profile has
// named them. The pass is none of them: a set of feasible nodes rejects nobody.
func (p *pass) RunPreFilterPlugins(ctx context.Context, state fwk.CycleState, pod *v1.Pod) (*fwk.PreFilterResult, *fwk.Status, sets.Set[string]) {
	p.cycle.Store(nil)
	p.answers.current = nil
	result, status, narrowing := p.Framework.RunPreFilterPlugins(ctx, state, pod)
	p.inline.Store(!result.AllNodes() && len(result.NodeNames) <= fewNodes)
	if !status.IsSuccess() {
		return result, status, narrowing
	}
	data, err := state.Read(OfferKey)
	if err != nil {
		return result, status, narrowing
	}
	offer, ok := data.(Offer)
	if !ok {
		return result, status, narrowing
	}
	p.answers.begin(state)
	preferred, failure := p.prefer(ctx, state, pod, offer, result)
	if failure != nil {
		return nil, failure, narrowing
	}
	return preferred, status, narrowing
}

// fewNodes pass their Filter plugins sooner one after the other than by goroutines: a node
// takes about as long as to wake one.
const fewNodes = 4

// Parallelizer is that by which kube-scheduler runs the Filter of a cycle.
func (p *pass) Parallelizer() fwk.Parallelizer {
	if p.inline.Load() {
		return inline{}
	}
	return p.Framework.Parallelizer()
}

// inline does all pieces in the goroutine that has them.
type inline struct{}

// Until implements fwk.Parallelizer.
func (inline) Until(ctx context.Context, pieces int, do workqueue.DoWorkPieceFunc, _ string) {
	for i := range pieces {
		if ctx.Err() != nil {
			return
		}
		do(i)
	}
}

// RunFilterPluginsWithNominatedPods does not ask the Filter plugins of a node a
// second time in the same cycle. What they left in the cycle state is there.
//
// kube-scheduler looks at the node for which a pod is nominated before it looks at
// the node set of the cycle. It would take that node whatever the pass has found.
func (p *pass) RunFilterPluginsWithNominatedPods(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	if c := p.cycle.Load(); c != nil && c.state == state {
		if _, found := c.feasible[node]; found {
			return nil
		}
		if refused := c.refused.Load(); refused != nil && *refused == node.Node().Name && c.refused.CompareAndSwap(refused, nil) {
			return fwk.NewStatus(fwk.Unschedulable, nominationRefused)
		}
	}
	return p.Framework.RunFilterPluginsWithNominatedPods(ctx, state, pod, node)
}

// prefer returns the first group that has feasible nodes, and what is allowed
// already if there is none. A status is that of a Filter plugin that broke: the
// cycle ends with it, as it would if the plugin broke in the cycle's own Filter,
// and the pod is tried again.
func (p *pass) prefer(ctx context.Context, state fwk.CycleState, pod *v1.Pod, offer Offer, allowed *fwk.PreFilterResult) (*fwk.PreFilterResult, *fwk.Status) {
	c := &cycle{state: state, feasible: map[fwk.NodeInfo]struct{}{}}
	outcome, begun := metrics.PassNone, time.Now()
	defer func() {
		p.cycle.Store(c)
		metrics.PreferFirst.WithLabelValues(outcome).Inc()
		metrics.PreferFirstDuration.Observe(time.Since(begun).Seconds())
	}()
	tried := 0
	nominated := pod.Status.NominatedNodeName
	for group := range offer.Groups() {
		feasible, failure := p.feasible(ctx, c, pod, group, allowed)
		if failure != nil {
			outcome = metrics.PassFailed
			return nil, failure
		}
		tried++
		if len(feasible) > 0 {
			outcome = metrics.PassLater
			if tried == 1 {
				outcome = metrics.PassBest
			}
			if nominated != "" && !feasible.Has(nominated) {
				c.refused.Store(&nominated)
			}
			p.inline.Store(true) // they have passed already
			return &fwk.PreFilterResult{NodeNames: feasible}, nil
		}
	}
	if nominated != "" && offer.Avoids(nominated) {
		c.refused.Store(&nominated)
	}
	return allowed, nil
}

// feasible returns the nodes that the pod can have: they are in the node set of
// the PreFilter plugins, and pass all Filter plugins and extenders.
func (p *pass) feasible(ctx context.Context, c *cycle, pod *v1.Pod, names []string, allowed *fwk.PreFilterResult) (sets.Set[string], *fwk.Status) {
	asked := make([]fwk.NodeInfo, 0, len(names))
	node := candidates(p.SnapshotSharedLister().NodeInfos())
	for _, name := range names {
		if !allowed.AllNodes() && !allowed.NodeNames.Has(name) {
			continue
		}
		info, err := node(name)
		if err != nil {
			continue // not a node, gone since the offer was made, or outside of the placement
		}
		asked = append(asked, info)
	}
	var parallelizer fwk.Parallelizer = inline{}
	if len(asked) > fewNodes {
		parallelizer = p.Framework.Parallelizer()
	}
	statuses := make([]*fwk.Status, len(asked))
	parallelizer.Until(ctx, len(asked), func(i int) {
		statuses[i] = p.Framework.RunFilterPluginsWithNominatedPods(ctx, c.state, pod, asked[i])
	}, operation)
	if err := ctx.Err(); err != nil {
		return nil, fwk.AsStatus(err) // not all have been asked
	}
	nodes := make([]fwk.NodeInfo, 0, len(asked))
	for i, status := range statuses {
		switch {
		case status.Code() == fwk.Error:
			return nil, status
		case status.IsSuccess():
			nodes = append(nodes, asked[i])
		default:
			p.answers.note(asked[i].Node().Name, strings.Join(status.Reasons(), ", "))
		}
	}
	nodes = p.passExtenders(ctx, pod, nodes)
	feasible := make(sets.Set[string], len(nodes))
	for _, node := range nodes {
		c.feasible[node] = struct{}{}
		feasible.Insert(node.Node().Name)
	}
	return feasible, nil
}

// placed is the snapshot of Kubernetes 1.36 and later. While the pods of a group are tried in
// one placement after the other, the cycle takes no node outside of the one in question.
type placed interface {
	GetNodeInPlacement(name string) (fwk.NodeInfo, error)
}

// candidates finds the nodes that the cycle may take.
func candidates(snapshot fwk.NodeInfoLister) func(name string) (fwk.NodeInfo, error) {
	if s, is := snapshot.(placed); is {
		return s.GetNodeInPlacement
	}
	return snapshot.Get
}

// passExtenders asks the extenders of the scheduler, which the cycle asks only
// after the node set is fixed: without this, a pod whose preferred nodes an
// extender turns down would go nowhere.
func (p *pass) passExtenders(ctx context.Context, pod *v1.Pod, nodes []fwk.NodeInfo) []fwk.NodeInfo {
	for _, extender := range p.extenders {
		if len(nodes) == 0 {
			return nil
		}
		if !extender.IsFilter() || !extender.IsInterested(pod) {
			continue
		}
		passed, _, _, err := extender.Filter(pod, nodes)
		if err != nil {
			if extender.IsIgnorable() {
				continue
			}
			// The cycle will meet the same error and report it.
			klog.FromContext(ctx).V(4).Info("An extender failed on the preferred nodes", "extender", extender.Name(), "pod", klog.KObj(pod), "err", err)
			return nil
		}
		nodes = passed
	}
	return nodes
}
