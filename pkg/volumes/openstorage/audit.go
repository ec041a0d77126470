package openstorage

import (
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"

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
	// Missing, Refused and Failed count the volumes that storage does not have, does
	// not show with this token, or failed to describe.
	Missing, Refused, Failed int
	// Lacking are some handles of these.
	Lacking []string
}

const auditExamples = 10

// begin starts a new pass.
func (a *audit) begin(volumes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last, a.current = a.current, auditPass{Begun: time.Now(), Volumes: volumes}
}

// note takes the result of one inspected volume. While there is no watch, changes
// are expected to be found by the resync and are no divergence.
func (a *audit) note(handle string, p priority, result volumes.Result, watching bool) {
	if p != routine || !watching || result != volumes.Confirmed && result != volumes.Diverged {
		return
	}
	metrics.AuditedVolumes.Inc()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.current.Audited++
	if result == volumes.Confirmed {
		return
	}
	metrics.DivergentVolumes.Inc()
	a.current.Diverged++
	if len(a.current.Examples) < auditExamples {
		a.current.Examples = append(a.current.Examples, handle)
	}
}

// lacks counts an inspect that failed or found nothing. Only the resync's own are counted,
// so that every volume counts once.
func (a *audit) lacks(handle string, p priority, k kind) {
	if p != routine {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch k {
	case absent:
		a.current.Missing++
	case refused:
		a.current.Refused++
	default:
		a.current.Failed++
	}
	if len(a.current.Lacking) < auditExamples {
		a.current.Lacking = append(a.current.Lacking, handle)
	}
}

func (a *audit) passes() (current, last auditPass) {
	a.mu.Lock()
	defer a.mu.Unlock()
	current = a.current
	current.Examples = slices.Clone(current.Examples)
	current.Lacking = slices.Clone(current.Lacking)
	return current, a.last
}

// log writes the result of a pass.
func (p *auditPass) log(logger klog.Logger, message string) {
	logger.Info(message, "begun", age(p.Begun), "volumes", p.Volumes,
		"audited", p.Audited, "diverged", p.Diverged, "examples", p.Examples,
		"missing", p.Missing, "refused", p.Refused, "failed", p.Failed, "lacking", p.Lacking)
}

// age is how long ago something was, to the tenth of a second.
func age(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return time.Since(t).Round(100*time.Millisecond).String() + " ago"
}
