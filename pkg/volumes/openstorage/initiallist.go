package openstorage

import (
	"context"
	"hash/maphash"
	"sync/atomic"
	"time"
)

const (
	// initialListIdle is how long a watch must be silent to have sent its initial list.
	initialListIdle = 2 * time.Second
	// An initial list takes no longer than maxInitialListIdle times initialListIdle, and initialListPerVolume for
	// each volume more.
	maxInitialListIdle   = 10
	initialListPerVolume = time.Millisecond
)

// initialList finds out when a watch has sent all that was there before. The stream does
// not say so; but it falls silent, or sends a volume for the second time. Where it
// does neither, the time is limited. To take it for over too early costs a few
// inspects of volumes that would have come with it.
type initialList struct {
	messages atomic.Int64
	// seen has the hashes of the ids so far; nil when the list is over. It belongs
	// to the goroutine that calls note.
	seen map[uint64]struct{}
	seed maphash.Seed
	// repeated is closed when a volume comes for the second time.
	repeated chan struct{}
	over     atomic.Bool
}

func newInitialList() *initialList {
	return &initialList{seen: map[uint64]struct{}{}, seed: maphash.MakeSeed(), repeated: make(chan struct{})}
}

// note takes the id of the volume of one message.
func (l *initialList) note(id string) {
	l.messages.Add(1)
	if l.seen == nil || id == "" {
		return
	}
	hash := maphash.String(l.seed, id)
	_, again := l.seen[hash]
	switch {
	case again:
		close(l.repeated)
		l.seen = nil
	case l.over.Load():
		l.seen = nil
	default:
		l.seen[hash] = struct{}{}
	}
}

// wait returns when the list is over. It returns false if ctx ends before.
func (l *initialList) wait(ctx context.Context, idle time.Duration, volumes int) bool {
	limit := time.NewTimer(maxInitialListIdle*idle + time.Duration(volumes)*initialListPerVolume)
	defer limit.Stop()
	tick := time.NewTicker(idle)
	defer tick.Stop()
	for before := int64(0); ; {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
			if now := l.messages.Load(); now != before {
				before = now
				continue
			}
		case <-l.repeated:
		case <-limit.C:
		}
		l.over.Store(true)
		return true
	}
}
