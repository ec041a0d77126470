package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/internal/sandbox/fakenodes"
)

func loadRows() []row {
	rows := []row{
		{name: "pods wait for something else while storage changes", quick: true,
			holds: "no change that helps nobody has a pod tried again", do: idleChanges},
		{name: "an earlier plugin turns pods down that storage held back before", quick: true,
			holds: "a change of storage has each of them tried once at most", do: staleDecision},
		{name: "3000 pods wait while a volume is attached and detached 3000 times", holds: "that costs less than 0.6 s of processor time more than it does without them", within: longer, do: costOfChanges},
		{name: "each of 300 waiting pods has seen another state of 1000 nodes", holds: "a waiting pod takes less than 25 kB, its own object included", do: pinnedViews},
		{name: "storage that 1500 pods wait for comes back", holds: "a pod that has nothing to do with it is bound within 5 s, and all are bound within 60 s", within: longer, do: requeueStorm},
		{name: "an extender is configured", quick: true, holds: "it is asked about each node once per cycle", do: extender},
		{name: "300 claims are bound at once", do: manyClaims, holds: "the volume of the last one is known within 10 s", within: longer},
		{name: "300 strict pods come at once", do: manyPods, holds: "all are on their data within 30 s", within: longer},
		{name: "500 pods are created and deleted at once", do: churn, holds: keepsGoing},
		{name: "1000 events a second about volumes of ours", do: busyWatch, holds: keepsGoing, within: later},
	}
	for i := range rows {
		rows[i].group = "load"
		if rows[i].within == 0 {
			rows[i].within = later
		}
	}
	return rows
}

// createMany makes pods at once.
func (r *run) createMany(count int, podOf func(i int) *v1.Pod) []*tracked {
	r.Helper()
	made := []*tracked{r.create(podOf(0))} // the account of the namespace is there from now on
	var mu sync.Mutex
	group, _ := errgroup.WithContext(r.ctx)
	group.SetLimit(20)
	for i := 1; i < count; i++ {
		group.Go(func() error {
			pod, err := r.tryCreate(podOf(i))
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			made = append(made, &tracked{name: pod.Name, uid: pod.UID})
			return nil
		})
	}
	r.must(group.Wait())
	r.tracked = append(r.tracked, made[1:]...)
	return made
}

// settled waits until the scheduler has nothing to try for a second.
func (r *run) settled() {
	r.Helper()
	last, since := -1.0, time.Now()
	r.eventually(40*time.Second, "no pod is tried for two seconds", func() error {
		if now := r.attempts(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < 2*time.Second {
			time.Sleep(100 * time.Millisecond)
			return errNotYet
		}
		return nil
	})
}

func idleChanges(r *run) {
	r.volume("data", at(node(1)))
	other := r.volume("other", at(node(5)))
	pods := r.createMany(20, func(i int) *v1.Pod { return huge(r.pod(fmt.Sprintf("huge-%d", i), "data")) })
	r.waits(pods[19], soon, "Insufficient cpu")
	r.settled()
	before := r.attempts()
	for i := range 20 {
		r.must(r.storage.Attach(other, r.storageID(node(5))))
		r.must(r.storage.Detach(other))
		r.place(other, []string{node([]int{9, 5}[i%2])})
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(2 * time.Second)
	tried := r.attempts() - before
	r.measured("%.0f attempts", tried)
	if tried > 0 {
		r.Fatalf("pods were tried %.0f times", tried)
	}
	r.remove(pods...)
}

// staleDecision has pods that storage holds back; then a claim of theirs goes away,
// which another plugin sees first.
func staleDecision(r *run) {
	const pods, changes = 30, 5
	set := func(s openstoragesim.Status) {
		r.must(r.storage.SetNodeState(r.storageID(node(1)), s))
		time.Sleep(1500 * time.Millisecond)
	}
	r.volume("data", at(node(1)))
	r.volume("plain", at(node(5)))
	set(openstoragesim.StatusOffline)
	made := r.createMany(pods, func(i int) *v1.Pod { return r.pod(fmt.Sprintf("soft-%d", i), "data", "plain") })
	r.waits(made[pods-1], soon, noneOnline)
	r.must(r.client.CoreV1().PersistentVolumeClaims(r.namespace).Delete(r.ctx, "plain", metav1.DeleteOptions{}))
	set(openstoragesim.StatusOK) // all are tried, and turned down for the claim
	r.waits(made[pods-1], later, "plain")
	r.settled()
	before := r.attempts()
	for i := range changes {
		set([]openstoragesim.Status{openstoragesim.StatusStorageDown, openstoragesim.StatusOK}[i%2])
	}
	time.Sleep(3 * time.Second)
	perPod := (r.attempts() - before) / pods / changes
	r.measured("%.1f attempts per pod and change", perPod)
	if perPod > 1 {
		r.Fatalf("each change had each pod tried %.1f times", perPod)
	}
	r.remove(made...)
}

func costOfChanges(r *run) {
	handle := r.volume("busy", at(node(5)))
	cost := func() time.Duration {
		r.settled()
		before, begun := r.scheduler.busy(), time.Now()
		for range 1500 {
			r.must(r.storage.Attach(handle, r.storageID(node(5))))
			time.Sleep(2 * time.Millisecond)
			r.must(r.storage.Detach(handle))
			time.Sleep(2 * time.Millisecond)
		}
		time.Sleep(time.Second)
		r.measured("%.2f s of processor time in %.1f s", (r.scheduler.busy() - before).Seconds(), time.Since(begun).Seconds())
		return r.scheduler.busy() - before
	}
	alone := cost()
	for i := range 10 {
		r.volume(fmt.Sprintf("data-%d", i), at(node(1)))
	}
	pods := r.createMany(3000, func(i int) *v1.Pod { return huge(r.pod(fmt.Sprintf("huge-%d", i), fmt.Sprintf("data-%d", i%10))) })
	r.waits(pods[2999], longer, "Insufficient cpu")
	crowded := cost()
	if crowded > alone+600*time.Millisecond {
		r.Errorf("3000 changes cost %v, and %v with 3000 pods waiting", alone, crowded)
	}
	r.remove(pods...)
}

// pinnedViews looks at what waiting pods keep alive.
func pinnedViews(r *run) {
	const pods = 300
	var extra []fakenodes.Node
	for i := range 990 {
		extra = append(extra, fakenodes.Node{
			Name: fmt.Sprintf("%s-%03d", r.namespace, i), IP: netip.AddrFrom4([4]byte{10, 8, byte(i / 250), byte(i%250 + 1)}),
		})
	}
	r.extraNodes(extra...)
	r.volume("data", at(node(1)))
	time.Sleep(2 * time.Second)
	_, before, err := atRest(r.scheduler)
	r.must(err)
	var made []*tracked
	for i := range pods {
		label := fmt.Appendf(nil, `{"metadata":{"labels":{"px/rack":"r%d"}}}`, i)
		_, err := r.client.CoreV1().Nodes().Patch(r.ctx, extra[i].Name, types.MergePatchType, label, metav1.PatchOptions{})
		r.must(err)
		made = append(made, r.create(huge(r.pod(fmt.Sprintf("huge-%d", i), "data"))))
		time.Sleep(20 * time.Millisecond)
	}
	r.waits(made[pods-1], longer, "Insufficient cpu")
	r.settled()
	_, after, err := atRest(r.scheduler)
	r.must(err)
	each := (after - before) / pods / 1000
	r.measured("%.1f kB per pod", each)
	if each > 25 {
		r.Errorf("a waiting pod takes %.1f kB", each)
	}
	r.remove(made...)
}

func requeueStorm(r *run) {
	const pods = 1500
	r.volume("data", at(node(1)))
	r.must(r.storage.SetNodeState(r.storageID(node(1)), openstoragesim.StatusOffline))
	time.Sleep(700 * time.Millisecond)
	made := r.createMany(pods, func(i int) *v1.Pod { return strict(r.pod(fmt.Sprintf("strict-%d", i), "data")) })
	r.waits(made[pods-1], longer, noneOnline)
	r.settled()
	r.volume("other", at(node(5)))
	begun := time.Now()
	r.must(r.storage.SetNodeState(r.storageID(node(1)), openstoragesim.StatusOK))
	time.Sleep(500 * time.Millisecond)
	r.arrives(r.create(r.pod("other", "other")).on(node(5)), 5*time.Second)
	r.measured("another pod was bound after %.1f s", time.Since(begun).Seconds()-0.5)
	r.allBound(longer, pods+1)
	r.measured("all were bound after %.1f s", time.Since(begun).Seconds())
}

// extender counts what it is asked.
func extender(r *run) {
	var mu sync.Mutex
	asked := map[string]int{} // pod and node -> questions
	l, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var args struct {
			Pod       *v1.Pod
			NodeNames *[]string
		}
		body, err := io.ReadAll(q.Body)
		if err != nil || json.Unmarshal(body, &args) != nil || args.NodeNames == nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		mu.Lock()
		for _, n := range *args.NodeNames {
			asked[args.Pod.Name+" on "+n]++
		}
		mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{"NodeNames": *args.NodeNames, "FailedNodes": map[string]string{}})
	})}
	go func() { _ = server.Serve(l) }()
	r.later(func() { _ = server.Close() })
	r.another(variant{solo: "solo", change: func(config, _, _ map[string]any) {
		config["extenders"] = []any{map[string]any{
			"urlPrefix": "http://" + l.Addr().String(), "filterVerb": "filter", "nodeCacheCapable": true, "enableHTTPS": false,
		}}
	}})
	r.volume("data", at(node(1), node(5)))
	r.arrives(r.create(by("solo", r.pod("local", "data"))).on(node(1), node(5)), soon)
	// Off its data, so that somebody asks why.
	r.volume("away", at(node(2)))
	r.arrives(r.create(by("solo", pinned(r.pod("remote", "away"), node(9)))).on(node(9)), soon)
	r.eventually(soon, "the event is there", func() error {
		if len(r.events("NonOptimumScheduling")) == 0 {
			return errNotYet
		}
		return nil
	})
	mu.Lock()
	defer mu.Unlock()
	most := 0
	for what, n := range asked {
		most = max(most, n)
		if n > 1 {
			r.Errorf("it was asked %d times about %s", n, what)
		}
	}
	r.measured("%d questions at most about one node", most)
}

func manyClaims(r *run) {
	const claims = 300
	group, _ := errgroup.WithContext(r.ctx)
	group.SetLimit(16)
	for i := range claims {
		name := fmt.Sprintf("c-%d", i)
		handle := r.inStorage(name, at(node(1)))
		group.Go(func() error { return r.bind(name, handle, vol{}) })
	}
	r.must(group.Wait())
	begun := time.Now()
	last := fmt.Sprintf("c-%d", claims-1)
	r.arrives(r.create(strict(r.pod("strict", last))).on(node(1)), longer)
	r.measured("bound after %.1f s", time.Since(begun).Seconds())
}

func manyPods(r *run) {
	r.volume("data", at(node(1), node(5)))
	begun := time.Now()
	for _, p := range r.createMany(300, func(i int) *v1.Pod { return strict(r.pod(fmt.Sprintf("strict-%d", i), "data")) }) {
		p.on(node(1), node(5))
	}
	r.allBound(30*time.Second, 300)
	r.measured("%.1f s", time.Since(begun).Seconds())
}

func churn(r *run) {
	r.volume("data", at(node(1), node(5)))
	r.remove(r.createMany(500, func(i int) *v1.Pod {
		pod := r.pod(fmt.Sprintf("p-%d", i), "data")
		if i%2 == 0 {
			pod = strict(pod)
		}
		return pod
	})...)
}

func busyWatch(r *run) {
	var handles []string
	for i := range 20 {
		handles = append(handles, r.volume(fmt.Sprintf("busy-%d", i), at(node(1))))
	}
	done, over := make(chan struct{}), make(chan struct{})
	r.later(func() {
		close(done)
		<-over
		for _, h := range handles {
			_ = r.storage.Detach(h)
		}
	})
	go func() {
		defer close(over)
		for i := 0; ; i++ {
			h := handles[i%len(handles)]
			_ = r.storage.Attach(h, r.storageID(node(1)))
			_ = r.storage.Detach(h)
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	whileFaulty(func(*run) { time.Sleep(2 * time.Second) })(r)
	r.arrives(r.create(strict(r.pod("busy", "busy-0"))).on(node(1)), soon)
}
