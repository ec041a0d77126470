package manifests

import (
	"errors"
	"maps"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/minor"
	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/test/kit"
)

// unneeded is what the roles that Kubernetes keeps for schedulers grant, and what
// the scheduler does not ask for in a day's work. They are bound all the same:
// roles of our own would fall behind with the next version of Kubernetes.
var unneeded = map[string]string{
	"create bindings":                              "the old name of pods/binding",
	"update events":                                "events go to events.k8s.io",
	"update events.events.k8s.io":                  "only for events that go on for long",
	"create leasecandidates.coordination.k8s.io":   "coordinated leader election, which is not enabled",
	"read leasecandidates.coordination.k8s.io":     "as above",
	"update leasecandidates.coordination.k8s.io":   "as above",
	"delete leasecandidates.coordination.k8s.io":   "as above",
	"read leases.coordination.k8s.io":              "for the lease kube-scheduler; ours has a rule of its own",
	"update leases.coordination.k8s.io":            "as above",
	"update pods/finalizers":                       "for pods whose devices come from extended resources",
	"read replicasets.extensions":                  "the group has gone from Kubernetes",
	"update resourceclaims.resource.k8s.io":        "for pods with devices",
	"read resourceclaims/status.resource.k8s.io":   "a subresource that nobody reads by itself",
	"update resourceclaims/status.resource.k8s.io": "for pods with devices",
}

// unneededSince136 are those that came with Kubernetes 1.36.
var unneededSince136 = map[string]string{
	"create resourceclaims.resource.k8s.io":         "for pods whose devices come from extended resources",
	"delete resourceclaims.resource.k8s.io":         "as above",
	"update resourceclaims/binding.resource.k8s.io": "for pods with devices",
}

// The scheduler's day: a pod with a volume, a claim that is bound when its pod
// comes, one that is provisioned then, a pod that cannot be placed, one that has
// to make room, and someone who reads the metrics.
func TestBuiltInRolesAreNeeded(t *testing.T) {
	plane := sharedPlane(t)
	objects := build(t, "manifests/base")
	plane.apply(t, objects)
	c := newCluster(t, plane, 3, openstoragesim.ServerOptions{})
	mark := plane.auditMark(t)
	replica := plane.startReplica(t, objects, podOptions{name: "the scheduler", endpoint: c.Server.Endpoint()})
	replica.awaitReady(t)

	c.Volume("data", "n2")
	c.Create(c.pod("ordinary", schedulerName, "data"))
	c.ExpectNode("ordinary", "n2")
	c.bindsWaitingClaim()
	c.provisionsForNode()
	c.makesRoom()
	expectMetricsReader(t, plane, replica)

	replica.stop(t)
	requests := plane.requests(t, schedulerUser, mark)
	expectNoDenial(t, requests)
	used := map[string]bool{}
	for _, name := range []string{"system:kube-scheduler", "system:volume-scheduler"} {
		role, err := plane.Client.RbacV1().ClusterRoles().Get(t.Context(), name, metav1.GetOptions{})
		c.Must(err)
		for _, p := range permissionsOf(name, role.Rules) {
			right := p.right()
			used[right] = used[right] || p.used(requests)
		}
	}
	unneeded := maps.Clone(unneeded)
	if minor.Kubernetes >= 36 {
		maps.Copy(unneeded, unneededSince136)
	}
	for right := range used {
		switch _, known := unneeded[right]; {
		case !used[right] && !known:
			t.Errorf("the built-in roles grant to %s, which the scheduler does not: say why in this test", right)
		case used[right] && known:
			t.Errorf("to %s is said to be unneeded, but the scheduler does it", right)
		}
	}
	for right := range unneeded {
		if _, granted := used[right]; !granted {
			t.Errorf("to %s is said to be unneeded, but it is not granted", right)
		}
	}
}

// right is a permission without the difference between the ways to read, which is
// up to the caches, and between those to change an object.
func (p permission) right() string {
	verb := p.verb
	switch verb {
	case "get", "list", "watch":
		verb = "read"
	case "patch":
		verb = "update"
	case "deletecollection":
		verb = "delete"
	}
	return strings.TrimSuffix(verb+" "+p.resource+"."+p.group, ".")
}

// bindsWaitingClaim is for a volume that was made by hand.
func (c *cluster) bindsWaitingClaim() {
	c.Helper()
	c.Class(kit.LateClass("by-hand", "kubernetes.io/no-provisioner"))
	claim := c.Claim(kit.Claim(c.Namespace, "waiting", ptr.To("by-hand")))
	volumes := c.Client.CoreV1().PersistentVolumes()
	made, err := volumes.Create(c.Ctx, st.MakePersistentVolume().Name("by-hand").
		AccessModes(claim.Spec.AccessModes).Capacity(claim.Spec.Resources.Requests).StorageClassName("by-hand").
		HostPathVolumeSource(&v1.HostPathVolumeSource{Path: "/data"}).
		NodeAffinityIn(v1.LabelHostname, []string{"n3"}).Obj(), metav1.CreateOptions{})
	c.Must(err)
	made.Status.Phase = v1.VolumeAvailable
	_, err = volumes.UpdateStatus(c.Ctx, made, metav1.UpdateOptions{})
	c.Must(err)
	c.Create(c.pod("waiting", schedulerName, "waiting"))
	c.Eventually("the volume is meant for the claim", func() error {
		volume, err := volumes.Get(c.Ctx, "by-hand", metav1.GetOptions{})
		c.Must(err)
		if volume.Spec.ClaimRef == nil {
			return errors.New(kit.Unplaced(c.Get("waiting")))
		}
		return nil
	})
	c.Complete(c.GetClaim("waiting"), "by-hand")
	c.ExpectNode("waiting", "n3")
}

// provisionsForNode is for a claim of the driver that waits for its first pod.
func (c *cluster) provisionsForNode() {
	c.Helper()
	c.Class(kit.LateClass("first-consumer", kit.Driver))
	c.Claim(kit.Claim(c.Namespace, "new", ptr.To("first-consumer")))
	c.Create(c.pod("new", schedulerName, "new"))
	node := c.Provision("new")
	c.ExpectNode("new", node)
}

// makesRoom has a pod take the place of one of lower priority.
func (c *cluster) makesRoom() {
	c.Helper()
	_, err := c.Client.SchedulingV1().PriorityClasses().Create(c.Ctx,
		&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "urgent"}, Value: 1000}, metav1.CreateOptions{})
	c.Must(err)
	most := kit.CPU("3")
	// Without a kubelet nobody would see to an orderly end.
	c.Create(c.pod("low", schedulerName).NodeSelector(kit.On("n1")).Req(most).TerminationGracePeriodSeconds(0))
	c.ExpectNode("low", "n1")
	urgent := c.pod("urgent", schedulerName).NodeSelector(kit.On("n1")).Req(most)
	urgent.Spec.PriorityClassName = "urgent"
	c.Create(urgent)
	c.ExpectNode("urgent", "n1")
}

// expectMetricsReader has an account that may read metrics read them, and everyone
// else turned away.
func expectMetricsReader(t *testing.T, plane *controlPlane, r *replica) {
	t.Helper()
	for _, token := range []string{"", plane.As(t, systemNamespace, schedulerName).BearerToken} {
		if _, err := r.GetAs(token, "/metrics"); err == nil {
			t.Error("everyone can read the metrics")
		}
	}
	token := plane.metricsReader(t)
	r.awaitMetrics(t, token)
}

// metricsReader is the token of an account that is bound to the role for
// Prometheus.
func (p *controlPlane) metricsReader(t *testing.T) string {
	t.Helper()
	const role = "hyperconverge-metrics-reader"
	p.apply(t, ofKind(build(t, "manifests/monitoring/base"), "ClusterRole", "ClusterRoleBinding"))
	binding, err := p.Client.RbacV1().ClusterRoleBindings().Get(t.Context(), role, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	account := binding.Subjects[0]
	for _, object := range []metav1.ObjectMeta{{Name: account.Namespace}, {Name: account.Name, Namespace: account.Namespace}} {
		if object.Namespace == "" {
			_, err = p.Client.CoreV1().Namespaces().Create(t.Context(), &v1.Namespace{ObjectMeta: object}, metav1.CreateOptions{})
		} else {
			_, err = p.Client.CoreV1().ServiceAccounts(object.Namespace).Create(t.Context(), &v1.ServiceAccount{ObjectMeta: object}, metav1.CreateOptions{})
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	return p.As(t, account.Namespace, account.Name).BearerToken
}
