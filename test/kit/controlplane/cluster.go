package controlplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/test/kit"
)

// PodsPerNode is what every node has room for.
const PodsPerNode = 1000

// Cluster is what a test has made on a control plane: a namespace for its pods, and
// nodes with storage, where storage is simulated.
type Cluster struct {
	testing.TB
	*ControlPlane
	// Ctx ends with the test.
	Ctx context.Context
	// Namespace is where claims and pods are made.
	Namespace string
	// Patience is how long a test waits for what must come.
	Patience time.Duration
	// Storage and Server are nil in clusters whose volumes nobody asks for.
	Storage *openstoragesim.Cluster
	Server  *openstoragesim.Server
}

// NewCluster makes nodes n1, n2, ... that all run the driver, and takes everything but
// the namespace away at the end of the test.
func NewCluster(tb testing.TB, plane *ControlPlane, patience time.Duration, nodes int, options openstoragesim.ServerOptions) *Cluster {
	tb.Helper()
	c := &Cluster{TB: tb, ControlPlane: plane, Ctx: tb.Context(), Patience: patience}
	namespace, err := c.Client.CoreV1().Namespaces().Create(c.Ctx,
		&v1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	c.Must(err)
	c.Namespace = namespace.Name
	c.Storage = openstoragesim.NewCluster(openstoragesim.Options{})
	c.Server = openstoragesim.NewServer(c.Storage, options)
	c.Must(c.Server.Start("127.0.0.1:0"))
	tb.Cleanup(func() {
		if tb.Failed() {
			c.logPods()
		}
		c.Server.Stop()
		c.clear()
	})
	for i := range nodes {
		c.AddNode(fmt.Sprintf("n%d", i+1), nil)
	}
	return c
}

// In is the cluster for a subtest.
func (c *Cluster) In(tb testing.TB) *Cluster {
	inner := *c
	inner.TB, inner.Ctx = tb, tb.Context()
	return &inner
}

// Must fails the test on an error.
func (c *Cluster) Must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// Eventually polls until the condition holds, and fails with its last error.
func (c *Cluster) Eventually(what string, condition func() error) {
	c.Helper()
	kit.Eventually(c.TB, c.Patience, what, condition)
}

// logPods tells where the pods of a failed test are, or what holds them.
func (c *Cluster) logPods() {
	const most = 12
	pods, err := c.Client.CoreV1().Pods(c.Namespace).List(context.WithoutCancel(c.Ctx), metav1.ListOptions{})
	if err != nil {
		c.Error(err)
		return
	}
	for i := range min(most, len(pods.Items)) {
		pod := &pods.Items[i]
		why, _, _ := strings.Cut(kit.Unplaced(pod), ". ") // what follows is about preemption
		c.Logf("pod %s: %s", pod.Name, cmp.Or(pod.Spec.NodeName, why))
	}
	if more := len(pods.Items) - most; more > 0 {
		c.Logf("and %d more pods", more)
	}
}

// clear removes everything that a test has made in the cluster.
func (c *Cluster) clear() {
	ctx, now, all := context.WithoutCancel(c.Ctx), metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{}
	core, storage := c.Client.CoreV1(), c.Client.StorageV1()
	for what, err := range map[string]error{
		"pods":        core.Pods(c.Namespace).DeleteCollection(ctx, now, all),
		"claims":      core.PersistentVolumeClaims(c.Namespace).DeleteCollection(ctx, now, all),
		"volumes":     core.PersistentVolumes().DeleteCollection(ctx, now, all),
		"nodes":       core.Nodes().DeleteCollection(ctx, now, all),
		"CSI nodes":   storage.CSINodes().DeleteCollection(ctx, now, all),
		"CSI drivers": storage.CSIDrivers().DeleteCollection(ctx, now, all),
		"classes":     storage.StorageClasses().DeleteCollection(ctx, now, all),
	} {
		if err != nil {
			c.Errorf("removing %s: %v", what, err)
		}
	}
}

// AddNode adds a Kubernetes node that is a storage node, too.
func (c *Cluster) AddNode(name string, labels map[string]string) {
	c.Helper()
	c.AddBareNode(name, labels)
	c.InstallDriver(name)
}

// AddBareNode adds a Kubernetes node without the driver.
func (c *Cluster) AddBareNode(name string, labels map[string]string) {
	c.Helper()
	node := kit.Node(name, PodsPerNode)
	maps.Copy(node.Labels, labels)
	_, err := c.Client.CoreV1().Nodes().Create(c.Ctx, node, metav1.CreateOptions{})
	c.Must(err)
}

// InstallDriver makes a Kubernetes node a storage node, which has its labels.
func (c *Cluster) InstallDriver(node string) {
	c.Helper()
	kubeNode, err := c.Client.CoreV1().Nodes().Get(c.Ctx, node, metav1.GetOptions{})
	c.Must(err)
	made, err := c.Storage.AddNode(openstoragesim.Node{SchedulerNodeName: node, Labels: kubeNode.Labels})
	c.Must(err)
	_, err = c.Client.StorageV1().CSINodes().Create(c.Ctx, kit.CSINode(node, made.ID), metav1.CreateOptions{})
	c.Must(err)
}

// StorageID is the id under which replica sets name a node.
func (c *Cluster) StorageID(node string) string {
	c.Helper()
	found, err := c.Storage.Node(node)
	c.Must(err)
	return found.ID
}

// StorageIDs are those of several nodes.
func (c *Cluster) StorageIDs(nodes []string) []string {
	c.Helper()
	ids := make([]string, len(nodes))
	for i, name := range nodes {
		ids[i] = c.StorageID(name)
	}
	return ids
}

// VolumeOptions are the unusual things about a volume.
type VolumeOptions struct {
	Parameters  map[string]string // of the StorageClass, at creation
	Annotations map[string]string // of the claim
	Hidden      bool              // the storage system does not know it
	Unbound     bool              // the claim is not bound
	Class       string            // StorageClass of the claim
	Owner       *v1.Pod           // of the claim, for generic ephemeral volumes
	PV          string            // name of the PV, if it is not the usual one
	Driver      string            // of the PV, if it is not the usual one
	InTree      bool              // the PV has the source of the in-tree plugin
	ByName      bool              // the PV names the volume, not its id
}

// source is what the PV says about the volume of this handle.
func (o *VolumeOptions) source(handle string) v1.PersistentVolumeSource {
	if o.InTree {
		return v1.PersistentVolumeSource{PortworxVolume: &v1.PortworxVolumeSource{VolumeID: handle}}
	}
	return kit.CSI(cmp.Or(o.Driver, kit.Driver), handle)
}

// Volume makes a volume with replicas on the given nodes, a PV and a bound claim, all
// of that name.
func (c *Cluster) Volume(name string, nodes ...string) {
	c.Helper()
	c.VolumeWith(name, VolumeOptions{}, nodes...)
}

// VolumeWith makes an unusual volume.
func (c *Cluster) VolumeWith(name string, o VolumeOptions, nodes ...string) {
	c.Helper()
	handle := c.HiddenName(name) // in-tree volumes may be named rather than numbered
	if c.Storage != nil && !o.Hidden {
		handle = c.Stored(name, o.Parameters, nodes...)
		if o.ByName {
			handle = name
		}
	}
	claim := kit.Claim(c.Namespace, name, &o.Class)
	maps.Copy(claim.Annotations, o.Annotations)
	if o.Owner != nil {
		claim.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(o.Owner, v1.SchemeGroupVersion.WithKind("Pod"))}
	}
	if o.Unbound {
		c.Claim(claim)
		return
	}
	pv := cmp.Or(o.PV, c.PVName(name))
	kit.Bind(claim, pv)
	claim = c.Claim(claim)
	c.PersistentVolume(pv, claim, o.source(handle))
	c.bound(claim)
}

// Stored makes a volume in the storage system alone, with replicas on the nodes, and
// returns its handle.
func (c *Cluster) Stored(name string, parameters map[string]string, nodes ...string) (handle string) {
	c.Helper()
	all := map[string]string{"repl": strconv.Itoa(max(1, len(nodes)))}
	maps.Copy(all, parameters)
	made, err := c.Storage.CreateVolume(openstoragesim.CreateRequest{Name: name, Parameters: all})
	c.Must(err)
	if len(nodes) > 0 {
		c.Replicas(name, nodes...)
	}
	return made.GetId()
}

// Replicas puts the replicas of a volume exactly on these nodes, in one set.
func (c *Cluster) Replicas(volume string, nodes ...string) {
	c.Helper()
	c.Must(c.Storage.SetReplicaSets(volume, c.StorageIDs(nodes)))
}

// HiddenName is the name of a volume that the storage system does not know yet.
func (c *Cluster) HiddenName(claim string) string { return c.Namespace + "-" + claim }

// PVName is the usual name of the PV of a claim.
func (c *Cluster) PVName(claim string) string { return "pv-" + c.Namespace + "-" + claim }

// PersistentVolume makes the PV behind a claim.
func (c *Cluster) PersistentVolume(name string, claim *v1.PersistentVolumeClaim, source v1.PersistentVolumeSource) {
	c.Helper()
	_, err := c.Client.CoreV1().PersistentVolumes().Create(c.Ctx, kit.Volume(name, claim, source), metav1.CreateOptions{})
	c.Must(err)
}

// Claim sends a claim to the API server.
func (c *Cluster) Claim(claim *v1.PersistentVolumeClaim) *v1.PersistentVolumeClaim {
	c.Helper()
	made, err := c.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Create(c.Ctx, claim, metav1.CreateOptions{})
	c.Must(err)
	return made
}

// GetClaim asks the API server for a claim.
func (c *Cluster) GetClaim(name string) *v1.PersistentVolumeClaim {
	c.Helper()
	got, err := c.Client.CoreV1().PersistentVolumeClaims(c.Namespace).Get(c.Ctx, name, metav1.GetOptions{})
	c.Must(err)
	return got
}

// Complete is the volume controller's part of a binding.
func (c *Cluster) Complete(claim *v1.PersistentVolumeClaim, volume string) {
	c.Helper()
	kit.Bind(claim, volume)
	claim, err := c.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(c.Ctx, claim, metav1.UpdateOptions{})
	c.Must(err)
	c.bound(claim)
}

// bound writes the status, which the API server takes only by itself.
func (c *Cluster) bound(claim *v1.PersistentVolumeClaim) {
	c.Helper()
	claim.Status.Phase = v1.ClaimBound
	_, err := c.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(c.Ctx, claim, metav1.UpdateOptions{})
	c.Must(err)
}

// Class sends a StorageClass to the API server.
func (c *Cluster) Class(class *storagev1.StorageClass) {
	c.Helper()
	_, err := c.Client.StorageV1().StorageClasses().Create(c.Ctx, class, metav1.CreateOptions{})
	c.Must(err)
}

// Provision plays provisioner and volume controller for a claim that waits for its
// first pod: it waits for the scheduler's choice, and binds a new volume with its
// replica there. It returns the node.
func (c *Cluster) Provision(name string) (node string) {
	c.Helper()
	var claim *v1.PersistentVolumeClaim
	c.Eventually("a node is selected for claim "+name, func() error {
		claim = c.GetClaim(name)
		if node = claim.Annotations["volume.kubernetes.io/selected-node"]; node == "" {
			return errors.New("none is")
		}
		return nil
	})
	c.PersistentVolume(c.PVName(name), claim, kit.CSI(kit.Driver, c.Stored(name, nil, node)))
	c.Complete(claim, c.PVName(name))
	return node
}

// Create sends a pod to the API server.
func (c *Cluster) Create(pod *st.PodWrapper) *v1.Pod {
	c.Helper()
	made, err := c.Client.CoreV1().Pods(pod.Obj().Namespace).Create(c.Ctx, pod.Obj(), metav1.CreateOptions{})
	c.Must(err)
	return made
}

// Get asks the API server for a pod.
func (c *Cluster) Get(pod string) *v1.Pod {
	c.Helper()
	got, err := c.Client.CoreV1().Pods(c.Namespace).Get(c.Ctx, pod, metav1.GetOptions{})
	c.Must(err)
	return got
}

// Delete removes a pod at once.
func (c *Cluster) Delete(pod string) {
	c.Helper()
	c.Must(c.Client.CoreV1().Pods(c.Namespace).Delete(c.Ctx, pod, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}))
}

// ExpectBound waits until the pod has a node, and returns it.
func (c *Cluster) ExpectBound(pod string) (node string) {
	c.Helper()
	c.Eventually("pod "+pod+" is bound", func() error {
		got := c.Get(pod)
		if node = got.Spec.NodeName; node == "" {
			return errors.New(kit.Unplaced(got))
		}
		return nil
	})
	return node
}

// ExpectNode waits until the pod is bound, and fails unless it is to one of the nodes.
func (c *Cluster) ExpectNode(pod string, nodes ...string) string {
	c.Helper()
	node := c.ExpectBound(pod)
	if !slices.Contains(nodes, node) {
		c.Fatalf("pod %s is on %s, want one of %v", pod, node, nodes)
	}
	return node
}
