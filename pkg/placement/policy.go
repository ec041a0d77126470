package placement

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Keys that users write (docs/behaviour.md, section 2). Those of Stork keep
// their names, so that manifests need no edit.
const (
	// PodPreferLocalOnly makes a pod strict (F6).
	PodPreferLocalOnly = "stork.libopenstorage.org/preferLocalNodeOnly"
	// PodDisableHyperconvergence turns scoring (S1) and F7 off for a pod.
	PodDisableHyperconvergence = "stork.libopenstorage.org/disableHyperconvergence"
	// PodPreference is the pod's own Preference, over that of its profile. Stork has no
	// such key.
	PodPreference = "hyperconverge.dev/preference"
	// PodWaitForLocal is how long a soft pod waits for a replica node: a duration of Go,
	// an hour at most (F16).
	PodWaitForLocal = "hyperconverge.dev/wait-for-local"
	// PodMaxAllocation is how full a node may be made for the sake of locality (S11):
	// cpu=90%,memory=95%,pods=100%, each of them or none.
	PodMaxAllocation = "hyperconverge.dev/max-allocation"
	// PodReturnHome says whether the rebalancer may bring a pod home; a label of namespaces,
	// too. It changes no placement.
	PodReturnHome = "hyperconverge.dev/return-home"
	// PodDisableAdmission keeps the admission webhook's hands off a pod.
	PodDisableAdmission = "stork.libopenstorage.org/disable-admission-controller"
	// VolumePreferRemote makes a service volume near when false; default true.
	VolumePreferRemote = "stork.libopenstorage.org/preferRemoteNode"
	// VolumePreferRemoteOnly keeps the pod off the replica nodes (F7).
	VolumePreferRemoteOnly = "stork.libopenstorage.org/preferRemoteNodeOnly"
	// VolumeSkipScoring makes a volume neutral.
	VolumeSkipScoring = "stork.libopenstorage.org/skipSchedulerScoring"
	// VolumeWindows marks a Windows volume (F9).
	VolumeWindows = "winshare"
	// VolumeWeight is the volume's share in the mean of S4: a whole number from
	// 1 to MaxVolumeWeight, default 1. Stork has no such key.
	VolumeWeight = "hyperconverge.dev/volume-weight"
	// VolumeFast marks a volume that works on its replica nodes only, PX-Fast (F14).
	VolumeFast = "fastpath"
	// VolumeSpread says how the pods of a volume that several share are to stand to its
	// replica nodes: None, Replicas or Zone (section 6).
	VolumeSpread = "hyperconverge.dev/spread"
	// ClaimRestoreInProgress holds every pod of a claim back while true (F2).
	ClaimRestoreInProgress = "stork.libopenstorage.org/restore-in-progress"
	// NodeUnschedulable keeps pods with volumes off a node (F4).
	NodeUnschedulable = "operator.libopenstorage.org/unschedulable"
)

// MaxVolumeWeight is the greatest weight of a volume.
const MaxVolumeWeight = 100

// PodKeys are the annotations of a pod that mean something.
var PodKeys = [...]string{PodPreferLocalOnly, PodDisableHyperconvergence, PodPreference, PodWaitForLocal, PodMaxAllocation, PodDisableAdmission, PodReturnHome}

// VolumeKeys are the keys that may stand in a volume's labels, as annotations of its
// claim, and as parameters of its class.
var VolumeKeys = [...]string{VolumePreferRemote, VolumePreferRemoteOnly, VolumeSkipScoring, VolumeWindows, VolumeWeight, VolumeFast, VolumeSpread}

// ClaimKeys are the annotations of a claim that mean something.
var ClaimKeys = append(VolumeKeys[:], ClaimRestoreInProgress)

// Problem is something that a user wrote and that cannot be taken as written.
type Problem struct {
	// Key is the annotation, label or parameter.
	Key string
	// Value is what stood there, cut short if it is long.
	Value string
	// Detail is a sentence for the user: what is wrong and what is done instead.
	Detail string
	// Origin is where a key of a volume stands. Other keys have one place only.
	Origin Origin
}

// Origin is one of the places in which a key of a volume may stand.
type Origin uint8

const (
	// FromClaim is an annotation of the PVC.
	FromClaim Origin = iota
	// FromVolume is a label of the volume that its class does not have.
	FromVolume
	// FromClass is a parameter of the StorageClass. Storage makes labels of those,
	// so that a label with the same value is no more than its copy.
	FromClass
	// FromDefault is no place at all: what counts where nothing is written.
	FromDefault
)

// PodPolicy is what a pod's annotations ask for.
type PodPolicy struct {
	// Strict pods run only on replica nodes of all their near volumes (F6).
	Strict bool
	// Off means that locality does not count for this pod (S1).
	Off bool
	// Preference is what the pod wants instead of that of its profile; empty if it wants
	// nothing, or Off.
	Preference Preference
	// Wait is how long the pod waits for a replica node instead of what its profile says;
	// nil if it says nothing.
	Wait *time.Duration
	// MaxAllocation likewise.
	MaxAllocation *Allocation
}

// Preference says how soft pods are brought to their data (section 6).
type Preference string

const (
	// LocalFirst tries the nodes with the best scores before all others.
	LocalFirst Preference = "LocalFirst"
	// ScoreOnly gives scores to the nodes that the scheduler happens to look at.
	ScoreOnly Preference = "Score"
	// preferenceOff is another word for PodDisableHyperconvergence.
	preferenceOff Preference = "Off"
)

// PodPolicyOf reads a pod's annotations.
func PodPolicyOf(annotations map[string]string) (PodPolicy, []Problem) {
	if len(annotations) == 0 {
		return PodPolicy{}, nil
	}
	var problems []Problem
	read := func(key string) bool {
		set, problem := flag(annotations, key)
		if problem != nil {
			problems = append(problems, *problem)
		}
		return set
	}
	policy := PodPolicy{Strict: read(PodPreferLocalOnly), Off: read(PodDisableHyperconvergence)}
	offBy := PodDisableHyperconvergence
	if value, found := annotations[PodPreference]; found {
		preference, problem := preferenceOf(value)
		switch {
		case problem != nil:
			problems = append(problems, *problem)
		case preference == preferenceOff && !policy.Off:
			policy.Off, offBy = true, PodPreference
		case preference != preferenceOff && policy.Off:
			problems = append(problems, Problem{Key: PodPreference, Value: value, Detail: "has no effect beside " + PodDisableHyperconvergence})
		case preference != preferenceOff:
			policy.Preference = preference
		}
	}
	problems = append(problems, policy.readLimits(annotations)...)
	if policy.Strict && policy.Off {
		problems = append(problems, Problem{
			Key:    offBy,
			Value:  annotations[offBy],
			Detail: "contradicts " + PodPreferLocalOnly + ": the pod is kept on replica nodes, and all of them count the same",
		})
	}
	return policy, problems
}

// preferenceOf reads the value of PodPreference.
func preferenceOf(value string) (Preference, *Problem) {
	advice := "LocalFirst, Score or Off"
	for _, p := range [...]Preference{LocalFirst, ScoreOnly, preferenceOff} {
		if string(p) == value {
			return p, nil
		}
		if strings.EqualFold(string(p), strings.TrimSpace(value)) {
			advice = string(p)
		}
	}
	return "", &Problem{Key: PodPreference, Value: Excerpt(value), Detail: "means nothing, the preference of the profile is used: write " + advice}
}

// Policy is what the keys of one volume come to.
type Policy struct {
	Kind Kind
	// RemoteOnly is set for away volumes whose replica nodes are forbidden (F7).
	RemoteOnly bool
	// Windows volumes free their pod from F5 to F8 (F9).
	Windows bool
	// Fast near volumes confine their pod to their replica nodes (F14).
	Fast bool
	// Weight is the share in the mean of S4, from 1 to MaxVolumeWeight.
	Weight int32
	// Spread is empty if no place says it.
	Spread Spread
}

// Traits are the properties of a volume that the storage system reports.
type Traits struct {
	// Service is a sharedv4 volume with a sharedv4 service.
	Service bool
	// Direct is a direct access or proxy volume: no replicas by design.
	Direct bool
	// Windows is a volume shared with Windows, as its spec says.
	Windows bool
}

// defaultWeight is the weight of a volume of which no place says another.
const defaultWeight = 1

// byDefault is the value of a boolean key of a volume that stands nowhere.
func (t Traits) byDefault(key string) bool {
	switch key {
	case VolumePreferRemote:
		return true
	case VolumeWindows:
		return t.Windows
	default:
		return false
	}
}

// Labels is the volume's own labels, locator before spec.
type Labels interface {
	Label(key string) (value string, found bool)
}

// Sources are the places in which the keys of a volume may stand, in the order
// in which they are asked; the first that has the key wins.
type Sources struct {
	// Claim is the annotations of the PVC.
	Claim map[string]string
	// Volume is the labels of the volume itself; nil if they are not known.
	Volume Labels
	// Class is the parameters of the StorageClass.
	Class map[string]string
}

func (s *Sources) find(key string) (value string, origin Origin, found bool) {
	if value, found = s.Claim[key]; found {
		return value, FromClaim, true
	}
	parameter, inClass := s.Class[key]
	if s.Volume != nil {
		if value, found = s.Volume.Label(key); found && (!inClass || value != parameter) {
			return value, FromVolume, true
		}
	}
	return parameter, FromClass, inClass
}

// PolicyOf tells what a volume wishes, from its traits and the keys that apply.
func PolicyOf(traits Traits, sources Sources) (Policy, []Problem) {
	var problems []Problem
	complain := func(p Problem, origin Origin) {
		p.Origin = origin
		problems = append(problems, p)
	}
	read := func(key string) bool {
		value, origin, found := sources.find(key)
		if !found {
			return traits.byDefault(key)
		}
		parsed, problem := parseBool(key, value, traits.byDefault(key))
		if problem != nil {
			complain(*problem, origin)
		}
		return parsed
	}
	// All keys are read, whether they matter to this volume or not, so that no
	// mistake in one goes unnoticed until the day it matters.
	policy := Policy{Kind: Near, Weight: defaultWeight, Windows: read(VolumeWindows)}
	skip, fast := read(VolumeSkipScoring), read(VolumeFast)
	remote, remoteOnly := read(VolumePreferRemote), read(VolumePreferRemoteOnly)
	if value, origin, found := sources.find(VolumeWeight); found {
		weight, err := strconv.ParseInt(Excerpt(value), 10, 32)
		if err != nil || weight < 1 || weight > MaxVolumeWeight {
			complain(Problem{Key: VolumeWeight, Value: Excerpt(value),
				Detail: "is not a whole number from 1 to " + strconv.Itoa(MaxVolumeWeight) + ", " + strconv.Itoa(defaultWeight) + " is used"}, origin)
		} else {
			policy.Weight = int32(weight)
		}
	}
	if value, origin, found := sources.find(VolumeSpread); found {
		spread, problem := SpreadOf(value)
		if problem != nil {
			complain(*problem, origin)
		}
		policy.Spread = spread
	}
	if remoteOnly && !remote {
		// The half that stands nearer to the pod is the one that contradicts.
		value, origin, _ := sources.find(VolumePreferRemoteOnly)
		_, other, _ := sources.find(VolumePreferRemote)
		complain(Problem{Key: VolumePreferRemoteOnly, Value: value,
			Detail: "has no effect while " + VolumePreferRemote + " is false"}, min(origin, other))
	}
	switch {
	case policy.Windows || traits.Direct || skip:
		policy.Kind = Neutral
	case traits.Service && remote:
		policy.Kind, policy.RemoteOnly = Away, remoteOnly
	default:
		policy.Fast = fast
	}
	return policy, problems
}

// parseBool is the one way in which boolean keys are read. A value that is no
// boolean counts as the default and is told to the user.
func parseBool(key, value string, fallback bool) (bool, *Problem) {
	parsed, err := strconv.ParseBool(Excerpt(value))
	if err != nil {
		return fallback, &Problem{Key: key, Value: Excerpt(value),
			Detail: "is not a boolean, " + strconv.FormatBool(fallback) + " is used"}
	}
	return parsed, nil
}

// excerptLength bounds in bytes what is read and repeated of a value. An annotation has
// room for 256 KiB, and no value that means anything is longer than this.
const excerptLength = 100

// Excerpt is the beginning of a value that users wrote, for messages.
func Excerpt(value string) string {
	if len(value) <= excerptLength {
		return value
	}
	end := excerptLength
	for end > 0 && !utf8.RuneStart(value[end]) {
		end--
	}
	return value[:end] + "..."
}

// flag reads a boolean annotation that is false by default.
func flag(annotations map[string]string, key string) (bool, *Problem) {
	value, found := annotations[key]
	if !found {
		return false, nil
	}
	return parseBool(key, value, false)
}

// Restoring reports whether a claim waits for a restore (F2).
func Restoring(claimAnnotations map[string]string) (bool, *Problem) {
	return flag(claimAnnotations, ClaimRestoreInProgress)
}

// AdmissionDisabled reports whether a pod wants to be left alone by the webhook.
func AdmissionDisabled(podAnnotations map[string]string) (bool, *Problem) {
	return flag(podAnnotations, PodDisableAdmission)
}

// NodeUnschedulableOf reads the storage operator's annotation of a node (F4).
func NodeUnschedulableOf(nodeAnnotations map[string]string) (bool, *Problem) {
	return flag(nodeAnnotations, NodeUnschedulable)
}
