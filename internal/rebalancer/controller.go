package rebalancer

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/rebalance"
)

// Name is that of the controller, and by default of its Deployment, its Lease and the
// ConfigMap of its journal.
const Name = "hyperconverge-rebalancer"

// Options are what a controller is made of.
type Options struct {
	Configuration *rebalance.Configuration
	Observer      *Observer
	// Client reads and writes what the controller itself needs: the journal, its Deployment,
	// evictions.
	Client kubernetes.Interface
	// Events may create events, and nothing else is asked of it.
	Events events.EventRecorder
	// Namespace is the controller's own. Journal names a ConfigMap in it, Deployment the
	// controller's own, which has the annotations to pause and to resume; without a name
	// nobody can do either.
	Namespace, Journal, Deployment string
	// Drivers are the CSI drivers whose volumes may be detached from dead nodes.
	Drivers []string
}

// Controller brings pods home. Run is for the leader.
type Controller struct {
	Options
	metrics *metrics
	store   store
	memory  rebalance.Memory
	losses  rebalance.Losses
	// home are the pods that were brought home and run there, since the last look.
	home     map[types.UID]bool
	lastLook time.Time
	// told are pods and owners about which something was said once.
	told map[types.UID]rebalance.StayReason
	// toldHalt is the halt that was told; a process that begins tells the one that it finds.
	toldHalt string
	// held is what the log has said last.
	held rebalance.StayReason
}

// NewController returns a controller that does nothing before Run.
func NewController(o *Options) *Controller {
	c := &Controller{
		Options: *o, metrics: newMetrics(), memory: rebalance.Memory{}, home: map[types.UID]bool{}, told: map[types.UID]rebalance.StayReason{},
		store: store{client: o.Client, namespace: o.Namespace, name: o.Journal},
	}
	c.metrics.dryRun.Set(boolean(o.Configuration.DryRun))
	return c
}

// Run looks at the cluster until the context ends, and acts. A look that fails is told, and
// followed by the next.
func (c *Controller) Run(ctx context.Context) {
	logger := klog.FromContext(ctx)
	for {
		begun := time.Now()
		err := c.Look(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.metrics.failures.Inc()
			logger.Error(err, "Cannot look for pods to bring home, nothing is evicted")
		default:
			c.metrics.lastLook.SetToCurrentTime()
		}
		c.metrics.lookTime.Set(time.Since(begun).Seconds())
		select {
		case <-ctx.Done():
			return
		case <-time.After(c.Configuration.Interval.Duration):
		}
	}
}

// Look looks at the cluster once, follows the evictions that are under way, and begins those
// that may be.
func (c *Controller) Look(ctx context.Context) error {
	now := time.Now()
	journal, err := c.store.read(ctx)
	if err != nil {
		return err
	}
	paused, resume, err := c.orders(ctx)
	if err != nil {
		return err
	}
	picture, err := c.Observer.Look(ctx)
	if err != nil {
		return err
	}
	picture.Paused, picture.Namespace = paused, c.Namespace
	before := journal.Clone()
	if err := c.clear(ctx, now, journal); err != nil {
		return err
	}
	resumed := journal.Resume(resume)
	ended := journal.Follow(now, c.Configuration, &picture.ClusterState)
	if !reflect.DeepEqual(before, journal) {
		if err := c.store.write(ctx, journal); err != nil {
			return err
		}
	}
	if resumed {
		klog.FromContext(ctx).Info("Resumed by the annotation on the Deployment", "halt", resume)
	}
	for i := range ended {
		c.conclude(ctx, &ended[i])
	}
	if journal.Halt != nil && c.toldHalt != journal.Halt.ID {
		c.tellHalt(ctx, journal.Halt)
		c.toldHalt = journal.Halt.ID
	}
	plan := rebalance.Decide(now, c.Configuration, &picture.ClusterState, journal, picture, rebalance.Demand{Memory: c.memory})
	c.metrics.show(plan, journal)
	c.count(now, picture)
	c.tell(ctx, plan, picture)
	// An eviction of unknown answer keeps nobody on a node whose storage is gone.
	return errors.Join(c.move(ctx, plan, picture, journal), c.rescue(ctx, now, picture, journal))
}

// clear finds out which evictions of unknown answer were made: watches may lag behind.
func (c *Controller) clear(ctx context.Context, now time.Time, journal *rebalance.Journal) error {
	for _, e := range journal.Doubtful(now) {
		pod, err := c.podNow(ctx, e.Namespace, e.Name, e.UID)
		if err != nil {
			return fmt.Errorf("finding out whether pod %s/%s was evicted: %w", e.Namespace, e.Name, err)
		}
		if pod == nil || pod.DeletionTimestamp != nil {
			journal.Accept(e.UID)
		}
	}
	return nil
}

// podNow is a pod as it is now, nil if it is gone. A list of one needs no right that the watch has
// not.
func (c *Controller) podNow(ctx context.Context, namespace, name string, uid types.UID) (*v1.Pod, error) {
	list, err := c.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		if list.Items[i].UID == uid {
			return &list.Items[i], nil
		}
	}
	return nil, nil
}

// orders are what administrators have written on the Deployment.
func (c *Controller) orders(ctx context.Context) (paused bool, resume string, err error) {
	if c.Deployment == "" {
		return false, "", nil
	}
	deployment, err := c.Client.AppsV1().Deployments(c.Namespace).Get(ctx, c.Deployment, metav1.GetOptions{})
	if err != nil {
		return false, "", fmt.Errorf("reading the annotations that pause and resume (Deployment %s/%s): %w", c.Namespace, c.Deployment, err)
	}
	return rebalance.PausedBy(deployment.Annotations), deployment.Annotations[rebalance.ResumeAnnotation], nil
}

// count adds up the time that pods which were brought home run there.
func (c *Controller) count(now time.Time, picture *Picture) {
	still := map[types.UID]bool{}
	for i := range picture.Pods {
		p := &picture.Pods[i]
		if c.home[p.UID] && (p.Locality == placement.LocalityLocal || p.Locality == placement.LocalityAway) {
			still[p.UID] = true
		}
	}
	if !c.lastLook.IsZero() {
		c.metrics.saved.Add(now.Sub(c.lastLook).Seconds() * float64(len(still)))
	}
	for uid := range c.home {
		if !still[uid] {
			delete(c.home, uid)
		}
	}
	c.lastLook = now
}

// move evicts the pods that go now. Each is noted in the journal before it is asked for, and
// what the API server has answered after it; if that is not known, the next looks find out.
func (c *Controller) move(ctx context.Context, plan *rebalance.HomePlan, picture *Picture, journal *rebalance.Journal) error {
	for i := range plan.Moves {
		m := &plan.Moves[i]
		if !m.Now {
			continue
		}
		logger := klog.FromContext(ctx).WithValues("pod", klog.KRef(m.Pod.Namespace, m.Pod.Name), "from", m.Pod.Node, "to", m.Node, "score", m.Before, "wouldScore", m.After)
		if c.Configuration.DryRun {
			logger.V(2).Info("Would evict a pod to bring it home, but for the dry run")
			continue
		}
		if i > 0 {
			// What was true of the first need not be true any more.
			paused, _, err := c.orders(ctx)
			if age := time.Since(picture.begun); paused || err != nil || len(c.Observer.Conditions()) > 0 || !c.Configuration.Window.Open(time.Now()) || age > pictureMaxAge/2 {
				logger.Info("The return waits for the next look", "paused", paused, "age", age, "err", err)
				return err
			}
		}
		eviction := journal.Begin(time.Now(), c.Configuration, &picture.ClusterState, m)
		if err := c.store.write(ctx, journal); err != nil {
			journal.Withdraw(m.Pod.UID)
			return err
		}
		err := evict(ctx, c.Client, m.Pod)
		switch answer := answerOf(err, m.Pod.Machine != rebalance.NoMachine); answer {
		case accepted:
			logger.Info("Evicted a pod to bring it home")
			c.tellMove(picture, m, eviction)
			journal.Accept(m.Pod.UID)
		case refused:
			logger.Info("A pod may not be evicted now", "answer", err)
			c.metrics.evictions.WithLabelValues(string(rebalance.Refused)).Inc()
			c.withdraw(journal, m, err)
		case failed:
			logger.Error(err, "A pod cannot be evicted")
			c.metrics.evictions.WithLabelValues(string(rebalance.Failed)).Inc()
			c.withdraw(journal, m, err)
		case unknown:
			return fmt.Errorf("evicting pod %s/%s: %w", m.Pod.Namespace, m.Pod.Name, err)
		}
		if err := c.store.write(ctx, journal); err != nil {
			return err
		}
		c.metrics.show(plan, journal)
	}
	return nil
}

// withdraw takes back what was noted of a pod that may not go, and lets others go before it
// for a while.
func (c *Controller) withdraw(journal *rebalance.Journal, m *rebalance.Move, err error) {
	journal.Withdraw(m.Pod.UID)
	c.memory[m.Pod.UID] = rebalance.Finding{At: time.Now(), Reason: rebalance.NotEvicted, Detail: err.Error()}
}

// answer is what an API server has said to an eviction.
type answer uint8

const (
	accepted answer = iota
	refused
	failed
	// unknown is for an eviction that may have been made all the same.
	unknown
)

// answerOf reads it. KubeVirt's webhook denies the eviction of a machine and migrates it:
// TooManyRequests is its yes (pkg/virt-api/webhooks/validating-webhook/admitters/
// pod-eviction-admitter.go of KubeVirt).
func answerOf(err error, machine bool) answer {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return accepted
	case apierrors.IsTooManyRequests(err) && machine && !later(err):
		return accepted
	case apierrors.IsTooManyRequests(err):
		return refused
	case errors.As(err, &status) && status.Status().Code >= 400 && status.Status().Code < 500:
		return failed
	default:
		return unknown
	}
}

// later reports whether an API server has too much to do, which is no word of KubeVirt.
func later(err error) bool {
	_, said := apierrors.SuggestsClientDelay(err)
	return said
}

// conclude tells how an eviction has ended.
func (c *Controller) conclude(ctx context.Context, o *rebalance.EvictionOutcome) {
	c.metrics.evictions.WithLabelValues(string(o.Result)).Inc()
	logger := klog.FromContext(ctx).WithValues("result", o.Result, "pod", klog.KRef(o.Namespace, o.Name), "owner", o.OwnerName, "from", o.From, "planned", o.To)
	if o.Successor != nil {
		logger = logger.WithValues("successor", o.Successor.Name, "node", o.Successor.Node)
		if o.Result == rebalance.Home {
			c.home[o.Successor.UID] = true
		}
	}
	if o.Cooldown != nil {
		logger = logger.WithValues("cooldownUntil", o.Cooldown.Until, "failures", o.Cooldown.Failures)
	}
	if o.Result == rebalance.NotBegun {
		c.memory[o.UID] = rebalance.Finding{At: time.Now(), Reason: rebalance.NotEvicted, Detail: "the answer of the API server was lost"}
	}
	logger.Info("An eviction has ended")
	c.tellOutcome(o)
}

// eventsKept is how many pods are told of at a look: the API server takes a few events from
// one source, and those of evictions must not be lost for others.
const eventsKept = 10

// tell logs what holds everybody, and tells the users of opt-in values that are no booleans.
func (c *Controller) tell(ctx context.Context, plan *rebalance.HomePlan, picture *Picture) {
	if plan.Held != c.held {
		c.held = plan.Held
		if plan.Held != "" {
			klog.FromContext(ctx).Info("No pod is brought home for now", "reason", plan.Held, "because", plan.Held.Sentence(), "detail", plan.Detail)
		} else {
			klog.FromContext(ctx).Info("Pods may be brought home again")
		}
	}
	told, said := map[types.UID]rebalance.StayReason{}, 0
	for i := range plan.Kept {
		k := &plan.Kept[i]
		switch k.Reason {
		case rebalance.OptInInvalid, rebalance.OwnerGone, rebalance.OtherScheduler:
		default:
			continue
		}
		if c.told[k.Pod.UID] != k.Reason {
			if said++; said > eventsKept {
				continue // until another look
			}
			c.tellKept(picture, k)
		}
		told[k.Pod.UID] = k.Reason
	}
	c.told = told
}

// objectOf is a reference to a pod.
func objectOf(namespace, name string, uid types.UID) *v1.ObjectReference {
	return &v1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: name, UID: uid}
}

// Metrics are those of the controller.
func (c *Controller) Metrics() prometheus.Gatherer { return c.metrics.registry }
