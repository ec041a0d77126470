// Package fakenodes plays the part of the kubelet for nodes that do not exist:
// it registers them, keeps their leases, lets pods that are bound to them run,
// and lets pods go that are deleted.
package fakenodes

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
	"github.com/hyperconverge/scheduler/internal/sandbox/ports"
)

// MaxNodes is the largest sandbox that Layout lays out. Beyond it the control
// plane on one machine is slower than anybody wants to watch.
const MaxNodes = 1000

// racksPerZone is the same in all zones.
const racksPerZone = 2

// zones are where nodes are put, in equal parts. The first two share a region,
// so that all tiers from rack to remote occur.
var zones = []struct{ region, zone string }{
	{"east", "east-a"},
	{"east", "east-b"},
	{"west", "west-a"},
}

// Node is one Kubernetes node of the sandbox.
type Node struct {
	Name   string
	Region string
	Zone   string
	Rack   string
	// Disk is the value of the label disk: ssd or hdd. The nodes of a rack take turns.
	Disk string
	// IP is the node's internal address, which its storage node has too.
	IP netip.Addr
	// Storage is whether the storage driver is meant to run on the node.
	Storage bool
	// StorageID is the id of the storage node there; empty if the storage driver
	// does not run on the node.
	StorageID string
	// KubeletPort is where ServeKubelets answers on this machine; 0 if it does not.
	KubeletPort int
}

// LabelDisk is the label of nodes that strategies of the demo go by.
const LabelDisk = "disk"

// Layout spreads n nodes, 1 to MaxNodes, over regions, zones and racks. Names
// count up along racks. The last node of every zone that has at least three is
// left without the storage driver, as clusters have nodes that only compute.
func Layout(n int) ([]Node, error) {
	if n < 1 || n > MaxNodes {
		return nil, fmt.Errorf("a sandbox has 1 to %d nodes, not %d", MaxNodes, n)
	}
	nodes := make([]Node, 0, n)
	for z, place := range zones {
		inZone := share(n, len(zones), z)
		for rack := range racksPerZone {
			for i := range share(inZone, racksPerZone, rack) {
				number := len(nodes) + 1
				nodes = append(nodes, Node{
					Name:    fmt.Sprintf("node-%d", number),
					Region:  place.region,
					Zone:    place.zone,
					Rack:    fmt.Sprintf("rack-%d", z*racksPerZone+rack+1),
					Disk:    []string{"ssd", "hdd"}[i%2],
					IP:      netip.AddrFrom4([4]byte{10, 0, byte(number / 250), byte(number%250 + 1)}),
					Storage: true,
				})
			}
		}
		if inZone >= 3 {
			nodes[len(nodes)-1].Storage = false
		}
	}
	return nodes, nil
}

// share is how many of total things the part with this index gets when they are
// dealt out evenly to so many parts, the first parts taking what is left over.
func share(total, parts, index int) int {
	share := total / parts
	if index < total%parts {
		share++
	}
	return share
}

const (
	leaseSeconds  = 40
	renewInterval = 10 * time.Second
	// kubeletVersion is that of the oldest control plane: kubelets may be older, not newer.
	kubeletVersion = "v1.35.6"
	// parallelRequests bounds what registering many nodes asks of the API server.
	parallelRequests = 16
)

// Register creates the nodes with all that a kubelet and the driver's registrar
// create with them. The nodes are Ready from the start.
func Register(ctx context.Context, client kubernetes.Interface, nodes []Node) error {
	if err := waitForLeaseNamespace(ctx, client); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelRequests)
	for _, n := range nodes {
		group.Go(func() error {
			if err := register(ctx, client, n); err != nil {
				return fmt.Errorf("registering %s: %w", n.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// waitForLeaseNamespace waits for what the API server makes shortly after it is
// ready.
func waitForLeaseNamespace(ctx context.Context, client kubernetes.Interface) error {
	const interval, timeout = 50 * time.Millisecond, 30 * time.Second
	err := wait.PollUntilContextTimeout(ctx, interval, timeout, true, func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Namespaces().Get(ctx, corev1.NamespaceNodeLease, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("waiting for the namespace %s: %w", corev1.NamespaceNodeLease, err)
	}
	return nil
}

func register(ctx context.Context, client kubernetes.Interface, n Node) error {
	created, err := client.CoreV1().Nodes().Create(ctx, nodeObject(n, metav1.Now()), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	owner := []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: created.Name, UID: created.UID}}
	if _, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, OwnerReferences: owner},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity:       ptr.To(n.Name),
			LeaseDurationSeconds: ptr.To[int32](leaseSeconds),
			RenewTime:            ptr.To(metav1.NowMicro()),
		},
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	csiNode := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: n.Name, OwnerReferences: owner}}
	if n.StorageID != "" {
		csiNode.Spec.Drivers = []storagev1.CSINodeDriver{driver.OnNode(n.StorageID)}
	}
	_, err = client.StorageV1().CSINodes().Create(ctx, csiNode, metav1.CreateOptions{})
	return err
}

// Labels are those of the Kubernetes node, which storage knows as well.
func (n Node) Labels() map[string]string {
	return map[string]string{
		corev1.LabelHostname:       n.Name,
		corev1.LabelOSStable:       "linux",
		corev1.LabelArchStable:     "amd64",
		corev1.LabelTopologyRegion: n.Region,
		corev1.LabelTopologyZone:   n.Zone,
		"px/rack":                  n.Rack,
		LabelDisk:                  n.Disk,
	}
}

func nodeObject(n Node, now metav1.Time) *corev1.Node {
	resources := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("16"),
		corev1.ResourceMemory:           resource.MustParse("64Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("200Gi"),
		corev1.ResourcePods:             resource.MustParse("110"),
	}
	conditions := []corev1.NodeCondition{
		{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available"},
		{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasNoDiskPressure", Message: "kubelet has no disk pressure"},
		{Type: corev1.NodePIDPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientPID", Message: "kubelet has sufficient PID available"},
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"},
	}
	for i := range conditions {
		conditions[i].LastHeartbeatTime, conditions[i].LastTransitionTime = now, now
	}
	addresses := []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: n.IP.String()},
		{Type: corev1.NodeHostName, Address: n.Name},
	}
	if n.KubeletPort != 0 {
		addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: ports.Loopback})
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:   n.Name,
			Labels: n.Labels(),
		},
		Status: corev1.NodeStatus{
			Capacity:    resources,
			Allocatable: resources,
			Conditions:  conditions,
			Addresses:   addresses,
			DaemonEndpoints: corev1.NodeDaemonEndpoints{
				KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(n.KubeletPort)},
			},
			NodeInfo: corev1.NodeSystemInfo{
				KubeletVersion: kubeletVersion, OperatingSystem: "linux", Architecture: "amd64",
				OSImage: "sandbox", KernelVersion: "none", ContainerRuntimeVersion: "sandbox://none",
			},
		},
	}
}
