// Package hyperconverge is the scheduler-framework plugin that brings pods to
// the nodes that hold the replicas of their volumes. It is glue: what a pod may
// and should get is decided in package placement, what is known of volumes and
// nodes comes from package volumes. Each extension point has a file.
package hyperconverge

import (
	"errors"
	"io"

	fwk "k8s.io/kube-scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// Name is the plugin's name in a KubeSchedulerConfiguration.
const Name = "Hyperconverge"

// Hyperconverge is the plugin of one profile. All profiles of a process share
// one volume index.
type Hyperconverge struct {
	handle  fwk.Handle
	decider *decider
	waiting *waitingPods
	avoid   *avoidance
	notices *notices
	// localFirst offers the replica nodes to the prefer-first pass.
	localFirst bool
	// limits are those of S11 for pods that have none of their own, and skew how many pods
	// of a shared volume a node may have more than another (section 6).
	limits placement.Allocation
	skew   int
	close  func() error
}

var (
	_ fwk.PreFilterPlugin   = &Hyperconverge{}
	_ fwk.FilterPlugin      = &Hyperconverge{}
	_ fwk.PostFilterPlugin  = &Hyperconverge{}
	_ fwk.PreScorePlugin    = &Hyperconverge{}
	_ fwk.ScorePlugin       = &Hyperconverge{}
	_ fwk.ReservePlugin     = &Hyperconverge{}
	_ fwk.PostBindPlugin    = &Hyperconverge{}
	_ fwk.EnqueueExtensions = &Hyperconverge{}
	_ fwk.SignPlugin        = &Hyperconverge{}
	_ io.Closer             = &Hyperconverge{}
)

// offersFirst reports whether the pod's best nodes are to be tried first: as the pod
// says, or else as its profile does.
func (pl *Hyperconverge) offersFirst(pod *placement.Pod) bool {
	if pod.Preference != "" {
		return pod.Preference == placement.LocalFirst
	}
	return pl.localFirst
}

// Name returns the plugin's name.
func (pl *Hyperconverge) Name() string { return Name }

// Close ends what the plugin has started, and waits for it.
func (pl *Hyperconverge) Close() error { return pl.close() }

// skip is the answer to pods that an extension point has nothing to say about.
// The framework reads it and no more.
var skip = fwk.NewStatus(fwk.Skip)

var errNoDecision = errors.New("PreFilter of " + Name + " has left no decision for this pod")

func decisionOf(state fwk.CycleState) (*decision, error) {
	data, err := state.Read(stateKey)
	if err != nil {
		return nil, errNoDecision
	}
	d, ok := data.(*decision)
	if !ok {
		return nil, errNoDecision
	}
	return d, nil
}
