package simulation

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// Cluster is a picture of nodes and the pods on them, which may be changed to see what
// would be then. It is for one goroutine.
type Cluster struct {
	engine *Engine
	nodes  []*v1.Node
	pods   []*v1.Pod
	// snapshot is nil when it has to be made anew.
	snapshot *snapshot
}

// Pods are the pods that take room, in no order. The slice must not be changed.
func (c *Cluster) Pods() []*v1.Pod { return c.pods }

// Remove takes a pod away. It reports whether it was there.
func (c *Cluster) Remove(pod *v1.Pod) bool {
	i := slices.IndexFunc(c.pods, func(other *v1.Pod) bool { return same(pod, other) })
	if i < 0 {
		return false
	}
	removed := c.pods[i]
	c.pods = slices.Delete(slices.Clone(c.pods), i, i+1)
	info := c.changeable(removed, false)
	if info == nil || info.RemovePod(klog.Background(), removed) != nil {
		c.snapshot = nil
	}
	return true
}

// Add puts a pod on a node.
func (c *Cluster) Add(pod *v1.Pod, node string) {
	c.Remove(pod)
	placed := pod.DeepCopy()
	placed.Spec.NodeName = node
	c.pods = append(slices.Clip(c.pods), placed)
	podInfo, err := framework.NewPodInfo(placed)
	info := c.changeable(placed, true)
	if info == nil || err != nil {
		c.snapshot = nil
		return
	}
	info.AddPodInfo(podInfo)
}

// changeable is the node of a pod in the snapshot, if the snapshot stays right when the
// pod comes or goes. Making it anew takes a second's fraction that counts when many pods
// are asked about. What the snapshot lists beside its nodes is in the way of some pods: the
// nodes of pods with affinities, where one too many does no harm, and the claims that are
// in use.
func (c *Cluster) changeable(pod *v1.Pod, comes bool) fwk.NodeInfo {
	if c.snapshot == nil {
		return nil
	}
	info, err := c.snapshot.NodeInfos().Get(pod.Spec.NodeName)
	if err != nil || comes && !c.listed(pod, info) || !c.claim(pod, comes) {
		return nil
	}
	return info
}

// listed reports whether the snapshot lists the node as one of a pod with such affinities.
func (c *Cluster) listed(pod *v1.Pod, info fwk.NodeInfo) bool {
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.PodAffinity == nil && affinity.PodAntiAffinity == nil {
		return true
	}
	some, err := c.snapshot.NodeInfos().HavePodsWithAffinityList()
	if err != nil || !slices.Contains(some, info) {
		return false
	}
	against, err := c.snapshot.NodeInfos().HavePodsWithRequiredAntiAffinityList()
	return err == nil && (affinity.PodAntiAffinity == nil || slices.Contains(against, info))
}

// claim has the claims of a pod that one pod only may use be taken, or free again. It
// reports false where the snapshot cannot say so.
func (c *Cluster) claim(pod *v1.Pod, comes bool) bool {
	claims := c.engine.informers.Core().V1().PersistentVolumeClaims().Lister().PersistentVolumeClaims(pod.Namespace)
	for i := range pod.Spec.Volumes {
		source := pod.Spec.Volumes[i].PersistentVolumeClaim
		if source == nil {
			if pod.Spec.Volumes[i].Ephemeral != nil {
				return false
			}
			continue
		}
		claim, err := claims.Get(source.ClaimName)
		if err != nil {
			return false
		}
		if !slices.Contains(claim.Spec.AccessModes, v1.ReadWriteOncePod) {
			continue
		}
		key := framework.GetNamespacedName(pod.Namespace, source.ClaimName)
		switch {
		case !comes:
			c.snapshot.freed.Insert(key)
		case c.snapshot.Snapshot.IsPVCUsedByPods(key):
			c.snapshot.freed.Delete(key)
		default:
			return false
		}
	}
	return true
}

// Cordon closes a node to pods, as kubectl cordon does. It returns false if there is no such node.
func (c *Cluster) Cordon(name string) bool {
	i := slices.IndexFunc(c.nodes, func(n *v1.Node) bool { return n.Name == name })
	if i < 0 {
		return false
	}
	closed := c.nodes[i].DeepCopy()
	closed.Spec.Unschedulable = true
	closed.Spec.Taints = append(closed.Spec.Taints, v1.Taint{Key: v1.TaintNodeUnschedulable, Effect: v1.TaintEffectNoSchedule})
	c.nodes, c.snapshot = slices.Clone(c.nodes), nil
	c.nodes[i] = closed
	return true
}

func same(a, b *v1.Pod) bool { return a.Namespace == b.Namespace && a.Name == b.Name }

// Place tells where a pod would go. If it is in the picture, it is taken out for that.
// Extenders are not asked, and nothing is preempted.
func (c *Cluster) Place(ctx context.Context, pod *v1.Pod) (*Placement, error) {
	e := c.engine
	name, foreign, err := e.ProfileOf(pod)
	if err != nil {
		return nil, err
	}
	placement := &Placement{Pod: pod, Profile: name, Foreign: foreign}
	if plugin := e.Plugin(name); plugin != nil {
		placement.Explanation = plugin.Explain(pod)
	}
	c.Remove(pod)
	err = c.with(pod, name, func(y *cycle) error {
		reasons, err := y.reasons(ctx, y.all)
		if err != nil {
			return err
		}
		y.placement = placement
		scores, err := y.decide(ctx)
		if err != nil {
			return err
		}
		y.describe(reasons, scores)
		return nil
	})
	return placement, err
}

// Land tells where a pod would go, and nothing of the other nodes, which takes a fraction of
// the time of Place. If it is in the picture, it is taken out for that. It counts as one that
// is made now.
func (c *Cluster) Land(ctx context.Context, pod *v1.Pod) (*Destination, error) {
	name, foreign, err := c.engine.ProfileOf(pod)
	if err != nil {
		return nil, err
	}
	destination := &Destination{Profile: name, Foreign: foreign}
	c.Remove(pod)
	err = c.with(pod, name, func(y *cycle) error {
		y.pod.CreationTimestamp = metav1.Now()
		y.placement = &Placement{}
		scores, err := y.decide(ctx)
		destination.Message = y.placement.Message
		best := int64(math.MinInt64)
		for node, score := range scores {
			switch {
			case score.TotalScore > best:
				best, destination.Nodes = score.TotalScore, []string{node}
			case score.TotalScore == best:
				destination.Nodes = append(destination.Nodes, node)
			}
		}
		slices.Sort(destination.Nodes)
		return err
	})
	return destination, err
}

// Reasons tells what every plugin has against some nodes, for a pod that is in the
// picture and stays there. Of nodes that do not exist it says nothing.
func (c *Cluster) Reasons(ctx context.Context, pod *v1.Pod, nodes []string) (map[string][]Reason, error) {
	name, _, err := c.engine.ProfileOf(pod)
	if err != nil {
		return nil, err
	}
	if c.Remove(pod) {
		defer c.Add(pod, pod.Spec.NodeName)
	}
	found := make(map[string][]Reason, len(nodes))
	err = c.with(pod, name, func(y *cycle) error {
		over := make([]fwk.NodeInfo, 0, len(nodes))
		for _, node := range nodes {
			if info, err := c.snapshot.NodeInfos().Get(node); err == nil {
				over = append(over, info)
			}
		}
		reasons, err := y.reasons(ctx, over)
		for i := range reasons {
			found[over[i].Node().Name] = reasons[i]
		}
		return err
	})
	return found, err
}

// with shows the picture to the frameworks while it calls use.
func (c *Cluster) with(pod *v1.Pod, profileName string, use func(*cycle) error) error {
	e := c.engine
	if c.snapshot == nil {
		c.snapshot = newSnapshot(c.pods, c.nodes)
	}
	all, err := c.snapshot.NodeInfos().List()
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.nodes.Store(c.snapshot)
	defer e.nodes.Store(newSnapshot(nil, nil)) // it is large
	if plugin := e.Plugin(profileName); plugin != nil {
		defer plugin.Forget(pod.UID)
	}
	return use(&cycle{engine: e, profile: profileName, pod: unplaced(pod), all: all})
}

// unplaced is a pod as it was before it was scheduled.
func unplaced(pod *v1.Pod) *v1.Pod {
	fresh := pod.DeepCopy()
	fresh.Spec.NodeName = ""
	fresh.Status = v1.PodStatus{Phase: v1.PodPending}
	fresh.DeletionTimestamp = nil
	return fresh
}

// cycle is the scheduling cycle of one pod.
type cycle struct {
	engine    *Engine
	profile   string
	pod       *v1.Pod
	all       []fwk.NodeInfo
	placement *Placement
}

// decide runs the cycle as the scheduler does. It returns the scores of the nodes among
// which it would choose.
func (y *cycle) decide(ctx context.Context) (map[string]fwk.NodePluginScores, error) {
	f, state := y.engine.passes[y.profile], framework.NewCycleState()
	diagnosis := framework.Diagnosis{NodeToStatus: framework.NewDefaultNodeToStatus()}
	result, status, narrowing := f.RunPreFilterPlugins(ctx, state, y.pod)
	if !status.IsSuccess() && !status.IsRejected() {
		return nil, fmt.Errorf("placing pod %s/%s: %w", y.pod.Namespace, y.pod.Name, status.AsError())
	}
	var feasible []fwk.NodeInfo
	if !status.IsSuccess() {
		diagnosis.NodeToStatus.SetAbsentNodesStatus(status)
		diagnosis.PreFilterMsg = status.Message()
	} else {
		nodes := y.all
		if !result.AllNodes() {
			nodes = slices.DeleteFunc(slices.Clone(nodes), func(n fwk.NodeInfo) bool { return !result.NodeNames.Has(n.Node().Name) })
			diagnosis.NodeToStatus.SetAbsentNodesStatus(fwk.NewStatus(fwk.UnschedulableAndUnresolvable,
				fmt.Sprintf("node(s) didn't satisfy plugin(s) %v", sets.List(narrowing))))
		}
		statuses := make([]*fwk.Status, len(nodes))
		if err := y.each(ctx, len(nodes), func(i int) { statuses[i] = f.RunFilterPluginsWithNominatedPods(ctx, state, y.pod, nodes[i]) }); err != nil {
			return nil, err
		}
		for i, s := range statuses {
			switch {
			case s.IsSuccess():
				feasible = append(feasible, nodes[i])
			case !s.IsRejected():
				return nil, fmt.Errorf("placing pod %s/%s on node %s: %w", y.pod.Namespace, y.pod.Name, nodes[i].Node().Name, s.AsError())
			default:
				diagnosis.NodeToStatus.Set(nodes[i].Node().Name, s)
			}
		}
	}
	if len(feasible) == 0 {
		if plugin := y.engine.Plugin(y.profile); plugin != nil {
			_, s := plugin.PostFilter(ctx, state, y.pod, diagnosis.NodeToStatus)
			diagnosis.PostFilterMsg = s.Message()
		}
		y.placement.Message = (&framework.FitError{Pod: y.pod, NumAllNodes: len(y.all), Diagnosis: diagnosis}).Error()
		return nil, nil
	}
	if s := f.RunPreScorePlugins(ctx, state, y.pod, feasible); !s.IsSuccess() {
		return nil, fmt.Errorf("scoring nodes for pod %s/%s: %w", y.pod.Namespace, y.pod.Name, s.AsError())
	}
	list, s := f.RunScorePlugins(ctx, state, y.pod, feasible)
	if !s.IsSuccess() {
		return nil, fmt.Errorf("scoring nodes for pod %s/%s: %w", y.pod.Namespace, y.pod.Name, s.AsError())
	}
	scores := make(map[string]fwk.NodePluginScores, len(list))
	for _, node := range list {
		scores[node.Name] = node
	}
	return scores, nil
}

// reasons asks every Filter plugin about every node, whatever the others say: the
// scheduler stops at the first that turns a node down.
func (y *cycle) reasons(ctx context.Context, nodes []fwk.NodeInfo) ([][]Reason, error) {
	f, state, own := y.engine.profiles[y.profile], framework.NewCycleState(), y.engine.plugins[y.profile]
	reasons := make([][]Reason, len(nodes))
	silent := sets.New[string]()
	narrowed := map[string]*fwk.PreFilterResult{}
	for _, enabled := range f.ListPlugins().PreFilter.Enabled {
		plugin, is := own[enabled.Name].(fwk.PreFilterPlugin)
		if !is {
			continue
		}
		result, status := plugin.PreFilter(ctx, state, y.pod, y.all)
		switch {
		case status.IsSkip():
			silent.Insert(enabled.Name)
		case status.IsRejected():
			silent.Insert(enabled.Name)
			for i := range reasons {
				reasons[i] = append(reasons[i], Reason{enabled.Name, status.Message()})
			}
		case !status.IsSuccess():
			return nil, fmt.Errorf("%s about pod %s/%s: %w", enabled.Name, y.pod.Namespace, y.pod.Name, status.AsError())
		case !result.AllNodes():
			narrowed[enabled.Name] = result
		}
	}
	for _, enabled := range f.ListPlugins().Filter.Enabled {
		plugin, is := own[enabled.Name].(fwk.FilterPlugin)
		if !is || silent.Has(enabled.Name) {
			continue
		}
		result := narrowed[enabled.Name]
		err := y.each(ctx, len(nodes), func(i int) {
			if s := plugin.Filter(ctx, state, y.pod, nodes[i]); !s.IsSuccess() {
				reasons[i] = append(reasons[i], Reason{enabled.Name, strings.Join(s.Reasons(), ", ")})
			} else if !result.AllNodes() && !result.NodeNames.Has(nodes[i].Node().Name) {
				reasons[i] = append(reasons[i], Reason{enabled.Name, "node(s) didn't satisfy plugin " + enabled.Name})
			}
		})
		if err != nil {
			return nil, fmt.Errorf("%s about pod %s/%s: %w", enabled.Name, y.pod.Namespace, y.pod.Name, err)
		}
	}
	return reasons, nil
}

// each runs work for 0 to n-1 in parallel. A plugin that panics is an error.
func (y *cycle) each(ctx context.Context, n int, work func(i int)) error {
	var mu sync.Mutex
	var failed error
	y.engine.profiles[y.profile].Parallelizer().Until(ctx, n, func(i int) {
		defer func() {
			if p := recover(); p != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = fmt.Errorf("a plugin has failed: %v\n%s", p, debug.Stack())
			}
		}()
		work(i)
	}, "simulation")
	return cmp.Or(failed, ctx.Err())
}

// describe fills in the nodes, and takes the best.
func (y *cycle) describe(reasons [][]Reason, scores map[string]fwk.NodePluginScores) {
	p := y.placement
	for i, info := range y.all {
		n := NodePlacement{Name: info.Node().Name, Feasible: len(reasons[i]) == 0, Reasons: reasons[i]}
		if p.Explanation != nil {
			n.Explanation = p.Explanation.Node(n.Name)
		}
		if score, offered := scores[n.Name]; offered {
			n.Offered, n.Total, n.Scores = true, score.TotalScore, map[string]int64{}
			for _, s := range score.Scores {
				n.Scores[s.Name] = s.Score
			}
		}
		p.Nodes = append(p.Nodes, n)
	}
	slices.SortFunc(p.Nodes, func(a, b NodePlacement) int {
		return cmp.Or(first(a.Offered, b.Offered), first(a.Feasible, b.Feasible), cmp.Compare(b.Total, a.Total),
			cmp.Compare(b.Explanation.Score, a.Explanation.Score), cmp.Compare(a.Name, b.Name))
	})
	for _, n := range p.Nodes {
		switch {
		case !n.Offered:
			return
		case p.Node == "":
			p.Node = n.Name
		case n.Total == p.Nodes[0].Total:
			p.Equals = append(p.Equals, n.Name)
		}
	}
}

// first orders what is before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}
