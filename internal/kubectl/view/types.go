// Package view is what kubectl hyperconverge shows, before anything is drawn: the
// documents that -o json prints. They are an interface: fields are only added.
package view

import "time"

// APIVersion is that of all documents.
const APIVersion = "hyperconverge.dev/v1"

// Status is the cluster at a glance.
type Status struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"` // Status
	// Pods counts the running pods with volumes by locality.
	Pods PodCounts `json:"pods"`
	// StorageNodes counts the Kubernetes nodes that run the driver by storage state.
	StorageNodes StorageNodeCounts `json:"storageNodes"`
	// Volumes counts the volumes that PersistentVolumes name by freshness.
	Volumes VolumeCounts `json:"volumes"`
	// Misplaced are the running pods that are not on their data, worst first.
	Misplaced []Misplaced `json:"misplaced"`
	// Waiting are the pods that have no node, for a storage reason or another.
	Waiting []Waiting `json:"waiting"`
	// Unknown says what cannot be told, and what to do about it.
	Unknown []string `json:"unknown,omitempty"`
}

// PodCounts are pods by locality.
type PodCounts struct {
	Local   int `json:"local"`
	Partly  int `json:"partly"`
	Remote  int `json:"remote"`
	Away    int `json:"away"`
	Unknown int `json:"unknown"`
}

// StorageNodeCounts are nodes by storage state.
type StorageNodeCounts struct {
	Online      int `json:"online"`
	StorageDown int `json:"storageDown"`
	Degraded    int `json:"degraded"`
	Offline     int `json:"offline"`
}

// VolumeCounts are volumes by freshness.
type VolumeCounts struct {
	Fresh   int `json:"fresh"`
	Suspect int `json:"suspect"`
	Stale   int `json:"stale"`
	Unknown int `json:"unknown"`
}

// Misplaced is a pod that is not on its data. Remote is worse than partly.
type Misplaced struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Node      string   `json:"node"`
	Locality  string   `json:"locality"`
	Reasons   []string `json:"reasons"`
}

// Waiting is a pod without a node.
type Waiting struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Reason    string `json:"reason"`
}

// Map is where everything is, for the report.
type Map struct {
	Taken time.Time `json:"taken"`
	// Cluster is the name of the kubeconfig's context.
	Cluster string      `json:"cluster"`
	Status  Status      `json:"status"`
	Nodes   []MapNode   `json:"nodes"`
	Volumes []MapVolume `json:"volumes"`
	Pods    []MapPod    `json:"pods"`
}

// MapNode is one Kubernetes node.
type MapNode struct {
	Name   string `json:"name"`
	Region string `json:"region,omitempty"`
	Zone   string `json:"zone,omitempty"`
	Rack   string `json:"rack,omitempty"`
	// State is NoDriver, Online, StorageDown, Degraded or Offline.
	State         string `json:"state"`
	Unschedulable bool   `json:"unschedulable,omitempty"`
}

// MapVolume is one volume.
type MapVolume struct {
	// Claim is namespace/name, or the handle if no claim is bound to it.
	Claim       string     `json:"claim"`
	Handle      string     `json:"handle"`
	Freshness   string     `json:"freshness"`
	ReplicaSets [][]string `json:"replicaSets"` // names of nodes; storage node ids where no node matches
}

// MapPod is one running pod with volumes.
type MapPod struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Node      string   `json:"node"`
	Locality  string   `json:"locality"`
	Claims    []string `json:"claims"` // as in MapVolume.Claim
}

// Pod is the document of explain pod.
type Pod struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"` // PodExplanation
	Pod        PodRef      `json:"pod"`
	Volumes    []PodVolume `json:"volumes"`
	Nodes      []PodNode   `json:"nodes"`
	Problems   []string    `json:"problems,omitempty"`
	Unknown    []string    `json:"unknown,omitempty"`
}

// PodRef is the pod, and what would become of it now.
type PodRef struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Phase     string `json:"phase"`
	Node      string `json:"node"`
	Locality  string `json:"locality"`
	Scheduler string `json:"scheduler"`
	Profile   string `json:"profile"`
	Mode      string `json:"mode"`
	// WaitsUntil is how long the pod waits for a node with its data; absent if it does not.
	WaitsUntil time.Time `json:"waitsUntil,omitzero"`
	// Verdict is why storage turns the pod down on all nodes; empty if it does not.
	Verdict string `json:"verdict,omitempty"`
	Rule    string `json:"rule,omitempty"`
	// WouldRunOn is where the scheduler would put it now; empty if nowhere, and Message
	// says why.
	WouldRunOn string   `json:"wouldRunOn"`
	OrOn       []string `json:"orOn,omitempty"`
	Message    string   `json:"message,omitempty"`
}

// PodVolume is one volume of a pod.
type PodVolume struct {
	Claim  string `json:"claim"`
	Handle string `json:"handle"`
	// Kind is near, away or neutral; unbound or missing for claims without a volume.
	Kind string `json:"kind"`
	// ReplicaSets are the nodes of each stripe; States has the states in the same shape.
	ReplicaSets [][]string `json:"replicaSets"`
	States      [][]string `json:"states"`
	Freshness   string     `json:"freshness"`
	Verified    time.Time  `json:"verified,omitzero"`
	// Rule is number and name: "S2 near a replica".
	Rule string `json:"rule"`
	// Relation is that of the pod's own node to the volume.
	Relation string `json:"relation,omitempty"`
	// Weight is the volume's share in scores, 1 to 100; absent for volumes that do not exist.
	Weight int32 `json:"weight,omitempty"`
	// Expected tells of a volume that does not exist yet.
	Expected *Expectation `json:"expected,omitempty"`
}

// Expectation is where a volume will lie that does not exist yet, as far as can be told.
type Expectation struct {
	// Strategy is the name of the placement strategy, Source what the volume is a copy of;
	// empty if there is none.
	Strategy string `json:"strategy,omitempty"`
	Source   string `json:"source,omitempty"`
	// Nodes are those where replicas are expected most, 64 at most; empty if nothing tells
	// nodes apart.
	Nodes []string `json:"nodes,omitempty"`
}

// PodNode is one node for a pod.
type PodNode struct {
	Name     string `json:"name"`
	Feasible bool   `json:"feasible"`
	// Score is ours, 0 to 100; Total that of all plugins, for nodes that are in the running.
	Score int64 `json:"score"`
	Total int64 `json:"total,omitempty"`
	// Relation is local, rack, zone, region, remote, or empty without near volumes.
	Relation string `json:"relation"`
	// Volumes are the relations to the pod's volumes, in their order; of new volumes
	// excluded, unlikely, full, possible or preferred.
	Volumes []string `json:"volumes,omitempty"`
	// Expected is the worst of those of new volumes; empty if there are none.
	Expected string `json:"expected,omitempty"`
	Storage  string `json:"storage"`
	// Rule is ours that turns the node down.
	Rule string `json:"rule,omitempty"`
	// Reasons are "Plugin: message", of every plugin that turns the node down.
	Reasons []string `json:"reasons"`
}

// Volume is the document of explain volume.
type Volume struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"` // VolumeExplanation
	Claim      string          `json:"claim"`
	Handle     string          `json:"handle"`
	ID         string          `json:"id,omitempty"`
	VolumeKind string          `json:"volumeKind"`
	Freshness  string          `json:"freshness"`
	Verified   time.Time       `json:"verified,omitzero"`
	Sets       [][]VolumeNode  `json:"replicaSets"`
	Attached   string          `json:"attached,omitempty"`
	UsedBy     []VolumeUser    `json:"usedBy"`
	Settings   []VolumeSetting `json:"settings"`
	// Expected tells of a volume that does not exist yet, as for a pod that has no name.
	Expected *Expectation `json:"expected,omitempty"`
	Unknown  []string     `json:"unknown,omitempty"`
}

// VolumeNode is a holder of a replica.
type VolumeNode struct {
	Node        string `json:"node"`
	StorageNode string `json:"storageNode,omitempty"`
	State       string `json:"state"`
}

// VolumeUser is a pod that mounts the volume.
type VolumeUser struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Node      string `json:"node"`
	Locality  string `json:"locality"`
}

// VolumeSetting is a key in force and where it comes from: claim, label, class or default.
type VolumeSetting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

// Simulation is the document of simulate.
type Simulation struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"` // Simulation
	What       string         `json:"what"` // the question in words
	Pods       []SimulatedPod `json:"pods"`
	Unknown    []string       `json:"unknown,omitempty"`
}

// SimulatedPod is where one pod would go.
type SimulatedPod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	From      string `json:"from,omitempty"`
	To        string `json:"to"`
	// Scheduler is the one that the pod names; Foreign says that it is none of ours, and
	// that another may decide.
	Scheduler string `json:"scheduler"`
	Foreign   bool   `json:"foreign,omitempty"`
	// Lost says that nobody makes the pod anew once it is gone.
	Lost     bool      `json:"lost,omitempty"`
	OrOn     []string  `json:"orOn,omitempty"`
	Locality string    `json:"locality"`
	Message  string    `json:"message,omitempty"`
	Nodes    []PodNode `json:"nodes"`
}
