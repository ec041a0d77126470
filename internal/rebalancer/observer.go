// Package rebalancer is the controller of docs/back-home.md around the decisions of
// pkg/rebalance: it reads the cluster, evicts, and tells.
package rebalancer

import (
	"context"
	"math"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"

	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/pkg/rebalance"
	"github.com/hyperconverge/scheduler/pkg/simulation"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// Follow has an engine read what an Observer looks at beside what the scheduler reads
// (simulation.EngineOptions.Follow).
func Follow(factory informers.SharedInformerFactory) {
	factory.Core().V1().Namespaces().Informer()
	factory.Core().V1().ReplicationControllers().Informer()
	factory.Apps().V1().ReplicaSets().Informer()
	factory.Apps().V1().StatefulSets().Informer()
	factory.Policy().V1().PodDisruptionBudgets().Informer()
}

// Observer makes pictures of a cluster. It is for one goroutine.
type Observer struct {
	Engine *simulation.Engine
	// Index is that of the engine.
	Index *volumes.Index
	// Conditions are the reasons of what is wrong with the storage API.
	Conditions func() []string
	// NodeListMaxAge is how old the node list may be.
	NodeListMaxAge time.Duration
}

// Picture is one look at the cluster. It is the World in which successors are placed.
type Picture struct {
	rebalance.ClusterState
	// Nodes and Stranded are what Losses ask for; Lost of a node is set.
	Nodes    []rebalance.NodeState
	Stranded []rebalance.Stranded

	// begun is when the look began, withVolumes are the nodes where pods with volumes have run.
	begun       time.Time
	withVolumes map[string]bool

	observer *Observer
	ctx      context.Context //nolint:containedctx // a Picture lives for one look, which the context ends
	objects  map[types.UID]*v1.Pod
	cluster  *simulation.Cluster
}

// maxPending is how many of the most important pending pods are placed before anybody is
// moved.
const maxPending = 100

// Look makes a picture. Its cost is that of the locality of every pod with volumes, and of
// an explanation of each that has not all of its data.
func (o *Observer) Look(ctx context.Context) (*Picture, error) {
	p := &Picture{observer: o, ctx: ctx, objects: map[types.UID]*v1.Pod{}, begun: time.Now(), withVolumes: map[string]bool{}}
	summary := volumes.Summarize(o.Index, 0)
	p.Storage = rebalance.Storage{Conditions: o.Conditions(), NodeList: summary.LastNodeList, List: summary.NodeList, MaxAge: o.NodeListMaxAge}
	owners, err := newOwners(o.Engine.Informers())
	if err != nil {
		return nil, err
	}
	p.Owners = owners.known
	pods, err := o.Engine.Informers().Core().V1().Pods().Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	budgets, allowed, err := budgetsOf(o.Engine.Informers())
	if err != nil {
		return nil, err
	}
	p.Disruptions = allowed
	p.Pods = make([]rebalance.RunningPod, 0, len(pods))
	view := o.Index.View()
	var strandable []int // of Pods
	for _, pod := range pods {
		placed := pod.Spec.NodeName != ""
		if placed && !hyperconverge.Occupies(pod) || !placed && pod.DeletionTimestamp != nil {
			continue // an owner that has no other pods is gone
		}
		owner := owners.of(pod)
		plugin, foreign, err := o.plugin(pod)
		if err != nil {
			return nil, err
		}
		if !placed {
			if owner != nil {
				owner.Unplaced++
			}
			// One that our profiles may not place now takes no room that is known here.
			if !foreign && len(pod.Spec.SchedulingGates) == 0 {
				p.Pending = append(p.Pending, rebalance.Pending{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, Priority: corev1helpers.PodPriority(pod)})
				p.objects[pod.UID] = pod
			}
			continue
		}
		seen := podOf(pod, owner)
		seen.Locality, seen.Foreign = plugin.Locality(pod), foreign
		if seen.Locality != placement.LocalityNone {
			p.withVolumes[seen.Node] = p.withVolumes[seen.Node] || hasRun(pod)
			if n := view.Node(seen.Node); n == nil || !n.State.Serves() {
				strandable = append(strandable, len(p.Pods))
				p.detail(&seen, pod, plugin)
			}
		}
		if seen.Locality == placement.LocalityRemote || seen.Locality == placement.LocalityPartly {
			p.detail(&seen, pod, plugin)
			for _, b := range budgets[pod.Namespace] {
				if len(seen.Budgets) < 2 && b.selector.Matches(labels.Set(pod.Labels)) {
					seen.Budgets = append(seen.Budgets, b.name)
				}
			}
			seen.Consent = o.consent(pod)
		}
		p.Pods = append(p.Pods, seen)
	}
	slices.SortFunc(p.Pending, func(a, b rebalance.Pending) int { return int(b.Priority) - int(a.Priority) })
	p.Pending = p.Pending[:min(len(p.Pending), maxPending)]
	if p.Nodes, err = p.nodes(); err != nil {
		return nil, err
	}
	for _, i := range strandable {
		pod := &p.Pods[i]
		p.Stranded = append(p.Stranded, rebalance.Stranded{Pod: pod, Elsewhere: p.elsewhere(p.objects[pod.UID])})
	}
	return p, nil
}

// plugin is the one that speaks for a pod.
func (o *Observer) plugin(pod *v1.Pod) (plugin *hyperconverge.Hyperconverge, foreign bool, err error) {
	name, foreign, err := o.Engine.ProfileOf(pod)
	if err != nil {
		return nil, foreign, err
	}
	if plugin = o.Engine.Plugin(name); plugin == nil {
		if name, _, err = o.Engine.ProfileOf(&v1.Pod{}); err == nil {
			plugin = o.Engine.Plugin(name)
		}
	}
	return plugin, foreign, err
}

// podOf is what is known of every pod.
func podOf(pod *v1.Pod, owner *rebalance.Owner) rebalance.RunningPod {
	seen := rebalance.RunningPod{
		Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, Node: pod.Spec.NodeName, Priority: corev1helpers.PodPriority(pod),
		Created: pod.CreationTimestamp.Time, Terminating: pod.DeletionTimestamp != nil,
	}
	if owner != nil {
		seen.Owner = owner.UID
		seen.Outdated = outdated(pod, owner)
	}
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		// A tenant may write any number, and it counts in nanoseconds from here on.
		seen.Grace = time.Duration(min(*pod.Spec.TerminationGracePeriodSeconds, math.MaxInt32)) * time.Second
	}
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == v1.PodReady && c.Status == v1.ConditionTrue {
			seen.ReadySince = c.LastTransitionTime.Time
		}
	}
	return seen
}

// hasRun reports whether the kubelet has ever mounted the pod's volumes: that storage was
// there follows from such pods, and not from one that somebody has sent to a node.
func hasRun(pod *v1.Pod) bool {
	return slices.ContainsFunc(slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses), func(s v1.ContainerStatus) bool {
		return s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil
	})
}

// detail fills in what matters of pods that might leave.
func (p *Picture) detail(seen *rebalance.RunningPod, pod *v1.Pod, plugin *hyperconverge.Hyperconverge) {
	p.objects[pod.UID] = pod
	_, seen.Mirror = pod.Annotations[v1.MirrorPodAnnotationKey]
	seen.LocalData = p.observer.localData(pod)
	if launches, migrates := plugin.Machine(pod); migrates {
		seen.Machine = rebalance.Migratable
	} else if launches {
		seen.Machine = rebalance.Immovable
	}
	seen.Volumes = seen.Volumes[:0]
	explained := plugin.Explain(pod)
	for i := range explained.Volumes {
		v := &explained.Volumes[i]
		if v.Claim.Handle == "" {
			continue
		}
		entry := p.observer.Index.Lookup(v.Claim.Handle)
		volume := rebalance.VolumeState{Name: v.Name, Certain: entry.Freshness == volumes.Fresh && !entry.Dirty, AllOnline: true}
		relation, known := v.Relation(p.observer.Index.View().Node(pod.Spec.NodeName))
		volume.Here = known && relation == placement.Local
		volume.Resyncing = entry.Volume != nil && entry.Volume.Resyncing()
		for _, set := range v.Sets {
			volume.AllOnline = volume.AllOnline && !slices.ContainsFunc(set, func(h placement.Holder) bool { return h.State != placement.Online })
		}
		seen.Volumes = append(seen.Volumes, volume)
	}
}

// consent is what a pod and its namespace say.
func (o *Observer) consent(pod *v1.Pod) rebalance.Consent {
	namespace, err := o.Engine.Informers().Core().V1().Namespaces().Lister().Get(pod.Namespace)
	if err != nil {
		return rebalance.No // what it says is not known
	}
	return rebalance.ConsentOf(pod.Annotations, namespace.Labels)
}

// localData reports whether a pod has a volume whose data does not go with it.
func (o *Observer) localData(pod *v1.Pod) bool {
	core := o.Engine.Informers().Core().V1()
	return slices.ContainsFunc(pod.Spec.Volumes, func(v v1.Volume) bool {
		if v.EmptyDir != nil || v.HostPath != nil || v.Ephemeral != nil {
			return true
		}
		if v.PersistentVolumeClaim == nil {
			return false
		}
		claim, err := core.PersistentVolumeClaims().Lister().PersistentVolumeClaims(pod.Namespace).Get(v.PersistentVolumeClaim.ClaimName)
		if err != nil {
			return false // the simulation turns the pod down
		}
		volume, err := core.PersistentVolumes().Lister().Get(claim.Spec.VolumeName)
		return err == nil && (volume.Spec.Local != nil || volume.Spec.HostPath != nil)
	})
}

// nodes are the nodes as they are now.
func (p *Picture) nodes() (found []rebalance.NodeState, err error) {
	view, there, listed := p.observer.Index.View(), map[string]bool{}, map[string]bool{}
	for _, record := range volumes.StorageNodesOf(p.observer.Index) {
		listed[record.Node] = true
		if !record.Listed || record.State == placement.Offline.String() {
			continue
		}
		there[record.Node] = true // one of an unknown node, "", may be any
	}
	nodes, err := p.observer.Engine.Informers().Core().V1().Nodes().Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	for _, node := range nodes {
		n := rebalance.NodeState{
			Name: node.Name, HasVolumes: p.withVolumes[node.Name], Listed: listed[node.Name],
			Lost: !there[node.Name] && !there[""], Unreachable: unreachable(node),
		}
		if seen := view.Node(node.Name); seen != nil {
			n.State = seen.State
		}
		found = append(found, n)
	}
	return found, nil
}

// unreachable reports whether Kubernetes has lost a node, by its controller's taint.
func unreachable(node *v1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t v1.Taint) bool { return t.Key == v1.TaintNodeUnreachable })
}

// elsewhere reports whether all volumes of a pod can be served without its node.
func (p *Picture) elsewhere(pod *v1.Pod) bool {
	plugin, _, err := p.observer.plugin(pod)
	if err != nil {
		return false
	}
	explained := plugin.Explain(pod)
	for i := range explained.Volumes {
		v := &explained.Volumes[i]
		if !v.Known || v.Unknown {
			return false
		}
		for _, set := range v.Sets {
			if !slices.ContainsFunc(set, func(h placement.Holder) bool {
				return h.State == placement.Online && (h.Node == nil || h.Node.Name != pod.Spec.NodeName)
			}) {
				return false
			}
		}
	}
	return true
}

// simulated is the cluster in which successors are placed, made when it is needed.
func (p *Picture) simulated() (*simulation.Cluster, error) {
	if p.cluster == nil {
		var err error
		if p.cluster, err = p.observer.Engine.Cluster(); err != nil {
			return nil, err
		}
	}
	return p.cluster, nil
}

// claimsUsedOn are the claims that pods use which have not ended, whatever their locality:
// node, blank, namespace/name.
func (p *Picture) claimsUsedOn(nodes []string) (map[string]bool, error) {
	pods, err := p.observer.Engine.Informers().Core().V1().Pods().Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, pod := range pods {
		if !slices.Contains(nodes, pod.Spec.NodeName) || !hyperconverge.Occupies(pod) {
			continue
		}
		for name := range claims.Names(pod) {
			used[pod.Spec.NodeName+" "+pod.Namespace+"/"+name] = true
		}
	}
	return used, nil
}

// claimOf is the claim that has or had a PersistentVolume, empty if nobody knows.
func (p *Picture) claimOf(volume string) (string, error) {
	pv, err := p.observer.Engine.Informers().Core().V1().PersistentVolumes().Lister().Get(volume)
	switch {
	case apierrors.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", err
	case pv.Spec.ClaimRef == nil:
		return "", nil
	}
	return pv.Spec.ClaimRef.Namespace + "/" + pv.Spec.ClaimRef.Name, nil
}

// Land implements rebalance.World.
func (p *Picture) Land(seen *rebalance.RunningPod) (rebalance.Landing, error) {
	cluster, err := p.simulated()
	if err != nil {
		return rebalance.Landing{}, err
	}
	pod := p.objects[seen.UID]
	plugin, _, err := p.observer.plugin(pod)
	if err != nil {
		return rebalance.Landing{}, err
	}
	found, err := cluster.Land(p.ctx, pod)
	cluster.Add(pod, pod.Spec.NodeName)
	if err != nil {
		return rebalance.Landing{}, err
	}
	landing := rebalance.Landing{Message: found.Message}
	if len(found.Nodes) == 0 {
		return landing, nil
	}
	explained := plugin.Explain(pod)
	landing.Node, landing.Equals = found.Nodes[0], found.Nodes[1:]
	landing.Before = explained.Node(pod.Spec.NodeName).Score
	landing.Needed = plugin.NearerThan(landing.Before)
	worst := slices.MinFunc(found.Nodes, func(a, b string) int { return int(explained.Node(a).Score - explained.Node(b).Score) })
	landing.After = explained.Node(worst).Score
	moved := *pod
	moved.Spec.NodeName = worst
	landing.Locality = plugin.Locality(&moved)
	return landing, nil
}

// LandPending implements rebalance.World.
func (p *Picture) LandPending(pending *rebalance.Pending) (string, error) {
	cluster, err := p.simulated()
	if err != nil {
		return "", err
	}
	found, err := cluster.Land(p.ctx, p.objects[pending.UID])
	if err != nil || len(found.Nodes) == 0 {
		return "", err
	}
	return found.Nodes[0], nil
}

// Keep implements rebalance.World.
func (p *Picture) Keep(seen *rebalance.RunningPod, landing *rebalance.Landing) {
	p.cluster.Add(p.objects[seen.UID], landing.Node)
}

// KeepPending implements rebalance.World.
func (p *Picture) KeepPending(pending *rebalance.Pending, node string) {
	p.cluster.Add(p.objects[pending.UID], node)
}
