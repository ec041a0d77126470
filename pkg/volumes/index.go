package volumes

import (
	"context"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"
)

// Options configure an Index.
type Options struct {
	// Drivers are the names under which volumes are the driver's: CSI driver
	// names, and [claims.InTreeDriver].
	Drivers []string
	// TopologyKeys are the node labels of regions, zones and racks.
	TopologyKeys LabelKeys
	// MaxStaleness is how long data is used after storage was last reached, the
	// states of nodes after storage last listed them, or a volume after it became
	// dirty. Zero means 10 minutes.
	MaxStaleness time.Duration
	// Clock is the real clock if nil.
	Clock clock.WithTicker
}

// DefaultMaxStaleness is the value of Options.MaxStaleness if that is zero.
const DefaultMaxStaleness = 10 * time.Minute

// Index knows the volumes and nodes. One of them serves all profiles of a
// process. All methods may be called from any goroutine.
type Index struct {
	drivers      sets.Set[string]
	topologyKeys LabelKeys
	maxStaleness int64
	clock        clock.WithTicker
	start        time.Time

	view     atomic.Pointer[View]
	volumes  *volumeTable
	nodes    *nodeTable
	ids      *nodeIDs
	changes  *changes
	revision atomic.Uint64
	contact  atomic.Int64 // index time of the last answer from storage; 0 if none
	listed   atomic.Int64 // index time of the last node list that names a node; 0 if none
	signals  chan struct{}

	refused refused
	// readmitAt is the index time before which refused handles are not told again. It
	// belongs to step.
	readmitAt int64

	// registrations is written by AddEventHandlers, and once more when Run ends.
	registrations atomic.Pointer[[]registration]
	// syncedAt is one more than the generation of the node table that has the
	// informers' initial lists in it; 0 until they are in.
	syncedAt atomic.Uint64
}

// NewIndex returns an empty index. It answers at once, but learns nothing about
// nodes and tells subscribers nothing before Run.
func NewIndex(opts Options) *Index {
	ix := &Index{
		drivers:      sets.New(opts.Drivers...),
		topologyKeys: opts.TopologyKeys,
		maxStaleness: int64(opts.MaxStaleness),
		clock:        opts.Clock,
		volumes:      newVolumeTable(),
		nodes:        newNodeTable(),
		ids:          newNodeIDs(),
		changes:      newChanges(),
		signals:      make(chan struct{}, 1),
	}
	if ix.maxStaleness <= 0 {
		ix.maxStaleness = int64(DefaultMaxStaleness)
	}
	if ix.clock == nil {
		ix.clock = clock.RealClock{}
	}
	ix.start = ix.clock.Now()
	ix.view.Store(&View{ids: ix.ids})
	return ix
}

// View returns the present picture of the nodes.
func (ix *Index) View() *View { return ix.view.Load() }

// Lookup answers what is known about a volume. The handle is the volume's id or
// name, as the PV has it.
func (ix *Index) Lookup(handle string) Entry {
	k := keyOf(handle)
	shard := ix.volumes.shard(k)
	shard.RLock()
	r := shard.get(k)
	if r == nil {
		shard.RUnlock()
		return Entry{}
	}
	copied := *r
	shard.RUnlock()
	return ix.entryOf(&copied)
}

func (ix *Index) entryOf(r *record) Entry {
	return Entry{
		Volume:    r.volume,
		Freshness: r.freshness(ix.view.Load()),
		FirstSeen: ix.timeOf(r.firstSeen),
		Verified:  ix.timeOf(r.verified),
		Claimed:   r.pvs > 0,
		Dirty:     r.dirtySince != 0,
	}
}

// Subscribe calls f with every change from now on, in order, from the goroutine of
// Run and with no lock held. It puts together the changes that come while f is busy.
func (ix *Index) Subscribe(f func(Change)) (unsubscribe func()) {
	return ix.changes.subscribe(f)
}

// HasSynced reports whether the informers' initial lists are in the view. It
// does not depend on storage.
func (ix *Index) HasSynced() bool {
	synced := ix.syncedAt.Load()
	if synced == 0 {
		registrations := ix.registrations.Load()
		if registrations == nil {
			return false
		}
		for _, registration := range *registrations {
			if !registration.HasSynced() {
				return false
			}
		}
		ix.nodes.mu.Lock()
		synced = ix.nodes.generation + 1
		ix.nodes.mu.Unlock()
		if !ix.syncedAt.CompareAndSwap(0, synced) {
			synced = ix.syncedAt.Load()
		}
	}
	return ix.view.Load().table+1 >= synced
}

// now is the index time: nanoseconds since the index was made, never zero.
func (ix *Index) now() int64 { return int64(ix.clock.Since(ix.start)) + 1 }

// timeOf is the time of an index time, zero for zero.
func (ix *Index) timeOf(at int64) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return ix.start.Add(time.Duration(at - 1))
}

// dateOf is the time of an index time as the wall clock has it now. That of timeOf
// is off by as much as the clock has been set since the start, which does not
// matter where it is compared, but does where it is shown.
func (ix *Index) dateOf(at int64) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return ix.clock.Now().Add(time.Duration(at - ix.now()))
}

// signal makes Run take another step.
func (ix *Index) signal() {
	select {
	case ix.signals <- struct{}{}:
	default:
	}
}

// Run builds the views and tells the subscribers, until ctx ends. Then it takes
// the event handlers off the informers.
func (ix *Index) Run(ctx context.Context) {
	defer ix.removeEventHandlers()
	for {
		next := ix.step()
		var due <-chan time.Time
		var timer clock.Timer
		if next > 0 {
			timer = ix.clock.NewTimer(time.Duration(max(next-ix.now(), 1)))
			due = timer.C()
		}
		select {
		case <-ctx.Done():
		case <-ix.signals:
		case <-due:
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return
		}
	}
}
