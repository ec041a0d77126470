package openstorage

import (
	"sync"
	"time"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// audit compares the index with storage. It costs no calls of its own: every
// volume that the resync inspects without cause is a sample, and over one
// interval the sample is everything. What was wrong has been repaired when it is
// counted.
type audit struct {
	mu            sync.Mutex
	current, last auditPass
}

// auditPass is the result of one resync.
type auditPass struct {
	Begun time.Time
	// Volumes is how many there were to inspect, Audited how many were compared so
	// far, Diverged how many of these the index had wrong.
	Volumes, Audited, Diverged int
	// Examples are some handles of the latter.
	Examples []string
}

const auditExamples = 10

// begin starts a new pass.
func (a *audit) begin(volumes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last, a.current = a.current, auditPass{Begun: time.Now(), Volumes: volumes}
}

// note takes the verdict on one inspected volume. While there is no watch, changes
// are expected to be found by the resync and are no divergence.
func (a *audit) note(handle string, l level, verdict volumes.Verdict, watching bool) {
	if l != routine || !watching || verdict != volumes.Confirmed && verdict != volumes.Diverged {
		return
	}
	metrics.AuditedVolumes.Inc()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.current.Audited++
	if verdict == volumes.Confirmed {
		return
	}
	metrics.DivergentVolumes.Inc()
	a.current.Diverged++
	if len(a.current.Examples) < auditExamples {
		a.current.Examples = append(a.current.Examples, handle)
	}
}

func (a *audit) passes() (current, last auditPass) {
	a.mu.Lock()
	defer a.mu.Unlock()
	current = a.current
	current.Examples = append([]string(nil), current.Examples...)
	return current, a.last
}
