package view

import (
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/pkg/simulation"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// World is what the documents are made of.
type World struct {
	Engine *simulation.Engine
	// Plugin is that of the first profile that has it.
	Plugin *hyperconverge.Hyperconverge
	// Index is what is known of volumes and nodes.
	Index *volumes.Snapshot
	// Waiting are the pods that the scheduler holds, if it was asked.
	Waiting []hyperconverge.WaitingPod
	// Unknown says what cannot be told, and what to do about it.
	Unknown []string
}

// Selection says which pods are meant.
type Selection struct {
	// Namespace is empty for all.
	Namespace string
	Labels    labels.Selector
}

// pods lists those that are selected.
func (w *World) pods(selection Selection) ([]*v1.Pod, error) {
	lister := w.Engine.Informers().Core().V1().Pods().Lister().Pods(selection.Namespace)
	selector := selection.Labels
	if selector == nil {
		selector = labels.Everything()
	}
	return lister.List(selector)
}

// kindOf is the word for what a volume wishes.
func kindOf(v *hyperconverge.VolumeExplanation) string {
	switch v.Claim.State {
	case placement.ClaimUnbound:
		return "unbound"
	case placement.ClaimMissing, placement.ClaimLost, placement.ClaimNotOwned:
		return "missing"
	case placement.ClaimInline:
		return "inline"
	default:
		return v.Kind.String()
	}
}

// textOf is number and name of a rule.
func textOf(r placement.Rule) string { return strings.TrimSpace(r.Number + " " + r.Name) }

// replicaNodes are the names of the nodes of each stripe, and the states of their
// records. A replica on no Kubernetes node has the id of its storage node in brackets.
func replicaNodes(v *volumes.VolumeSnapshot) (sets, states [][]string) {
	sets, states = [][]string{}, [][]string{}
	if v == nil {
		return sets, states
	}
	for _, set := range v.ReplicaSets {
		names, words := make([]string, 0, len(set)), make([]string, 0, len(set))
		for _, replica := range set {
			name := replica.Node
			if name == "" {
				name = "(" + replica.StorageNode + ")"
			}
			names, words = append(names, name), append(words, replica.State)
		}
		sets, states = append(sets, names), append(states, words)
	}
	return sets, states
}

// byHandle finds the volumes of the index.
func (w *World) byHandle() map[string]*volumes.VolumeSnapshot {
	found := make(map[string]*volumes.VolumeSnapshot, len(w.Index.Volumes))
	for i := range w.Index.Volumes {
		found[w.Index.Volumes[i].Handle] = &w.Index.Volumes[i]
	}
	return found
}
