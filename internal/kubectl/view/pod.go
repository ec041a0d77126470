package view

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/pkg/simulation"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// NewPod explains a pod: what is known of its volumes, and what each node is to it.
func NewPod(ctx context.Context, w *World, pod *v1.Pod) (*Pod, error) {
	cluster, err := w.Engine.Cluster()
	if err != nil {
		return nil, err
	}
	placed, err := cluster.Place(ctx, pod)
	if err != nil {
		return nil, err
	}
	doc := &Pod{
		APIVersion: APIVersion, Kind: "PodExplanation", Unknown: w.Unknown, Volumes: []PodVolume{},
		Pod: PodRef{
			Namespace: pod.Namespace, Name: pod.Name, Phase: string(pod.Status.Phase), Node: pod.Spec.NodeName,
			Scheduler: pod.Spec.SchedulerName, Profile: placed.Profile, WouldRunOn: placed.Node, OrOn: placed.Equals, Message: placed.Message,
		},
		Nodes: podNodes(placed),
	}
	doc.Problems = reservations(pod, placed)
	if placed.Foreign {
		doc.Problems = append(doc.Problems, "the pod is left to the scheduler "+pod.Spec.SchedulerName+
			", which is none of ours; shown is what the profile "+placed.Profile+" would do")
	}
	e := placed.Explanation
	if e == nil {
		doc.Problems = append(doc.Problems, "the profile "+placed.Profile+" has no plugin "+hyperconverge.Name+", and does not look at volumes")
		return doc, nil
	}
	doc.Pod.Locality, doc.Pod.Mode, doc.Pod.WaitsUntil = e.Locality.String(), e.Mode, e.WaitsUntil
	if e.Rejection != nil {
		doc.Pod.Verdict, doc.Pod.Rule = e.Rejection.Message(), textOf(placement.RuleOf(e.Rejection.Reason))
	}
	for _, p := range e.Problems {
		doc.Problems = append(doc.Problems, p.Key+"="+p.Value+" "+p.Detail)
	}
	snapshots := w.byHandle()
	relations := e.Node(pod.Spec.NodeName).Volumes
	for i := range e.Volumes {
		v := &e.Volumes[i]
		line := PodVolume{Claim: v.Claim.String(), Handle: v.Claim.Handle, Kind: kindOf(v), Rule: textOf(v.Rule), Freshness: freshness(v), Verified: v.Verified}
		line.ReplicaSets, line.States = replicaNodes(snapshots[v.Claim.Handle])
		if pod.Spec.NodeName != "" {
			line.Relation = relations[i]
		}
		if v.Known {
			line.Weight = v.Weight
		}
		line.Expected = expectation(v)
		doc.Volumes = append(doc.Volumes, line)
	}
	return doc, nil
}

// expectation is what can be told of a volume that does not exist yet, nil if nothing.
func expectation(v *hyperconverge.VolumeExplanation) *Expectation {
	if v.Expected == nil || !v.Expected.Known() {
		return nil
	}
	e := &Expectation{}
	if rules := v.Expected.Rules; rules != nil {
		e.Strategy = rules.Name
	}
	if source := v.Claim.PVC.Spec.DataSource; v.Expected.Source != nil && source != nil {
		e.Source = source.Kind + " " + source.Name
	}
	for _, n := range v.Expected.Likely() {
		e.Nodes = append(e.Nodes, n.Name)
	}
	return e
}

// freshness is empty for volumes that are not there to be known.
func freshness(v *hyperconverge.VolumeExplanation) string {
	if v.Claim.Handle == "" {
		return ""
	}
	return v.Freshness.String()
}

// podNodes are the nodes of a placement.
func podNodes(p *simulation.Placement) []PodNode {
	nodes := make([]PodNode, 0, len(p.Nodes))
	for i := range p.Nodes {
		n := &p.Nodes[i]
		line := PodNode{
			Name: n.Name, Feasible: n.Feasible, Score: n.Explanation.Score, Total: n.Total, Storage: n.Explanation.State.String(),
			Volumes: n.Explanation.Volumes, Expected: n.Explanation.Expected, Reasons: []string{},
			Rule: textOf(placement.RuleOf(n.Explanation.Verdict.Reason())),
		}
		if n.Explanation.Related {
			line.Relation = n.Explanation.Relation.String()
		}
		for _, r := range n.Reasons {
			line.Reasons = append(line.Reasons, r.Plugin+": "+r.Message)
		}
		if overload := n.Explanation.Overload; overload != "" {
			line.Reasons = append(line.Reasons, "the pod would rather not overload it: "+overload)
		}
		if n.Feasible && !n.Offered {
			line.Reasons = append(line.Reasons, "feasible, but a node nearer to the data is, too")
		}
		nodes = append(nodes, line)
	}
	return nodes
}

// NewVolume explains a claim.
func NewVolume(w *World, namespace, name string) (*Volume, error) {
	v := w.Plugin.ExplainClaim(namespace, name)
	doc := &Volume{
		APIVersion: APIVersion, Kind: "VolumeExplanation", Claim: v.Claim.String(), Handle: v.Claim.Handle, VolumeKind: kindOf(&v),
		Expected: expectation(&v), Freshness: freshness(&v), Verified: v.Verified, Sets: [][]VolumeNode{}, UsedBy: []VolumeUser{}, Settings: []VolumeSetting{}, Unknown: w.Unknown,
	}
	if snapshot := w.byHandle()[v.Claim.Handle]; snapshot != nil {
		doc.ID, doc.Attached = snapshot.ID, attachedTo(w.Index, snapshot.Attached)
		for _, set := range snapshot.ReplicaSets {
			holders := make([]VolumeNode, 0, len(set))
			for _, r := range set {
				holders = append(holders, VolumeNode{Node: r.Node, StorageNode: r.StorageNode, State: r.State})
			}
			doc.Sets = append(doc.Sets, holders)
		}
	}
	for _, s := range v.Settings {
		doc.Settings = append(doc.Settings, VolumeSetting{Key: s.Key, Value: s.Value, Origin: s.Origin.String()})
	}
	pods, err := w.pods(Selection{Namespace: namespace})
	if err != nil {
		return nil, err
	}
	for _, pod := range pods {
		for _, c := range w.Plugin.Claims(pod) {
			if c.Namespace == namespace && c.Name == name {
				user := VolumeUser{Namespace: pod.Namespace, Name: pod.Name, Node: pod.Spec.NodeName}
				if hyperconverge.Occupies(pod) {
					user.Locality = w.Plugin.Locality(pod).String()
				}
				doc.UsedBy = append(doc.UsedBy, user)
			}
		}
	}
	return doc, nil
}

// attachedTo is the Kubernetes node behind an id or address of a storage node, or that
// itself.
func attachedTo(index *volumes.Snapshot, at string) string {
	for _, n := range index.StorageNodes {
		if at != "" && n.Node != "" && (n.ID == at || n.ManagementIP == at || n.DataIP == at) {
			return n.Node
		}
	}
	return at
}

// NewSimulation places pods one after the other, each beside those before it.
func NewSimulation(ctx context.Context, w *World, what string, cluster *simulation.Cluster, pods []*v1.Pod) (*Simulation, error) {
	doc := &Simulation{APIVersion: APIVersion, Kind: "Simulation", What: what, Pods: []SimulatedPod{}, Unknown: w.Unknown}
	foreign := false
	for _, pod := range pods {
		placed, err := cluster.Place(ctx, pod)
		if err != nil {
			return nil, err
		}
		line := SimulatedPod{
			Namespace: pod.Namespace, Name: pod.Name, From: pod.Spec.NodeName, To: placed.Node, OrOn: placed.Equals,
			Message: placed.Message, Nodes: podNodes(placed), Scheduler: pod.Spec.SchedulerName, Foreign: placed.Foreign,
			Lost: pod.UID != "" && metav1.GetControllerOf(pod) == nil,
		}
		foreign = foreign || placed.Foreign
		doc.Unknown = append(doc.Unknown, reservations(pod, placed)...)
		if placed.Node != "" {
			cluster.Add(pod, placed.Node)
			moved := *pod
			moved.Spec.NodeName = placed.Node
			line.Locality = w.Plugin.Locality(&moved).String()
		}
		doc.Pods = append(doc.Pods, line)
	}
	if foreign {
		doc.Unknown = append(doc.Unknown, "Pods whose scheduler is none of ours are shown as the first profile with the plugin would place them. The webhook, where there is one, gives pods with volumes to it.")
	}
	return doc, nil
}

// reservations are what the answer for a pod leaves out.
func reservations(pod *v1.Pod, placed *simulation.Placement) (said []string) {
	name := pod.Namespace + "/" + pod.Name
	if len(pod.Spec.SchedulingGates) > 0 {
		said = append(said, "Pod "+name+" has scheduling gates, and is not tried before the last of them is taken away.")
	}
	if placed.Node != "" {
		return said
	}
	if e := placed.Explanation; e != nil && !e.WaitsUntil.IsZero() {
		said = append(said, "Pod "+name+" waits for a node with its data until "+e.WaitsUntil.Format(time.TimeOnly)+", and takes another one then.")
	}
	if e := placed.Explanation; e != nil && !e.HeldUntil.IsZero() {
		said = append(said, "Pod "+name+" is held back for a new volume until "+e.HeldUntil.Format(time.TimeOnly)+" at the latest, and goes without it then.")
	}
	if pod.Spec.Priority != nil && *pod.Spec.Priority > 0 {
		said = append(said, "Pod "+name+" has a priority: it may make room by evicting others, which is not simulated.")
	}
	return said
}
