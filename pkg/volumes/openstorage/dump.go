package openstorage

import (
	"context"
	"hash/maphash"
	"sync/atomic"
	"time"
)

const (
	// dumpIdle is how long a watch that is silent has no more of its dump to send.
	dumpIdle = 2 * time.Second
	// A dump takes no longer than maxDumpIdle times dumpIdle, and dumpPerVolume for
	// each volume more.
	maxDumpIdle   = 10
	dumpPerVolume = time.Millisecond
)

// dump finds out when a watch has sent all that was there before. The stream does
// not say so; but it falls silent, or sends a volume for the second time. Where it
// does neither, the time is limited. To take a dump for over too early costs a few
// inspects of volumes that would have come with it.
type dump struct {
	messages atomic.Int64
	// seen has the hashes of the ids so far; nil when the dump is over. It belongs
	// to the goroutine that calls note.
	seen map[uint64]struct{}
	seed maphash.Seed
	// repeated is closed when a volume comes for the second time.
	repeated chan struct{}
	over     atomic.Bool
}

func newDump() *dump {
	return &dump{seen: map[uint64]struct{}{}, seed: maphash.MakeSeed(), repeated: make(chan struct{})}
}

// note takes the id of the volume of one message.
func (d *dump) note(id string) {
	d.messages.Add(1)
	if d.seen == nil || id == "" {
		return
	}
	hash := maphash.String(d.seed, id)
	_, again := d.seen[hash]
	switch {
	case again:
		close(d.repeated)
		d.seen = nil
	case d.over.Load():
		d.seen = nil
	default:
		d.seen[hash] = struct{}{}
	}
}

// wait returns when the dump is over. It returns false if ctx ends before.
func (d *dump) wait(ctx context.Context, idle time.Duration, volumes int) bool {
	limit := time.NewTimer(maxDumpIdle*idle + time.Duration(volumes)*dumpPerVolume)
	defer limit.Stop()
	tick := time.NewTicker(idle)
	defer tick.Stop()
	for before := int64(0); ; {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
			if now := d.messages.Load(); now != before {
				before = now
				continue
			}
		case <-d.repeated:
		case <-limit.C:
		}
		d.over.Store(true)
		return true
	}
}
