package openstorage

import (
	"maps"
	"slices"
	"sync"

	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/metrics"
)

// Reasons of problems, as they stand in events and metrics.
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

// Problem is something that is wrong with the storage API as a whole.
type Problem struct {
	Reason string
	// Message says what is wrong and what to do about it.
	Message string
}

// problems remembers what is wrong at the moment, and tells of every change once,
// in the log and in a metric.
type problems struct {
	mu     sync.Mutex
	logger klog.Logger
	active map[string]Problem // reason -> problem
}

func newProblems() *problems {
	return &problems{logger: klog.Background(), active: map[string]Problem{}}
}

// start has problems logged there from now on.
func (p *problems) start(logger klog.Logger) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.logger = logger
}

// set notes a problem. A problem that goes on is not told again.
func (p *problems) set(reason, message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known := p.active[reason]
	p.active[reason] = Problem{Reason: reason, Message: message}
	if known {
		return
	}
	p.logger.Error(nil, "Storage API has a problem", "reason", reason, "detail", message)
	metrics.StorageProblems.WithLabelValues(reason).Set(1)
}

// clear ends a problem. It reports whether there was one.
func (p *problems) clear(reason string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known := p.active[reason]
	if !known {
		return false
	}
	delete(p.active, reason)
	p.logger.Info("Storage API has a problem no more", "reason", reason)
	metrics.StorageProblems.WithLabelValues(reason).Set(0)
	return true
}

// has reports whether a problem lasts.
func (p *problems) has(reason string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known := p.active[reason]
	return known
}

// list returns the problems of the moment, sorted by reason.
func (p *problems) list() []Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Problem
	for _, reason := range slices.Sorted(maps.Keys(p.active)) {
		list = append(list, p.active[reason])
	}
	return list
}
