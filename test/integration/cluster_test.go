package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

const driver = "pxd.portworx.com"

// oneGi is the size of all volumes.
var oneGi = resource.MustParse("1Gi")

// patience is how long a test waits for what must come. What must come soon is
// measured, not waited for.
const patience = 30 * time.Second

// cluster is the playground of one scenario: Kubernetes nodes with storage, and
// the objects that the scenario makes.
type cluster struct {
	*testing.T
	ctx       context.Context
	plane     *controlPlane
	client    kubernetes.Interface
	namespace string
	storage   *openstoragesim.Cluster
	server    *openstoragesim.Server
}

// newCluster makes a cluster of nodes n1, n2, ... that all run the driver.
func newCluster(t *testing.T, plane *controlPlane, nodes int) *cluster {
	t.Helper()
	c := &cluster{
		T: t, ctx: t.Context(), plane: plane, client: plane.client,
		storage: openstoragesim.NewCluster(openstoragesim.Options{}),
	}
	namespace, err := c.client.CoreV1().Namespaces().Create(c.ctx,
		&v1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "scenario-"}}, metav1.CreateOptions{})
	c.must(err)
	c.namespace = namespace.Name
	c.server = openstoragesim.NewServer(c.storage, openstoragesim.ServerOptions{})
	c.must(c.server.Start("127.0.0.1:0"))
	t.Cleanup(func() {
		if t.Failed() {
			c.logPods()
		}
		c.server.Stop()
		plane.clear(context.WithoutCancel(c.ctx), t, c.namespace)
	})
	for i := range nodes {
		c.addNode(fmt.Sprintf("n%d", i+1), nil)
	}
	return c
}

// logPods tells where the pods of a failed scenario are, or what holds them.
func (c *cluster) logPods() {
	c.Helper()
	const most = 12
	pods, err := c.client.CoreV1().Pods(c.namespace).List(context.WithoutCancel(c.ctx), metav1.ListOptions{})
	if err != nil {
		c.Error(err)
		return
	}
	for i := range min(most, len(pods.Items)) {
		pod := &pods.Items[i]
		why, _, _ := strings.Cut(message(pod), ". ") // what follows is about preemption
		c.Logf("pod %s: %s", pod.Name, cmp.Or(pod.Spec.NodeName, why))
	}
	if more := len(pods.Items) - most; more > 0 {
		c.Logf("and %d more pods", more)
	}
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// addNode adds a Kubernetes node with 4 CPUs that is a storage node, too.
func (c *cluster) addNode(name string, labels map[string]string) {
	c.Helper()
	node, err := c.storage.AddNode(openstoragesim.Node{SchedulerNodeName: name})
	c.must(err)
	c.addBareNode(name, labels)
	c.csiNode(name, node.ID)
}

// csiNode registers the driver on a Kubernetes node, as the kubelet does.
func (c *cluster) csiNode(name, storageID string) {
	c.Helper()
	_, err := c.client.StorageV1().CSINodes().Create(c.ctx, &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: driver, NodeID: storageID}}},
	}, metav1.CreateOptions{})
	c.must(err)
}

// storageID is the id under which replica sets name a node.
func (c *cluster) storageID(node string) string {
	c.Helper()
	found, err := c.storage.Node(node)
	c.must(err)
	return found.ID
}

// addBareNode adds a Kubernetes node without the driver.
func (c *cluster) addBareNode(name string, labels map[string]string) {
	c.Helper()
	node := st.MakeNode().Name(name).Label(v1.LabelHostname, name).
		Capacity(map[v1.ResourceName]string{v1.ResourceCPU: "4", v1.ResourceMemory: "32Gi", v1.ResourcePods: "110"}).Obj()
	maps.Copy(node.Labels, labels)
	_, err := c.client.CoreV1().Nodes().Create(c.ctx, node, metav1.CreateOptions{})
	c.must(err)
}

// storageState sets what the SDK says of a node.
func (c *cluster) storageState(node string, status openstoragesim.Status) {
	c.Helper()
	c.must(c.storage.SetNodeState(node, status))
}

// volumeOptions are the unusual things about a volume.
type volumeOptions struct {
	parameters  map[string]string // of the StorageClass, at creation
	annotations map[string]string // of the claim
	hidden      bool              // the storage system does not know it
	unbound     bool              // the claim is not bound
	class       string            // StorageClass of the claim
	owner       *v1.Pod           // of the claim, for generic ephemeral volumes
	pv          string            // name of the PV, if it is not the usual one
	driver      string            // of the PV, if it is not the usual one
	inTree      bool              // the PV has the source of the in-tree plugin
	byName      bool              // the PV names the volume, not its id
}

// volume makes a volume with replicas on the given nodes, a PV and a bound claim,
// all of that name.
func (c *cluster) volume(name string, nodes ...string) { c.volumeWith(name, volumeOptions{}, nodes...) }

func (c *cluster) volumeWith(name string, o volumeOptions, nodes ...string) {
	c.Helper()
	handle := hiddenName(c, name) // in-tree volumes may be named rather than numbered
	if !o.hidden {
		parameters := map[string]string{"repl": strconv.Itoa(max(1, len(nodes)))}
		maps.Copy(parameters, o.parameters)
		made, err := c.storage.CreateVolume(openstoragesim.CreateRequest{Name: name, Parameters: parameters})
		c.must(err)
		handle = made.GetId()
		if o.byName {
			handle = name
		}
		if len(nodes) > 0 {
			c.replicas(name, nodes...)
		}
	}
	claim := st.MakePersistentVolumeClaim().Namespace(c.namespace).Name(name).
		AccessModes([]v1.PersistentVolumeAccessMode{v1.ReadWriteMany}).
		Resources(v1.VolumeResourceRequirements{Requests: v1.ResourceList{v1.ResourceStorage: oneGi}}).Obj()
	claim.Annotations = map[string]string{}
	maps.Copy(claim.Annotations, o.annotations)
	claim.Spec.StorageClassName = &o.class
	if o.owner != nil {
		claim.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(o.owner, v1.SchemeGroupVersion.WithKind("Pod"))}
	}
	pv := cmp.Or(o.pv, c.pvName(name))
	if !o.unbound {
		claim.Annotations["pv.kubernetes.io/bind-completed"] = "yes"
		claim.Spec.VolumeName = pv
	}
	claim, err := c.client.CoreV1().PersistentVolumeClaims(c.namespace).Create(c.ctx, claim, metav1.CreateOptions{})
	c.must(err)
	if o.unbound {
		return
	}
	c.persistentVolume(pv, claim, o.source(handle))
	claim.Status.Phase = v1.ClaimBound
	_, err = c.client.CoreV1().PersistentVolumeClaims(c.namespace).UpdateStatus(c.ctx, claim, metav1.UpdateOptions{})
	c.must(err)
}

// source is what the PV says about the volume of this handle.
func (o *volumeOptions) source(handle string) v1.PersistentVolumeSource {
	if o.inTree {
		return v1.PersistentVolumeSource{PortworxVolume: &v1.PortworxVolumeSource{VolumeID: handle}}
	}
	return v1.PersistentVolumeSource{
		CSI: &v1.CSIPersistentVolumeSource{Driver: cmp.Or(o.driver, driver), VolumeHandle: handle},
	}
}

// hiddenName is the name of a volume that the storage system does not know yet.
func hiddenName(c *cluster, claim string) string { return c.namespace + "-" + claim }

func (c *cluster) pvName(claim string) string { return "pv-" + c.namespace + "-" + claim }

// persistentVolume makes the PV behind a claim.
func (c *cluster) persistentVolume(name string, claim *v1.PersistentVolumeClaim, source v1.PersistentVolumeSource) {
	c.Helper()
	_, err := c.client.CoreV1().PersistentVolumes().Create(c.ctx, &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1.PersistentVolumeSpec{
			Capacity:               v1.ResourceList{v1.ResourceStorage: oneGi},
			AccessModes:            []v1.PersistentVolumeAccessMode{v1.ReadWriteMany},
			ClaimRef:               &v1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			PersistentVolumeSource: source,
		},
	}, metav1.CreateOptions{})
	c.must(err)
}

// replicas puts the replicas of a volume exactly on these nodes, in one set.
func (c *cluster) replicas(volume string, nodes ...string) {
	c.Helper()
	c.must(c.storage.SetReplicaSets(volume, c.storageIDs(nodes)))
}

func (c *cluster) storageIDs(nodes []string) []string {
	c.Helper()
	ids := make([]string, len(nodes))
	for i, name := range nodes {
		ids[i] = c.storageID(name)
	}
	return ids
}

// pod makes a pod that uses the claims, in the usual profile.
func (c *cluster) pod(name string, claims ...string) *st.PodWrapper {
	pod := st.MakePod().Namespace(c.namespace).Name(name).SchedulerName(schedulerName).
		Req(map[v1.ResourceName]string{v1.ResourceCPU: "100m"})
	for _, claim := range claims {
		pod = pod.PVC(claim)
	}
	return pod
}

// strict makes a pod that insists on a replica node.
func (c *cluster) strict(name string, claims ...string) *st.PodWrapper {
	return c.pod(name, claims...).Annotation(placement.PodPreferLocalOnly, "true")
}

// foreignVolume makes a bound claim of another driver.
func (c *cluster) foreignVolume(name string, annotations map[string]string) {
	c.Helper()
	c.volumeWith(name, volumeOptions{driver: "csi.example.com", hidden: true, annotations: annotations})
}

// create sends a pod to the API server.
func (c *cluster) create(pod *st.PodWrapper) *v1.Pod {
	c.Helper()
	made, err := c.client.CoreV1().Pods(c.namespace).Create(c.ctx, pod.Obj(), metav1.CreateOptions{})
	c.must(err)
	return made
}

func (c *cluster) get(pod string) *v1.Pod {
	c.Helper()
	got, err := c.client.CoreV1().Pods(c.namespace).Get(c.ctx, pod, metav1.GetOptions{})
	c.must(err)
	return got
}

func (c *cluster) claim(name string) *v1.PersistentVolumeClaim {
	c.Helper()
	got, err := c.client.CoreV1().PersistentVolumeClaims(c.namespace).Get(c.ctx, name, metav1.GetOptions{})
	c.must(err)
	return got
}

func (c *cluster) deletePod(name string) {
	c.Helper()
	c.must(c.client.CoreV1().Pods(c.namespace).Delete(c.ctx, name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}))
}

// expectNode waits until the pod is bound, and fails unless it is to one of the
// nodes.
func (c *cluster) expectNode(pod string, nodes ...string) string {
	c.Helper()
	node := ""
	eventually(c.T, "pod "+pod+" is bound", func() error {
		got := c.get(pod)
		if node = got.Spec.NodeName; node == "" {
			return errors.New(message(got))
		}
		return nil
	})
	if !slices.Contains(nodes, node) {
		c.Fatalf("pod %s is on %s, want one of %v", pod, node, nodes)
	}
	return node
}

// message is what the scheduler says of a pod that it could not place.
func message(pod *v1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == v1.PodScheduled && condition.Status == v1.ConditionFalse {
			return condition.Message
		}
	}
	return untried
}

const untried = "the scheduler has said nothing"

// expectPending waits until the scheduler has turned the pod down with a message
// that contains all the parts.
func (c *cluster) expectPending(pod string, parts ...string) {
	c.Helper()
	eventually(c.T, "pod "+pod+" is pending", func() error {
		got := c.get(pod)
		if got.Spec.NodeName != "" {
			c.Fatalf("pod %s is on %s, want it pending with %q", pod, got.Spec.NodeName, parts)
		}
		for _, part := range parts {
			if !strings.Contains(message(got), part) {
				return fmt.Errorf("the message is %q, want %q in it", message(got), part)
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
	eventually(c.T, "event "+reason+" about "+object, func() error {
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
	list, err := c.client.EventsV1().Events(metav1.NamespaceAll).List(c.ctx, metav1.ListOptions{})
	c.must(err)
	return slices.DeleteFunc(list.Items, func(event eventsv1.Event) bool {
		return event.Reason != reason || event.Regarding.Name != object ||
			(event.Namespace != c.namespace && event.Namespace != metav1.NamespaceDefault)
	})
}

// eventually polls until the condition holds, and fails with its last error.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for: %s: %v", patience, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
