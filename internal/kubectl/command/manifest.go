package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/apis/core"
	corev1defaults "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// maxManifest bounds what is read of a file.
const maxManifest = 16 << 20

// templates are where the kinds that make pods have their template.
var templates = map[string][]string{
	"Deployment": {"spec", "template"}, "ReplicaSet": {"spec", "template"}, "StatefulSet": {"spec", "template"},
	"Job": {"spec", "template"}, "ReplicationController": {"spec", "template"}, "CronJob": {"spec", "jobTemplate", "spec", "template"},
}

// readManifest reads the pods of a file: those that stand in it, and one of each
// workload. Objects that make no pods, such as claims, are passed over and named.
func (t *tool) readManifest(path, namespace string) (pods []*v1.Pod, passed []string, err error) {
	err = t.eachObject(path, func(object *unstructured.Unstructured) error {
		return addPods(&pods, &passed, object, namespace)
	})
	if err != nil {
		return nil, nil, err
	}
	if len(pods) == 0 {
		return nil, nil, fmt.Errorf("-f %s: there is no pod in it, and nothing that makes pods", path)
	}
	return pods, passed, nil
}

// eachObject reads the objects of a file, those in lists one by one.
func (t *tool) eachObject(path string, visit func(*unstructured.Unstructured) error) error {
	in := t.In
	if path != "-" {
		file, err := os.Open(path) //nolint:gosec // the user names the file
		if err != nil {
			return fmt.Errorf("-f: %w", err)
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	content, err := io.ReadAll(io.LimitReader(in, maxManifest+1))
	if err != nil {
		return fmt.Errorf("-f: %w", err)
	}
	if len(content) > maxManifest {
		return fmt.Errorf("-f %s: more than %d MB are not read", path, maxManifest>>20)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("-f %s: %w", path, err)
		}
		switch {
		case len(object.Object) == 0:
			continue
		case object.IsList():
			err = object.EachListItem(func(item runtime.Object) error {
				one, is := item.(*unstructured.Unstructured)
				if !is {
					return fmt.Errorf("an item of a list is a %T", item)
				}
				return visit(one)
			})
		default:
			err = visit(object)
		}
		if err != nil {
			return fmt.Errorf("-f %s: %w", path, err)
		}
	}
}

// addPods adds the pod of an object.
func addPods(pods *[]*v1.Pod, passed *[]string, object *unstructured.Unstructured, namespace string) error {
	name, kind := object.GetName(), object.GetKind()
	if name == "" {
		name = object.GetGenerateName() + "0"
	}
	content := object.Object
	if path, found := templates[kind]; found {
		template, exists, err := unstructured.NestedMap(object.Object, path...)
		if err != nil || !exists {
			return fmt.Errorf("%s %s has no template of a pod", kind, name)
		}
		content = template
	} else if kind != "Pod" {
		*passed = append(*passed, kind+" "+name)
		return nil
	}
	pod := &v1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, pod); err != nil {
		return fmt.Errorf("%s %s: %w", kind, name, err)
	}
	if len(pod.Spec.Containers) == 0 {
		return fmt.Errorf("%s %s has no containers", kind, name)
	}
	pod.Namespace = object.GetNamespace()
	if pod.Namespace == "" {
		pod.Namespace = namespace
	}
	pod.Name = name
	if kind == "StatefulSet" {
		pod.Name = name + "-0"
		addClaims(pod, object)
	}
	if err := complete(pod); err != nil {
		return fmt.Errorf("%s %s: %w", kind, name, err)
	}
	*pods = append(*pods, pod)
	return nil
}

// complete does what the API server does with a pod before anybody sees it: it fills in
// defaults, and refuses what cannot be.
func complete(pod *v1.Pod) error {
	corev1defaults.SetObjectDefaults_Pod(pod)
	internal := &core.Pod{}
	if err := corev1defaults.Convert_v1_Pod_To_core_Pod(pod, internal, nil); err != nil {
		return err
	}
	for i := range internal.Spec.Containers { // which the placement does not depend on
		if internal.Spec.Containers[i].Image == "" {
			internal.Spec.Containers[i].Image = "none"
		}
	}
	return validation.ValidatePodSpec(&internal.Spec, &internal.ObjectMeta, field.NewPath("spec"), validation.PodValidationOptions{}).ToAggregate()
}

// addClaims gives the first pod of a StatefulSet the claims of its templates.
func addClaims(pod *v1.Pod, set *unstructured.Unstructured) {
	claims, _, err := unstructured.NestedSlice(set.Object, "spec", "volumeClaimTemplates")
	if err != nil {
		return // the API server says so to who applies it
	}
	for _, claim := range claims {
		fields, _ := claim.(map[string]any)
		name, _, _ := unstructured.NestedString(fields, "metadata", "name")
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: name, VolumeSource: v1.VolumeSource{
			PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name + "-" + pod.Name},
		}})
	}
}
