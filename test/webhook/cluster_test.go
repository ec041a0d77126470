package webhook

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

const (
	driver        = "pxd.portworx.com"
	ourScheduler  = "hyperconverge-scheduler"
	ownNamespace  = "hyperconverge-system"
	name          = "hyperconverge-webhook" // of most of its objects
	secretName    = "hyperconverge-webhook-certificates"
	pollingPeriod = 20 * time.Millisecond
	// patience is no measure of speed: what comes in seconds takes minutes on a machine
	// that compiles beside it.
	patience = 5 * time.Minute
)

// cluster is an API server with the manifests of the webhook applied, and the
// replicas of the webhook that a test has started.
type cluster struct {
	testing.TB
	ctx     context.Context
	config  *rest.Config
	client  kubernetes.Interface
	applier *applier
	proxy   *serviceProxy
	etcd    *clientv3.Client
	objects []*unstructured.Unstructured
	*warnings
}

// warnings are those of the API server since the last look.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

func newCluster(tb testing.TB) *cluster {
	tb.Helper()
	c := &cluster{TB: tb, ctx: tb.Context(), proxy: startServiceProxy(tb), objects: build(tb, manifests), warnings: &warnings{}}
	plane := startControlPlane(tb, c.proxy)
	c.config, c.etcd = plane.Config, plane.Etcd
	c.config.WarningHandlerWithContext = c.warnings
	client, err := kubernetes.NewForConfig(c.config)
	c.must(err)
	c.client, c.applier = client, newApplier(tb, c.config)
	c.namespace(ownNamespace, nil)
	c.applier.create(c.ctx, tb, c.objects)
	return c
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// in is the cluster for a subtest.
func (c *cluster) in(tb testing.TB) *cluster {
	inner := *c
	inner.TB, inner.ctx = tb, tb.Context()
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
	token, err := c.client.CoreV1().ServiceAccounts(ownNamespace).CreateToken(c.ctx, name,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](3600)}}, metav1.CreateOptions{})
	c.must(err)
	config := rest.AnonymousClientConfig(c.config)
	config.BearerToken = token.Status.Token
	return config
}

// start runs replicas and returns when requests go to all of them.
func (c *cluster) start(count int, flags ...string) []*replica {
	c.Helper()
	config := c.asWebhook()
	replicas := make([]*replica, count)
	for i := range replicas {
		replicas[i] = startReplica(c.TB, config, find(c.TB, c.objects, "Deployment", name), flags...)
	}
	c.route(replicas...)
	return replicas
}

// route waits until the replicas are ready, and sends requests to them.
func (c *cluster) route(replicas ...*replica) {
	c.Helper()
	var addresses []string
	for _, replica := range replicas {
		c.eventually("the webhook is ready", replica.ready)
		addresses = append(addresses, replica.address)
	}
	c.proxy.route(addresses...)
}

func (c *cluster) eventually(what string, condition func() error) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			c.Fatalf("waited %v for: %s: %v", patience, what, err)
		case <-time.After(pollingPeriod):
		}
	}
}

func (c *cluster) namespace(name string, labels map[string]string) {
	c.Helper()
	_, err := c.client.CoreV1().Namespaces().Create(c.ctx, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
	c.must(err)
}

func (c *cluster) class(name, provisioner string, annotations map[string]string) {
	c.Helper()
	_, err := c.client.StorageV1().StorageClasses().Create(c.ctx,
		&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}, Provisioner: provisioner}, metav1.CreateOptions{})
	c.must(err)
}

// volume makes a PV of the driver that is bound to a claim of its name.
func (c *cluster) volume(namespace, name, driver string) {
	c.Helper()
	claim := claimOf(namespace, name, ptr.To(""))
	claim.Spec.VolumeName = name
	claim.Annotations = map[string]string{"pv.kubernetes.io/bind-completed": "yes"}
	claim, err := c.client.CoreV1().PersistentVolumeClaims(namespace).Create(c.ctx, claim, metav1.CreateOptions{})
	c.must(err)
	_, err = c.client.CoreV1().PersistentVolumes().Create(c.ctx, volumeOf(claim, driver), metav1.CreateOptions{})
	c.must(err)
	claim.Status.Phase = v1.ClaimBound
	_, err = c.client.CoreV1().PersistentVolumeClaims(namespace).UpdateStatus(c.ctx, claim, metav1.UpdateOptions{})
	c.must(err)
}

func (c *cluster) claim(namespace, name string, class *string) {
	c.Helper()
	_, err := c.client.CoreV1().PersistentVolumeClaims(namespace).Create(c.ctx, claimOf(namespace, name, class), metav1.CreateOptions{})
	c.must(err)
}

func claimOf(namespace, name string, class *string) *v1.PersistentVolumeClaim {
	return &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1.PersistentVolumeClaimSpec{
			StorageClassName: class,
			AccessModes:      []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce},
			Resources:        v1.VolumeResourceRequirements{Requests: v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
}

func volumeOf(claim *v1.PersistentVolumeClaim, driver string) *v1.PersistentVolume {
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: claim.Spec.VolumeName},
		Spec: v1.PersistentVolumeSpec{
			Capacity:               v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")},
			AccessModes:            claim.Spec.AccessModes,
			ClaimRef:               &v1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			PersistentVolumeSource: v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: claim.Name}},
		},
	}
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
	return source(v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{
		VolumeClaimTemplate: &v1.PersistentVolumeClaimTemplate{Spec: claimOf("", "", class).Spec}}})
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
	created, err := c.client.CoreV1().Pods(pod.Namespace).Create(c.ctx, pod, metav1.CreateOptions{})
	c.must(err)
	return created
}

// try does all that creating a pod does, except for storing it.
func (c *cluster) try(pod *v1.Pod) *v1.Pod {
	c.Helper()
	tried, err := c.client.CoreV1().Pods(pod.Namespace).Create(c.ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	c.must(err)
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
