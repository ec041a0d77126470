package manifests

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage"
	"github.com/hyperconverge/scheduler/test/kit"
)

// Whoever installs the scheduler with a wrong endpoint finds on its Deployment what to do,
// and that it was done. The scheduler has no more than the rights of its account.
func TestWrongEndpointIsToldOnTheDeployment(t *testing.T) {
	plane := sharedPlane(t)
	objects := build(t, "manifests/base")
	plane.apply(t, objects)
	c := newCluster(t, plane, 1, openstoragesim.ServerOptions{})
	deployment, err := plane.Client.AppsV1().Deployments(systemNamespace).Get(t.Context(), schedulerName, metav1.GetOptions{})
	c.Must(err)
	endpoint := kit.FreeAddress(t)
	replica := plane.startReplica(t, objects, podOptions{name: "the scheduler", endpoint: endpoint, pod: c.podOf(deployment)})
	replica.awaitReady(t)
	standby := plane.startReplica(t, objects, podOptions{name: "the standby", endpoint: endpoint, pod: c.podOf(deployment)})
	standby.awaitReady(t)

	expect := func(eventType, reason string, parts ...string) {
		t.Helper()
		kit.Eventually(t, kit.Patience, "the event "+reason+" is on the Deployment", func() error {
			list, err := plane.Client.EventsV1().Events(systemNamespace).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				return err
			}
			var notes []string
			for i := range list.Items {
				event := &list.Items[i]
				// By the UID, kubectl describe finds the events of an object.
				if event.Regarding.UID != deployment.UID || event.Regarding.Kind != "Deployment" || event.Reason != reason || event.Type != eventType {
					continue
				}
				found := true
				for _, part := range parts {
					found = found && strings.Contains(event.Note, part)
				}
				if found {
					return nil
				}
				notes = append(notes, event.Note)
			}
			return fmt.Errorf("want %q in one of %q", parts, notes)
		})
	}
	expect(v1.EventTypeWarning, openstorage.ReasonUnreachable, "Not reached yet: "+endpoint, "Nothing listens there", "openStorage.endpoint")

	storage := openstoragesim.NewServer(c.Storage, openstoragesim.ServerOptions{})
	c.Must(storage.Start(endpoint))
	t.Cleanup(storage.Stop)
	expect(v1.EventTypeNormal, hyperconverge.EventStorageRecovered, openstorage.ReasonUnreachable)

	// The standby knows the same, and leaves it to the leader.
	list, err := plane.Client.EventsV1().Events(systemNamespace).List(t.Context(), metav1.ListOptions{})
	c.Must(err)
	told := map[string]int{}
	for i := range list.Items {
		if event := &list.Items[i]; event.Regarding.UID == deployment.UID {
			told[event.Reason]++
		}
	}
	if want := map[string]int{openstorage.ReasonUnreachable: 1, hyperconverge.EventStorageRecovered: 1}; !maps.Equal(told, want) {
		t.Errorf("events by their reasons: %v, want %v", told, want)
	}
}

// podOf makes what controllers would make of a Deployment, which do not run here, and
// returns the name of its pod.
func (c *cluster) podOf(deployment *appsv1.Deployment) string {
	c.Helper()
	meta := func(owner metav1.Object, kind string) metav1.ObjectMeta {
		return metav1.ObjectMeta{GenerateName: owner.GetName() + "-", Labels: deployment.Spec.Template.Labels, OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(owner, appsv1.SchemeGroupVersion.WithKind(kind)),
		}}
	}
	set, err := c.Client.AppsV1().ReplicaSets(deployment.Namespace).Create(c.Ctx, &appsv1.ReplicaSet{
		ObjectMeta: meta(deployment, "Deployment"),
		Spec:       appsv1.ReplicaSetSpec{Selector: deployment.Spec.Selector, Template: deployment.Spec.Template},
	}, metav1.CreateOptions{})
	c.Must(err)
	pod := &v1.Pod{ObjectMeta: meta(set, "ReplicaSet"), Spec: deployment.Spec.Template.Spec}
	pod.Spec.PriorityClassName = "" // of which the quota has to be counted by a controller
	pod, err = c.Client.CoreV1().Pods(deployment.Namespace).Create(c.Ctx, pod, metav1.CreateOptions{})
	c.Must(err)
	return pod.Name
}
