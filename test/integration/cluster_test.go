package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// cluster is the playground of one scenario.
type cluster struct{ *controlplane.Cluster }

type volumeOptions = controlplane.VolumeOptions

// newCluster makes a cluster of nodes n1, n2, ... that all run the driver.
func newCluster(t *testing.T, nodes int) *cluster {
	t.Helper()
	return &cluster{controlplane.NewCluster(t, sharedPlane(t), kit.Soon, nodes, openstoragesim.ServerOptions{})}
}

// storageState sets what the SDK says of a node.
func (c *cluster) storageState(node string, status openstoragesim.Status) {
	c.Helper()
	c.Must(c.Storage.SetNodeState(node, status))
}

// pod makes a pod that uses the claims, in the usual profile.
func (c *cluster) pod(name string, claims ...string) *st.PodWrapper {
	return kit.Pod(c.Namespace, name, schedulerName, claims...).Req(kit.CPU("100m"))
}

// strict makes a pod that insists on a replica node.
func (c *cluster) strict(name string, claims ...string) *st.PodWrapper {
	return c.pod(name, claims...).Annotation(placement.PodPreferLocalOnly, "true")
}

// foreignVolume makes a bound claim of another driver.
func (c *cluster) foreignVolume(name string, annotations map[string]string) {
	c.Helper()
	c.VolumeWith(name, volumeOptions{Driver: "csi.example.com", Hidden: true, Annotations: annotations})
}

// expectPending waits until the scheduler has turned the pod down with a message
// that contains all the parts.
func (c *cluster) expectPending(pod string, parts ...string) {
	c.Helper()
	c.Eventually("pod "+pod+" is pending", func() error {
		got := c.Get(pod)
		if got.Spec.NodeName != "" {
			c.Fatalf("pod %s is on %s, want it pending with %q", pod, got.Spec.NodeName, parts)
		}
		for _, part := range parts {
			if !strings.Contains(kit.Unplaced(got), part) {
				return fmt.Errorf("the message is %q, want %q in it", kit.Unplaced(got), part)
			}
		}
		return nil
	})
}

// expectEvent waits for an event of the reason about the object whose note has
// the parts, and returns it.
func (c *cluster) expectEvent(object, reason string, parts ...string) eventsv1.Event {
	c.Helper()
	var found eventsv1.Event
	c.Eventually("event "+reason+" about "+object, func() error {
		var notes []string
		for _, event := range c.events(object, reason) {
			missing := slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(event.Note, part) })
			if !missing {
				found = event
				return nil
			}
			notes = append(notes, event.Note)
		}
		return fmt.Errorf("want %q in one of %q", parts, notes)
	})
	return found
}

// events returns the events of the reason about the object.
func (c *cluster) events(object, reason string) []eventsv1.Event {
	c.Helper()
	list, err := c.Client.EventsV1().Events(metav1.NamespaceAll).List(c.Ctx, metav1.ListOptions{})
	c.Must(err)
	return slices.DeleteFunc(list.Items, func(event eventsv1.Event) bool {
		return event.Reason != reason || event.Regarding.Name != object ||
			(event.Namespace != c.Namespace && event.Namespace != c.Namespace+"-own" && event.Namespace != metav1.NamespaceDefault)
	})
}
