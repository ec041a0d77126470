package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/pkg/strategies"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

func TestNewVolumes(t *testing.T) {
	for _, s := range newVolumeScenarios {
		t.Run(s.name, func(t *testing.T) {
			c := &cluster{controlplane.NewCluster(t, sharedPlane(t), kit.Soon, 0, openstoragesim.ServerOptions{})}
			for i := range s.nodes {
				labels := map[string]string{"disk": "hdd", v1.LabelTopologyZone: string(rune('a' + i/2%3))}
				if i%2 == 0 {
					labels["disk"] = "ssd"
				}
				c.AddNode(fmt.Sprintf("n%d", i+1), labels)
			}
			c.RunProvisioner()
			c.Cleanup(func() {
				c.Must(c.Dynamic().Resource(strategies.Resource).DeleteCollection(context.WithoutCancel(c.Ctx), metav1.DeleteOptions{}, metav1.ListOptions{}))
			})
			s.play(c)
		})
	}
}

// Nodes n1, n3, n5 have the label disk=ssd, the others hdd; two each are in zones a, b, c.
var newVolumeScenarios = []scenario{
	{
		name: "pods go where the strategy of their new volumes lets replicas lie, and are local from birth", nodes: 6,
		play: func(c *cluster) {
			c.strategy("fast", requiring("replicaAffinity", "disk", "In", "ssd"))
			c.class("new", strategies.Strategy, "fast", "repl", "2")
			c.runScheduler("")
			for _, db := range []string{"a", "b", "c", "d", "e"} {
				c.newVolume(db, "new", nil)
				c.Create(c.pod(db, db))
				node := c.ExpectNode(db, "n1", "n3", "n5")
				c.expectReplica(db, node)
				c.expectEvent(db, hyperconverge.EventReplicaExpected, "Pod runs on "+node, c.Namespace+"/"+db)
			}
		},
	},
	{
		name: "three members stand in three zones with data and log beside each other, strictly", nodes: 6,
		play: func(c *cluster) {
			spread := map[string]any{"replicaAntiAffinity": []any{map[string]any{"topologyKey": v1.LabelTopologyZone}}}
			c.strategy("spread", spread)
			beside := requiring("volumeAffinity", "app", "In", "db")
			beside["volumeAffinity"].([]any)[0].(map[string]any)["matchExpressions"] = []any{
				expression("part", "In", "data"), expression("member", "In", "${pvc.labels.member}"), expression("namespace", "In", "${pvc.namespace}")}
			c.strategy("beside", beside)
			c.class("data", strategies.Strategy, "spread", "repl", "2")
			c.class("log", strategies.Strategy, "beside", "repl", "2")
			c.runScheduler("")
			zones := map[string]string{}
			for _, member := range []string{"0", "1", "2"} {
				c.newVolume("data-"+member, "data", func(claim *v1.PersistentVolumeClaim) {
					claim.Labels = map[string]string{"part": "data", "member": member}
				})
				c.newVolume("log-"+member, "log", func(claim *v1.PersistentVolumeClaim) {
					claim.Labels = map[string]string{"part": "log", "member": member}
				})
				c.Create(c.strict("db-"+member, "data-"+member, "log-"+member).Label("app", "db").
					PodAntiAffinityExists("app", v1.LabelTopologyZone, st.PodAntiAffinityWithRequiredReq))
				node := c.ExpectBound("db-" + member)
				c.expectReplica("data-"+member, node)
				c.expectReplica("log-"+member, node)
				if data, log := c.replicas("data-"+member), c.replicas("log-"+member); !slices.Equal(data, log) {
					c.Errorf("data of member %s is on %v, its log on %v", member, data, log)
				}
				zones[c.zone(node)] = node
			}
			if len(zones) != 3 {
				c.Errorf("the members are in zones %v", slices.Sorted(maps.Keys(zones)))
			}
			// Strict as they are, they find their way back to the nodes that have both.
			c.Delete("db-1")
			c.Create(c.strict("db-1-again", "data-1", "log-1"))
			c.ExpectNode("db-1-again", c.replicas("data-1")...)
		},
	},
	{
		name: "a strict pod is told that a strategy leaves it no node, and gets one when the strategy does", nodes: 4,
		play: func(c *cluster) {
			c.strategy("fast", requiring("replicaAffinity", "disk", "In", "nvme"))
			c.class("new", strategies.Strategy, "fast")
			c.runScheduler("")
			c.newVolume("data", "new", nil)
			c.Create(c.strict("db", "data"))
			c.expectPending("db", "4 "+placement.ReasonNoNewReplica)
			c.strategy("fast", requiring("replicaAffinity", "disk", "In", "hdd"))
			c.expectReplica("data", c.ExpectNode("db", "n2", "n4"))
		},
	},
	{
		name: "a strict pod gets the node that is labelled for its new volume", nodes: 2,
		play: func(c *cluster) {
			c.strategy("fast", requiring("replicaAffinity", "disk", "In", "nvme"))
			c.class("new", strategies.Strategy, "fast")
			c.runScheduler("")
			c.newVolume("data", "new", nil)
			c.Create(c.strict("db", "data"))
			c.expectPending("db", placement.ReasonNoNewReplica)
			node, err := c.Client.CoreV1().Nodes().Get(c.Ctx, "n2", metav1.GetOptions{})
			c.Must(err)
			node.Labels["disk"] = "nvme"
			_, err = c.Client.CoreV1().Nodes().Update(c.Ctx, node, metav1.UpdateOptions{})
			c.Must(err)
			c.Eventually("the claim has its node", func() error {
				if selected := c.GetClaim("data").Annotations["volume.kubernetes.io/selected-node"]; selected != "n2" {
					return fmt.Errorf("it is %q", selected)
				}
				return nil
			})
		},
	},
	{
		name: "a pod goes where its bound volume is, and of those where the new one may be", nodes: 6,
		play: func(c *cluster) {
			c.strategy("fast", requiring("replicaAffinity", "disk", "In", "ssd"))
			c.class("new", strategies.Strategy, "fast")
			c.Volume("old", "n2", "n3", "n4")
			c.runScheduler("")
			c.newVolume("data", "new", nil)
			c.Create(c.pod("db", "old", "data"))
			c.ExpectNode("db", "n3")
			c.expectReplica("data", "n3")
		},
	},
	{
		name: "bound data comes before what is expected", nodes: 6,
		play: func(c *cluster) {
			c.strategy("fast", requiring("replicaAffinity", "disk", "In", "ssd"))
			c.class("new", strategies.Strategy, "fast")
			c.Volume("old", "n2")
			c.runScheduler("")
			c.newVolume("data", "new", nil)
			c.Create(c.pod("db", "old", "data"))
			c.ExpectNode("db", "n2")
		},
	},
	{
		name: "a clone comes up beside its source, and so does a restore", nodes: 6,
		play: func(c *cluster) {
			c.class("new", "repl", "2")
			c.Volume("source", "n4", "n5")
			// Before the scheduler: a pod waits for what there was when the scheduler started, and
			// not for snapshots that come at the same time.
			handle := c.handle("source")
			c.resource(schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshotcontents"}, "VolumeSnapshotContent", "",
				c.Namespace, map[string]any{"spec": map[string]any{"driver": kit.Driver, "source": map[string]any{"volumeHandle": handle}}})
			c.resource(schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshots"}, "VolumeSnapshot", c.Namespace,
				"yesterday", map[string]any{"spec": map[string]any{}, "status": map[string]any{"boundVolumeSnapshotContentName": c.Namespace}})
			c.runScheduler("")
			c.Create(c.strict("reader", "source"))
			c.ExpectNode("reader", "n4", "n5") // where the source is, is known
			c.newVolume("clone", "new", func(claim *v1.PersistentVolumeClaim) {
				claim.Spec.DataSource = &v1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "source"}
			})
			c.Create(c.pod("copy", "clone"))
			c.expectReplica("clone", c.ExpectNode("copy", "n4", "n5"))

			c.newVolume("restore", "new", func(claim *v1.PersistentVolumeClaim) {
				claim.Spec.DataSource = &v1.TypedLocalObjectReference{APIGroup: ptr.To("snapshot.storage.k8s.io"), Kind: "VolumeSnapshot", Name: "yesterday"}
			})
			c.Create(c.pod("restored", "restore"))
			c.expectReplica("restore", c.ExpectNode("restored", "n4", "n5"))
		},
	},
	{
		name: "a strategy that does not exist is told on the claim, and keeps nobody waiting", nodes: 2,
		play: func(c *cluster) {
			c.class("new", strategies.Strategy, "lost")
			c.runScheduler("")
			c.newVolume("data", "new", nil)
			c.Create(c.pod("db", "data"))
			c.expectEvent("data", hyperconverge.EventInvalidValue, `placement_strategy: "lost" is no VolumePlacementStrategy that exists`)
			if node := c.GetClaim("data").Annotations["volume.kubernetes.io/selected-node"]; node == "" {
				c.Eventually("the pod has its node", func() error {
					if c.GetClaim("data").Annotations["volume.kubernetes.io/selected-node"] == "" {
						return errors.New("it has none")
					}
					return nil
				})
			}
		},
	},
}

func expression(key, operator string, values ...any) map[string]any {
	return map[string]any{"key": key, "operator": operator, "values": values}
}

// requiring is a strategy of one rule.
func requiring(list, key, operator string, values ...any) map[string]any {
	return map[string]any{list: []any{map[string]any{"matchExpressions": []any{expression(key, operator, values...)}}}}
}

// strategy makes a placement strategy, or changes it.
func (c *cluster) strategy(name string, spec map[string]any) {
	c.Helper()
	client := c.Dynamic().Resource(strategies.Resource)
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "portworx.io/v1beta2", "kind": "VolumePlacementStrategy", "metadata": map[string]any{"name": name}, "spec": spec}}
	if found, err := client.Get(c.Ctx, name, metav1.GetOptions{}); err == nil {
		object.SetResourceVersion(found.GetResourceVersion())
		_, err = client.Update(c.Ctx, object, metav1.UpdateOptions{})
		c.Must(err)
		return
	}
	_, err := client.Create(c.Ctx, object, metav1.CreateOptions{})
	c.Must(err)
}

func (c *cluster) resource(resource schema.GroupVersionResource, kind, namespace, name string, fields map[string]any) {
	c.Helper()
	object := &unstructured.Unstructured{Object: fields}
	object.SetAPIVersion(resource.GroupVersion().String())
	object.SetKind(kind)
	object.SetName(name)
	_, err := c.Dynamic().Resource(resource).Namespace(namespace).Create(c.Ctx, object, metav1.CreateOptions{})
	c.Must(err)
}

// class makes a StorageClass whose volumes wait for their first pod.
func (c *cluster) class(name string, parameters ...string) {
	c.Helper()
	class := kit.LateClass(name, kit.Driver)
	class.Parameters = map[string]string{}
	for i := 0; i < len(parameters); i += 2 {
		class.Parameters[parameters[i]] = parameters[i+1]
	}
	c.Class(class)
}

func (c *cluster) newVolume(name, class string, change func(*v1.PersistentVolumeClaim)) {
	c.Helper()
	claim := kit.Claim(c.Namespace, name, &class)
	if change != nil {
		change(claim)
	}
	c.Claim(claim)
}

// handle is that of the volume behind a bound claim.
func (c *cluster) handle(claim string) string {
	c.Helper()
	pv, err := c.Client.CoreV1().PersistentVolumes().Get(c.Ctx, c.GetClaim(claim).Spec.VolumeName, metav1.GetOptions{})
	c.Must(err)
	return pv.Spec.CSI.VolumeHandle
}

// replicas are the nodes of a claim's volume, sorted.
func (c *cluster) replicas(claim string) (nodes []string) {
	c.Helper()
	c.Eventually("claim "+claim+" is bound", func() error {
		if c.GetClaim(claim).Spec.VolumeName == "" {
			return errors.New("it is not")
		}
		return nil
	})
	volume, err := c.Storage.Volume(c.handle(claim))
	c.Must(err)
	for _, id := range volume.GetReplicaSets()[0].GetNodes() {
		node, err := c.Storage.Node(id)
		c.Must(err)
		nodes = append(nodes, node.SchedulerNodeName)
	}
	slices.Sort(nodes)
	return nodes
}

func (c *cluster) expectReplica(claim, node string) {
	c.Helper()
	if nodes := c.replicas(claim); !slices.Contains(nodes, node) {
		c.Errorf("replicas of %s are on %v, and the pod is on %s", claim, nodes, node)
	}
}

func (c *cluster) zone(node string) string {
	c.Helper()
	got, err := c.Client.CoreV1().Nodes().Get(c.Ctx, node, metav1.GetOptions{})
	c.Must(err)
	return got.Labels[v1.LabelTopologyZone]
}
