package perf

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
)

const (
	replicas = 3
	zones    = 10
	racks    = 50
	// writers is how many requests at a time make objects, as in scheduler_perf.
	writers = 30
)

// cluster is a cluster of one size: nodes that all run the storage driver, one
// running pod on each, and bound volumes for every pod of every workload. All
// schedulers that are compared find the same.
type cluster struct {
	config *rest.Config
	client kubernetes.Interface
	nodes  int
	pods   int // per workload
	// replicaNodes are the names of the nodes that hold a claim's volume.
	replicaNodes map[string]sets.Set[string]
	// volumes is the number of replicated volumes.
	volumes int
	storage *openstoragesim.Server
}

// newCluster makes a cluster with volumes for some pods of every workload. It
// ends with the test.
func newCluster(tb testing.TB, nodes, pods int) *cluster {
	tb.Helper()
	config := startControlPlane(tb)
	c := &cluster{
		config: config, client: kubernetes.NewForConfigOrDie(config),
		nodes: nodes, pods: pods, replicaNodes: map[string]sets.Set[string]{},
	}
	storage := openstoragesim.NewCluster(openstoragesim.Options{Seed: uint64(nodes)})
	c.storage = openstoragesim.NewServer(storage, openstoragesim.ServerOptions{})
	if err := errors.Join(
		c.addNodes(tb.Context(), storage),
		c.addDrivers(tb.Context()),
		c.addVolumes(tb.Context(), storage),
		c.storage.Start("127.0.0.1:0"),
	); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.storage.Stop)
	return c
}

// parallel calls f for 0 to n-1 from several goroutines, and joins the errors.
func parallel(ctx context.Context, n int, f func(i int) error) error {
	var mu sync.Mutex
	var failed error
	workqueue.ParallelizeUntil(ctx, writers, n, func(i int) {
		if err := f(i); err != nil {
			mu.Lock()
			failed = errors.Join(failed, err)
			mu.Unlock()
		}
	})
	return errors.Join(failed, ctx.Err())
}

// addNodes makes the nodes with their storage nodes and one running pod each.
func (c *cluster) addNodes(ctx context.Context, storage *openstoragesim.Cluster) error {
	return parallel(ctx, c.nodes, func(i int) error {
		node := newNode(i)
		stored, err := storage.AddNode(openstoragesim.Node{SchedulerNodeName: node.Name})
		if err != nil {
			return err
		}
		_, nodeErr := c.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		_, csiErr := c.client.StorageV1().CSINodes().Create(ctx, newCSINode(node.Name, stored.ID), metav1.CreateOptions{})
		resident := st.MakePod().Namespace(metav1.NamespaceDefault).Name("resident-" + node.Name).Node(node.Name).
			Req(map[v1.ResourceName]string{v1.ResourceCPU: "100m", v1.ResourceMemory: "500Mi"}).Obj()
		_, podErr := c.client.CoreV1().Pods(resident.Namespace).Create(ctx, resident, metav1.CreateOptions{})
		return errors.Join(nodeErr, csiErr, podErr)
	})
}

// newNode is a node of the size that scheduler_perf uses, with the labels,
// addresses and conditions that a cloud's nodes have. A real node's list of
// images is left out; it would burden extenders only.
func newNode(number int) *v1.Node {
	name := fmt.Sprintf("node-%04d", number)
	capacity := v1.ResourceList{
		v1.ResourceCPU: resource.MustParse("4"), v1.ResourceMemory: resource.MustParse("32Gi"), v1.ResourcePods: resource.MustParse("110"),
	}
	condition := func(kind v1.NodeConditionType, status v1.ConditionStatus, reason string) v1.NodeCondition {
		return v1.NodeCondition{Type: kind, Status: status, Reason: reason, Message: "kubelet says so",
			LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}
	}
	return &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			v1.LabelHostname: name, v1.LabelArchStable: "amd64", v1.LabelOSStable: "linux",
			v1.LabelInstanceTypeStable: "standard-4", v1.LabelTopologyRegion: "region-1",
			v1.LabelTopologyZone: fmt.Sprintf("zone-%d", number%zones),
			"px/rack":            fmt.Sprintf("rack-%d", number%racks),
		}},
		Status: v1.NodeStatus{
			Capacity: capacity, Allocatable: capacity,
			Conditions: []v1.NodeCondition{
				condition(v1.NodeMemoryPressure, v1.ConditionFalse, "KubeletHasSufficientMemory"),
				condition(v1.NodeDiskPressure, v1.ConditionFalse, "KubeletHasNoDiskPressure"),
				condition(v1.NodePIDPressure, v1.ConditionFalse, "KubeletHasSufficientPID"),
				condition(v1.NodeReady, v1.ConditionTrue, "KubeletReady"),
			},
			Addresses: []v1.NodeAddress{
				{Type: v1.NodeInternalIP, Address: fmt.Sprintf("172.16.%d.%d", number/250, number%250)},
				{Type: v1.NodeHostName, Address: name},
			},
		},
	}
}

func newCSINode(name, storageID string) *storagev1.CSINode {
	limit := int32(foreignAttachLimit)
	return &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{
			// The storage system's driver reports no limit.
			{Name: replicatedDriver, NodeID: storageID},
			{Name: foreignDriver, NodeID: name, Allocatable: &storagev1.VolumeNodeResources{Count: &limit}},
		}},
	}
}

// addDrivers makes the CSIDriver and the StorageClass of both drivers.
func (c *cluster) addDrivers(ctx context.Context) error {
	var failed error
	attach := false
	for _, driver := range []string{replicatedDriver, foreignDriver} {
		_, driverErr := c.client.StorageV1().CSIDrivers().Create(ctx, &storagev1.CSIDriver{
			ObjectMeta: metav1.ObjectMeta{Name: driver}, Spec: storagev1.CSIDriverSpec{AttachRequired: &attach},
		}, metav1.CreateOptions{})
		_, classErr := c.client.StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: driver}, Provisioner: driver,
		}, metav1.CreateOptions{})
		failed = errors.Join(failed, driverErr, classErr)
	}
	return failed
}

// addVolumes makes a volume, a PV and a bound claim for every volume of every
// pod.
func (c *cluster) addVolumes(ctx context.Context, storage *openstoragesim.Cluster) error {
	names := map[string]string{} // storage node id -> node name
	for _, n := range storage.Nodes() {
		names[n.ID] = n.SchedulerNodeName
	}
	for _, w := range workloads {
		handles := make([]string, c.pods*w.claims)
		for i := range handles {
			pod, claim := i/w.claims, i%w.claims
			handles[i] = w.claimName(pod, claim)
			if !w.replicated() {
				continue
			}
			made, err := storage.CreateVolume(openstoragesim.CreateRequest{
				Name: handles[i], Parameters: map[string]string{"repl": strconv.Itoa(replicas)},
			})
			if err != nil {
				return err
			}
			holders := slices.Clone(made.GetReplicaSets()[0].GetNodes())
			if w.strict && claim > 0 {
				first, err := storage.Volume(w.claimName(pod, 0))
				if err != nil {
					return err
				}
				holders = slices.Clone(first.GetReplicaSets()[0].GetNodes())
				if err := storage.SetReplicaSets(made.GetId(), holders); err != nil {
					return err
				}
			}
			for k := range holders {
				holders[k] = names[holders[k]]
			}
			c.replicaNodes[handles[i]] = sets.New(holders...)
			handles[i] = made.GetId()
			c.volumes++
		}
		err := parallel(ctx, len(handles), func(i int) error {
			return c.addVolume(ctx, w.claimName(i/w.claims, i%w.claims), w.driver, handles[i])
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) addVolume(ctx context.Context, name, driver, handle string) error {
	pv, pvc := newVolume(name, driver, handle)
	_, pvErr := c.client.CoreV1().PersistentVolumes().Create(ctx, pv, metav1.CreateOptions{})
	_, pvcErr := c.client.CoreV1().PersistentVolumeClaims(pvc.Namespace).Create(ctx, pvc, metav1.CreateOptions{})
	return errors.Join(pvErr, pvcErr)
}

// newVolume returns a PV and its bound claim.
func newVolume(name, driver, handle string) (*v1.PersistentVolume, *v1.PersistentVolumeClaim) {
	size := v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}
	modes := []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}
	pv := &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1.PersistentVolumeSpec{
			Capacity: size, AccessModes: modes, StorageClassName: driver,
			ClaimRef:                      &v1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: metav1.NamespaceDefault, Name: name},
			PersistentVolumeReclaimPolicy: v1.PersistentVolumeReclaimDelete,
			PersistentVolumeSource:        v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: handle}},
		},
		Status: v1.PersistentVolumeStatus{Phase: v1.VolumeBound},
	}
	pvc := &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, Name: name,
			Annotations: map[string]string{"pv.kubernetes.io/bind-completed": "yes"},
		},
		Spec: v1.PersistentVolumeClaimSpec{
			AccessModes: modes, Resources: v1.VolumeResourceRequirements{Requests: size},
			StorageClassName: &driver, VolumeName: name,
		},
		Status: v1.PersistentVolumeClaimStatus{Phase: v1.ClaimBound},
	}
	return pv, pvc
}

// await polls until the condition holds.
func await(ctx context.Context, patience time.Duration, what string, condition func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		done, err := condition()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waited for %s: %w", what, ctx.Err()), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
