package openstorage

import (
	"math/rand/v2"
	"time"
)

// provenAfter is how many times WatchBackoff a watch must last to count as good.
// One that ends sooner, time after time, is cut by something between us and
// storage, and each costs a list of all volumes.
const provenAfter = 4

// watchEnd is how an attempt to watch came out.
type watchEnd struct {
	kind kind
	// opened says that the initial list came through.
	opened bool
	lasted time.Duration // from the attempt to the end
	// reopen says that we ended it, or that a token is good that was not.
	reopen bool
	// outage says that storage as a whole is not reachable, or not asked.
	outage bool
}

// watchHistory remembers how the watch fared, and decides when to try again.
type watchHistory struct {
	backoff  time.Duration // Config.WatchBackoff
	resync   time.Duration // Config.ResyncInterval
	failures int           // in a row
}

// note takes the end of a watch. It returns the time from the attempt to the next
// one, and whether it is persistent, and to be told.
func (h *watchHistory) note(end watchEnd) (pause time.Duration, persistent bool) {
	switch {
	case end.reopen:
		h.failures = 0
		return max(h.backoff, end.lasted), false
	case end.opened && end.lasted >= provenAfter*h.backoff:
		// A server that restarts is not back at once.
		h.failures = 0
		return end.lasted + jitter(h.backoff/10), false
	case end.outage && !end.opened:
		// The watch can do nothing about it, and the outage is a condition already.
		return jitter(h.backoff), false
	}
	h.failures++
	pause = h.backoff << min(h.failures-1, 3)
	if end.kind == unsupported {
		pause = max(pause, h.resync)
	}
	// One failure is none, unless it will last.
	return jitter(pause), end.kind == unsupported || end.kind == refused || h.failures > 1
}

// jitter returns up to a fifth more, so that several schedulers do not come at the
// same moment.
func jitter(pause time.Duration) time.Duration { return pause + rand.N(pause/5+1) }
