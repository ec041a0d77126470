package rebalancer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/pkg/rebalance"
)

// evictionTimeout is how long an eviction may take, webhooks included.
const evictionTimeout = 30 * time.Second

// evict asks the API server for an eviction of this very pod, once: while a budget is not counted,
// which a tenant can have for ever, client-go would ask ten times more, and wait in between.
func evict(ctx context.Context, client kubernetes.Interface, pod *rebalance.RunningPod) error {
	ctx, stop := context.WithTimeout(ctx, evictionTimeout)
	defer stop()
	return client.PolicyV1().RESTClient().Post().AbsPath("/api/v1").Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("eviction").
		Body(&policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
			DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}},
		}).MaxRetries(0).Do(ctx).Error()
}

// pictureMaxAge is how long a picture is good for a rescue.
const pictureMaxAge = 30 * time.Second

// rescue takes pods off nodes whose storage is gone.
func (c *Controller) rescue(ctx context.Context, now time.Time, picture *Picture, journal *rebalance.Journal) error {
	c.losses.Observe(&picture.Storage, picture.Nodes)
	s := c.losses.Salvage(now, c.Configuration, &picture.ClusterState, journal, picture, picture.Nodes, picture.Stranded)
	c.metrics.blind.Set(boolean(s.Blind))
	if c.Configuration.DryRun {
		for _, pod := range slices.Concat(s.Evict, s.Delete) {
			klog.FromContext(ctx).V(2).Info("Would take a pod off a node whose storage is gone, but for the dry run", "pod", klog.KRef(pod.Namespace, pod.Name), "node", pod.Node)
		}
		return nil
	}
	if len(s.Evict)+len(s.Delete)+len(s.Detach) == 0 {
		return nil
	}
	// The API server takes it of who has read the last version only: a leader that has lost
	// its lease and does not know it rescues nobody.
	if err := c.store.write(ctx, journal); err != nil {
		return err
	}
	for _, pod := range s.Evict {
		if gone, _ := c.still(ctx, picture, pod.Node); gone {
			c.rescued(ctx, pod, rescueEvicted, evict(ctx, c.Client, pod))
		}
	}
	for _, pod := range s.Delete {
		live, err := c.podNow(ctx, pod.Namespace, pod.Name, pod.UID)
		if err == nil && (live == nil || pod.ReadySince.IsZero() && !podOf(live, nil).ReadySince.IsZero()) {
			continue // it is gone, or serves again
		}
		if _, dead := c.still(ctx, picture, pod.Node); !dead {
			continue
		}
		if err == nil {
			err = c.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
				GracePeriodSeconds: ptr.To[int64](0), Preconditions: &metav1.Preconditions{UID: &pod.UID},
			})
		}
		c.rescued(ctx, pod, rescueDeleted, err)
	}
	return c.detach(ctx, picture, s.Detach)
}

// still looks again at what the rescue from a node rests on. A batch takes its time, in which
// somebody may pause, and the node may come back. What is not known, or too old, holds the rest.
func (c *Controller) still(ctx context.Context, picture *Picture, name string) (gone, dead bool) {
	if picture.Paused {
		return false, false
	}
	paused, _, err := c.orders(ctx)
	nodes, nodesErr := picture.nodes()
	if age := time.Since(picture.begun); paused || err != nil || nodesErr != nil || age > pictureMaxAge {
		klog.FromContext(ctx).Info("The rescue waits for the next look", "paused", paused, "age", age, "err", errors.Join(err, nodesErr))
		picture.Paused = true
		return false, false
	}
	picture.Storage.Conditions = c.Observer.Conditions()
	lost, _ := c.losses.Gone(time.Now(), c.Configuration, &picture.ClusterState, nodes)
	return lost[name] != nil, lost[name] != nil && lost[name].Dead()
}

// rescued tells what has become of one pod.
func (c *Controller) rescued(ctx context.Context, pod *rebalance.RunningPod, what string, err error) {
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return // it has gone by itself
	case answerOf(err, pod.Machine != rebalance.NoMachine) == refused:
		c.losses.Tried(time.Now(), pod.UID)
		c.metrics.rescues.WithLabelValues(rescueRefused).Inc()
		klog.FromContext(ctx).Info("A pod may not leave a node whose storage is gone", "pod", klog.KRef(pod.Namespace, pod.Name), "node", pod.Node, "answer", err)
		return
	case answerOf(err, pod.Machine != rebalance.NoMachine) != accepted:
		c.losses.Tried(time.Now(), pod.UID)
		// It is no failure of the look: a tenant may have two budgets, for which that is the answer.
		c.metrics.rescues.WithLabelValues(rescueFailed).Inc()
		klog.FromContext(ctx).Error(err, "Cannot take a pod off a node whose storage is gone", "pod", klog.KRef(pod.Namespace, pod.Name), "node", pod.Node)
		return
	}
	c.losses.Taken(time.Now(), pod, what == rescueDeleted)
	c.metrics.rescues.WithLabelValues(what).Inc()
	klog.FromContext(ctx).Info("Took a pod off a node whose storage is gone", "how", what, "pod", klog.KRef(pod.Namespace, pod.Name), "node", pod.Node)
	c.Events.Eventf(objectOf(pod.Namespace, pod.Name, pod.UID), nil, v1.EventTypeWarning, "Rescued", "Rescue", "storage on node %s is gone: the pod is %s", pod.Node, what)
}

// detach deletes the VolumeAttachments of the driver on dead nodes that no pod there uses.
func (c *Controller) detach(ctx context.Context, picture *Picture, nodes []string) error {
	if len(nodes) == 0 {
		return nil
	}
	used, err := picture.claimsUsedOn(nodes)
	if err != nil {
		return err
	}
	attachments := c.Client.StorageV1().VolumeAttachments()
	list, err := attachments.List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return fmt.Errorf("looking for volumes that are attached to dead nodes: %w", err)
	}
	var errs []error
	for i := range list.Items {
		a := &list.Items[i]
		if a.DeletionTimestamp != nil || !slices.Contains(nodes, a.Spec.NodeName) || !slices.Contains(c.Drivers, a.Spec.Attacher) {
			continue
		}
		claim, err := picture.claimOf(ptr.Deref(a.Spec.Source.PersistentVolumeName, ""))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if _, dead := c.still(ctx, picture, a.Spec.NodeName); !dead || claim == "" || used[a.Spec.NodeName+" "+claim] {
			continue
		}
		err = attachments.Delete(ctx, a.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &a.UID}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("detaching %s from node %s: %w", ptr.Deref(a.Spec.Source.PersistentVolumeName, a.Name), a.Spec.NodeName, err))
			continue
		}
		c.metrics.rescues.WithLabelValues(rescueDetached).Inc()
	}
	return errors.Join(errs...)
}

// Reasons of events.
const (
	// EventReturning is on a pod that is evicted, and on its owner.
	EventReturning = "ReturningHome"
	// EventReturned is on a successor that is home, and on the owner.
	EventReturned = "ReturnedHome"
	// EventNotReturned is on the owner of a pod that has not come home.
	EventNotReturned = "NotReturnedHome"
	// EventHalted is on the controller's Deployment.
	EventHalted = "ReturnHalted"
	// EventKept is on a pod with something that somebody should know.
	EventKept = "StaysFromHome"
)

// actionReturn is the action of the events.
const actionReturn = "ReturnHome"

func (c *Controller) tellMove(picture *Picture, m *rebalance.Move, e *rebalance.Eviction) {
	pod, owner := objectOf(e.Namespace, e.Name, e.UID), ownerOf(picture.Owners[e.Owner])
	const note = "pod %s is evicted from node %s to return to its data: volume %s; its successor should land on node %s, which scores %d instead of %d"
	c.Events.Eventf(pod, owner, v1.EventTypeNormal, EventReturning, actionReturn, note, e.Name, e.From, e.Volume, e.To, m.After, m.Before)
	c.Events.Eventf(owner, pod, v1.EventTypeNormal, EventReturning, actionReturn, note, e.Name, e.From, e.Volume, e.To, m.After, m.Before)
}

func (c *Controller) tellOutcome(o *rebalance.EvictionOutcome) {
	owner := ownerOf(&rebalance.Owner{UID: o.Owner, Kind: o.OwnerKind, Namespace: o.Namespace, Name: o.OwnerName})
	switch {
	case o.Result == rebalance.Home:
		pod := objectOf(o.Successor.Namespace, o.Successor.Name, o.Successor.UID)
		const note = "pod %s runs on node %s, with its data (volume %s); it came from node %s"
		c.Events.Eventf(pod, owner, v1.EventTypeNormal, EventReturned, actionReturn, note, o.Successor.Name, o.Successor.Node, o.Volume, o.From)
		c.Events.Eventf(owner, pod, v1.EventTypeNormal, EventReturned, actionReturn, note, o.Successor.Name, o.Successor.Node, o.Volume, o.From)
	case o.Cooldown != nil:
		where, by := "nowhere", ""
		if o.Successor != nil {
			where = "on node " + o.Successor.Node
			if o.Successor.Foreign {
				by = ", where another scheduler has put it"
			}
		}
		c.Events.Eventf(owner, nil, v1.EventTypeWarning, EventNotReturned, actionReturn,
			"pod %s was evicted from node %s to return to node %s (volume %s), and its successor runs %s%s (%s); its owner is left alone until %s",
			o.Name, o.From, o.To, o.Volume, where, by, o.Result, o.Cooldown.Until.UTC().Format(time.RFC3339))
	}
}

func (c *Controller) tellHalt(ctx context.Context, halt *rebalance.Halt) {
	order := fmt.Sprintf("kubectl -n %s annotate --overwrite deployment %s %s=%s", c.Namespace, c.Deployment, rebalance.ResumeAnnotation, halt.ID)
	klog.FromContext(ctx).Error(nil, "No pod is brought home from now on", "because", halt.Message, "resumeBy", order)
	c.Events.Eventf(&v1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: c.Namespace, Name: c.Deployment}, nil,
		v1.EventTypeWarning, EventHalted, actionReturn, "%s; nobody goes home until somebody says: %s", halt.Message, order)
}

func (c *Controller) tellKept(picture *Picture, k *rebalance.Kept) {
	c.Events.Eventf(objectOf(k.Pod.Namespace, k.Pod.Name, k.Pod.UID), ownerOf(picture.Owners[k.Pod.Owner]), v1.EventTypeWarning, EventKept, actionReturn,
		"the pod runs off its data on node %s and is not brought home: %s", k.Pod.Node, strings.TrimSuffix(k.Reason.Sentence()+": "+k.Detail, ": "))
}

// versions are those under which events name owners: group → version.
var versions = map[string]string{"": "v1", "kubevirt.io": "kubevirt.io/v1"}

// ownerOf is a reference to an owner, nil if there is none.
func ownerOf(o *rebalance.Owner) runtime.Object {
	if o == nil {
		return nil
	}
	kind, group, _ := strings.Cut(o.Kind, ".")
	version, known := versions[group]
	if !known {
		version = group + "/v1"
	}
	uid := o.UID[strings.LastIndexByte(string(o.UID), '/')+1:] // of keyOf
	return &v1.ObjectReference{APIVersion: version, Kind: kind, Namespace: o.Namespace, Name: o.Name, UID: uid}
}
