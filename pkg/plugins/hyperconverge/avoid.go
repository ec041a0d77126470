package hyperconverge

import (
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"
)

const (
	// firstAvoidance is how long a pod avoids a node on which it has failed once more
	// than is forgiven, after it had passed Filter (S9). The time doubles with each further failure there, up
	// to lastAvoidance. It is the longest back-off of a pod, so that the next attempt
	// goes elsewhere.
	firstAvoidance = 10 * time.Second
	lastAvoidance  = 5 * time.Minute
	// failuresForgiven is how many failures a node is forgiven: an API server that
	// refuses writes for a moment, and a gang that is not complete in time, fail pods on
	// all nodes, and must not drive them off their data.
	failuresForgiven = 2
	// podsRemembered bounds what is remembered. A pod that is forgotten is tried on
	// its node again.
	podsRemembered = 4096
)

// avoidance remembers the nodes on which pods have failed although all Filter
// plugins had passed: in Permit, PreBind or Bind. Such a node is feasible in every
// attempt and, where the data is, the best.
type avoidance struct {
	mu   sync.Mutex
	pods *lru.Cache // UID of a pod → []failure
}

// failure is what a pod has met on one node. A slice of them is not changed.
type failure struct {
	node  string
	count int
	until time.Time
}

func newAvoidance() *avoidance { return &avoidance{pods: lru.New(podsRemembered)} }

// note takes one more failure of a pod on a node.
func (a *avoidance) note(pod *v1.Pod, node string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	failures := slices.Clone(a.of(pod.UID))
	i := slices.IndexFunc(failures, func(f failure) bool { return f.node == node })
	if i < 0 {
		i = len(failures)
		failures = append(failures, failure{node: node})
	}
	f := &failures[i]
	f.count++
	if doublings := f.count - failuresForgiven - 1; doublings >= 0 {
		f.until = now.Add(min(firstAvoidance<<min(doublings, 16), lastAvoidance))
	}
	a.pods.Add(pod.UID, failures)
}

func (a *avoidance) of(uid types.UID) []failure {
	failures, _ := a.pods.Get(uid)
	list, _ := failures.([]failure)
	return list
}

// forget takes a pod out that is bound or gone.
func (a *avoidance) forget(uid types.UID) { a.pods.Remove(uid) }

// nodes returns the nodes that a pod avoids at the moment.
func (a *avoidance) nodes(uid types.UID, now time.Time) avoidedNodes {
	var nodes avoidedNodes
	for _, f := range a.of(uid) {
		if now.Before(f.until) {
			nodes = append(nodes, f.node)
		}
	}
	return nodes
}

// avoidedNodes are names of nodes; nil for nearly all pods.
type avoidedNodes []string

func (n avoidedNodes) has(node string) bool { return len(n) > 0 && slices.Contains(n, node) }
