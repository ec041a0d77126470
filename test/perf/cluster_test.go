package perf

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/workqueue"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
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
	*controlplane.Cluster
	nodes int
	pods  int // per workload
	// replicaNodes are the names of the nodes that hold a claim's volume.
	replicaNodes map[string]sets.Set[string]
	// volumes is the number of replicated volumes.
	volumes int
}

// newCluster makes a cluster with volumes for some pods of every workload. It
// ends with the test.
func newCluster(tb testing.TB, nodes, pods int) *cluster {
	tb.Helper()
	c := &cluster{
		Cluster: &controlplane.Cluster{
			TB: tb, ControlPlane: startControlPlane(tb), Ctx: tb.Context(), Namespace: metav1.NamespaceDefault,
			Storage: openstoragesim.NewCluster(openstoragesim.Options{Seed: uint64(nodes)}),
		},
		nodes: nodes, pods: pods, replicaNodes: map[string]sets.Set[string]{},
	}
	c.Server = openstoragesim.NewServer(c.Storage, openstoragesim.ServerOptions{})
	c.Must(errors.Join(
		c.addNodes(c.Ctx),
		c.addDrivers(c.Ctx),
		c.addVolumes(c.Ctx),
		c.Server.Start("127.0.0.1:0"),
	))
	tb.Cleanup(c.Server.Stop)
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
func (c *cluster) addNodes(ctx context.Context) error {
	return parallel(ctx, c.nodes, func(i int) error {
		node := newNode(i)
		stored, err := c.Storage.AddNode(openstoragesim.Node{SchedulerNodeName: node.Name})
		if err != nil {
			return err
		}
		_, nodeErr := c.Client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		_, csiErr := c.Client.StorageV1().CSINodes().Create(ctx, newCSINode(node.Name, stored.ID), metav1.CreateOptions{})
		resident := kit.Pod(c.Namespace, "resident-"+node.Name, v1.DefaultSchedulerName).Node(node.Name).Req(ofEveryPod).Obj()
		_, podErr := c.Client.CoreV1().Pods(resident.Namespace).Create(ctx, resident, metav1.CreateOptions{})
		return errors.Join(nodeErr, csiErr, podErr)
	})
}

// newNode is a node of the size that scheduler_perf uses, with the labels,
// addresses and conditions that a cloud's nodes have. A real node's list of
// images is left out; it would burden extenders only.
func newNode(number int) *v1.Node {
	name := fmt.Sprintf("node-%04d", number)
	condition := func(kind v1.NodeConditionType, status v1.ConditionStatus, reason string) v1.NodeCondition {
		return v1.NodeCondition{Type: kind, Status: status, Reason: reason, Message: "kubelet says so",
			LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}
	}
	node := kit.Node(name, 110)
	maps.Copy(node.Labels, map[string]string{
		v1.LabelArchStable: "amd64", v1.LabelOSStable: "linux",
		v1.LabelInstanceTypeStable: "standard-4", v1.LabelTopologyRegion: "region-1",
		v1.LabelTopologyZone: fmt.Sprintf("zone-%d", number%zones),
		"px/rack":            fmt.Sprintf("rack-%d", number%racks),
	})
	node.Status.Conditions = []v1.NodeCondition{
		condition(v1.NodeMemoryPressure, v1.ConditionFalse, "KubeletHasSufficientMemory"),
		condition(v1.NodeDiskPressure, v1.ConditionFalse, "KubeletHasNoDiskPressure"),
		condition(v1.NodePIDPressure, v1.ConditionFalse, "KubeletHasSufficientPID"),
		condition(v1.NodeReady, v1.ConditionTrue, "KubeletReady"),
	}
	node.Status.Addresses = []v1.NodeAddress{
		{Type: v1.NodeInternalIP, Address: fmt.Sprintf("172.16.%d.%d", number/250, number%250)},
		{Type: v1.NodeHostName, Address: name},
	}
	return node
}

// newCSINode has the storage system's driver, which reports no limit, and another.
func newCSINode(name, storageID string) *storagev1.CSINode {
	node, limit := kit.CSINode(name, storageID), int32(foreignAttachLimit)
	node.Spec.Drivers = append(node.Spec.Drivers,
		storagev1.CSINodeDriver{Name: foreignDriver, NodeID: name, Allocatable: &storagev1.VolumeNodeResources{Count: &limit}})
	return node
}

// addDrivers makes the CSIDriver and the StorageClass of both drivers.
func (c *cluster) addDrivers(ctx context.Context) error {
	var failed error
	attach := false
	for _, driver := range []string{kit.Driver, foreignDriver} {
		_, driverErr := c.Client.StorageV1().CSIDrivers().Create(ctx, &storagev1.CSIDriver{
			ObjectMeta: metav1.ObjectMeta{Name: driver}, Spec: storagev1.CSIDriverSpec{AttachRequired: &attach},
		}, metav1.CreateOptions{})
		_, classErr := c.Client.StorageV1().StorageClasses().Create(ctx, kit.Class(driver, driver), metav1.CreateOptions{})
		failed = errors.Join(failed, driverErr, classErr)
	}
	return failed
}

// addVolumes makes a volume, a PV and a bound claim for every volume of every
// pod.
func (c *cluster) addVolumes(ctx context.Context) error {
	names := map[string]string{} // storage node id -> node name
	for _, n := range c.Storage.Nodes() {
		names[n.ID] = n.SchedulerNodeName
	}
	for _, w := range append(workloads[:len(workloads):len(workloads)], readers) {
		pods := c.pods
		if w.shared {
			pods = 1
		}
		handles := make([]string, pods*w.claims)
		for i := range handles {
			pod, claim := i/w.claims, i%w.claims
			handles[i] = w.claimName(pod, claim)
			if !w.replicated() {
				continue
			}
			made, err := c.Storage.CreateVolume(openstoragesim.CreateRequest{
				Name: handles[i], Parameters: map[string]string{"repl": strconv.Itoa(replicas)},
			})
			if err != nil {
				return err
			}
			holders := slices.Clone(made.GetReplicaSets()[0].GetNodes())
			if w.strict && claim > 0 {
				first, err := c.Storage.Volume(w.claimName(pod, 0))
				if err != nil {
					return err
				}
				holders = slices.Clone(first.GetReplicaSets()[0].GetNodes())
				if err := c.Storage.SetReplicaSets(made.GetId(), holders); err != nil {
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
	_, pvErr := c.Client.CoreV1().PersistentVolumes().Create(ctx, pv, metav1.CreateOptions{})
	_, pvcErr := c.Client.CoreV1().PersistentVolumeClaims(pvc.Namespace).Create(ctx, pvc, metav1.CreateOptions{})
	return errors.Join(pvErr, pvcErr)
}

// newVolume returns a PV and its bound claim.
func newVolume(name, driver, handle string) (*v1.PersistentVolume, *v1.PersistentVolumeClaim) {
	claim := kit.Claim(metav1.NamespaceDefault, name, &driver)
	kit.Bind(claim, name)
	volume := kit.Volume(name, claim, kit.CSI(driver, handle))
	volume.Spec.PersistentVolumeReclaimPolicy = v1.PersistentVolumeReclaimDelete
	return volume, claim
}
