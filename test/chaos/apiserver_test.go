package chaos

import (
	"bytes"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const placedAfter = "pods that came meanwhile are placed on their data afterwards"

func apiServerRows() []row {
	rows := []row{
		{name: "the API server refuses connections for three seconds", quick: true, do: meanwhile(3*time.Second, func(r *run) { r.proxy.listener.shut() })},
		{name: "every connection to the API server is cut", quick: true, do: meanwhile(time.Second, func(r *run) { r.proxy.listener.cut() })},
		{name: "every connection to the API server is cut, five times a second", do: meanwhile(3*time.Second, func(r *run) { r.keepCutting(r.proxy.listener, 200*time.Millisecond) })},
		{name: "every request takes 300 ms", do: meanwhile(2*time.Second, func(r *run) { r.proxy.fault(notWatch, delayed(300*time.Millisecond)) })},
		{name: "every write is answered with 500", do: meanwhile(2*time.Second, func(r *run) { r.proxy.fault(isWriteOfPods, answers(500, "InternalError")) })},
		{name: "every write is answered with 429", do: meanwhile(2*time.Second, func(r *run) { r.proxy.fault(isWriteOfPods, answers(429, "TooManyRequests")) })},
		{name: "every list is answered with what is no JSON after all watches were cut", do: meanwhile(2*time.Second, func(r *run) {
			r.proxy.fault(func(q *http.Request) bool { return q.Method == http.MethodGet && !isLease(q) }, notJSON)
			r.proxy.cutWatches()
		})},
		{name: "every write hangs up", do: meanwhile(2*time.Second, func(r *run) { r.proxy.fault(isWriteOfPods, broken) })},
		{name: "every list is answered with 503 after all watches were cut", do: meanwhile(2*time.Second, func(r *run) {
			r.proxy.fault(func(q *http.Request) bool { return q.Method == http.MethodGet && !isLease(q) }, answers(503, "ServiceUnavailable"))
			r.proxy.cutWatches()
		})},
		{name: "all watches are cut", quick: true, do: meanwhile(500*time.Millisecond, func(r *run) { r.measured("%d watches", r.proxy.cutWatches()) })},
		{name: "all watches are cut ten times", do: meanwhile(500*time.Millisecond, func(r *run) {
			for range 10 {
				r.proxy.cutWatches()
				time.Sleep(100 * time.Millisecond)
			}
		})},
		{name: "all watches are answered with 410 Gone", do: meanwhile(2*time.Second, func(r *run) {
			r.proxy.fault(isWatch, expired)
			r.proxy.cutWatches()
		})},
		{name: "watches open and stay silent", do: meanwhile(2*time.Second, func(r *run) {
			r.proxy.fault(isWatch, stalled)
			r.proxy.cutWatches()
			r.later(func() { r.proxy.cutWatches() })
		})},
		{name: "the answer to a binding is lost", quick: true, holds: "the pod is bound once, to its data", do: lostBinding},
		{name: "bindings are refused for two seconds", holds: placedAfter, do: meanwhile(2*time.Second, func(r *run) { r.proxy.fault(isBinding, answers(503, "ServiceUnavailable")) })},
		{name: "a binding is answered with 409 Conflict", do: meanwhile(2*time.Second, func(r *run) { r.proxy.fault(isBinding, answers(409, "Conflict")) })},
		{name: "a binding hangs", do: meanwhile(2*time.Second, func(r *run) { r.proxy.fault(isBinding, stalled); r.later(func() { r.proxy.listener.cut() }) })},
		{name: "bindings to one node are refused for ever", quick: true, holds: "a soft pod goes elsewhere within 30 s", within: longer, do: refusedNode},
		{name: "provisioning of a second claim fails on the replica node", holds: "the pod goes elsewhere within 45 s", within: longer, do: refusedProvisioning},
		{name: "events are refused", do: meanwhile(time.Second, func(r *run) { r.proxy.fault(isEvent, answers(403, "Forbidden")) })},
		{name: "the status of pods cannot be written", do: meanwhile(2*time.Second, func(r *run) { r.proxy.fault(isStatus, answers(500, "InternalError")) })},
		{name: "PersistentVolumes cannot be watched", do: meanwhile(2*time.Second, func(r *run) {
			r.proxy.fault(ofResource("persistentvolumes"), answers(500, "InternalError"))
			r.proxy.cutWatches()
		})},
		{name: "nodes cannot be watched", do: meanwhile(2*time.Second, func(r *run) {
			r.proxy.fault(ofResource("nodes"), answers(500, "InternalError"))
			r.proxy.cutWatches()
		})},
		{name: "the webhook's watches are cut and its lookups refused", quick: true, holds: "reviews are answered from memory, and claims of that time are known afterwards", do: webhookBlind},
		{name: "a claim's annotation is removed in the moment in which its pod is decided", quick: true,
			holds: "all of 30 pods are bound within 30 s", do: lostWakeUp},
		{name: "a node's storage comes back in the moment in which its pod is decided", holds: "all of 30 pods are bound within 30 s", do: lostNodeWakeUp},
	}
	for i := range rows {
		rows[i].group = "apiserver"
		if rows[i].holds == "" {
			rows[i].holds = placedAfter
		}
		if rows[i].within == 0 {
			rows[i].within = reflectorBackoff + soon
		}
	}
	return rows
}

// reflectorBackoff is how long an informer waits at most before it lists or watches
// again: 30 s, and up to as much again at random (NewReflector of client-go). It does so
// after failures that follow each other within two minutes, those of other rows included.
const reflectorBackoff = 60 * time.Second

// missedIfNot is longer than any back-off, and shorter than the five minutes after
// which the scheduler tries all pods again.
const missedIfNot = 30 * time.Second

func notWatch(q *http.Request) bool { return !isWatch(q) }

// isWriteOfPods leaves the lease alone: a scheduler that cannot renew it ends, which
// is another row.
func isWriteOfPods(q *http.Request) bool { return isWrite(q) && !isLease(q) }

// meanwhile makes pods while a fault lasts.
func meanwhile(lasts time.Duration, fault func(r *run)) func(r *run) {
	return func(r *run) {
		holders := r.twoNodes()
		r.volume("data", at(holders...))
		r.arrives(r.create(r.pod("before", "data")).on(holders...), soon)
		fault(r)
		r.volume("new", at(holders...))
		for i := range 3 {
			r.create(r.pod(fmt.Sprintf("soft-%d", i), "data")).on(holders...)
			r.create(strict(r.pod(fmt.Sprintf("strict-%d", i), "new"))).on(holders...)
		}
		time.Sleep(lasts)
	}
}

func lostBinding(r *run) {
	holders := r.twoNodes()
	r.volume("data", at(holders...))
	var lostOnes atomic.Int32
	r.proxy.fault(isBinding, func(w http.ResponseWriter, q *http.Request, forward http.Handler) {
		if lostOnes.Add(1) > 3 {
			forward.ServeHTTP(w, q)
			return
		}
		lost(w, q, forward)
	})
	for i := range 3 {
		r.arrives(r.create(strict(r.pod(fmt.Sprintf("strict-%d", i), "data"))).on(holders...), later)
	}
	r.measured("%d answers were lost", min(lostOnes.Load(), 3))
}

// refusedNode has a node pass every Filter and fail in the end.
func refusedNode(r *run) {
	holders := []string{node(1)}
	r.volume("data", at(holders...))
	var refused atomic.Int32
	r.proxy.fault(isBinding, func(w http.ResponseWriter, q *http.Request, forward http.Handler) {
		if !bytes.Contains(bodyOf(q), []byte(node(1))) {
			forward.ServeHTTP(w, q)
			return
		}
		refused.Add(1)
		answers(500, "InternalError")(w, q, forward)
	})
	begun := time.Now()
	elsewhere := r.storageNodes()[1:]
	r.arrives(r.create(r.pod("soft", "data")).on(elsewhere...), 30*time.Second)
	r.measured("bound elsewhere after %.1f s and %d refusals", time.Since(begun).Seconds(), refused.Load())
}

// refusedProvisioning plays a provisioner of another driver, which has no room on
// the node that holds the pod's data.
func refusedProvisioning(r *run) {
	r.volume("data", at(node(1)))
	class := r.class("elsewhere", "other.test", nil)
	r.waitingClaim("second", class)
	pod := r.create(r.pod("soft", "data", "second")).on(r.storageNodes()[1:]...)
	refusals := 0
	claims := r.client.CoreV1().PersistentVolumeClaims(r.namespace)
	r.eventually(45*time.Second, "the pod is bound elsewhere", func() error {
		if got, err := r.get(pod); err == nil && got.Spec.NodeName != "" {
			return nil
		}
		claim, err := claims.Get(r.ctx, "second", metav1.GetOptions{})
		if err != nil {
			return err
		}
		selected := claim.Annotations["volume.kubernetes.io/selected-node"]
		switch selected {
		case "":
		case node(1):
			refusals++
			r.annotateClaim("second", "volume.kubernetes.io/selected-node", "")
		default:
			if claim.Spec.VolumeName == "" {
				r.provide(claim, class)
			}
		}
		time.Sleep(50 * time.Millisecond)
		return fmt.Errorf("the claim is for node %q after %d refusals", selected, refusals)
	})
	r.measured("%d refusals", refusals)
}

// provide makes the volume that a claim waits for.
func (r *run) provide(claim *v1.PersistentVolumeClaim, class string) {
	_, err := r.client.CoreV1().PersistentVolumes().Create(r.ctx, &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: r.namespace + "-" + claim.Name, Labels: map[string]string{mark: r.namespace}},
		Spec: v1.PersistentVolumeSpec{
			Capacity: oneGiB, AccessModes: claim.Spec.AccessModes, StorageClassName: class,
			PersistentVolumeReclaimPolicy: v1.PersistentVolumeReclaimRetain,
			ClaimRef:                      &v1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: r.namespace, Name: claim.Name, UID: claim.UID},
			PersistentVolumeSource:        v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: "other.test", VolumeHandle: "x"}},
		},
	}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		r.must(err)
	}
}

func webhookBlind(r *run) {
	r.volume("known", at(node(1)))
	r.eventually(soon, "the webhook knows the claim", func() error { return r.review(r.pod("p", "known")).mutated() })
	r.hookProxy.fault(isAny, answers(503, "ServiceUnavailable"))
	r.hookProxy.cutWatches()
	r.volume("new", at(node(1)))
	for range 10 {
		r.must(r.review(r.pod("p", "known")).mutated())
	}
	if a := r.review(r.pod("p", "new")); !a.allowed {
		r.Fatalf("a pod was refused: %s", a.body)
	}
	r.heal()
	r.eventually(r.row.within, "the webhook knows the claim of meanwhile", func() error { return r.review(r.pod("p", "new")).mutated() })
}

// lostWakeUp removes what holds a pod back while it is being decided.
func lostWakeUp(r *run) {
	const pods = 30
	var claims []string
	for i := range pods {
		claim := fmt.Sprintf("c-%d", i)
		r.must(r.bind(claim, r.inStorage(claim, at(node(1))), vol{annotations: map[string]string{restoring: "true"}}))
		claims = append(claims, claim)
	}
	r.claimsBound(claims...)
	r.create(r.pod("first", "c-0")).on(node(1)) // the account of the namespace is there from now on
	for i := 1; i < pods; i++ {
		claim := fmt.Sprintf("c-%d", i)
		r.create(r.pod(claim, claim)).on(node(1))
		time.Sleep(time.Duration(r.random.IntN(8000)) * time.Microsecond)
		r.annotateClaim(claim, restoring, "")
	}
	r.annotateClaim("c-0", restoring, "")
	r.allBound(missedIfNot, pods)
}

func lostNodeWakeUp(r *run) {
	r.volume("data", at(node(1)))
	annotate := func(value string) {
		patch := []byte(`{"metadata":{"annotations":{"operator.libopenstorage.org/unschedulable":` + value + `}}}`)
		_, err := r.client.CoreV1().Nodes().Patch(r.background(), node(1), types.MergePatchType, patch, metav1.PatchOptions{})
		r.must(err)
	}
	r.later(func() { annotate("null") })
	for i := range 30 {
		annotate(`"true"`)
		r.create(strict(r.pod(fmt.Sprintf("strict-%d", i), "data"))).on(node(1))
		time.Sleep(time.Duration(r.random.IntN(15000)) * time.Microsecond)
		annotate("null")
	}
	r.allBound(missedIfNot, 30)
}
