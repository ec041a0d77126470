package fakenodes

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
	"github.com/hyperconverge/scheduler/test/kit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRegisterCreatesReadyNodesWithLeasesAndCSINodes(t *testing.T) {
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: corev1.NamespaceNodeLease}})
	if err := Register(t.Context(), client, nodes()); err != nil {
		t.Fatal(err)
	}

	node, err := client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantLabels := map[string]string{
		"kubernetes.io/hostname": "node-1", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
		"topology.kubernetes.io/region": "east", "topology.kubernetes.io/zone": "east-a", "px/rack": "rack-1", LabelDisk: "ssd",
	}
	if diff := cmp.Diff(wantLabels, node.Labels); diff != "" {
		t.Errorf("labels differ (-want +got):\n%s", diff)
	}
	if !isReady(node) || len(node.Spec.Taints) > 0 {
		t.Errorf("conditions are %v, taints %v; want a node that takes pods", node.Status.Conditions, node.Spec.Taints)
	}
	for name, want := range map[string][]storagev1.CSINodeDriver{
		"node-1": {{Name: "pxd.portworx.com", NodeID: "uuid-1"}},
		"node-2": nil,
	} {
		csiNode, err := client.StorageV1().CSINodes().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, csiNode.Spec.Drivers); diff != "" {
			t.Errorf("CSINode %s differs (-want +got):\n%s", name, diff)
		}
		if _, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
}

func TestLeasesAreRenewed(t *testing.T) {
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: corev1.NamespaceNodeLease}})
	if err := Register(t.Context(), client, nodes()); err != nil {
		t.Fatal(err)
	}
	leases := client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	before, err := leases.Get(t.Context(), "node-2", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(t, client))
	kit.Eventually(t, kit.Soon, "the lease is renewed", kit.Holds(func() bool {
		now, err := leases.Get(t.Context(), "node-2", metav1.GetOptions{})
		return err == nil && now.Spec.RenewTime.After(before.Spec.RenewTime.Time)
	}))
}

func TestABoundPodRuns(t *testing.T) {
	client := runKubelet(t, pod("app", "node-1", nil))
	running := untilPod(t, client, "app", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	if running.Status.HostIP != "10.0.0.2" || running.Status.PodIP == "" || len(running.Status.ContainerStatuses) != 1 {
		t.Errorf("status is %+v", running.Status)
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.PodReady} {
		if !hasCondition(running, kind) {
			t.Errorf("condition %s is not true: %v", kind, running.Status.Conditions)
		}
	}
}

func TestPodsOfNobodyAndOfRealNodesAreLeftAlone(t *testing.T) {
	client := fake.NewClientset(pod("unbound", "", nil), pod("elsewhere", "real-node", nil), pod("ours", "node-1", nil))
	stop := start(t, client)
	untilPod(t, client, "ours", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	stop() // after which all pods that were there have been dealt with
	for _, name := range []string{"unbound", "elsewhere"} {
		p, err := client.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || p.Status.Phase != corev1.PodPending {
			t.Errorf("pod %s is %v, %v; want it as it was", name, p.Status.Phase, err)
		}
	}
}

func TestADeletedPodGoes(t *testing.T) {
	deleted := pod("app", "node-1", nil)
	deleted.DeletionTimestamp = ptr.To(metav1.Now())
	deleted.Finalizers = []string{"test/keeps-it-in-the-fake"}
	client := runKubelet(t, deleted)
	kit.Eventually(t, kit.Soon, "the pod is gone", kit.Holds(func() bool {
		_, err := client.CoreV1().Pods("default").Get(t.Context(), "app", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}))
}

func TestAVolumeOfTheDriverNeedsTheDriver(t *testing.T) {
	claims := []runtime.Object{
		boundClaim("data", "pv-data"), volume("pv-data", driver.Name),
		boundClaim("other", "pv-other"), volume("pv-other", "ebs.csi.aws.com"),
		boundClaim("cache-scratch", "pv-scratch"), volume("pv-scratch", driver.Name),
	}
	fromClaim := func(claim string) []corev1.Volume {
		return []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}}}
	}
	ephemeral := []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}}

	for name, row := range map[string]struct {
		pod  *corev1.Pod
		runs bool
	}{
		"where the driver runs, the pod runs":          {pod("app", "node-1", fromClaim("data")), true},
		"where it does not, the pod waits":             {pod("app", "node-2", fromClaim("data")), false},
		"an ephemeral volume is no exception":          {pod("cache", "node-2", ephemeral), false},
		"volumes of other drivers are none of ours":    {pod("app", "node-2", fromClaim("other")), true},
		"a pod without volumes needs no driver at all": {pod("app", "node-2", nil), true},
	} {
		t.Run(name, func(t *testing.T) {
			client := runKubelet(t, append(claims, row.pod)...)
			if row.runs {
				untilPod(t, client, row.pod.Name, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
				return
			}
			kit.Eventually(t, kit.Soon, "an event says why", kit.Holds(func() bool {
				events, err := client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
				if err != nil || len(events.Items) == 0 {
					return false
				}
				e := events.Items[0]
				return e.Reason == "FailedMount" && strings.Contains(e.Message, driver.Name)
			}))
			untilPod(t, client, row.pod.Name, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodPending })
		})
	}
}

// A successor of the same name must not be deleted in place of its predecessor.
func TestOnlyThePodThatWasSeenIsDeleted(t *testing.T) {
	client := fake.NewClientset(pod("app", "node-1", nil))
	var preconditions *metav1.Preconditions
	client.PrependReactor("delete", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		preconditions = action.(clienttesting.DeleteActionImpl).DeleteOptions.Preconditions
		return true, nil, apierrors.NewConflict(corev1.Resource("pods"), "app", nil)
	})
	k := &kubelet{client: client}
	if err := k.finish(t.Context(), pod("app", "node-1", nil)); err != nil {
		t.Errorf("a conflict means that the pod is gone, not %v", err)
	}
	if preconditions == nil || *preconditions.UID != "uid-app" {
		t.Errorf("preconditions are %v, want the pod's UID", preconditions)
	}
}

func TestContainersThatEndAndSidecarsAreNotMistakenForEachOther(t *testing.T) {
	spec := corev1.PodSpec{
		HostNetwork: true,
		InitContainers: []corev1.Container{
			{Name: "prepare"},
			{Name: "proxy", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)},
		},
		Containers: []corev1.Container{{Name: "app"}},
	}
	status := corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}}
	setRunning(&status, spec, "10.0.0.1", "10.64.0.1", metav1.Now())

	if status.PodIP != "10.0.0.1" {
		t.Errorf("a pod on the host's network has address %s", status.PodIP)
	}
	if s := status.InitContainerStatuses; s[0].State.Terminated == nil || s[1].State.Running == nil {
		t.Errorf("init containers are %+v", s)
	}
	if got := len(status.Conditions); got != 4 {
		t.Errorf("%d conditions, want 4: one of each kind", got)
	}
}

func nodes() []Node {
	return []Node{
		{Name: "node-1", Region: "east", Zone: "east-a", Rack: "rack-1", Disk: "ssd", IP: netip.MustParseAddr("10.0.0.2"), StorageID: "uuid-1"},
		{Name: "node-2", Region: "east", Zone: "east-a", Rack: "rack-1", Disk: "ssd", IP: netip.MustParseAddr("10.0.0.3")},
	}
}

// runKubelet runs the kubelet against a fake API server until the test ends.
func runKubelet(t *testing.T, objects ...runtime.Object) kubernetes.Interface {
	t.Helper()
	client := fake.NewClientset(objects...)
	t.Cleanup(start(t, client))
	return client
}

// start runs the kubelet until stop is called.
func start(t *testing.T, client kubernetes.Interface) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Run(ctx, client, nodes()) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v", err)
		}
	}
}

func pod(name, node string, volumes []corev1.Volume) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)},
		Spec:       corev1.PodSpec{NodeName: node, Volumes: volumes, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	if node != "" {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	}
	return p
}

func boundClaim(name, pv string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: pv},
	}
}

func volume(name, csiDriver string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
			CSI: &corev1.CSIPersistentVolumeSource{Driver: csiDriver},
		}},
	}
}

func isReady(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func hasCondition(pod *corev1.Pod, kind corev1.PodConditionType) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func untilPod(t *testing.T, client kubernetes.Interface, name string, condition func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var found *corev1.Pod
	kit.Eventually(t, kit.Soon, "pod "+name+" is as it should be", kit.Holds(func() bool {
		var err error
		found, err = client.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		return err == nil && condition(found)
	}))
	return found
}
