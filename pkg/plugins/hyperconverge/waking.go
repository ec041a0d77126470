package hyperconverge

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

const (
	// firstNudge is the time after which a pod that was woken and has not come
	// through PreFilter since is woken again. A pod that is in a scheduling cycle
	// when it is activated is not moved: the queue takes a note, and lets the pod
	// sit out its backoff afterwards. The next nudge ends that.
	firstNudge = 100 * time.Millisecond
	// lastNudge ends the doubling of that time. A pod that has not come through
	// PreFilter by then is turned down by another plugin before it gets here, and
	// what helps it is for that plugin to know.
	lastNudge = 5 * time.Second
)

// run wakes pods until the context ends.
func (w *waitingPods) run(ctx context.Context) {
	logger := klog.FromContext(ctx)
	for {
		w.answerQuestions()
		var due <-chan time.Time
		if next := w.wakeDue(logger); !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case <-w.signal:
		case <-due:
		}
	}
}

// answerQuestions judges anew the pods that have been asked about, and all pods
// that the changes of the index since the last call may concern. It judges them
// without the lock: PreFilter must not wait.
func (w *waitingPods) answerQuestions() {
	w.mu.Lock()
	questions, change := w.questions, w.change
	w.questions, w.change = nil, indexChange{}
	if !change.empty() {
		for _, p := range w.pods {
			if p.decision == nil {
				p.missed.add(&change)
			} else if change.concerns(p.decision) {
				questions = append(questions, question{pod: p.pod, decision: p.decision, nodes: change.nodes})
			}
		}
	}
	w.mu.Unlock()

	for _, q := range questions {
		switch now := w.decider.again(q.pod); {
		case q.answer(now):
			w.wake(q, time.Now())
		case !now.HeldUntil.IsZero() && !q.decision.HeldUntil.IsZero():
			w.wake(q, now.HeldUntil)
		}
	}
}

// answer compares with the decision of now, and is yes if the pod is to be tried
// again.
func (q *question) answer(now *decision) bool {
	if now.betterThan(q.decision) {
		return true
	}
	if was := q.decision.Rejection; was != nil && now.Rejection != nil && was.Reason != now.Rejection.Reason {
		return true // for the sake of its condition: a pod held for one reason must not claim another
	}
	if now.Rejection == nil {
		for node, isNew := range q.nodes {
			// Whatever the decision said of a node that is new: the scheduler did not
			// have it, or has had to do without it since.
			if now.opens(q.decision, node) || isNew && now.verdict(node) == placement.Feasible {
				return true
			}
		}
	}
	return false
}

// wake makes a pod due at a time, unless it has been through PreFilter since it
// was asked about, or has been woken already.
func (w *waitingPods) wake(q question, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, found := w.pods[q.pod.UID]
	if !found || p.decision != q.decision || p.woken {
		return
	}
	p.wakeAt, p.nudge = at, firstNudge
}

// wakeDue activates the pods that are due and returns when the next one is, zero
// if none.
func (w *waitingPods) wakeDue(logger klog.Logger) (next time.Time) {
	now := time.Now()
	due, woken := map[string]*v1.Pod(nil), 0
	w.mu.Lock()
	for _, p := range w.pods {
		if p.wakeAt.IsZero() {
			continue
		}
		if !p.wakeAt.After(now) {
			if due == nil {
				due = make(map[string]*v1.Pod)
			}
			due[p.pod.Namespace+"/"+p.pod.Name] = p.pod
			if !p.woken {
				p.woken = true
				woken++
			}
			p.wakeAt, p.nudge = now.Add(p.nudge), 2*p.nudge
			if p.nudge > lastNudge {
				p.wakeAt, p.woken = time.Time{}, false
				continue
			}
		}
		if next.IsZero() || p.wakeAt.Before(next) {
			next = p.wakeAt
		}
	}
	w.mu.Unlock()
	if len(due) > 0 {
		logger.V(4).Info("Waking pods that storage has held", "pods", len(due), "firstTime", woken)
		metrics.WokenPods.Add(float64(woken))
		w.activate(logger, due)
	}
	return next
}

// helps reports whether a change of the node, or a new node, helps a pod; it
// answers true for a pod that it does not know. If the index has not heard of the
// change yet, the answer is no, and the index brings the change later. The other
// way round, a decision may have been made with a new node that the scheduler did
// not have yet.
func (w *waitingPods) helps(pod *v1.Pod, node string, isNew bool) bool {
	w.mu.Lock()
	p, found := w.pods[pod.UID]
	var old *decision
	if found {
		old = p.decision
	}
	w.mu.Unlock()
	if old == nil {
		return true
	}
	if !isNew && w.decider.index.View().Node(node) == old.view.Node(node) {
		return false // views share the nodes that have not changed
	}
	q := question{pod: pod, decision: old, nodes: changedNodes{node: isNew}}
	return q.answer(w.decider.again(pod))
}
