package strategies

import (
	"cmp"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// snapshotGroup is that of VolumeSnapshots, whose resources the external snapshotter brings.
const snapshotGroup = "snapshot.storage.k8s.io"

var (
	snapshots = schema.GroupVersionResource{Group: snapshotGroup, Version: "v1", Resource: "volumesnapshots"}
	contents  = schema.GroupVersionResource{Group: snapshotGroup, Version: "v1", Resource: "volumesnapshotcontents"}
)

// CopySource is what a new volume is a copy of.
type CopySource struct {
	// Namespace and Claim name the claim of a clone.
	Namespace, Claim string
	// Driver and Handles are those of a restore: of the volume that was snapshotted, and of
	// the snapshot, which the storage system keeps beside it. Either may be empty.
	Driver  string
	Handles [2]string
}

// SourceKey is the field of a claim that names its source.
const SourceKey = "dataSource"

// Source tells what the volume of a claim will be a copy of; nil if of nothing, or if it
// cannot be told, with a problem of the claim where it is one.
func (s *Store) Source(claim *v1.PersistentVolumeClaim) (*CopySource, *placement.Problem) {
	group, kind, namespace, name := sourceOf(claim)
	switch {
	case namespace != claim.Namespace:
		// Whether the claim may have that is for others to decide, and until then nothing is
		// told of what is there.
		return nil, nil
	case group == "" && kind == "PersistentVolumeClaim":
		return &CopySource{Namespace: namespace, Claim: name}, nil
	case group == snapshotGroup && kind == "VolumeSnapshot":
		return s.restored(claim, namespace, name)
	default:
		return nil, nil // of nothing, or of what somebody else fills in
	}
}

// IsCopy reports whether the volume of a claim will be made from another one of its
// namespace, whether or not that one can be told: strategy and class do not say where it
// lies then.
func IsCopy(claim *v1.PersistentVolumeClaim) bool {
	group, kind, namespace, _ := sourceOf(claim)
	if namespace != claim.Namespace {
		return false
	}
	return group == "" && kind == "PersistentVolumeClaim" || group == snapshotGroup && kind == "VolumeSnapshot"
}

func sourceOf(claim *v1.PersistentVolumeClaim) (group, kind, namespace, name string) {
	namespace = claim.Namespace
	if ref := claim.Spec.DataSourceRef; ref != nil {
		if ref.APIGroup != nil {
			group = *ref.APIGroup
		}
		if ref.Namespace != nil {
			namespace = cmp.Or(*ref.Namespace, namespace)
		}
		return group, ref.Kind, namespace, ref.Name
	}
	if source := claim.Spec.DataSource; source != nil {
		if source.APIGroup != nil {
			group = *source.APIGroup
		}
		return group, source.Kind, namespace, source.Name
	}
	return "", "", namespace, ""
}

// SourceProblem is what is wrong with the source of a claim.
func SourceProblem(claim *v1.PersistentVolumeClaim, detail string) *placement.Problem {
	_, kind, _, name := sourceOf(claim)
	return &placement.Problem{Key: SourceKey, Value: placement.Excerpt(kind + " " + name), Detail: detail + ", so that nothing is expected of where the volume will lie"}
}

func (s *Store) restored(claim *v1.PersistentVolumeClaim, namespace, name string) (*CopySource, *placement.Problem) {
	if s.snapshots == nil || !s.snapshots.HasSynced() || !s.content.HasSynced() {
		return nil, nil
	}
	object, _, err := s.snapshots.GetStore().GetByKey(namespace + "/" + name)
	snapshot, found := object.(*snapshotDigest)
	if err != nil || !found {
		return nil, SourceProblem(claim, "does not exist")
	}
	object, _, err = s.content.GetStore().GetByKey(snapshot.content)
	content, found := object.(*contentDigest)
	if err != nil || !found {
		return nil, SourceProblem(claim, "has no content yet")
	}
	return &content.source, nil
}

// snapshotDigest is what is kept of a VolumeSnapshot, and contentDigest of its content.
type snapshotDigest struct{ namespace, name, content string }

type contentDigest struct {
	name   string
	source CopySource
}

// GetObjectMeta implements metav1.ObjectMetaAccessor, for the key in the cache.
func (d *snapshotDigest) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: d.namespace, Name: d.name}
}

// GetObjectMeta implements metav1.ObjectMetaAccessor, for the key in the cache.
func (d *contentDigest) GetObjectMeta() metav1.Object { return &metav1.ObjectMeta{Name: d.name} }

var _, _ cache.TransformFunc = trimSnapshot, trimContent

func trimSnapshot(object any) (any, error) {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil
	}
	return &snapshotDigest{u.GetNamespace(), u.GetName(), text(u, "status", "boundVolumeSnapshotContentName")}, nil
}

func trimContent(object any) (any, error) {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil
	}
	return &contentDigest{u.GetName(), CopySource{Driver: text(u, "spec", "driver"), Handles: [2]string{
		text(u, "spec", "source", "volumeHandle"),
		cmp.Or(text(u, "status", "snapshotHandle"), text(u, "spec", "source", "snapshotHandle")),
	}}}, nil
}

// text is a field; of another type it is none of those we know.
func text(u *unstructured.Unstructured, path ...string) string {
	value, _, _ := unstructured.NestedString(u.Object, path...)
	return value
}
