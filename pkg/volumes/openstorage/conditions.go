package openstorage

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/metrics"
)

// Reasons of conditions, as they stand in logs and metrics.
const (
	// ReasonUnreachable: the storage API does not answer, or fails to.
	ReasonUnreachable = "StorageUnreachable"
	// ReasonTokenRefused: the token is missing, wrong, expired or too weak.
	ReasonTokenRefused = "StorageTokenRefused"
	// ReasonTokenUnreadable: the token file cannot be read.
	ReasonTokenUnreadable = "StorageTokenUnreadable"
	// ReasonTokenBlind: storage answers, but shows none of the volumes that
	// Kubernetes has.
	ReasonTokenBlind = "StorageShowsNothing"
	// ReasonForeignCluster: storage shows volumes, but none of ours.
	ReasonForeignCluster = "StorageShowsOtherVolumes"
	// ReasonShowsTooFew: storage shows some of ours, but many not.
	ReasonShowsTooFew = "StorageShowsTooFew"
	// ReasonNoNodes: storage answers with an empty node list.
	ReasonNoNodes = "StorageShowsNoNodes"
	// ReasonInvalidText: storage sends text that is not UTF-8.
	ReasonInvalidText = "StorageSendsInvalidText"
	// ReasonNoWatch: changes are found by polling only.
	ReasonNoWatch = "StorageWatchMissing"
)

// Condition is something that is wrong with the storage API as a whole.
type Condition struct {
	Reason string `json:"reason"`
	// Message says what is wrong, and what follows from that.
	Message string `json:"message"`
	// Advice says what to do about it, in a sentence or two.
	Advice string `json:"advice,omitempty"`
}

const (
	// RepeatAfter is how long a condition that lasts is not told again: a log that is cut
	// or rotated still tells of it.
	RepeatAfter = 10 * time.Minute
	// adviceAfter is that of a condition with another advice than was told last. Of two
	// that alternate, one is told in this time.
	adviceAfter = time.Minute
)

// conditions holds what is wrong at the moment, and reports every change once, in the
// log and in a metric.
type conditions struct {
	mu     sync.Mutex
	now    func() time.Time
	logger klog.Logger
	active map[string]Condition // reason -> condition
	logged map[string]logLine   // reason -> last log line
}

// logLine is what is remembered of one.
type logLine struct {
	at     time.Time
	advice string
}

func newConditions() *conditions {
	return &conditions{now: time.Now, logger: klog.Background(), active: map[string]Condition{}, logged: map[string]logLine{}}
}

// logTo has conditions logged there from now on.
func (c *conditions) logTo(logger klog.Logger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.logger = logger
}

// set notes a condition. One that goes on is logged once per RepeatAfter.
func (c *conditions) set(reason, message, advice string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.active[reason]
	c.active[reason] = Condition{Reason: reason, Message: message, Advice: advice}
	now, last := c.now(), c.logged[reason]
	if silent := now.Sub(last.at); known && silent < RepeatAfter && (advice == last.advice || silent < adviceAfter) {
		return
	}
	c.logged[reason] = logLine{now, advice}
	if known {
		c.logger.Error(nil, "Storage API condition lasts", "reason", reason, "detail", message, "advice", advice)
		return
	}
	c.logger.Error(nil, "Storage API condition raised", "reason", reason, "detail", message, "advice", advice)
	metrics.StorageProblems.WithLabelValues(reason).Set(1)
}

// clear ends a condition. It reports whether there was one.
func (c *conditions) clear(reason string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.active[reason]
	if !known {
		return false
	}
	delete(c.active, reason)
	c.logger.Info("Storage API condition cleared", "reason", reason)
	metrics.StorageProblems.WithLabelValues(reason).Set(0)
	return true
}

// has reports whether a condition lasts.
func (c *conditions) has(reason string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.active[reason]
	return known
}

// list returns the conditions of the moment, sorted by reason.
func (c *conditions) list() []Condition {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Condition
	for _, reason := range slices.Sorted(maps.Keys(c.active)) {
		list = append(list, c.active[reason])
	}
	return list
}
