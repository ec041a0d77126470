//go:build kubernetes1.37

package integration

import (
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// The gangs of Kubernetes itself, with our plugin in the same profile.
func TestGangsOfKubernetes(t *testing.T) {
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.GenericWorkload, true)
	plane := controlplane.Start(t, controlplane.WithoutControllers, "--authorization-mode=AlwaysAllow",
		"--feature-gates=GenericWorkload=true", "--runtime-config=scheduling.k8s.io/v1beta1=true")
	newCluster := func(t *testing.T) *cluster {
		return &cluster{controlplane.NewCluster(t, plane, kit.Soon, 5, openstoragesim.ServerOptions{})}
	}
	group := func(c *cluster, members int32) {
		_, err := c.Client.SchedulingV1beta1().PodGroups(c.Namespace).Create(c.Ctx, &schedulingv1beta1.PodGroup{
			ObjectMeta: metav1.ObjectMeta{Name: "ring"},
			Spec:       schedulingv1beta1.PodGroupSpec{SchedulingPolicy: schedulingv1beta1.PodGroupSchedulingPolicy{Gang: &schedulingv1beta1.GangSchedulingPolicy{MinCount: members}}},
		}, metav1.CreateOptions{})
		c.Must(err)
	}
	member := func(c *cluster, i int, strict bool) {
		pod := c.pod(fmt.Sprintf("ring-%d", i), fmt.Sprintf("data-%d", i))
		if strict {
			pod.Annotation(placement.PodPreferLocalOnly, "true")
		}
		pod.Spec.SchedulingGroup = &v1.PodSchedulingGroup{PodGroupName: ptr.To("ring")}
		c.Create(pod)
	}
	t.Run("a gang is placed on the replica nodes of its volumes, when its last member comes", func(t *testing.T) {
		c := newCluster(t)
		group(c, 3)
		for i := range 3 {
			c.Volume(fmt.Sprintf("data-%d", i), fmt.Sprintf("n%d", i+2))
		}
		c.runScheduler("")
		member(c, 0, false)
		member(c, 1, false)
		c.Create(c.pod("other").Req(kit.CPU("1")))
		c.ExpectNode("other", "n1", "n2", "n3", "n4", "n5") // the queue goes on
		if node := c.Get("ring-0").Spec.NodeName; node != "" {
			t.Errorf("ring-0 is bound to %s without the last member", node)
		}
		member(c, 2, false)
		c.ExpectNode("ring-0", "n2")
		c.ExpectNode("ring-1", "n3")
		c.ExpectNode("ring-2", "n4")
	})
	t.Run("a strict gang of which one member's storage is offline binds nobody until it is back", func(t *testing.T) {
		c := newCluster(t)
		group(c, 2)
		c.Volume("data-0", "n1")
		c.Volume("data-1", "n2")
		c.storageState("n2", openstoragesim.StatusOffline)
		c.runScheduler("")
		member(c, 0, true)
		member(c, 1, true)
		c.expectPending("ring-1", placement.ReasonNoOnlineReplica)
		if node := c.Get("ring-0").Spec.NodeName; node != "" {
			t.Errorf("ring-0 is bound to %s without the other member", node)
		}
		c.storageState("n2", openstoragesim.StatusOK)
		c.ExpectNode("ring-0", "n1")
		c.ExpectNode("ring-1", "n2")
	})
}
