package manifests

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// cluster is a few nodes with storage, and a namespace for pods.
type cluster struct {
	*controlplane.Cluster
	plane *controlPlane
}

// newCluster makes nodes n1, n2, ... that all run the driver.
func newCluster(t *testing.T, plane *controlPlane, nodes int, options openstoragesim.ServerOptions) *cluster {
	t.Helper()
	c := &cluster{plane: plane, Cluster: controlplane.NewCluster(t, plane.ControlPlane, kit.Patience, nodes, options)}
	t.Cleanup(func() {
		leases := c.Client.CoordinationV1().Leases(systemNamespace)
		if err := leases.DeleteCollection(context.WithoutCancel(c.Ctx), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Errorf("removing leases: %v", err)
		}
	})
	return c
}

// pod makes a pod for a profile that uses the claims.
func (c *cluster) pod(name, profile string, claims ...string) *st.PodWrapper {
	return kit.Pod(c.Namespace, name, profile, claims...).Req(kit.CPU("1m"))
}
