package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// maxVolumes is how many volumes of a pod are judged, not counting kinds that cannot
// be the driver's. The scheduler takes no pod with more of the driver's (F12).
const maxVolumes = placement.MaxVolumes

// judgedPod is as much of a pod as the rules read. Whoever may create pods decides
// how long its lists are, and in memory an element takes many times its JSON. So
// lists are read one element at a time, and only what counts is kept.
type judgedPod struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Annotations     judgedAnnotations `json:"annotations"`
		OwnerReferences judgedOwners      `json:"ownerReferences"`
	} `json:"metadata"`
	Spec struct {
		NodeName        string            `json:"nodeName"`
		SchedulerName   string            `json:"schedulerName"`
		Tolerations     judgedTolerations `json:"tolerations"`
		Volumes         judgedVolumes     `json:"volumes"`
		SecurityContext *struct {
			FSGroup             *int64                     `json:"fsGroup"`
			FSGroupChangePolicy *v1.PodFSGroupChangePolicy `json:"fsGroupChangePolicy"`
		} `json:"securityContext"`
	} `json:"spec"`
}

// decodePod reads the JSON of a pod. Of more than maxVolumes volumes it returns one
// more than that.
func decodePod(raw []byte) (*v1.Pod, error) {
	if len(raw) == 0 {
		return nil, errors.New("it is empty")
	}
	var read judgedPod
	if err := utiljson.Unmarshal(raw, &read); err != nil {
		return nil, err
	}
	if read.Kind != "" && read.Kind != "Pod" || read.APIVersion != "" && read.APIVersion != "v1" {
		return nil, fmt.Errorf("it is a %s of %s", read.Kind, read.APIVersion)
	}
	pod := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Annotations: read.Metadata.Annotations, OwnerReferences: read.Metadata.OwnerReferences},
		Spec: v1.PodSpec{
			NodeName:      read.Spec.NodeName,
			SchedulerName: read.Spec.SchedulerName,
			Tolerations:   read.Spec.Tolerations,
			Volumes:       read.Spec.Volumes,
		},
	}
	if security := read.Spec.SecurityContext; security != nil {
		pod.Spec.SecurityContext = &v1.PodSecurityContext{FSGroup: security.FSGroup, FSGroupChangePolicy: security.FSGroupChangePolicy}
	}
	return pod, nil
}

// judgedVolumes are volumes of the kinds that can be the driver's.
type judgedVolumes []v1.Volume

// UnmarshalJSON implements json.Unmarshaler.
func (l *judgedVolumes) UnmarshalJSON(list []byte) error {
	*l = nil
	type judged struct { // a v1.Volume is five times as large
		Name                  string                                `json:"name"`
		PersistentVolumeClaim *v1.PersistentVolumeClaimVolumeSource `json:"persistentVolumeClaim"`
		Ephemeral             *v1.EphemeralVolumeSource             `json:"ephemeral"`
		PortworxVolume        *v1.PortworxVolumeSource              `json:"portworxVolume"`
		CSI                   *v1.CSIVolumeSource                   `json:"csi"`
	}
	return eachIn(list, func(volume judged) (more bool) {
		if volume.PersistentVolumeClaim != nil || volume.Ephemeral != nil || volume.PortworxVolume != nil || volume.CSI != nil {
			*l = append(*l, v1.Volume{Name: volume.Name, VolumeSource: v1.VolumeSource{
				PersistentVolumeClaim: volume.PersistentVolumeClaim,
				Ephemeral:             volume.Ephemeral,
				PortworxVolume:        volume.PortworxVolume,
				CSI:                   volume.CSI,
			}})
		}
		return len(*l) <= maxVolumes
	})
}

// judgedTolerations are the first toleration of a pod, which says that there are
// any, and those that matter to storageTaints.
type judgedTolerations []v1.Toleration

// UnmarshalJSON implements json.Unmarshaler.
func (l *judgedTolerations) UnmarshalJSON(list []byte) error {
	*l = nil
	return eachIn(list, func(toleration v1.Toleration) (more bool) {
		if len(*l) == 0 || len(intolerable([]v1.Toleration{toleration})) < len(storageTaints) {
			*l = append(*l, toleration)
		}
		return len(intolerable(*l)) > 0
	})
}

// judgedOwners are the owner that controls the pod.
type judgedOwners []metav1.OwnerReference

// UnmarshalJSON implements json.Unmarshaler.
func (l *judgedOwners) UnmarshalJSON(list []byte) error {
	*l = nil
	return eachIn(list, func(owner metav1.OwnerReference) (more bool) {
		if owner.Controller != nil && *owner.Controller {
			*l = judgedOwners{owner}
		}
		return len(*l) == 0
	})
}

// judgedAnnotations are those that have a say.
type judgedAnnotations map[string]string

// UnmarshalJSON implements json.Unmarshaler.
func (a *judgedAnnotations) UnmarshalJSON(object []byte) error {
	*a = nil
	decoder := json.NewDecoder(bytes.NewReader(object))
	start, err := decoder.Token()
	if err != nil || start == nil {
		return err
	}
	if start != json.Delim('{') {
		return errors.New("annotations are no object")
	}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return err
		}
		var value string
		if err := decoder.Decode(&value); err != nil {
			return fmt.Errorf("the value of an annotation is no text: %w", err)
		}
		for _, judged := range [...]string{placement.PodDisableAdmission, v1.MirrorPodAnnotationKey} {
			if key == judged {
				if *a == nil {
					*a = judgedAnnotations{}
				}
				(*a)[judged] = value
			}
		}
	}
	return nil
}

// eachIn visits the elements of a JSON list as long as there is more to know.
func eachIn[T any](list []byte, visit func(T) (more bool)) error {
	decoder := json.NewDecoder(bytes.NewReader(list))
	start, err := decoder.Token()
	if err != nil || start == nil {
		return err
	}
	if start != json.Delim('[') {
		return fmt.Errorf("%s is no list", quote(fmt.Sprint(start)))
	}
	var raw json.RawMessage
	for decoder.More() {
		if err := decoder.Decode(&raw); err != nil {
			return err
		}
		var element T
		if err := utiljson.Unmarshal(raw, &element); err != nil { // names of fields have their case
			return err
		}
		if !visit(element) {
			return nil
		}
	}
	return nil
}
