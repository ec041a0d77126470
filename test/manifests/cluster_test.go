package manifests

import (
	"context"
	"errors"
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
)

const driver = "pxd.portworx.com"

// cluster is a few nodes with storage, and a namespace for pods.
type cluster struct {
	*testing.T
	plane     *controlPlane
	client    kubernetes.Interface
	namespace string
	storage   *openstoragesim.Cluster
	server    *openstoragesim.Server
}

// newCluster makes nodes n1, n2, ... that all run the driver.
func newCluster(t *testing.T, plane *controlPlane, nodes int, options openstoragesim.ServerOptions) *cluster {
	t.Helper()
	c := &cluster{T: t, plane: plane, client: plane.client, storage: openstoragesim.NewCluster(openstoragesim.Options{})}
	c.server = openstoragesim.NewServer(c.storage, options)
	c.must(c.server.Start("127.0.0.1:0"))
	t.Cleanup(c.server.Stop)
	namespace, err := c.client.CoreV1().Namespaces().Create(t.Context(),
		&v1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "workload-"}}, metav1.CreateOptions{})
	c.must(err)
	c.namespace = namespace.Name
	t.Cleanup(c.clear)
	for i := range nodes {
		c.node(fmt.Sprintf("n%d", i+1))
	}
	return c
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// clear removes all that is not in manifests.
func (c *cluster) clear() {
	ctx, now, all := context.Background(), metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{}
	core, storage := c.client.CoreV1(), c.client.StorageV1()
	for what, err := range map[string]error{
		"pods":    core.Pods(c.namespace).DeleteCollection(ctx, now, all),
		"claims":  core.PersistentVolumeClaims(c.namespace).DeleteCollection(ctx, now, all),
		"volumes": core.PersistentVolumes().DeleteCollection(ctx, now, all),
		"nodes":   core.Nodes().DeleteCollection(ctx, now, all),
		"CSI":     storage.CSINodes().DeleteCollection(ctx, now, all),
		"classes": storage.StorageClasses().DeleteCollection(ctx, now, all),
		"leases":  c.client.CoordinationV1().Leases(systemNamespace).DeleteCollection(ctx, now, all),
	} {
		if err != nil {
			c.Errorf("removing %s: %v", what, err)
		}
	}
}

// node adds a Kubernetes node with 4 CPUs that is a storage node, too.
func (c *cluster) node(name string) {
	c.Helper()
	made, err := c.storage.AddNode(openstoragesim.Node{SchedulerNodeName: name})
	c.must(err)
	_, err = c.client.CoreV1().Nodes().Create(c.Context(), st.MakeNode().Name(name).Label(v1.LabelHostname, name).
		Capacity(map[v1.ResourceName]string{v1.ResourceCPU: "4", v1.ResourceMemory: "32Gi", v1.ResourcePods: "1000"}).Obj(), metav1.CreateOptions{})
	c.must(err)
	_, err = c.client.StorageV1().CSINodes().Create(c.Context(), &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: driver, NodeID: made.ID}}},
	}, metav1.CreateOptions{})
	c.must(err)
}

// volume makes a volume with one replica, on the node, and a bound claim.
func (c *cluster) volume(name, node string) {
	c.Helper()
	c.claim(name, "")
	c.bind(name, c.replica(name, node))
}

// replica makes a volume in the storage system and returns its handle.
func (c *cluster) replica(name, node string) string {
	c.Helper()
	made, err := c.storage.CreateVolume(openstoragesim.CreateRequest{Name: c.namespace + "-" + name, Parameters: map[string]string{"repl": "1"}})
	c.must(err)
	holder, err := c.storage.Node(node)
	c.must(err)
	c.must(c.storage.SetReplicaSets(made.GetId(), []string{holder.ID}))
	return made.GetId()
}

var oneGiB = v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}

// claim makes a claim that is not bound.
func (c *cluster) claim(name, class string) {
	c.Helper()
	claim := st.MakePersistentVolumeClaim().Namespace(c.namespace).Name(name).
		AccessModes([]v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}).
		Resources(v1.VolumeResourceRequirements{Requests: oneGiB}).Obj()
	claim.Spec.StorageClassName = &class
	_, err := c.client.CoreV1().PersistentVolumeClaims(c.namespace).Create(c.Context(), claim, metav1.CreateOptions{})
	c.must(err)
}

// bind does for a claim what the provisioner and the controller manager do.
func (c *cluster) bind(name, handle string) {
	c.Helper()
	claims := c.client.CoreV1().PersistentVolumeClaims(c.namespace)
	claim, err := claims.Get(c.Context(), name, metav1.GetOptions{})
	c.must(err)
	volume := c.namespace + "-" + name
	_, err = c.client.CoreV1().PersistentVolumes().Create(c.Context(), &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: volume},
		Spec: v1.PersistentVolumeSpec{
			Capacity:         oneGiB,
			AccessModes:      claim.Spec.AccessModes,
			StorageClassName: *claim.Spec.StorageClassName,
			ClaimRef:         &v1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: c.namespace, Name: name, UID: claim.UID},
			PersistentVolumeSource: v1.PersistentVolumeSource{
				CSI: &v1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: handle},
			},
		},
	}, metav1.CreateOptions{})
	c.must(err)
	c.complete(claim, volume)
}

// complete is the controller manager's part of a binding.
func (c *cluster) complete(claim *v1.PersistentVolumeClaim, volume string) {
	c.Helper()
	claims := c.client.CoreV1().PersistentVolumeClaims(c.namespace)
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, "pv.kubernetes.io/bind-completed", "yes")
	claim.Spec.VolumeName = volume
	claim, err := claims.Update(c.Context(), claim, metav1.UpdateOptions{})
	c.must(err)
	claim.Status.Phase = v1.ClaimBound
	_, err = claims.UpdateStatus(c.Context(), claim, metav1.UpdateOptions{})
	c.must(err)
}

// pod makes a pod for a profile that uses the claims.
func (c *cluster) pod(name, profile string, claims ...string) *st.PodWrapper {
	pod := st.MakePod().Namespace(c.namespace).Name(name).SchedulerName(profile).
		Container("pause").Req(map[v1.ResourceName]string{v1.ResourceCPU: "1m"})
	for _, claim := range claims {
		pod = pod.PVC(claim)
	}
	return pod
}

func (c *cluster) create(pod *st.PodWrapper) {
	c.Helper()
	_, err := c.client.CoreV1().Pods(c.namespace).Create(c.Context(), pod.Obj(), metav1.CreateOptions{})
	c.must(err)
}

func (c *cluster) get(pod string) *v1.Pod {
	c.Helper()
	got, err := c.client.CoreV1().Pods(c.namespace).Get(c.Context(), pod, metav1.GetOptions{})
	c.must(err)
	return got
}

// expectNode waits until the pod is bound, and fails unless it is to the node.
func (c *cluster) expectNode(pod, node string) {
	c.Helper()
	var got *v1.Pod
	eventually(c.T, "pod "+pod+" is bound", func() error {
		if got = c.get(pod); got.Spec.NodeName == "" {
			return errors.New(message(got))
		}
		return nil
	})
	if got.Spec.NodeName != node {
		c.Fatalf("pod %s is on %s, want %s", pod, got.Spec.NodeName, node)
	}
}

// message is what the scheduler says of a pod that it could not place.
func message(pod *v1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == v1.PodScheduled && condition.Status == v1.ConditionFalse {
			return condition.Message
		}
	}
	return "the scheduler has said nothing"
}
