package manifests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/internal/sandbox/process"
	"github.com/hyperconverge/scheduler/pkg/rebalance"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/child"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

const (
	rebalancerName = "hyperconverge-rebalancer" // of the Deployment, the account, the journal and the lease
	rebalancerUser = "system:serviceaccount:" + systemNamespace + ":" + rebalancerName
)

var rebalancerBinary = controlplane.Once(func(p controlplane.Process) string { return child.Build(p, p.TempDir(), "cmd/rebalancer") })

// startRebalancer is startReplica for the Deployment of the rebalancer.
func (p *controlPlane) startRebalancer(t *testing.T, objects []*unstructured.Unstructured, endpoint string) *child.Process {
	t.Helper()
	deployment := deploy.Find[appsv1.Deployment](t, objects, "Deployment", rebalancerName)
	spec := deployment.Spec.Template.Spec
	if !ptr.Deref(spec.AutomountServiceAccountToken, false) {
		t.Fatal("the pod would have no token")
	}
	kubeconfig := controlplane.Kubeconfig(t, p.As(t, systemNamespace, spec.ServiceAccountName))
	paths := p.mount(t, deployment, t.TempDir())
	o := podOptions{endpoint: endpoint}
	if err := os.WriteFile(paths.Replace("/etc/hyperconverge/scheduler.yaml"), []byte(o.configure(t, paths, kubeconfig)), 0o600); err != nil {
		t.Fatal(err)
	}
	container := spec.Containers[0]
	if len(container.Command) != 1 || container.Command[0] != rebalancerName {
		t.Fatalf("the command is %q", container.Command)
	}
	address := kit.FreeAddress(t)
	args := []string{"--kubeconfig=" + kubeconfig, "--ops-address=" + address}
	for _, arg := range container.Args {
		args = append(args, paths.Replace(arg))
	}
	process := child.Run(t, process.Command{
		Name: "the rebalancer", Path: rebalancerBinary(t), Args: args, Env: []string{"HOME=/nonexistent", "POD_NAMESPACE=" + deployment.Namespace},
	}, "http://"+address)
	if err := process.Ready(t.Context(), kit.Patience); err != nil {
		t.Fatal(err)
	}
	return process
}

// strandedPod is a pod of a ReplicaSet that has been ready for an hour, far from its data,
// which is on another node.
func (c *cluster) strandedPod(name, node, data string) {
	c.Helper()
	c.Volume(name, data)
	labels := map[string]string{"app": name}
	pod := c.pod(name, schedulerName, name).Annotation(rebalance.ReturnHome, "true").Node(node).Obj()
	pod.Labels = labels
	set, err := c.Client.AppsV1().ReplicaSets(c.Namespace).Create(c.Ctx, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.Namespace},
		Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: v1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod.Spec}},
	}, metav1.CreateOptions{})
	c.Must(err)
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}
	made, err := c.Client.CoreV1().Pods(c.Namespace).Create(c.Ctx, pod, metav1.CreateOptions{})
	c.Must(err)
	made.Status = v1.PodStatus{Phase: v1.PodRunning, Conditions: []v1.PodCondition{
		{Type: v1.PodReady, Status: v1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Now().Add(-time.Hour))},
	}}
	_, err = c.Client.CoreV1().Pods(c.Namespace).UpdateStatus(c.Ctx, made, metav1.UpdateOptions{})
	c.Must(err)
}

// Installed, it works with the rights of its account alone: in a dry run it would bring the
// pod home and leaves it; told to, it evicts the pod. All that it is granted is used.
func TestRebalancerWorksByItsOwnRightsOnly(t *testing.T) {
	plane := sharedPlane(t)
	live := "resources: [PATH/manifests/overlays/rebalancer]" + `
configMapGenerator:
- {name: hyperconverge-rebalancer-config, namespace: hyperconverge-system, behavior: replace, files: [rebalancer.yaml]}
`
	const header = "apiVersion: hyperconverge.dev/v1\nkind: RebalancerConfiguration\n"
	for name, mode := range map[string]struct {
		objects []*unstructured.Unstructured
		evicts  bool
	}{
		"as it is installed, in a dry run": {build(t, "manifests/overlays/rebalancer"), false},
		"told to evict":                    {compose(t, live, map[string]string{"rebalancer.yaml": header + "dryRun: false\n"}), true},
	} {
		t.Run(name, func(t *testing.T) {
			plane.apply(t, mode.objects)
			c := newCluster(t, plane, 3, openstoragesim.ServerOptions{})
			c.strandedPod("data", "n1", "n2")
			mark := plane.auditMark(t)
			running := plane.startRebalancer(t, mode.objects, c.Server.Endpoint())
			kit.Eventually(t, kit.Patience, "the pod is found", func() error {
				metrics, err := running.Metrics()
				if err != nil {
					return err
				}
				if moves, _ := metrics.Sum("hyperconverge_rebalancer_moves"); moves != 1 {
					return fmt.Errorf("it would move %v pods", moves)
				}
				return nil
			})
			if mode.evicts {
				kit.Eventually(t, kit.Patience, "the pod is evicted, and told of it", func() error {
					pod, err := c.Client.CoreV1().Pods(c.Namespace).Get(c.Ctx, "data", metav1.GetOptions{})
					if err == nil && pod.DeletionTimestamp == nil {
						return fmt.Errorf("the pod runs on %s", pod.Spec.NodeName)
					}
					list, err := c.Client.EventsV1().Events(c.Namespace).List(c.Ctx, metav1.ListOptions{FieldSelector: "reason=ReturningHome"})
					if err == nil && len(list.Items) == 0 {
						err = errors.New("there is no event")
					}
					return err
				})
			}
			if err := running.End(kit.Patience); err != nil {
				t.Fatal(err)
			}
			requests := plane.requests(t, rebalancerUser, mark)
			expectNoDenial(t, requests)
			evicts := permission{resource: "pods/eviction", verb: "create"}
			if evicts.used(requests) != mode.evicts {
				t.Errorf("it has evicted: %v, want %v", !mode.evicts, mode.evicts)
			}
			if !mode.evicts {
				if c.Get("data").DeletionTimestamp != nil {
					t.Error("the pod goes")
				}
				return
			}
			excused := excusedVerbs(t)
			for _, p := range ownPermissions(t, mode.objects, rebalancerName) {
				if !p.used(requests) && !excused[p.role+"/"+p.verb] {
					t.Errorf("granted by %s, but not used and without a comment on the verb: %s", p.role, p)
				}
			}
		})
	}
}

func TestStolenTokenOfTheRebalancer(t *testing.T) {
	plane := sharedPlane(t)
	c := newCluster(t, plane, 2, openstoragesim.ServerOptions{})
	c.strandedPod("ready", "n1", "n2")
	c.Volume("other", "n2")
	c.Create(c.pod("unready", schedulerName, "other").Node("n1"))
	c.Create(c.pod("without-volume", schedulerName).Node("n1"))
	for _, attacher := range []string{kit.Driver, "ebs.csi.aws.com"} {
		attachment := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: attacher},
			Spec: storagev1.VolumeAttachmentSpec{Attacher: attacher, NodeName: "n1", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr.To("v")}}}
		_, err := c.Client.StorageV1().VolumeAttachments().Create(c.Ctx, attachment, metav1.CreateOptions{})
		c.Must(err)
		t.Cleanup(func() {
			if err := c.Client.StorageV1().VolumeAttachments().Delete(context.WithoutCancel(c.Ctx), attacher, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	evict := func(namespace, pod string, change func(*policyv1.Eviction)) attempt {
		return func(a *account) error {
			found, err := a.admin.CoreV1().Pods(namespace).Get(a.ctx, pod, metav1.GetOptions{})
			if err != nil {
				return err
			}
			eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod},
				DeleteOptions: &metav1.DeleteOptions{DryRun: tryDelete.DryRun, Preconditions: &metav1.Preconditions{UID: &found.UID}}}
			change(eviction)
			return a.PolicyV1().Evictions(namespace).Evict(a.ctx, eviction)
		}
	}
	asItIs := func(*policyv1.Eviction) {}
	remove := func(namespace, pod string) attempt {
		return func(a *account) error { return a.CoreV1().Pods(namespace).Delete(a.ctx, pod, tryDelete) }
	}
	detach := func(name string) attempt {
		return func(a *account) error { return a.StorageV1().VolumeAttachments().Delete(a.ctx, name, tryDelete) }
	}
	lease := func(namespace, name string) attempt {
		return func(a *account) error {
			_, err := a.CoordinationV1().Leases(namespace).Create(a.ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}, tryCreate)
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		}
	}
	forbidden := ofBoth()
	for name, attempt := range map[string]attempt{
		"read the certificates of the webhook": readSecret(systemNamespace, certificates),
		"delete a pod that is ready":           remove(c.Namespace, "ready"),
		"delete a pod without volumes":         remove(c.Namespace, "without-volume"),
		"detach a volume of another driver":    detach("ebs.csi.aws.com"),
		"evict another pod of the same name":   evict(c.Namespace, "ready", func(e *policyv1.Eviction) { e.DeleteOptions.Preconditions = nil }),
		"evict without options":                evict(c.Namespace, "ready", func(e *policyv1.Eviction) { e.DeleteOptions = nil }),
		"kill a pod by an eviction":            evict(c.Namespace, "ready", func(e *policyv1.Eviction) { e.DeleteOptions.GracePeriodSeconds = ptr.To[int64](0) }),
		"hold the lease of the scheduler":      lease(systemNamespace, "any"),
		"hold a lease elsewhere":               lease("kube-system", rebalancerName),
		"write the configuration of others": func(a *account) error {
			_, err := a.CoreV1().ConfigMaps(systemNamespace).Update(a.ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "hyperconverge-storage-ca"}}, tryUpdate)
			return err
		},
		"resume itself": func(a *account) error {
			_, err := a.AppsV1().Deployments(systemNamespace).Patch(a.ctx, rebalancerName, types.MergePatchType, []byte(`{"metadata":{"annotations":{"hyperconverge.dev/resume":"x"}}}`), tryPatch)
			return err
		},
		"change a pod": func(a *account) error {
			_, err := a.CoreV1().Pods(c.Namespace).Patch(a.ctx, "ready", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), tryPatch)
			return err
		},
		"bind a pod": func(a *account) error {
			return a.CoreV1().Pods(c.Namespace).Bind(a.ctx, &v1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "ready"}, Target: v1.ObjectReference{Kind: "Node", Name: "n2"}}, tryCreate)
		},
	} {
		forbidden[name] = attempt
	}
	for _, namespace := range []string{"kube-system", systemNamespace} {
		forbidden["evict a pod of "+namespace] = evict(namespace, "system", asItIs)
		forbidden["delete a pod of "+namespace] = remove(namespace, "system")
	}
	const folder = "resources: [PATH/manifests/overlays/rebalancer]\n"
	for name, mode := range map[string]struct {
		kustomization string
		allowed       map[string]attempt
	}{
		"as it is installed": {folder, map[string]attempt{
			"evict a pod": evict(c.Namespace, "ready", asItIs), "create its lease": lease(systemNamespace, rebalancerName),
		}},
		"with the right to delete": {folder + "components: [PATH/manifests/components/rebalancer-force-delete]", map[string]attempt{
			"evict a pod": evict(c.Namespace, "ready", asItIs), "delete a pod that is not ready": remove(c.Namespace, "unready"),
			"detach a volume of the driver": detach(kit.Driver),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			plane.apply(t, compose(t, mode.kustomization, nil))
			for _, namespace := range []string{"kube-system", systemNamespace} {
				system := kit.Pod(namespace, "system", schedulerName).Node("n1").Req(kit.CPU("1m")).Obj()
				restrict(system)
				if _, err := plane.Client.CoreV1().Pods(namespace).Create(t.Context(), system, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := plane.Client.CoreV1().Pods(namespace).Delete(context.WithoutCancel(c.Ctx), "system", *metav1.NewDeleteOptions(0)); err != nil {
						t.Error(err)
					}
				})
			}
			thief := plane.as(t, rebalancerName)
			kit.Eventually(t, kit.Patience, "the policy is in force", func() error {
				if err := lease(systemNamespace, "any")(thief); !refused(err) {
					return fmt.Errorf("it lets a lease pass: %w", err)
				}
				return nil
			})
			for what, attempt := range mode.allowed {
				if err := attempt(thief); err != nil {
					t.Errorf("its work: %s: %v", what, err)
				}
			}
			thief.expectRefused(t, forbidden)
		})
	}
}

// restrict has a pod keep to the restricted level.
func restrict(pod *v1.Pod) {
	pod.Spec.SecurityContext = &v1.PodSecurityContext{RunAsNonRoot: ptr.To(true), SeccompProfile: &v1.SeccompProfile{Type: v1.SeccompProfileTypeRuntimeDefault}}
	for i := range pod.Spec.Containers {
		pod.Spec.Containers[i].SecurityContext = &v1.SecurityContext{AllowPrivilegeEscalation: ptr.To(false), Capabilities: &v1.Capabilities{Drop: []v1.Capability{"ALL"}}}
	}
}
