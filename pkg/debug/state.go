// Package debug is the scheduler's answer to those who ask what it knows: of volumes and
// nodes, of the pods that wait, and of its own configuration.
package debug

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	configv1 "k8s.io/kube-scheduler/config/v1"
	schedulerapi "k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"

	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/pkg/volumes"
	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage"
)

// Paths of the endpoint, as roles name them. Each answers to GET with a State, of which
// the last three have a part only.
const (
	PathState         = "/debug/hyperconverge/state"
	PathIndex         = "/debug/hyperconverge/index"
	PathWaiting       = "/debug/hyperconverge/waiting"
	PathConfiguration = "/debug/hyperconverge/configuration"
)

// APIVersion and Kind are those of State.
const (
	APIVersion = "hyperconverge.dev/v1"
	Kind       = "SchedulerState"
)

// State is what a scheduler knows. As JSON it is an interface: fields are only added.
type State struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Version is that of the scheduler, as --version says it.
	Version string `json:"version"`
	// Leading says that this replica schedules. The others know the same volumes, and
	// no waiting pods.
	Leading bool `json:"leading"`
	// Index is null while no profile has the plugin.
	Index   *volumes.Snapshot          `json:"index,omitempty"`
	Waiting []hyperconverge.WaitingPod `json:"waiting,omitempty"`
	// Conditions are what is wrong with the storage API as a whole.
	Conditions []openstorage.Condition `json:"conditions,omitempty"`
	// Configuration is the KubeSchedulerConfiguration in force, with all defaults.
	Configuration json.RawMessage `json:"configuration,omitempty"`
}

// EncodeConfiguration writes a configuration as files have it, in JSON. It has no
// secrets: credentials are paths in it.
func EncodeConfiguration(configuration *schedulerapi.KubeSchedulerConfiguration) (json.RawMessage, error) {
	info, found := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	if !found {
		return nil, fmt.Errorf("the scheduler's scheme has no encoder for %s", runtime.ContentTypeJSON)
	}
	return runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, configv1.SchemeGroupVersion), configuration)
}

// DecodeConfiguration reads what EncodeConfiguration or a person wrote, and fills in the
// defaults.
func DecodeConfiguration(data []byte) (*schedulerapi.KubeSchedulerConfiguration, error) {
	object, _, err := scheme.Codecs.UniversalDecoder().Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	configuration, is := object.(*schedulerapi.KubeSchedulerConfiguration)
	if !is {
		return nil, fmt.Errorf("want a KubeSchedulerConfiguration, got %T", object)
	}
	return configuration, nil
}
