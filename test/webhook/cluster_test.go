package webhook

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

const (
	ourScheduler = "hyperconverge-scheduler"
	ownNamespace = "hyperconverge-system"
	name         = "hyperconverge-webhook" // of most of its objects
	secretName   = "hyperconverge-webhook-certificates"
)

// cluster is an API server with the manifests of the webhook applied, and the
// replicas of the webhook that a test has started. Its claims and pods are in the
// namespace db.
type cluster struct {
	*controlplane.Cluster
	applier *deploy.Applier
	proxy   *serviceProxy
	objects []*unstructured.Unstructured
	*warnings
}

// warnings are those of the API server since they were taken.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

func newCluster(tb testing.TB) *cluster {
	tb.Helper()
	c := &cluster{proxy: startServiceProxy(tb), objects: build(tb, manifests), warnings: &warnings{}}
	plane := startControlPlane(tb, c.proxy)
	plane.Config.WarningHandlerWithContext = c.warnings
	c.Cluster = &controlplane.Cluster{TB: tb, ControlPlane: plane, Ctx: tb.Context(), Namespace: "db", Patience: kit.Patience}
	var err error
	plane.Client, err = kubernetes.NewForConfig(plane.Config)
	c.Must(err)
	c.applier, err = deploy.NewApplier(plane.Config)
	c.Must(err)
	c.namespace(ownNamespace, nil)
	c.Must(c.applier.Apply(c.Ctx, c.objects...))
	return c
}

// in is the cluster for a subtest.
func (c *cluster) in(tb testing.TB) *cluster {
	inner := *c
	inner.Cluster = c.In(tb)
	return &inner
}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

// takeWarnings returns the warnings since the last call.
func (w *warnings) takeWarnings() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.texts
	w.texts = nil
	return taken
}

// asWebhook is a configuration with the rights of the webhook's ServiceAccount.
func (c *cluster) asWebhook() *rest.Config {
	c.Helper()
	return c.As(c.TB, ownNamespace, name)
}

// start runs replicas and returns when requests go to all of them.
func (c *cluster) start(count int, flags ...string) []*replica {
	c.Helper()
	config := c.asWebhook()
	replicas := make([]*replica, count)
	for i := range replicas {
		replicas[i] = startReplica(c.TB, config, c.deployment(), flags...)
	}
	c.route(replicas...)
	return replicas
}

// route waits until the replicas are ready, and sends requests to them.
func (c *cluster) route(replicas ...*replica) {
	c.Helper()
	var addresses []string
	for _, replica := range replicas {
		c.Eventually("the webhook is ready", replica.ready)
		addresses = append(addresses, replica.address)
	}
	c.proxy.route(addresses...)
}

// deployment is that of the webhook.
func (c *cluster) deployment() *appsv1.Deployment {
	c.Helper()
	return deploy.Find[appsv1.Deployment](c.TB, c.objects, "Deployment", name)
}

func (c *cluster) namespace(name string, labels map[string]string) {
	c.Helper()
	_, err := c.Client.CoreV1().Namespaces().Create(c.Ctx, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
	c.Must(err)
}

// volume makes a PV of the driver that is bound to a claim of its name.
func (c *cluster) volume(name, driver string) {
	c.Helper()
	c.VolumeWith(name, controlplane.VolumeOptions{Driver: driver})
}

func (c *cluster) claim(name string, class *string) {
	c.Helper()
	c.Claim(kit.Claim(c.Namespace, name, class))
}

// podOption changes the usual pod of the tests.
type podOption func(*v1.Pod)

func podIn(namespace string, options ...podOption) *v1.Pod {
	pod := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "db-"},
		Spec:       v1.PodSpec{Containers: []v1.Container{{Name: "db", Image: "db"}}},
	}
	for _, option := range options {
		option(pod)
	}
	return pod
}

func source(source v1.VolumeSource) podOption {
	return func(pod *v1.Pod) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: fmt.Sprintf("v%d", len(pod.Spec.Volumes)), VolumeSource: source})
	}
}

func pvc(name string) podOption {
	return source(v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name}})
}

func ephemeral(class *string) podOption {
	return source(kit.Ephemeral(class))
}

func inline(driver string) podOption {
	return source(v1.VolumeSource{CSI: &v1.CSIVolumeSource{Driver: driver}})
}

func inTree(pod *v1.Pod) {
	source(v1.VolumeSource{PortworxVolume: &v1.PortworxVolumeSource{VolumeID: "1"}})(pod)
}

func askingFor(name string) podOption { return func(pod *v1.Pod) { pod.Spec.SchedulerName = name } }

func annotation(key, value string) podOption {
	return func(pod *v1.Pod) { metav1.SetMetaDataAnnotation(&pod.ObjectMeta, key, value) }
}

// create creates a pod.
func (c *cluster) create(pod *v1.Pod) *v1.Pod {
	c.Helper()
	created, err := c.Client.CoreV1().Pods(pod.Namespace).Create(c.Ctx, pod, metav1.CreateOptions{})
	c.Must(err)
	return created
}

// try does all that creating a pod does, except for storing it.
func (c *cluster) try(pod *v1.Pod) *v1.Pod {
	c.Helper()
	tried, err := c.Client.CoreV1().Pods(pod.Namespace).Create(c.Ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	c.Must(err)
	return tried
}

// isOurs reports whether a pod has been given to our scheduler, with both of the
// tolerations, each of them once.
func isOurs(pod *v1.Pod) error {
	tolerations := 0
	for _, toleration := range pod.Spec.Tolerations {
		if strings.HasPrefix(toleration.Key, "node.portworx.io/px-storage") {
			tolerations++
		}
	}
	if pod.Spec.SchedulerName != ourScheduler || tolerations != 2 {
		return fmt.Errorf("its scheduler is %s and %d tolerations are for storage nodes, want %s and 2", pod.Spec.SchedulerName, tolerations, ourScheduler)
	}
	return nil
}
