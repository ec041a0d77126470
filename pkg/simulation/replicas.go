package simulation

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// Replicas is how an engine learns where the replicas are.
type Replicas interface {
	// NewSource is hyperconverge.NewSource.
	NewSource(settings config.OpenStorage, index *volumes.Index) (hyperconverge.ReplicaSource, error)
	// Wait returns when the index has learned what there is to learn, or with an error
	// when ctx ends.
	Wait(ctx context.Context) error
}

// poll is how often a condition is looked at that comes within milliseconds.
const poll = 2 * time.Millisecond

// Restored is what another index knew. Without a snapshot nothing is known.
type Restored struct {
	Snapshot *volumes.Snapshot

	index *volumes.Index
}

// Index is what the engine's index has made of it; nil before the engine is made.
func (r *Restored) Index() *volumes.Index { return r.index }

// NewSource implements Replicas.
func (r *Restored) NewSource(_ config.OpenStorage, index *volumes.Index) (hyperconverge.ReplicaSource, error) {
	r.index = index
	if r.Snapshot == nil {
		return silence{}, nil
	}
	return silence{}, index.Restore(r.Snapshot)
}

// silence is a source that has said all.
type silence struct{}

// Run implements hyperconverge.ReplicaSource.
func (silence) Run(ctx context.Context) { <-ctx.Done() }

// Wait implements Replicas.
func (r *Restored) Wait(ctx context.Context) error {
	if r.Snapshot == nil || r.Snapshot.LastContact.IsZero() {
		return nil
	}
	return wait.PollUntilContextCancel(ctx, poll, true, func(context.Context) (bool, error) { return r.index.View().Reached(), nil })
}

// TakeOffline has storage be Offline on a Kubernetes node from now on, and returns when
// that is visible.
func (r *Restored) TakeOffline(ctx context.Context, node string) error {
	if r.Snapshot == nil {
		return fmt.Errorf("nothing is known of the storage on node %s", node)
	}
	changed := *r.Snapshot
	changed.StorageNodes = nil
	found := false
	for _, n := range r.Snapshot.StorageNodes {
		if n.Node == node {
			n.State, found = placement.Offline.String(), true
		}
		changed.StorageNodes = append(changed.StorageNodes, n)
	}
	if !found {
		return fmt.Errorf("node %s is no storage node", node)
	}
	switch state := r.index.View().Node(node); {
	case state == nil:
		return fmt.Errorf("there is no node %s", node)
	case !state.State.Serves():
		return fmt.Errorf("storage on node %s serves nobody as it is, its state is %s", node, state.State)
	}
	changed.LastNodeList = changed.Time // states of an old list would not be believed
	if err := r.index.Restore(&changed); err != nil {
		return err
	}
	r.Snapshot = &changed
	ctx, cancel := context.WithTimeout(ctx, visible)
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, poll, true, func(context.Context) (bool, error) {
		n := r.index.View().Node(node)
		return n == nil || !n.State.Serves(), nil
	})
	if err != nil {
		return fmt.Errorf("taking storage offline on node %s: %w", node, err)
	}
	return nil
}

// visible is how long a change of the index may take to be seen, on a busy machine.
const visible = 10 * time.Second

// Asked is the storage system itself, asked by a client of the engine's own.
type Asked struct {
	// Settings replace those of the scheduler's configuration.
	Settings config.OpenStorage
	// Patience bounds the wait for answers; the index goes on learning after it.
	Patience time.Duration

	index *volumes.Index
}

// Index is what the engine's index learns; nil before the engine is made.
func (a *Asked) Index() *volumes.Index { return a.index }

// NewSource implements Replicas.
func (a *Asked) NewSource(_ config.OpenStorage, index *volumes.Index) (hyperconverge.ReplicaSource, error) {
	a.index = index
	return hyperconverge.NewOpenStorageSource(a.Settings, index)
}

// Wait implements Replicas. It returns nil when its patience is over, too: what is not
// known then is said to be unknown.
func (a *Asked) Wait(ctx context.Context) error {
	patient, cancel := context.WithTimeout(ctx, a.Patience)
	defer cancel()
	_ = wait.PollUntilContextCancel(patient, 10*poll, true, func(context.Context) (bool, error) {
		summary := volumes.Summarize(a.index, 0)
		return a.index.View().Reached() && !summary.LastNodeList.IsZero() && summary.Volumes[volumes.Unknown] == 0, nil
	})
	return ctx.Err()
}

// Snapshot is what the storage system has answered by now.
func (a *Asked) Snapshot() *volumes.Snapshot { return volumes.SnapshotOf(a.index) }
