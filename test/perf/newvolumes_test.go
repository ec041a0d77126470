package perf

import (
	"errors"
	"fmt"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/strategies"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// BenchmarkLocalFromBirth counts the pods that have a replica of their new volume on their
// node once the provisioner has made it: in a cluster of 60 nodes of which 40 have pools,
// and 10 of those the label that a strategy requires. Run it with -benchtime=1x.
func BenchmarkLocalFromBirth(b *testing.B) {
	plane := startControlPlane(b)
	for round := range *rounds {
		for _, parameters := range []map[string]string{{}, {strategies.Strategy: "fast"}} {
			rules := "none"
			if len(parameters) > 0 {
				rules = "strategy"
			}
			for _, v := range []variant{{name: "stock"}, {name: "LocalFirst", preference: "LocalFirst"}} {
				b.Run(fmt.Sprintf("round=%d/rules=%s/scheduler=%s", round+1, rules, v.name), func(b *testing.B) {
					b.ReportMetric(localFromBirth(b, plane, v, parameters), "local-%")
					b.ReportMetric(0, "ns/op") // of no meaning here
				})
			}
		}
	}
}

func localFromBirth(b *testing.B, plane *controlplane.ControlPlane, v variant, parameters map[string]string) float64 {
	b.Helper()
	const nodes, pods = 60, 60
	c := &cluster{Cluster: controlplane.NewCluster(b, plane, time.Minute, 0, openstoragesim.ServerOptions{})}
	for i := range nodes {
		labels := map[string]string{"disk": "hdd"}
		if i%6 == 0 {
			labels["disk"] = "ssd"
		}
		name := fmt.Sprintf("n%d", i)
		c.AddBareNode(name, labels)
		stored, err := c.Storage.AddNode(openstoragesim.Node{SchedulerNodeName: name, Labels: labels, Storageless: i%3 == 1})
		c.Must(err)
		_, err = c.Client.StorageV1().CSINodes().Create(c.Ctx, kit.CSINode(name, stored.ID), metav1.CreateOptions{})
		c.Must(err)
	}
	c.RunProvisioner()
	resource := c.Dynamic().Resource(strategies.Resource)
	_, err := resource.Create(c.Ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "portworx.io/v1beta2", "kind": "VolumePlacementStrategy", "metadata": map[string]any{"name": "fast"},
		"spec": map[string]any{"replicaAffinity": []any{map[string]any{"matchExpressions": []any{
			map[string]any{"key": "disk", "operator": "In", "values": []any{"ssd"}}}}}},
	}}, metav1.CreateOptions{})
	c.Must(err)
	defer func() { c.Must(resource.Delete(c.Ctx, "fast", metav1.DeleteOptions{})) }()
	class := kit.LateClass("new", kit.Driver)
	class.Parameters = map[string]string{"repl": "2"}
	for key, value := range parameters {
		class.Parameters[key] = value
	}
	c.Class(class)
	s, err := startScheduler(b, c, v)
	c.Must(err)
	defer s.Stop()

	for i := range pods {
		name := fmt.Sprintf("db-%d", i)
		c.Claim(kit.Claim(c.Namespace, name, &class.Name))
		c.Create(kit.Pod(c.Namespace, name, v1.DefaultSchedulerName, name).Req(kit.CPU("10m")))
	}
	local := 0
	for i := range pods {
		name := fmt.Sprintf("db-%d", i)
		if c.hasReplica(c.ExpectBound(name), name) {
			local++
		}
	}
	return 100 * float64(local) / pods
}

// hasReplica reports whether a node holds a replica of the volume of a claim.
func (c *cluster) hasReplica(node, claim string) bool {
	c.Helper()
	var volume string
	c.Eventually("claim "+claim+" has a volume", func() error {
		if volume = c.GetClaim(claim).Spec.VolumeName; volume == "" {
			return errors.New("it has none")
		}
		return nil
	})
	pv, err := c.Client.CoreV1().PersistentVolumes().Get(c.Ctx, volume, metav1.GetOptions{})
	c.Must(err)
	stored, err := c.Storage.Volume(pv.Spec.CSI.VolumeHandle)
	c.Must(err)
	for _, id := range stored.GetReplicaSets()[0].GetNodes() {
		if id == c.StorageID(node) {
			return true
		}
	}
	return false
}
