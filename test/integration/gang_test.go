//go:build !kubernetes1.37

// Coscheduling is left out of the build for Kubernetes 1.37, which has gangs of its own.

package integration

import (
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// gangScenarios run Coscheduling and Hyperconverge in one profile.
var gangScenarios = []scenario{
	{
		name: "a gang is placed on the replica nodes of its volumes", nodes: 5,
		play: func(c *cluster) {
			c.runGangScheduler()
			c.podGroup("ring", 3)
			for i, node := range []string{"n2", "n3", "n4"} {
				claim := fmt.Sprintf("data-%d", i)
				c.Volume(claim, node)
				c.Create(c.pod(fmt.Sprintf("ring-%d", i), claim).Label(podGroupLabel, "ring"))
			}
			c.ExpectNode("ring-0", "n2")
			c.ExpectNode("ring-1", "n3")
			c.ExpectNode("ring-2", "n4")
		},
	},
	{
		name: "a gang that is one member short binds nobody, and is bound when the last one comes", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n2")
			c.runGangScheduler()
			c.podGroup("ring", 3)
			member := func(i int) {
				c.Create(c.pod(fmt.Sprintf("ring-%d", i), "data").Label(podGroupLabel, "ring"))
			}
			member(0)
			member(1)
			c.expectPending("ring-0", "cannot find enough sibling pods")
			c.expectPending("ring-1", "cannot find enough sibling pods")
			member(2)
			for i := range 3 {
				c.ExpectNode(fmt.Sprintf("ring-%d", i), "n2")
			}
		},
	},
	{
		name: "a strict gang of which one member's storage is offline binds nobody until it is back", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data-0", "n1")
			c.Volume("data-1", "n2")
			c.storageState("n2", openstoragesim.StatusOffline)
			c.runGangScheduler()
			c.podGroup("ring", 2)
			for i := range 2 {
				c.Create(c.strict(fmt.Sprintf("ring-%d", i), fmt.Sprintf("data-%d", i)).Label(podGroupLabel, "ring"))
			}
			c.expectPending("ring-1", placement.ReasonNoOnlineReplica)
			if node := c.Get("ring-0").Spec.NodeName; node != "" {
				c.Errorf("ring-0 is bound to %s without the other member", node)
			}
			c.storageState("n2", openstoragesim.StatusOK)
			c.ExpectNode("ring-0", "n1")
			c.ExpectNode("ring-1", "n2")
		},
	},
	{
		name: "a pod without a group is none of Coscheduling's business", nodes: 3,
		play: func(c *cluster) {
			c.Volume("data", "n3")
			c.runGangScheduler()
			c.Create(c.pod("db", "data"))
			c.ExpectNode("db", "n3")
		},
	},
}

func TestGangs(t *testing.T) { playAll(t, gangScenarios) }

// podGroupLabel names the gang of a pod.
const podGroupLabel = "scheduling.x-k8s.io/pod-group"

var podGroups = schema.GroupVersionResource{Group: "scheduling.x-k8s.io", Version: "v1alpha1", Resource: "podgroups"}

// podGroupCRD is as much of the definition as Coscheduling needs.
const podGroupCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: podgroups.scheduling.x-k8s.io
spec:
  group: scheduling.x-k8s.io
  names: {kind: PodGroup, listKind: PodGroupList, plural: podgroups, singular: podgroup}
  scope: Namespaced
  versions:
  - name: v1alpha1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              minMember: {type: integer, format: int32}
              scheduleTimeoutSeconds: {type: integer, format: int32}
          status:
            type: object
            x-kubernetes-preserve-unknown-fields: true
`

// runGangScheduler runs both plugins in one profile, with the queue in
// Coscheduling's order.
func (c *cluster) runGangScheduler() {
	c.Helper()
	c.definePodGroups()
	c.runProfiles(profileYAML{
		name:    schedulerName,
		enabled: "- name: Coscheduling",
		plugins: `
queueSort:
  enabled: [{name: Coscheduling}]
  disabled: [{name: "*"}]`,
	})
}

// definePodGroups makes the API server serve PodGroups. It does so to the end.
func (c *cluster) definePodGroups() {
	c.Helper()
	definition := &unstructured.Unstructured{}
	c.Must(yaml.Unmarshal([]byte(podGroupCRD), &definition.Object))
	definitions := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	_, err := c.Dynamic().Resource(definitions).Create(c.Ctx, definition, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		c.Must(err)
	}
	c.Eventually("PodGroups are served, and found", func() error {
		_, err := c.Client.Discovery().ServerResourcesForGroupVersion(podGroups.GroupVersion().String())
		return err
	})
}

func (c *cluster) podGroup(name string, members int64) {
	c.Helper()
	group := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": podGroups.GroupVersion().String(),
		"kind":       "PodGroup",
		"metadata":   map[string]any{"name": name},
		"spec":       map[string]any{"minMember": members, "scheduleTimeoutSeconds": int64(5)},
	}}
	_, err := c.Dynamic().Resource(podGroups).Namespace(c.Namespace).Create(c.Ctx, group, metav1.CreateOptions{})
	c.Must(err)
}
