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

	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
)

const (
	workers = 8
	// A pod that could not be moved on is tried again after firstRetry, then after
	// twice as much, up to lastRetry.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// kubelet stands for the kubelets of all nodes.
type kubelet struct {
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
	k := &kubelet{
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
		AddFunc:    func(pod any) { k.enqueue(pod) },
		UpdateFunc: func(_, pod any) { k.enqueue(pod) },
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

func (k *kubelet) enqueue(object any) {
	if pod, ok := object.(*corev1.Pod); ok {
		if _, ours := k.nodes[pod.Spec.NodeName]; ours {
			k.queue.Add(cache.MetaObjectToName(pod))
		}
	}
}

// next moves one pod on. It returns false when there is nothing more to do ever.
func (k *kubelet) next(ctx context.Context) bool {
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
func (k *kubelet) sync(ctx context.Context, name cache.ObjectName) error {
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
func (k *kubelet) finish(ctx context.Context, pod *corev1.Pod) error {
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

func (k *kubelet) start(ctx context.Context, pod *corev1.Pod) error {
	started := pod.DeepCopy()
	setRunning(&started.Status, pod.Spec, k.nodes[pod.Spec.NodeName].IP.String(), k.newPodIP(), metav1.Now())
	_, err := k.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, started, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// newPodIP counts through 10.64.0.0/10.
func (k *kubelet) newPodIP() string {
	n := k.nextIP.Add(1)
	return netip.AddrFrom4([4]byte{10, 64 | byte(n>>16)&63, byte(n >> 8), byte(n)}).String()
}

// renewLeases renews what it can; a lease that fails is renewed the next time.
func (k *kubelet) renewLeases(ctx context.Context) {
	leases := k.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	for name := range k.nodes {
		renewal := fmt.Appendf(nil, `{"spec":{"renewTime":%q}}`, time.Now().UTC().Format(metav1.RFC3339Micro))
		_, err := leases.Patch(ctx, name, types.MergePatchType, renewal, metav1.PatchOptions{})
		if err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Cannot renew a lease", "node", klog.KRef("", name))
		}
	}
}

// cannotMount returns why a volume of the pod cannot be mounted on its node, or
// nothing if all can: a volume of the storage driver needs the driver there.
func (k *kubelet) cannotMount(pod *corev1.Pod) (reason string, err error) {
	if k.nodes[pod.Spec.NodeName].StorageID != "" {
		return "", nil
	}
	for _, volume := range pod.Spec.Volumes {
		claimName := ""
		switch {
		case volume.PersistentVolumeClaim != nil:
			claimName = volume.PersistentVolumeClaim.ClaimName
		case volume.Ephemeral != nil:
			claimName = pod.Name + "-" + volume.Name
		default:
			continue
		}
		claim, err := k.claims.PersistentVolumeClaims(pod.Namespace).Get(claimName)
		if err != nil {
			return "", err
		}
		pv, err := k.volumes.Get(claim.Spec.VolumeName)
		if err != nil {
			return "", err
		}
		if pv.Spec.CSI != nil && pv.Spec.CSI.Driver == driver.Name {
			return fmt.Sprintf("MountVolume.MountDevice failed for volume %q: driver name %s not found in the list of registered CSI drivers", pv.Name, driver.Name), nil
		}
	}
	return "", nil
}

// setRunning writes the status of a pod all of whose containers run and are
// ready.
func setRunning(status *corev1.PodStatus, spec corev1.PodSpec, hostIP, podIP string, now metav1.Time) {
	if spec.HostNetwork {
		podIP = hostIP
	}
	status.Phase = corev1.PodRunning
	status.HostIP, status.HostIPs = hostIP, []corev1.HostIP{{IP: hostIP}}
	status.PodIP, status.PodIPs = podIP, []corev1.PodIP{{IP: podIP}}
	status.StartTime = &now
	for _, kind := range []corev1.PodConditionType{
		corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady,
	} {
		setCondition(status, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}

	status.InitContainerStatuses = nil
	for _, c := range spec.InitContainers {
		state := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: now, FinishedAt: now}}
		if ptr.Deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways { // a sidecar
			state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
		}
		status.InitContainerStatuses = append(status.InitContainerStatuses, containerStatus(c, state))
	}
	status.ContainerStatuses = nil
	for _, c := range spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, containerStatus(c,
			corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}))
	}
}

func containerStatus(c corev1.Container, state corev1.ContainerState) corev1.ContainerStatus {
	return corev1.ContainerStatus{
		Name: c.Name, Image: c.Image, State: state, Ready: true, Started: ptr.To(state.Running != nil),
	}
}

// setCondition replaces the condition of the same type or adds it. Others, such
// as PodScheduled, belong to other components.
func setCondition(status *corev1.PodStatus, condition corev1.PodCondition) {
	for i := range status.Conditions {
		if status.Conditions[i].Type == condition.Type {
			status.Conditions[i] = condition
			return
		}
	}
	status.Conditions = append(status.Conditions, condition)
}
