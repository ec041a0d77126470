package rebalance

import (
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

const (
	// ReturnHome is the annotation of a pod, and the label of a namespace, that say
	// whether pods go home: a boolean. The annotation counts before the label, unless that
	// says no.
	ReturnHome = placement.PodReturnHome
	// PauseAnnotation on the rebalancer's own Deployment stops all evictions while it is
	// anything but "false".
	PauseAnnotation = "hyperconverge.dev/pause"
	// ResumeAnnotation on the rebalancer's own Deployment ends the halt whose time it has.
	ResumeAnnotation = "hyperconverge.dev/resume"
)

// PausedBy reports whether the annotations of the Deployment pause: who writes anything but
// a clear no wants that.
func PausedBy(annotations map[string]string) bool {
	value, said := annotations[PauseAnnotation]
	return said && value != "false"
}

// ClusterState is one picture of the cluster.
type ClusterState struct {
	Pods []RunningPod
	// Owners: UID → the controller. Of one that only references tell of, it is namespace/UID.
	Owners map[types.UID]*Owner
	// Pending are pods without a node that our profiles may place at any moment; the most
	// important first.
	Pending []Pending
	Storage Storage
	// Disruptions: PodDisruptionBudget → how many more of its pods may be away now.
	Disruptions map[string]int
	// Paused is that of PauseAnnotation.
	Paused bool
	// Namespace is the rebalancer's own.
	Namespace string
}

// system reports whether a pod is of the namespaces of which the admission policy allows no
// eviction.
func (s *ClusterState) system(p *RunningPod) bool {
	return p.Namespace == metav1.NamespaceSystem || p.Namespace == s.Namespace && s.Namespace != ""
}

// Storage is what is known of the storage system as a whole.
type Storage struct {
	// Conditions are the reasons of what is wrong with its API.
	Conditions []string
	// NodeList is when it last listed its nodes, which must not be longer ago than MaxAge. Each
	// look reads the clock for it; List is a number that only another list changes.
	NodeList time.Time
	List     int64
	MaxAge   time.Duration
}

// RunningPod is a pod that has a node. Of pods that have a locality other than remote and partly
// the fields about opting in, volumes and scores are left out: they are here for their
// owners' sake.
type RunningPod struct {
	Namespace, Name string
	UID             types.UID
	Node            string
	Priority        int32
	// Created is by the clock of the API server; ReadySince is zero while the pod is not
	// ready.
	Created, ReadySince time.Time
	// Terminating pods have been deleted or evicted, and run on for their grace period.
	Terminating bool
	// Grace is how long the pod may take to end.
	Grace    time.Duration
	Locality placement.Locality
	// Owner is the key of the controller that stands behind the pod, which is the Deployment
	// and not its ReplicaSet; empty for a bare pod.
	Owner types.UID
	// Consent is what pod and namespace say of going home.
	Consent Consent
	// Foreign pods are placed by a scheduler that is none of the configuration's.
	Foreign bool
	// Mirror pods are those of the kubelet's own files.
	Mirror bool
	// LocalData is a volume whose data would be lost.
	LocalData bool
	Machine   Mobility
	// Outdated pods are of another revision than their successors would be.
	Outdated bool
	// Budgets are the PodDisruptionBudgets whose selectors match the pod, two of them at most.
	Budgets []string
	Volumes []VolumeState
}

// Consent is what users say of a pod's going home.
type Consent uint8

// The values of ReturnHome.
const (
	Unsaid Consent = iota
	Yes
	No
	Invalid
)

// ConsentOf reads what a pod and its namespace say. The pod may say more than its namespace,
// but administrators who say no for a namespace mean all of it.
func ConsentOf(annotations, namespace map[string]string) Consent {
	label, labelled := namespace[ReturnHome]
	if yes, err := strconv.ParseBool(label); err == nil && !yes {
		return No
	}
	value, said := annotations[ReturnHome]
	if !said {
		value, said = label, labelled
	}
	switch yes, err := strconv.ParseBool(value); {
	case !said:
		return Unsaid
	case err != nil:
		return Invalid
	case yes:
		return Yes
	default:
		return No
	}
}

// Mobility is what a pod is to a virtual machine.
type Mobility uint8

const (
	// NoMachine is a pod that runs none.
	NoMachine Mobility = iota
	// Migratable machines move while they run: an eviction has KubeVirt migrate them.
	Migratable
	// Immovable machines would be stopped by an eviction, or nothing is known of them.
	Immovable
)

// VolumeState is a volume of the driver, as far as it is quiet.
type VolumeState struct {
	// Name is namespace/claim.
	Name string
	// Here says that the pod's node has all of the volume.
	Here bool
	// Certain volumes are those whose replicas are known, and which nothing contradicts.
	Certain bool
	// AllOnline says that the storage under every replica is Online.
	AllOnline bool
	// Resyncing volumes are being synchronized, or lack a replica.
	Resyncing bool
}

// Owner is a controller, with what it wants.
type Owner struct {
	UID             types.UID // its key in ClusterState.Owners
	Kind            string    // Kind.group, Kind alone in the core group
	Namespace, Name string
	// Known owners were looked up, and Wanted is how many pods they want; of the others
	// nothing is known but their pods.
	Known  bool
	Gone   bool
	Wanted int
	// Changing says that what the owner wants is about to be something else.
	Changing bool
	// A StatefulSet makes the pods whose ordinals are below Before of the revision Current, and
	// the others of Update; empty for other owners.
	Current, Update string
	Before          int
	// Unplaced is how many of its pods have no node.
	Unplaced int
}

// Pending is a pod that waits for a node.
type Pending struct {
	Namespace, Name string
	UID             types.UID
	Priority        int32
}

// Landing is where a pod would go.
type Landing struct {
	// Node is where the simulation puts it, empty if nowhere; Equals are further nodes that
	// are as good.
	Node   string
	Equals []string
	// Message says why there is no node.
	Message string
	// Before and After are our plugin's scores (0 to 100) of the node that the pod has, and
	// of the worst of the nodes that it may get; Locality is that on the worst one.
	Before, After int64
	Locality      placement.Locality
	// Needed is the least score of a node that is nearer by one tier than the one that the pod
	// has.
	Needed int64
}

// World simulates the scheduler. Landings are kept one after the other: Keep has the pod
// stand on the node of its landing from then on. A pod that is kept again is moved.
type World interface {
	// Land tells where the successor of a pod would go, with the pod gone.
	Land(pod *RunningPod) (Landing, error)
	// LandPending tells where a pod that waits would go; empty for nowhere.
	LandPending(pod *Pending) (node string, err error)
	Keep(pod *RunningPod, landing *Landing)
	// KeepPending does that for a pod that waits.
	KeepPending(pod *Pending, node string)
}
