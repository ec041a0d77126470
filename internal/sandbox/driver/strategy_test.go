package driver

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
)

func object(apiVersion, kind, namespace, name string, fields map[string]any) *unstructured.Unstructured {
	fields["apiVersion"], fields["kind"] = apiVersion, kind
	fields["metadata"] = map[string]any{"name": name}
	if namespace != "" {
		fields["metadata"] = map[string]any{"name": name, "namespace": namespace}
	}
	return &unstructured.Unstructured{Object: fields}
}

// onNodes is a strategy whose replicas go to nodes with these values of the label name.
func onNodes(values ...any) *unstructured.Unstructured {
	return object("portworx.io/v1beta2", "VolumePlacementStrategy", "", "there", map[string]any{"spec": map[string]any{"replicaAffinity": []any{
		map[string]any{"matchExpressions": []any{map[string]any{"key": "name", "operator": "In", "values": values}}}}}})
}

func TestNewVolumesGoWhereTheyAreMeantTo(t *testing.T) {
	snapshot := object("snapshot.storage.k8s.io/v1", "VolumeSnapshot", "shop", "yesterday", map[string]any{"status": map[string]any{"boundVolumeSnapshotContentName": "c"}})
	content := func(source map[string]any) *unstructured.Unstructured {
		return object("snapshot.storage.k8s.io/v1", "VolumeSnapshotContent", "", "c", map[string]any{"spec": map[string]any{"source": source}})
	}
	copyOf := func(kind, name string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) {
			c.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: kind, Name: name}
			if kind == "VolumeSnapshot" {
				c.Spec.DataSource.APIGroup = ptr.To("snapshot.storage.k8s.io")
			}
		}
	}
	refersTo := func(kind, name, namespace string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) {
			c.Spec.DataSourceRef = &corev1.TypedObjectReference{Kind: kind, Name: name, Namespace: ptr.To(namespace)}
		}
	}
	byStrategy := func(c *corev1.PersistentVolumeClaim) { c.Annotations = map[string]string{strategyKey: "there"} }
	for name, row := range map[string]struct {
		objects  []runtime.Object
		claim    func(*corev1.PersistentVolumeClaim)
		selected string
		// parameter of the class that names a strategy
		parameter string
		want      string // the node of the replica
		says      string // or the error
	}{
		"the node of the first pod":                    {selected: "node-2", want: "node-2"},
		"as a strategy asks":                           {objects: []runtime.Object{onNodes("node-3")}, claim: byStrategy, want: "node-3"},
		"a strategy comes before the pod":              {objects: []runtime.Object{onNodes("node-3")}, claim: byStrategy, selected: "node-2", want: "node-3"},
		"by the namespace of the claim":                {objects: []runtime.Object{onNodes("node-${pvc.namespace}", "node-3")}, claim: byStrategy, want: "node-3"},
		"by a label of the claim":                      {objects: []runtime.Object{onNodes("node-${pvc.labels.number}")}, claim: func(c *corev1.PersistentVolumeClaim) { byStrategy(c); c.Labels = map[string]string{"number": "2"} }, want: "node-2"},
		"by the pod of a StatefulSet":                  {objects: []runtime.Object{onNodes("${pvc.statefulset-pod}")}, claim: byStrategy, want: "node-1"},
		"a clone beside its source":                    {claim: copyOf("PersistentVolumeClaim", "source"), want: "node-2"},
		"a restore of a volume":                        {objects: []runtime.Object{snapshot, content(map[string]any{"volumeHandle": "source"})}, claim: copyOf("VolumeSnapshot", "yesterday"), want: "node-2"},
		"a restore of a snapshot":                      {objects: []runtime.Object{snapshot, content(map[string]any{"snapshotHandle": "source"})}, claim: copyOf("VolumeSnapshot", "yesterday"), want: "node-2"},
		"a strategy that does not exist":               {claim: byStrategy, says: "placement strategy there: "},
		"a template that does not exist":               {objects: []runtime.Object{onNodes("${pod.name}")}, claim: byStrategy, says: "placement strategy there: invalid: template ${pod.name}"},
		"a strategy that cannot be met":                {objects: []runtime.Object{onNodes("node-9")}, claim: byStrategy, says: "rule replicaAffinity[0] is required and leaves 0 node(s)"},
		"a clone of nothing":                           {claim: copyOf("PersistentVolumeClaim", "lost"), says: "source claim: "},
		"a clone of a claim that is not bound":         {claim: copyOf("PersistentVolumeClaim", "later"), says: "source claim later is not bound"},
		"a snapshot that does not exist":               {claim: copyOf("VolumeSnapshot", "lost"), says: "snapshot lost: "},
		"a snapshot whose content is not there":        {objects: []runtime.Object{snapshot}, claim: copyOf("VolumeSnapshot", "yesterday"), says: "content c of snapshot yesterday: "},
		"a clone by the newer field":                   {claim: refersTo("PersistentVolumeClaim", "source", "shop"), want: "node-2"},
		"a clone of a claim in another namespace":      {claim: refersTo("PersistentVolumeClaim", "source", "office"), says: "data source source is in the namespace office"},
		"a snapshot of some other kind of snapshotter": {claim: refersTo("VolumeSnapshot", "yesterday", "shop"), says: "data source of kind VolumeSnapshot"},
		"a snapshot without content": {objects: []runtime.Object{object("snapshot.storage.k8s.io/v1", "VolumeSnapshot", "shop", "yesterday", map[string]any{})},
			claim: copyOf("VolumeSnapshot", "yesterday"), says: "snapshot yesterday has no content"},
		"content that names no volume":                   {objects: []runtime.Object{snapshot, content(map[string]any{})}, claim: copyOf("VolumeSnapshot", "yesterday"), says: "content c of snapshot yesterday names no volume"},
		"content of a volume that storage does not have": {objects: []runtime.Object{snapshot, content(map[string]any{"volumeHandle": "lost"})}, claim: copyOf("VolumeSnapshot", "yesterday"), says: "cloning volume lost: "},
		"all that is wrong with a strategy, on one line": {objects: []runtime.Object{object("portworx.io/v1beta2", "VolumePlacementStrategy", "", "there", map[string]any{"spec": map[string]any{"volumeAffinity": []any{
			map[string]any{"enforcement": "maybe", "matchExpressions": []any{map[string]any{"key": "name", "operator": "Like", "values": []any{"x"}}}}}}})},
			claim: byStrategy, says: `placement strategy there: invalid: enforcement "maybe", operator "Like"`},
		"a label of the claim is no parameter": {claim: func(c *corev1.PersistentVolumeClaim) { c.Labels = map[string]string{"zones": "moon"} }, want: "node-1"},
		"the annotation before the parameter":  {objects: []runtime.Object{onNodes("node-3")}, claim: byStrategy, parameter: "lost", want: "node-3"},
		"by the parameter of the class":        {objects: []runtime.Object{onNodes("node-3")}, parameter: "there", want: "node-3"},
		"a copy of something else":             {claim: copyOf("Backup", "x"), says: "data source of kind Backup"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := openstoragesim.NewCluster(openstoragesim.Options{})
			for _, name := range []string{"node-1", "node-2", "node-3"} {
				if _, err := cluster.AddNode(openstoragesim.Node{SchedulerNodeName: name, Labels: map[string]string{"name": name}}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := cluster.CreateVolume(openstoragesim.CreateRequest{Name: "source", SelectedNode: "node-2"}); err != nil {
				t.Fatal(err)
			}
			p := newProvisioner(t, serve(t, cluster, openstoragesim.ServerOptions{}))
			p.resources = customResources(row.objects...)
			pvc := claim()
			if row.claim != nil {
				row.claim(pvc)
			}
			source, later := claim(), claim()
			source.Name, source.Spec.VolumeName, later.Name = "source", "pv-source", "later"
			p.client = fake.NewClientset(source, later, &corev1.PersistentVolume{
				ObjectMeta: metav1.ObjectMeta{Name: "pv-source"},
				Spec:       corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: Name, VolumeHandle: "source"}}},
			}, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: pvc.Namespace, Name: "node-1", OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Controller: ptr.To(true)}}},
				Spec: corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{
					PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: pvc.Name}}}}},
			})
			pv, _, err := p.Provision(t.Context(), controller.ProvisionOptions{
				StorageClass: NewClass("c", storagev1.VolumeBindingWaitForFirstConsumer, map[string]string{strategyKey: row.parameter}), PVName: "pvc-1", PVC: pvc, SelectedNodeName: row.selected,
			})
			if row.says != "" {
				if err == nil || !strings.Contains(err.Error(), row.says) {
					t.Errorf("error is %v, want one that says %q", err, row.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			v, err := cluster.Volume(pv.Spec.CSI.VolumeHandle)
			if err != nil {
				t.Fatal(err)
			}
			node, err := cluster.Node(v.GetReplicaSets()[0].GetNodes()[0])
			if err != nil || node.SchedulerNodeName != row.want {
				t.Errorf("the replica is on %s (%v), want %s", node.SchedulerNodeName, err, row.want)
			}
			if got := v.GetLocator().GetVolumeLabels(); got[openstoragesim.LabelPVC] != pvc.Name || pvc.Labels != nil && got["number"] != pvc.Labels["number"] {
				t.Errorf("volume labels are %v", got)
			}
		})
	}
}

func TestDefinitionsAreWellFormed(t *testing.T) {
	client := customResources()
	if err := Define(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	var made []string
	for _, name := range []string{"volumeplacementstrategies.portworx.io", "volumesnapshots.snapshot.storage.k8s.io", "volumesnapshotcontents.snapshot.storage.k8s.io"} {
		if _, err := client.Resource(definitions).Get(t.Context(), name, metav1.GetOptions{}); err == nil {
			made = append(made, name)
		}
	}
	if len(made) != 3 {
		t.Errorf("defined are %q", made)
	}
}
