package view

import (
	"context"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/hyperconverge/scheduler/pkg/rebalance"
)

// Decision is what a rebalancer decides, and by what.
type Decision struct {
	Configuration *rebalance.Configuration
	Journal       *rebalance.Journal
	Plan          *rebalance.HomePlan
	Owners        map[types.UID]*rebalance.Owner
	// Installed says that there is one in the cluster.
	Installed bool
}

// Home is the document of home.
type Home struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"` // HomeReport
	// Installed says that a rebalancer is installed; DryRun that it evicts nothing.
	Installed bool `json:"installed"`
	DryRun    bool `json:"dryRun"`
	// Held is the reason for which no pod goes now, whatever stands in Moves; absent if
	// there is none. HeldBecause says it in words.
	Held        string `json:"held,omitempty"`
	HeldBecause string `json:"heldBecause,omitempty"`
	// Moves are the pods that would land nearer to their data, in the order in which they
	// go.
	Moves []HomeMove `json:"moves"`
	// Kept are the pods that are not on their data and stay.
	Kept []HomeKept `json:"kept"`
	// UnderWay are the pods that were evicted and whose successors are not ready yet.
	UnderWay []HomeUnderWay `json:"underWay"`
	Unknown  []string       `json:"unknown,omitempty"`
}

// HomeMove is a pod that would go.
type HomeMove struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Owner is kind/name of the controller that makes the successor.
	Owner string   `json:"owner"`
	From  string   `json:"from"`
	To    string   `json:"to"`
	OrOn  []string `json:"orOn,omitempty"`
	// Locality is that of now, WouldBe that of the successor.
	Locality string `json:"locality"`
	WouldBe  string `json:"wouldBe"`
	// Score is that of the plugin for the node of now, WouldScore for that of the successor.
	Score      int64 `json:"score"`
	WouldScore int64 `json:"wouldScore"`
	// Now says that budgets and owner let it go at once.
	Now bool `json:"now"`
}

// HomeKept is a pod that stays.
type HomeKept struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Node      string `json:"node"`
	Locality  string `json:"locality"`
	// Reason is one word, Because says it in words.
	Reason  string `json:"reason"`
	Because string `json:"because"`
	// ReplicaNodes says of each node that holds what the pod lacks what stands in the way
	// there; of pods that would land no nearer.
	ReplicaNodes []string `json:"replicaNodes,omitempty"`
}

// HomeUnderWay is an eviction that has not ended.
type HomeUnderWay struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	From      string    `json:"from"`
	To        string    `json:"to"`
	Since     time.Time `json:"since"`
}

// NewHome makes the document, of the pods of one namespace or of all.
func NewHome(d *Decision, namespace string, unknown []string) *Home {
	h := &Home{
		APIVersion: APIVersion, Kind: "HomeReport", Installed: d.Installed, DryRun: d.Configuration.DryRun, Held: string(d.Plan.Held), HeldBecause: because(d.Plan.Held, d.Plan.Detail),
		Moves: []HomeMove{}, Kept: []HomeKept{}, UnderWay: []HomeUnderWay{}, Unknown: unknown,
	}
	meant := func(of string) bool { return namespace == "" || of == namespace }
	for i := range d.Plan.Moves {
		m := &d.Plan.Moves[i]
		if !meant(m.Pod.Namespace) {
			continue
		}
		move := HomeMove{
			Namespace: m.Pod.Namespace, Name: m.Pod.Name, From: m.Pod.Node, To: m.Node, OrOn: m.Equals, Locality: m.Pod.Locality.String(), WouldBe: m.Locality.String(),
			Score: m.Before, WouldScore: m.After, Now: m.Now && h.Held == "",
		}
		if owner := d.Owners[m.Pod.Owner]; owner != nil {
			kind, _, _ := strings.Cut(owner.Kind, ".")
			move.Owner = kind + "/" + owner.Name
		}
		h.Moves = append(h.Moves, move)
	}
	for i := range d.Plan.Kept {
		if k := &d.Plan.Kept[i]; meant(k.Pod.Namespace) {
			h.Kept = append(h.Kept, HomeKept{
				Namespace: k.Pod.Namespace, Name: k.Pod.Name, Node: k.Pod.Node, Locality: k.Pod.Locality.String(), Reason: string(k.Reason), Because: because(k.Reason, k.Detail),
			})
		}
	}
	for i := range d.Journal.Evictions {
		if e := &d.Journal.Evictions[i]; meant(e.Namespace) {
			h.UnderWay = append(h.UnderWay, HomeUnderWay{Namespace: e.Namespace, Name: e.Name, From: e.From, To: e.To, Since: e.At})
		}
	}
	return h
}

// Explain says of the pods that would land no nearer what their replica nodes lack, as far
// as pods are explained at all.
func (h *Home) Explain(ctx context.Context, w *World) error {
	cluster, err := w.Engine.Cluster()
	if err != nil {
		return err
	}
	explained := 0
	for i := range h.Kept {
		k := &h.Kept[i]
		if reason := rebalance.StayReason(k.Reason); reason != rebalance.NotNearer && reason != rebalance.NoRoom {
			continue
		}
		pod, err := w.Engine.Informers().Core().V1().Pods().Lister().Pods(k.Namespace).Get(k.Name)
		if err != nil {
			continue // it has gone meanwhile
		}
		if k.ReplicaNodes, err = whyElsewhere(ctx, w, cluster, pod); err != nil {
			return err
		}
		if explained++; explained == explainedPods {
			break
		}
	}
	return nil
}

// because is a reason in words.
func because(reason rebalance.StayReason, detail string) string {
	return strings.TrimSuffix(reason.Sentence()+": "+detail, ": ")
}
