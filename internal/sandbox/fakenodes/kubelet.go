package fakenodes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

const (
	workers = 8
	// A pod that could not be moved on is tried again after firstRetry, then after
	// twice as much, up to lastRetry.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Kubelet stands for the kubelets of all nodes.
type Kubelet struct {
	client  kubernetes.Interface
	nodes   map[string]Node // node name -> node
	pods    corelisters.PodLister
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	queue   workqueue.TypedRateLimitingInterface[cache.ObjectName]
	events  record.EventRecorder
	nextIP  atomic.Uint32
}

// Run plays the kubelet for these nodes until the context ends, and returns when
// nothing of it runs any more.
func Run(ctx context.Context, client kubernetes.Interface, nodes []Node) error {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events(corev1.NamespaceAll)})

	factory := informers.NewSharedInformerFactory(client, 0)
	core := factory.Core().V1()
	k := &Kubelet{
		client:  client,
		nodes:   map[string]Node{},
		pods:    core.Pods().Lister(),
		claims:  core.PersistentVolumeClaims().Lister(),
		volumes: core.PersistentVolumes().Lister(),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](firstRetry, lastRetry)),
		events: broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet"}),
	}
	for _, n := range nodes {
		k.nodes[n.Name] = n
	}
	handlers, err := core.Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(pod any) { k.enqueue(ctx, pod) },
		UpdateFunc: func(_, pod any) { k.enqueue(ctx, pod) },
	})
	if err != nil {
		return fmt.Errorf("watching pods: %w", err)
	}

	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), handlers.HasSynced) {
		return context.Cause(ctx)
	}
	factory.WaitForCacheSync(ctx.Done())

	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for k.next(ctx) {
			}
		})
	}
	running.Go(func() { wait.UntilWithContext(ctx, k.renewLeases, renewInterval) })
	<-ctx.Done()
	k.queue.ShutDown()
	running.Wait()
	return nil
}

func (k *Kubelet) enqueue(ctx context.Context, object any) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		klog.FromContext(ctx).Error(nil, "Not a pod", "type", fmt.Sprintf("%T", object))
		return
	}
	if _, ours := k.nodes[pod.Spec.NodeName]; ours {
		k.queue.Add(cache.MetaObjectToName(pod))
	}
}

// next moves one pod on. It returns false when there is nothing more to do ever.
func (k *Kubelet) next(ctx context.Context) bool {
	name, shutdown := k.queue.Get()
	if shutdown {
		return false
	}
	defer k.queue.Done(name)
	switch err := k.sync(ctx, name); {
	case err == nil:
		k.queue.Forget(name)
	case ctx.Err() == nil:
		klog.FromContext(ctx).V(2).Info("Pod has to wait", "pod", name, "reason", err)
		k.queue.AddRateLimited(name)
	}
	return true
}

// sync does for a pod what its kubelet would do next.
func (k *Kubelet) sync(ctx context.Context, name cache.ObjectName) error {
	pod, err := k.pods.Pods(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case pod.DeletionTimestamp != nil:
		return k.finish(ctx, pod)
	case pod.Status.Phase != corev1.PodPending:
		return nil
	}
	reason, err := k.cannotMount(pod)
	if err != nil {
		return err
	}
	if reason != "" {
		k.events.Event(pod, corev1.EventTypeWarning, "FailedMount", reason)
		return errors.New(reason)
	}
	return k.start(ctx, pod)
}

// finish removes a pod whose containers have come to their end, which ours do at
// once.
func (k *Kubelet) finish(ctx context.Context, pod *corev1.Pod) error {
	err := k.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: ptr.To[int64](0),
		// The pod of a StatefulSet has a successor of the same name.
		Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func (k *Kubelet) start(ctx context.Context, pod *corev1.Pod) error {
	started := pod.DeepCopy()
	setRunning(&started.Status, pod.Spec, k.nodes[pod.Spec.NodeName].IP.String(), k.newPodIP(), metav1.Now())
	_, err := k.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, started, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// newPodIP counts through 10.64.0.0/10.
func (k *Kubelet) newPodIP() string {
	n := k.nextIP.Add(1)
	return netip.AddrFrom4([4]byte{10, 64 | byte(n>>16)&63, byte(n >> 8), byte(n)}).String()
}

// renewLeases renews what it can; a lease that fails is renewed the next time.
func (k *Kubelet) renewLeases(ctx context.Context) {
	leases := k.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	for name := range k.nodes {
		renewal := fmt.Appendf(nil, `{"spec":{"renewTime":%q}}`, time.Now().UTC().Format(metav1.RFC3339Micro))
		_, err := leases.Patch(ctx, name, types.MergePatchType, renewal, metav1.PatchOptions{})
		if err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Cannot renew a lease", "node", klog.KRef("", name))
		}
	}
}
