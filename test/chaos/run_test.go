package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/child"
)

// row is one kind of fault.
type row struct {
	group string
	// name says what is done, holds what must come of it.
	name, holds string
	// within is how long pods and canaries may take once the fault is over.
	within time.Duration
	// quick rows are part of make test.
	quick bool
	// ends is for rows that end components themselves.
	ends bool
	do   func(r *run)
}

// The times to recover that rows choose from. They are for a machine that is busy
// with something else.
const (
	soon   = 10 * time.Second
	later  = 20 * time.Second
	longer = 60 * time.Second
)

const (
	strictKey = "stork.libopenstorage.org/preferLocalNodeOnly"
	remoteKey = "stork.libopenstorage.org/preferRemoteNodeOnly"
	// mark is on everything that has no namespace of its own.
	mark = "chaos.test/run"

	goroutineSlack = 60
	heapSlack      = 48 << 20
)

// run is a row while it runs.
type run struct {
	*testing.T
	*world
	row       row
	ctx       context.Context
	namespace string
	random    *rand.Rand
	tracked   []*tracked
	undo      []func()
	notes     []string
	failure   string
	recovered time.Duration
	started   map[*component]int64 // component -> size of its log at the start
	atStart   [2]*component
}

// tracked is a pod of the row.
type tracked struct {
	name string
	uid  types.UID
	// must says that it has to be bound in the end, to one of the nodes in want
	// unless that is empty.
	must bool
	want []string
}

// outcome is a row of the report.
type outcome struct {
	row
	failure   string
	skipped   string
	notes     []string
	recovered time.Duration
	took      time.Duration
}

// play runs a row with the invariants that all have.
func (w *world) play(t *testing.T, x row, seed uint64) outcome {
	o := outcome{row: x}
	begun := time.Now()
	t.Run(x.group+": "+x.name, func(t *testing.T) {
		w.runs++
		r := &run{T: t, world: w, row: x, ctx: t.Context(), random: rand.New(rand.NewPCG(seed, 1)), started: map[*component]int64{}}
		defer func() {
			if t.Failed() && r.failure == "" {
				r.failure = "failed"
			}
			if t.Skipped() {
				o.skipped = r.failure
				r.failure = ""
			}
			o.failure, o.notes, o.recovered = r.failure, r.notes, r.recovered
			r.cleanUp()
		}()
		r.begin()
		x.do(r)
		r.heal()
		r.recovers()
		r.invariants()
	})
	o.took = time.Since(begun)
	return o
}

// Fatalf keeps the first complaint for the report.
func (r *run) Fatalf(format string, args ...any) {
	r.Helper()
	r.complain(format, args...)
	r.T.Fatalf(format, args...)
}

// Errorf does so, too.
func (r *run) Errorf(format string, args ...any) {
	r.Helper()
	r.complain(format, args...)
	r.T.Errorf(format, args...)
}

func (r *run) complain(format string, args ...any) {
	if r.failure == "" {
		r.failure = fmt.Sprintf(format, args...)
	}
}

func (r *run) cannot(reason string) {
	r.failure = reason
	r.Skip(reason)
}

func (r *run) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatalf("%v", err)
	}
}

// measured is for the report.
func (r *run) measured(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// eventually polls until there is no error.
func (r *run) eventually(within time.Duration, what string, condition func() error) {
	r.Helper()
	kit.Eventually(r, within, what, condition)
}

// begin makes a namespace and takes stock.
func (r *run) begin() {
	r.namespace = fmt.Sprintf("row-%d", r.runs)
	_, err := r.client.CoreV1().Namespaces().Create(r.ctx, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}, metav1.CreateOptions{})
	r.must(err)
	r.atStart = [2]*component{r.scheduler, r.webhook}
	for _, c := range r.atStart {
		c.resetPeak()
		r.started[c] = c.logSize()
	}
	r.server.forget()
}

// heal ends the fault.
func (r *run) heal() {
	for _, f := range slices.Backward(r.undo) {
		f()
	}
	r.undo = nil
	r.server.heal()
	r.proxy.heal()
	r.hookProxy.heal()
}

// later is done when the fault ends.
func (r *run) later(f func()) { r.undo = append(r.undo, f) }

// recovers waits until all is as it should be: the pods of the row, and two that
// come now.
func (r *run) recovers() {
	begun := time.Now()
	for _, c := range []*component{r.scheduler, r.webhook} {
		if !c.Alive() {
			r.Fatalf("%s has ended: %s", c.Name, c.Tail(0, 3))
		}
	}
	for _, p := range r.tracked {
		if p.must {
			r.arrives(p, r.row.within)
		}
	}
	holders := r.twoNodes()
	r.volume("canary", vol{sets: [][]string{holders}})
	// The strict one waits until storage has told of the volume; a soft one may go
	// without its word, after a while.
	r.arrives(r.create(strict(r.pod("strict-canary", "canary"))).on(holders...), r.row.within)
	r.arrives(r.create(r.pod("canary", "canary")).on(holders...), r.row.within)
	r.recovered = time.Since(begun)
}

// twoNodes are two nodes with storage.
func (r *run) twoNodes() []string {
	var with []string
	for _, n := range r.nodes {
		if n.StorageID != "" {
			with = append(with, n.Name)
		}
	}
	r.random.Shuffle(len(with), func(i, k int) { with[i], with[k] = with[k], with[i] })
	return with[:2]
}

// crashes are words that a sane process does not say.
var crashes = regexp.MustCompile(`panic: |Observed a panic|fatal error: |concurrent map |runtime error: |\[recovered\]|"panic":|DATA RACE|crashed, it is created as it is`)

// invariants hold after every row.
func (r *run) invariants() {
	for _, p := range r.tracked {
		pod, err := r.client.CoreV1().Pods(r.namespace).Get(r.ctx, p.name, metav1.GetOptions{})
		switch {
		case err != nil:
			r.Errorf("pod %s is lost: %v", p.name, err)
		case pod.UID != p.uid:
			r.Errorf("pod %s is another one than that which was made", p.name)
		case pod.Spec.NodeName != "" && len(p.want) > 0 && !slices.Contains(p.want, pod.Spec.NodeName):
			r.Errorf("pod %s is on %s, want one of %v", p.name, pod.Spec.NodeName, p.want)
		}
	}
	for i, c := range []*component{r.scheduler, r.webhook} {
		if c != r.atStart[i] && !r.row.ends {
			r.Errorf("%s was started anew", c.Name)
		}
		log := c.Said(r.started[c])
		if word := crashes.FindString(log); word != "" {
			r.Errorf("%s said %q: %s", c.Name, word, lineWith(log, word))
		}
		for _, secret := range r.secrets {
			if strings.Contains(log, secret) {
				r.Errorf("%s wrote a token into its log: %s", c.Name, strings.ReplaceAll(lineWith(log, secret), secret, "(token)"))
			}
		}
	}
	_, peak := r.scheduler.Resident()
	if limit := r.limits[schedulerName]; peak > limit {
		r.Errorf("the scheduler took %d MiB, its limit is %d MiB", peak>>20, limit>>20)
	}
	_, hookPeak := r.webhook.Resident()
	if limit := r.limits[webhookName]; hookPeak > limit {
		r.Errorf("the webhook took %d MiB, its limit is %d MiB", hookPeak>>20, limit>>20)
	}
	r.removePods()
	r.baseline()
}

func lineWith(log, word string) string {
	for line := range strings.Lines(log) {
		if strings.Contains(line, word) {
			return fmt.Sprintf("%.400s", strings.TrimSpace(line))
		}
	}
	return ""
}

// atRest is what a component needs while nothing happens: goroutines, and after a
// collection of garbage the heap.
func atRest(c *component) (goroutines, heap float64, err error) {
	if c.Name != "webhook" { // has no profiler
		if _, err := c.Get("/debug/pprof/heap?gc=1"); err != nil {
			return 0, 0, err
		}
	}
	families, err := c.Metrics()
	if err != nil {
		return 0, 0, err
	}
	goroutines, _ = families.Sum("go_goroutines")
	heap, _ = families.Sum("go_memstats_heap_alloc_bytes")
	return goroutines, heap, nil
}

// baseline waits until memory and goroutines are back where they were.
func (r *run) baseline() {
	for _, c := range []*component{r.scheduler, r.webhook} {
		r.eventually(longer, c.Name+" is back at rest", func() error {
			goroutines, heap, err := atRest(c)
			if err != nil {
				return err
			}
			if goroutines > c.goroutines+goroutineSlack || heap > c.heap+heapSlack {
				time.Sleep(200 * time.Millisecond)
				return fmt.Errorf("%.0f goroutines and %.0f MiB, at first %.0f and %.0f", goroutines, heap/(1<<20), c.goroutines, c.heap/(1<<20))
			}
			return nil
		})
	}
}

func (r *run) removePods() {
	err := r.client.CoreV1().Pods(r.namespace).DeleteCollection(r.background(), metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{})
	if err != nil {
		r.T.Errorf("removing pods: %v", err)
	}
}

func (r *run) background() context.Context { return context.WithoutCancel(r.ctx) }

// cleanUp leaves nothing for the next row, whatever came of this one.
func (r *run) cleanUp() {
	r.heal()
	r.removePods()
	ctx, now, ours := r.background(), metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{LabelSelector: mark}
	core := r.client.CoreV1()
	for what, err := range map[string]error{
		"claims":    core.PersistentVolumeClaims(r.namespace).DeleteCollection(ctx, now, metav1.ListOptions{}),
		"volumes":   core.PersistentVolumes().DeleteCollection(ctx, now, ours),
		"nodes":     core.Nodes().DeleteCollection(ctx, now, ours),
		"CSI nodes": r.client.StorageV1().CSINodes().DeleteCollection(ctx, now, ours),
		"classes":   r.client.StorageV1().StorageClasses().DeleteCollection(ctx, now, ours),
		"namespace": core.Namespaces().Delete(ctx, r.namespace, metav1.DeleteOptions{}),
	} {
		if err != nil {
			r.T.Errorf("removing the %s: %v", what, err)
		}
	}
	for v := range r.storage.Volumes() {
		_ = r.storage.Detach(v.GetId())
		_ = r.storage.DeleteVolume(v.GetId()) // it is there
	}
	for _, n := range r.nodes {
		if n.StorageID != "" {
			_ = r.storage.SetNodeState(n.StorageID, openstoragesim.StatusOK) // it is there, too
		}
	}
	if r.Failed() {
		r.renew()
	}
}

// renew starts components anew whose row has failed, so that the next one does not
// suffer from it.
func (r *run) renew() {
	var err error
	_ = r.scheduler.End(5 * time.Second) // in an orderly way it gives the lease back
	if r.scheduler, err = r.startScheduler(r.background(), variant{name: "scheduler"}); err != nil {
		r.T.Errorf("starting the scheduler anew: %v", err)
		return
	}
	r.webhook.Kill()
	if r.webhook, r.hookPort, err = r.startWebhook(r.background(), "webhook"); err != nil {
		r.T.Errorf("starting the webhook anew: %v", err)
		return
	}
	if err := r.awaitLeader(r.background()); err != nil {
		r.T.Errorf("%v", err)
	}
	r.rest()
}

// awaitLeader waits until the shared scheduler schedules.
func (w *world) awaitLeader(ctx context.Context) error {
	for range 600 {
		families, err := w.scheduler.Metrics()
		if err == nil {
			if leads, _ := families.Sum("leader_election_master_status"); leads == 1 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return errors.New("the scheduler does not become the leader")
}

// rest notes what components need at rest. The least ever seen counts: what a row
// leaves behind does not become the measure for the next.
func (w *world) rest() {
	for _, c := range []*component{w.scheduler, w.webhook} {
		for range 20 {
			goroutines, heap, err := atRest(c)
			if err == nil {
				c.goroutines, c.heap = max(c.goroutines, goroutines), max(c.heap, heap)
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// What rows are made of.

// vol is a volume and its claim.
type vol struct {
	// sets are the nodes of each replica set.
	sets [][]string
	// handle is that of a volume that storage does not have.
	handle string
	// inTree makes a PV of the old kind.
	inTree      bool
	params      map[string]string
	labels      map[string]string
	annotations map[string]string
}

func at(nodes ...string) vol { return vol{sets: [][]string{nodes}} }

// inStorage makes a volume in storage alone and returns its handle.
func (r *run) inStorage(name string, v vol) string {
	r.Helper()
	params := map[string]string{"repl": "1"}
	for key, value := range v.params {
		params[key] = value
	}
	made, err := r.storage.CreateVolume(openstoragesim.CreateRequest{Name: r.namespace + "-" + name, Parameters: params, Labels: v.labels})
	r.must(err)
	if v.sets != nil {
		r.place(made.GetId(), v.sets...)
	}
	return made.GetId()
}

// place puts the replicas of a volume onto nodes.
func (r *run) place(handle string, sets ...[]string) {
	r.Helper()
	ids := make([][]string, len(sets))
	for i, nodes := range sets {
		for _, n := range nodes {
			id := r.storageID(n)
			if id == "" {
				id = n
			}
			ids[i] = append(ids[i], id)
		}
	}
	r.must(r.storage.SetReplicaSets(handle, ids...))
}

var oneGiB = v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}

// volume makes a volume and a claim that is bound to it.
func (r *run) volume(name string, v vol) (handle string) {
	r.Helper()
	handle = v.handle
	if handle == "" {
		handle = r.inStorage(name, v)
	}
	r.bound(name, handle, v)
	return handle
}

// bound makes a PV of this handle and a claim that is bound to it.
func (r *run) bound(name, handle string, v vol) {
	r.Helper()
	r.must(r.bind(name, handle, v))
	r.claimsBound(name)
}

// claimsBound waits until the controller manager has bound claims.
func (r *run) claimsBound(names ...string) {
	r.Helper()
	for _, name := range names {
		r.eventually(longer, "claim "+name+" is bound", func() error {
			claim, err := r.client.CoreV1().PersistentVolumeClaims(r.namespace).Get(r.ctx, name, metav1.GetOptions{})
			if err == nil && claim.Status.Phase != v1.ClaimBound {
				err = errors.New(string(claim.Status.Phase))
			}
			return err
		})
	}
}

// bind makes a claim and a PV that is meant for it. The controller manager hears of
// the PV after the claim, so that it never takes the claim for lost.
func (r *run) bind(name, handle string, v vol) error {
	source := v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: driver.Name, VolumeHandle: handle}}
	if v.inTree {
		source = v1.PersistentVolumeSource{PortworxVolume: &v1.PortworxVolumeSource{VolumeID: handle}}
	}
	modes := []v1.PersistentVolumeAccessMode{v1.ReadWriteMany}
	claims := r.client.CoreV1().PersistentVolumeClaims(r.namespace)
	claim, err := claims.Create(r.ctx, &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: v.annotations},
		Spec: v1.PersistentVolumeClaimSpec{
			AccessModes: modes, StorageClassName: new(string), Resources: v1.VolumeResourceRequirements{Requests: oneGiB},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = r.client.CoreV1().PersistentVolumes().Create(r.ctx, &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: r.namespace + "-" + name, Labels: map[string]string{mark: r.namespace}},
		Spec: v1.PersistentVolumeSpec{
			Capacity: oneGiB, AccessModes: modes, PersistentVolumeSource: source,
			PersistentVolumeReclaimPolicy: v1.PersistentVolumeReclaimRetain,
			ClaimRef:                      &v1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: r.namespace, Name: name, UID: claim.UID},
		},
	}, metav1.CreateOptions{})
	return err
}

// annotateClaim sets an annotation, or removes it if the value is empty.
func (r *run) annotateClaim(name, key, value string) {
	r.Helper()
	quoted := "null"
	if value != "" {
		quoted = `"` + value + `"`
	}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, key, quoted)
	_, err := r.client.CoreV1().PersistentVolumeClaims(r.namespace).Patch(r.ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	r.must(err)
}

// class makes a StorageClass and returns its name.
func (r *run) class(name, provisioner string, parameters map[string]string) string {
	r.Helper()
	class := driver.NewClass(r.namespace+"-"+name, storagev1.VolumeBindingWaitForFirstConsumer, parameters)
	class.Provisioner, class.Labels = provisioner, map[string]string{mark: r.namespace}
	_, err := r.client.StorageV1().StorageClasses().Create(r.ctx, class, metav1.CreateOptions{})
	r.must(err)
	return class.Name
}

// waitingClaim is a claim that is provisioned for its first pod.
func (r *run) waitingClaim(name, class string) {
	r.Helper()
	_, err := r.client.CoreV1().PersistentVolumeClaims(r.namespace).Create(r.ctx, &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1.PersistentVolumeClaimSpec{
			AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}, StorageClassName: &class,
			Resources: v1.VolumeResourceRequirements{Requests: oneGiB},
		},
	}, metav1.CreateOptions{})
	r.must(err)
}

// pod is one that uses claims.
func (r *run) pod(name string, claims ...string) *v1.Pod {
	pod := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: r.namespace, Annotations: map[string]string{}, Labels: map[string]string{}},
		Spec: v1.PodSpec{
			SchedulerName: schedulerName, AutomountServiceAccountToken: ptr.To(false), TerminationGracePeriodSeconds: new(int64),
			Containers: []v1.Container{{Name: "c", Image: "none", Resources: v1.ResourceRequirements{
				Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse("1m")}}}},
		},
	}
	for _, claim := range claims {
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: claim, VolumeSource: v1.VolumeSource{
			PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}})
	}
	return pod
}

// inline adds volumes to the pod that it names itself.
func inline(pod *v1.Pod, handles ...string) *v1.Pod {
	for i, handle := range handles {
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: fmt.Sprintf("i%d", i), VolumeSource: v1.VolumeSource{
			PortworxVolume: &v1.PortworxVolumeSource{VolumeID: handle}}})
	}
	return pod
}

func strict(pod *v1.Pod) *v1.Pod { return annotated(pod, strictKey, "true") }

func annotated(pod *v1.Pod, key, value string) *v1.Pod {
	metav1.SetMetaDataAnnotation(&pod.ObjectMeta, key, value)
	return pod
}

// pinned asks for nodes by name.
func pinned(pod *v1.Pod, nodes ...string) *v1.Pod {
	pod.Spec.Affinity = &v1.Affinity{NodeAffinity: &v1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &v1.NodeSelector{
		NodeSelectorTerms: []v1.NodeSelectorTerm{{MatchExpressions: []v1.NodeSelectorRequirement{
			{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: nodes}}}}}}}
	return pod
}

// huge asks for more than any node has.
func huge(pod *v1.Pod) *v1.Pod {
	pod.Spec.Containers[0].Resources.Requests[v1.ResourceCPU] = resource.MustParse("100000")
	return pod
}

func by(scheduler string, pod *v1.Pod) *v1.Pod {
	pod.Spec.SchedulerName = scheduler
	return pod
}

// create makes a pod. The account of a new namespace may come a moment later.
func (r *run) create(pod *v1.Pod) *tracked {
	r.Helper()
	made, err := r.tryCreate(pod)
	r.must(err)
	p := &tracked{name: made.Name, uid: made.UID}
	r.tracked = append(r.tracked, p)
	return p
}

func (r *run) tryCreate(pod *v1.Pod) (made *v1.Pod, err error) {
	_ = kit.Wait(r.ctx, soon, "the namespace has its account", func() error {
		made, err = r.client.CoreV1().Pods(r.namespace).Create(r.ctx, pod, metav1.CreateOptions{})
		if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "serviceaccount") {
			return err
		}
		return nil
	}) // the error of Create says it all
	return made, err
}

// on has the pod bound in the end: to one of these nodes, or to any if there are
// none.
func (p *tracked) on(nodes ...string) *tracked {
	p.must, p.want = true, nodes
	return p
}

// never lets the pod only onto these nodes, but does not ask that it gets there.
func (p *tracked) only(nodes ...string) *tracked {
	p.must, p.want = false, nodes
	return p
}

// remove deletes a pod of the row.
func (r *run) remove(pods ...*tracked) {
	r.Helper()
	for _, p := range pods {
		err := r.client.CoreV1().Pods(r.namespace).Delete(r.ctx, p.name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		if !apierrors.IsNotFound(err) {
			r.must(err)
		}
	}
	r.tracked = slices.DeleteFunc(r.tracked, func(p *tracked) bool { return slices.Contains(pods, p) })
}

func (r *run) get(p *tracked) (*v1.Pod, error) { return r.pods.Pods(r.namespace).Get(p.name) }

// arrives waits until a pod is bound, to a node that it wants.
func (r *run) arrives(p *tracked, within time.Duration) (node string) {
	r.Helper()
	r.eventually(within, "pod "+p.name+" is bound", func() error {
		pod, err := r.get(p)
		if err != nil {
			return err
		}
		if node = pod.Spec.NodeName; node == "" {
			return errors.New("it waits: " + waitingFor(pod))
		}
		return nil
	})
	if len(p.want) > 0 && !slices.Contains(p.want, node) {
		r.Fatalf("pod %s is on %s, want one of %v", p.name, node, p.want)
	}
	return node
}

// waits waits until the scheduler has turned a pod down with these words in the
// reason, which it is for all of the words.
func (r *run) waits(p *tracked, within time.Duration, words ...string) {
	r.Helper()
	r.eventually(within, "pod "+p.name+" waits", func() error {
		pod, err := r.get(p)
		if err != nil {
			return err
		}
		if pod.Spec.NodeName != "" {
			r.Fatalf("pod %s is on %s, and should wait", p.name, pod.Spec.NodeName)
		}
		reason := waitingFor(pod)
		if reason == "" {
			return errors.New("nothing was said about it yet")
		}
		for _, word := range words {
			if !strings.Contains(reason, word) {
				return fmt.Errorf("%q does not say %q", reason, word)
			}
		}
		return nil
	})
}

// stays is waits, and still waits a moment later.
func (r *run) stays(p *tracked, within, moment time.Duration, words ...string) {
	r.Helper()
	r.waits(p, within, words...)
	time.Sleep(moment)
	r.waits(p, within, words...)
}

// allBound waits until all pods of the row's namespace that must be are bound.
func (r *run) allBound(within time.Duration, count int) {
	r.Helper()
	r.eventually(within, fmt.Sprintf("%d pods are bound", count), func() error {
		pods, err := r.pods.Pods(r.namespace).List(labels.Everything())
		if err != nil {
			return err
		}
		bound := 0
		for _, pod := range pods {
			if pod.Spec.NodeName != "" {
				bound++
			}
		}
		if bound < count {
			time.Sleep(50 * time.Millisecond)
			return fmt.Errorf("%d of %d", bound, count)
		}
		return nil
	})
}

// metrics reads those of the shared scheduler.
func (r *run) metrics() child.Families {
	r.Helper()
	var families child.Families
	r.eventually(soon, "the metrics can be read", func() (err error) {
		families, err = r.scheduler.Metrics()
		return err
	})
	return families
}

// attempts is how often the shared scheduler has tried pods.
func (r *run) attempts() float64 {
	n, _ := r.metrics().Sum("scheduler_schedule_attempts_total")
	return n
}

// events are the messages of events of this reason.
func (r *run) events(reason string) []string {
	r.Helper()
	list, err := r.client.EventsV1().Events(r.namespace).List(r.ctx, metav1.ListOptions{})
	r.must(err)
	var notes []string
	for _, e := range list.Items {
		if e.Reason == reason {
			notes = append(notes, e.Note)
		}
	}
	return notes
}

// knows waits until the shared scheduler knows where a volume is, or has at least
// asked for it.
func (r *run) knows(handle string) {
	r.Helper()
	r.eventually(soon, "volume "+handle+" was asked for", func() error {
		if r.server.countOf(handle) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
}

// nodesListed waits until the shared scheduler has an answer about the nodes that it
// has asked for from now on: it has by the time that it asks again.
func (r *run) nodesListed() {
	r.Helper()
	before := r.server.count(listNodes)
	r.eventually(soon, "the nodes are listed anew", func() error {
		if asked := r.server.count(listNodes) - before; asked < 2 {
			return fmt.Errorf("they were asked for %d times", asked)
		}
		return nil
	})
}

// leaks reports whether a log holds a secret, be it in a dump of bytes.
func leaks(log []byte, secret []byte) bool { return bytes.Contains(log, secret) }
