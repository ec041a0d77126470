package driver

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/libopenstorage/openstorage/api"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
)

// strategyKey is the annotation of a claim, or the parameter of its class, that names a
// placement strategy.
const strategyKey = "placement_strategy"

// rule is one rule of a placement strategy.
type rule struct {
	Weight           int64  `json:"weight"`
	Enforcement      string `json:"enforcement"`
	TopologyKey      string `json:"topologyKey"`
	AffectedReplicas int32  `json:"affected_replicas"`
	MatchExpressions []struct {
		Key      string   `json:"key"`
		Operator string   `json:"operator"`
		Values   []string `json:"values"`
	} `json:"matchExpressions"`
}

// strategy is the placement strategy of a claim as storage takes it, nil if it has none.
func (p *provisioner) strategy(ctx context.Context, options controller.ProvisionOptions) (*api.VolumePlacementStrategy, error) {
	name := cmp.Or(options.PVC.Annotations[strategyKey], options.StorageClass.Parameters[strategyKey])
	if name == "" {
		return nil, nil //nolint:nilnil // most claims have none
	}
	found, err := p.resources.Resource(strategies).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("placement strategy %s: %w", name, err)
	}
	text, err := json.Marshal(found.Object["spec"])
	if err != nil {
		return nil, fmt.Errorf("placement strategy %s: %w", name, err)
	}
	var spec struct {
		ReplicaAffinity     []rule `json:"replicaAffinity"`
		ReplicaAntiAffinity []rule `json:"replicaAntiAffinity"`
		VolumeAffinity      []rule `json:"volumeAffinity"`
		VolumeAntiAffinity  []rule `json:"volumeAntiAffinity"`
	}
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, fmt.Errorf("placement strategy %s: %w: %w", name, openstoragesim.ErrInvalid, err)
	}
	// Only those who ask for the pod have pods listed.
	member := sync.OnceValues(func() (string, error) { return p.memberOf(ctx, options.PVC) })
	strategy, wrong := &api.VolumePlacementStrategy{}, []string{}
	convert := func(r *rule) (enforcement api.EnforcementType, conditions []*api.LabelSelectorRequirement) {
		if r.Enforcement == "preferred" {
			enforcement = api.EnforcementType_preferred
		} else if r.Enforcement != "" && r.Enforcement != "required" {
			wrong = append(wrong, fmt.Sprintf("enforcement %q", r.Enforcement))
		}
		for _, m := range r.MatchExpressions {
			operator, known := api.LabelSelectorRequirement_Operator_value[m.Operator]
			if !known {
				wrong = append(wrong, fmt.Sprintf("operator %q", m.Operator))
			}
			values := make([]string, len(m.Values))
			for i := range m.Values {
				var err error
				if values[i], err = filledIn(m.Values[i], options.PVC, member); err != nil {
					wrong = append(wrong, err.Error())
				}
			}
			conditions = append(conditions, &api.LabelSelectorRequirement{Key: m.Key, Operator: api.LabelSelectorRequirement_Operator(operator), Values: values})
		}
		return enforcement, conditions
	}
	replicas := func(rules []rule) (list []*api.ReplicaPlacementSpec) {
		for i := range rules {
			r := &rules[i]
			enforcement, conditions := convert(r)
			list = append(list, &api.ReplicaPlacementSpec{Weight: r.Weight, Enforcement: enforcement, AffectedReplicas: r.AffectedReplicas, TopologyKey: r.TopologyKey, MatchExpressions: conditions})
		}
		return list
	}
	volumes := func(rules []rule) (list []*api.VolumePlacementSpec) {
		for i := range rules {
			r := &rules[i]
			enforcement, conditions := convert(r)
			list = append(list, &api.VolumePlacementSpec{Weight: r.Weight, Enforcement: enforcement, TopologyKey: r.TopologyKey, MatchExpressions: conditions})
		}
		return list
	}
	strategy.ReplicaAffinity, strategy.ReplicaAntiAffinity = replicas(spec.ReplicaAffinity), replicas(spec.ReplicaAntiAffinity)
	strategy.VolumeAffinity, strategy.VolumeAntiAffinity = volumes(spec.VolumeAffinity), volumes(spec.VolumeAntiAffinity)
	if len(wrong) > 0 {
		// One line, because it becomes an event.
		return nil, fmt.Errorf("placement strategy %s: %w: %s", name, openstoragesim.ErrInvalid, strings.Join(wrong, ", "))
	}
	return strategy, nil
}

// filledIn is a value with what its templates stand for.
func filledIn(value string, claim *corev1.PersistentVolumeClaim, member func() (string, error)) (string, error) {
	before, rest, found := strings.Cut(value, "${")
	if !found {
		return value, nil
	}
	key, after, closed := strings.Cut(rest, "}")
	if !closed {
		return value, nil
	}
	label, isLabel := strings.CutPrefix(key, "pvc.labels.")
	switch {
	case isLabel:
		before += claim.Labels[label]
	case key == "pvc.namespace":
		before += claim.Namespace
	case key == "pvc.statefulset-pod":
		pod, err := member()
		if err != nil {
			return "", fmt.Errorf("the pod for template ${%s}: %w", key, err)
		}
		before += pod
	default:
		return "", fmt.Errorf("template ${%s}", key)
	}
	after, err := filledIn(after, claim, member)
	return before + after, err
}

// memberOf is the name of the pod of a StatefulSet that mounts a claim, empty if none does.
func (p *provisioner) memberOf(ctx context.Context, claim *corev1.PersistentVolumeClaim) (string, error) {
	pods, err := p.client.CoreV1().Pods(claim.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if owner := metav1.GetControllerOf(pod); owner == nil || owner.Kind != "StatefulSet" {
			continue
		}
		for _, volume := range pod.Spec.Volumes {
			if pvc := volume.PersistentVolumeClaim; pvc != nil && pvc.ClaimName == claim.Name {
				return pod.Name, nil
			}
		}
	}
	return "", nil
}

// parent is the id of the volume or snapshot that a claim's volume is a copy of, empty if of
// nothing.
func (p *provisioner) parent(ctx context.Context, claim *corev1.PersistentVolumeClaim) (string, error) {
	source := claim.Spec.DataSourceRef
	if old := claim.Spec.DataSource; source == nil && old != nil {
		source = &corev1.TypedObjectReference{APIGroup: old.APIGroup, Kind: old.Kind, Name: old.Name}
	}
	if source == nil {
		return "", nil
	}
	if namespace := ptr.Deref(source.Namespace, claim.Namespace); namespace != claim.Namespace {
		return "", fmt.Errorf("data source %s is in the namespace %s: %w", source.Name, namespace, openstoragesim.ErrInvalid)
	}
	switch (schema.GroupKind{Group: ptr.Deref(source.APIGroup, ""), Kind: source.Kind}) {
	case schema.GroupKind{Kind: "PersistentVolumeClaim"}:
		return p.volumeOf(ctx, claim.Namespace, source.Name)
	case schema.GroupKind{Group: snapshots.Group, Kind: "VolumeSnapshot"}:
		return p.contentOf(ctx, claim.Namespace, source.Name)
	default:
		return "", fmt.Errorf("data source of kind %s: %w", source.Kind, openstoragesim.ErrInvalid)
	}
}

// contentOf is the id of the snapshot that a VolumeSnapshot stands for, or of its volume.
func (p *provisioner) contentOf(ctx context.Context, namespace, snapshotName string) (string, error) {
	snapshot, err := p.resources.Resource(snapshots).Namespace(namespace).Get(ctx, snapshotName, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("snapshot %s: %w", snapshotName, err)
	}
	name := field(snapshot, "status", "boundVolumeSnapshotContentName")
	if name == "" {
		return "", fmt.Errorf("snapshot %s has no content", snapshotName)
	}
	content, err := p.resources.Resource(contents).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("content %s of snapshot %s: %w", name, snapshotName, err)
	}
	id := cmp.Or(field(content, "status", "snapshotHandle"), field(content, "spec", "source", "snapshotHandle"), field(content, "spec", "source", "volumeHandle"))
	if id == "" {
		return "", fmt.Errorf("content %s of snapshot %s names no volume", name, snapshotName)
	}
	return id, nil
}

func (p *provisioner) volumeOf(ctx context.Context, namespace, name string) (string, error) {
	claim, err := p.client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("source claim: %w", err)
	}
	if claim.Spec.VolumeName == "" {
		return "", fmt.Errorf("source claim %s is not bound", name)
	}
	pv, err := p.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) || err == nil && (pv.Spec.CSI == nil || pv.Spec.CSI.Driver != Name):
		return "", fmt.Errorf("source claim %s has no volume of %s", name, Name)
	case err != nil:
		return "", err
	}
	return pv.Spec.CSI.VolumeHandle, nil
}

func field(u *unstructured.Unstructured, path ...string) string {
	value, _, _ := unstructured.NestedString(u.Object, path...)
	return value
}
