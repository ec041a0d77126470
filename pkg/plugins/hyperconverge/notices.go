package hyperconverge

import (
	"fmt"
	"strings"
	"unicode/utf8"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/reference"
	"k8s.io/utils/lru"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// Reasons of the events that users see, besides those of openstorage's conditions. All but
// the last two are warnings.
const (
	// EventNonOptimumScheduling: the pod runs on no replica node of its near
	// volumes although there is one. The message says for each node why.
	EventNonOptimumScheduling = "NonOptimumScheduling"
	// EventInvalidValue: an annotation, label or parameter cannot be taken as
	// written. It is on the object that bears it; what only a volume's own labels
	// say is on its claim, or on the pod if there is none.
	EventInvalidValue = "InvalidValue"
	// EventVolumeUnknown: a pod is scheduled without regard to a volume whose
	// replicas are not known, or were last known too long ago.
	EventVolumeUnknown = "VolumeUnknown"
	// EventReplicaExpected: the pod runs where replicas of volumes are expected that do
	// not exist yet.
	EventReplicaExpected = "ReplicaExpected"
	// EventStorageRecovered: something is over that was wrong with the storage API, and
	// that an event on the scheduler's Deployment has told.
	EventStorageRecovered = "StorageRecovered"
)

// noticesKept bounds what is remembered of the notices given. A notice that is
// forgotten may be given again.
const noticesKept = 8192

// notices tells users things once per object.
type notices struct {
	recorder events.EventRecorder
	given    *lru.Cache
}

type notice struct {
	uid          types.UID
	reason, text string
}

// tellOf gives the notices that a decision calls for.
func (n *notices) tellOf(pod *v1.Pod, d *decision) {
	n.complainOf(d)
	if d.Rejection != nil {
		return
	}
	var unknown, stale []*placement.Volume
	for _, volume := range d.Ignored {
		if volume.Stale {
			stale = append(stale, volume)
		} else {
			unknown = append(unknown, volume)
		}
	}
	// Once for all volumes: a pod may have a thousand.
	var texts []string
	if len(unknown) > 0 {
		texts = append(texts, volumesOf(unknown, "its replicas are not known", "their replicas are not known"))
	}
	if len(stale) > 0 {
		texts = append(texts, volumesOf(stale, "what is known of its replicas is too old", "what is known of their replicas is too old"))
	}
	if texts != nil && n.warn(pod, "", EventVolumeUnknown, "Scheduling", "Scheduling without regard to "+strings.Join(texts, "; and to ")) {
		metrics.UnknownVolumes.WithLabelValues("unknown").Add(float64(len(unknown)))
		metrics.UnknownVolumes.WithLabelValues("stale").Add(float64(len(stale)))
	}
}

// complainOf tells what a decision has found to be written wrong.
func (n *notices) complainOf(d *decision) {
	for _, c := range d.complaints {
		n.complain(c.object, c.problem)
	}
}

func volumesOf(ignored []*placement.Volume, one, many string) string {
	if len(ignored) == 1 {
		return "the volume of " + ignored[0].Name + ": " + one
	}
	return "the volumes of " + namesOf(ignored) + ": " + many
}

// tellOfNodes warns about what stands on nodes and in their CSINodes and cannot be
// taken as written.
func (n *notices) tellOfNodes(nodes corelisters.NodeLister, problems []volumes.NodeProblem) {
	for _, p := range problems {
		node, err := nodes.Get(p.Node)
		if err != nil {
			continue // gone, and its problem with it
		}
		n.complain(node, p.Problem)
	}
}

// complain tells what is wrong with a value on the object that bears it.
func (n *notices) complain(object runtime.Object, p placement.Problem) {
	n.warn(object, p.Key, EventInvalidValue, "Scheduling", fmt.Sprintf("%s: %q %s", p.Key, p.Value, p.Detail))
}

// warn tells a warning.
func (n *notices) warn(object runtime.Object, field, reason, action, text string) bool {
	return n.tell(object, v1.EventTypeWarning, field, reason, action, text)
}

// tell records an event unless the same was said of the object before, and
// reports whether it did. It does not block.
//
// A field, if there is one, becomes part of the reference to the object: client-go takes
// two events for repetitions of one that differ in nothing but their notes.
func (n *notices) tell(object runtime.Object, eventType, field, reason, action, text string) bool {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return false // only objects of the API come here
	}
	text = cut(text)
	key := notice{uid: accessor.GetUID(), reason: reason, text: text}
	if _, given := n.given.Get(key); given {
		return false
	}
	n.given.Add(key, nil)
	if field != "" {
		ref, err := reference.GetReference(scheme.Scheme, object)
		if err != nil {
			return false // only objects of the API come here
		}
		ref.FieldPath = field
		object = ref
	}
	n.recorder.Eventf(object, nil, eventType, reason, action, "%s", text)
	return true
}

// noteLimit is what the API takes for the note of an event, in bytes. The values
// that users write can be longer.
const noteLimit = 1024

// cut makes a text fit into a note, and keeps its letters whole.
func cut(text string) string { return cutTo(text, noteLimit) }

// cutTo makes a text fit into so many bytes, which are more than a few.
func cutTo(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	const more = " ..."
	end := limit - len(more)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + more
}
