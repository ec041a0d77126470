package openstorage

import (
	"context"
	"hash/maphash"
	"sync"
	"time"
)

const (
	// initialListIdle is how long a watch must be silent to have sent its initial list.
	initialListIdle = 2 * time.Second
	// An initial list takes no longer than maxInitialListIdle times initialListIdle, and
	// initialListPerVolume for each volume more.
	maxInitialListIdle   = 10
	initialListPerVolume = time.Millisecond
)

// initialList finds out when a watch has sent all that was there before. The stream does
// not say so; but it falls silent, or sends a volume for the second time. Where it
// does neither, the time is limited. To take it for over too early costs a few
// inspects of volumes that would have come with it.
type initialList struct {
	seed maphash.Seed
	// repeated is closed when a volume comes for the second time.
	repeated chan struct{}

	mu       sync.Mutex
	messages int
	seen     map[uint64]struct{} // hashes of the ids so far; nil when the list is over
}

func newInitialList() *initialList {
	return &initialList{seen: map[uint64]struct{}{}, seed: maphash.MakeSeed(), repeated: make(chan struct{})}
}

// note takes the id of the volume of one message.
func (l *initialList) note(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages++
	if l.seen == nil || id == "" {
		return
	}
	hash := maphash.String(l.seed, id)
	if _, again := l.seen[hash]; again {
		close(l.repeated)
		l.seen = nil
		return
	}
	l.seen[hash] = struct{}{}
}

// count returns how many messages there were.
func (l *initialList) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.messages
}

// end forgets what has been sent.
func (l *initialList) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = nil
}

// wait returns when the list is over. It returns false if ctx ends before.
func (l *initialList) wait(ctx context.Context, idle time.Duration, volumes int) bool {
	limit := time.NewTimer(maxInitialListIdle*idle + time.Duration(volumes)*initialListPerVolume)
	defer limit.Stop()
	tick := time.NewTicker(idle)
	defer tick.Stop()
	for before := 0; ; {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
			if now := l.count(); now != before {
				before = now
				continue
			}
		case <-l.repeated:
		case <-limit.C:
		}
		l.end()
		return true
	}
}
