package placement_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// text is the annotations, labels or parameters of one object.
type text = map[string]string

// volumeLabels are labels of a volume that all stand in one place.
type volumeLabels map[string]string

func (l volumeLabels) Label(key string) (string, bool) {
	value, found := l[key]
	return value, found
}

// spellings are all that strconv.ParseBool takes, and some that it does not.
var (
	yes       = []string{"1", "t", "T", "true", "TRUE", "True"}
	no        = []string{"0", "f", "F", "false", "FALSE", "False"}
	noBoolean = []string{"", " ", "yes", "no", "on", "off", "y", "n", " true", "true ", "tRUE", "fALSE", "2", "-1", "00", "null", "\x00", "真"}
)

// problemsIn compares what is told of keys and values, and leaves the sentence
// to those who read it, and the origin to a test of its own.
var problemsIn = cmpopts.IgnoreFields(placement.Problem{}, "Detail", "Origin")

func TestBooleans(t *testing.T) {
	service := placement.Traits{Service: true}
	classPolicy := func(traits placement.Traits, key string, judge func(placement.Policy) bool) func(string) (bool, []placement.Problem) {
		return func(value string) (bool, []placement.Problem) {
			policy, problems := placement.PolicyOf(traits, placement.Sources{Class: text{key: value}})
			return judge(policy), problems
		}
	}
	one := func(key string, read func(text) (bool, *placement.Problem)) func(string) (bool, []placement.Problem) {
		return func(value string) (bool, []placement.Problem) {
			got, problem := read(text{key: value})
			if problem == nil {
				return got, nil
			}
			return got, []placement.Problem{*problem}
		}
	}
	tests := []struct {
		key string
		// fallback is what stands for values that are no boolean.
		fallback bool
		read     func(value string) (bool, []placement.Problem)
	}{
		{
			key: placement.PodPreferLocalOnly,
			read: func(value string) (bool, []placement.Problem) {
				policy, problems := placement.PodPolicyOf(text{placement.PodPreferLocalOnly: value})
				return policy.Strict, problems
			},
		},
		{
			key: placement.PodDisableHyperconvergence,
			read: func(value string) (bool, []placement.Problem) {
				policy, problems := placement.PodPolicyOf(text{placement.PodDisableHyperconvergence: value})
				return policy.Off, problems
			},
		},
		{
			key: placement.VolumePreferRemote, fallback: true,
			read: classPolicy(service, placement.VolumePreferRemote, func(p placement.Policy) bool { return p.Kind == placement.Away }),
		},
		{
			key:  placement.VolumePreferRemoteOnly,
			read: classPolicy(service, placement.VolumePreferRemoteOnly, func(p placement.Policy) bool { return p.RemoteOnly }),
		},
		{
			key:  placement.VolumeSkipScoring,
			read: classPolicy(placement.Traits{}, placement.VolumeSkipScoring, func(p placement.Policy) bool { return p.Kind == placement.Neutral }),
		},
		{
			key:  placement.VolumeFast,
			read: classPolicy(placement.Traits{}, placement.VolumeFast, func(p placement.Policy) bool { return p.Fast }),
		},
		{
			key:  placement.VolumeWindows,
			read: classPolicy(placement.Traits{}, placement.VolumeWindows, func(p placement.Policy) bool { return p.Windows }),
		},
		{key: placement.ClaimRestoreInProgress, read: one(placement.ClaimRestoreInProgress, placement.Restoring)},
		{key: placement.PodDisableAdmission, read: one(placement.PodDisableAdmission, placement.AdmissionDisabled)},
		{key: placement.NodeUnschedulable, read: one(placement.NodeUnschedulable, placement.NodeUnschedulableOf)},
	}
	for _, tc := range tests {
		check := func(value string, want bool, wantProblems ...placement.Problem) {
			t.Run(fmt.Sprintf("%s=%q is %t", tc.key, value, want), func(t *testing.T) {
				got, problems := tc.read(value)
				if got != want {
					t.Errorf("read as %t, want %t", got, want)
				}
				if diff := cmp.Diff(wantProblems, problems, problemsIn); diff != "" {
					t.Errorf("problems (-want +got):\n%s", diff)
				}
				for _, p := range problems {
					if !strings.Contains(p.Detail, strconv.FormatBool(want)+" is used") {
						t.Errorf("%q does not tell what is used instead", p.Detail)
					}
				}
			})
		}
		for _, value := range yes {
			check(value, true)
		}
		for _, value := range no {
			check(value, false)
		}
		for _, value := range noBoolean {
			check(value, tc.fallback, placement.Problem{Key: tc.key, Value: value})
		}
	}
}

func TestAbsentKeysAreNoProblem(t *testing.T) {
	for _, annotations := range []text{nil, {}, {"something.else/preferLocalNodeOnly": "true"}} {
		if policy, problems := placement.PodPolicyOf(annotations); policy != (placement.PodPolicy{}) || problems != nil {
			t.Errorf("PodPolicyOf(%v) = %+v, %v", annotations, policy, problems)
		}
		if got, problem := placement.Restoring(annotations); got || problem != nil {
			t.Errorf("Restoring(%v) = %t, %v", annotations, got, problem)
		}
		if got, problem := placement.AdmissionDisabled(annotations); got || problem != nil {
			t.Errorf("AdmissionDisabled(%v) = %t, %v", annotations, got, problem)
		}
		if got, problem := placement.NodeUnschedulableOf(annotations); got || problem != nil {
			t.Errorf("NodeUnschedulableOf(%v) = %t, %v", annotations, got, problem)
		}
		if got, problem := placement.AdmissionDisabled(annotations); got || problem != nil {
			t.Errorf("AdmissionDisabled(%v) = %t, %v", annotations, got, problem)
		}
	}
}

func TestPodPreference(t *testing.T) {
	const preference, disable, strict = placement.PodPreference, placement.PodDisableHyperconvergence, placement.PodPreferLocalOnly
	for _, tc := range []struct {
		name        string
		annotations text
		want        placement.PodPolicy
		problems    []placement.Problem
		detail      string // in the first problem
	}{
		{name: "LocalFirst is taken", annotations: text{preference: "LocalFirst"}, want: placement.PodPolicy{Preference: placement.LocalFirst}},
		{name: "Score is taken", annotations: text{preference: "Score"}, want: placement.PodPolicy{Preference: placement.ScoreOnly}},
		{name: "Off turns locality off", annotations: text{preference: "Off"}, want: placement.PodPolicy{Off: true}},
		{name: "Off said twice is no contradiction", annotations: text{preference: "Off", disable: "true"}, want: placement.PodPolicy{Off: true}},
		{name: "Off beside strict is one, told of the key that says it", annotations: text{preference: "Off", strict: "true"},
			want: placement.PodPolicy{Strict: true, Off: true}, problems: []placement.Problem{{Key: preference, Value: "Off"}}, detail: strict},
		{name: "a preference of a pod that is off has no effect", annotations: text{preference: "LocalFirst", disable: "true"},
			want: placement.PodPolicy{Off: true}, problems: []placement.Problem{{Key: preference, Value: "LocalFirst"}}, detail: disable},
		{name: "a preference beside strict is fine", annotations: text{preference: "Score", strict: "true"},
			want: placement.PodPolicy{Strict: true, Preference: placement.ScoreOnly}},
		{name: "a value in other letters is told the right ones", annotations: text{preference: "localfirst"},
			problems: []placement.Problem{{Key: preference, Value: "localfirst"}}, detail: "write LocalFirst"},
		{name: "an unknown value is told all that there are", annotations: text{preference: "Near"},
			problems: []placement.Problem{{Key: preference, Value: "Near"}}, detail: "write LocalFirst, Score or Off"},
		{name: "an empty value is told", annotations: text{preference: ""}, problems: []placement.Problem{{Key: preference}}, detail: "write LocalFirst, Score or Off"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			policy, problems := placement.PodPolicyOf(tc.annotations)
			if policy != tc.want {
				t.Errorf("policy is %+v, want %+v", policy, tc.want)
			}
			if diff := cmp.Diff(tc.problems, problems, problemsIn); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if len(problems) > 0 && !strings.Contains(problems[0].Detail, tc.detail) {
				t.Errorf("%q does not say %q", problems[0].Detail, tc.detail)
			}
		})
	}
}

func TestContradictoryPod(t *testing.T) {
	policy, problems := placement.PodPolicyOf(text{placement.PodPreferLocalOnly: "true", placement.PodDisableHyperconvergence: "1"})
	if want := strictOff; policy != want {
		t.Errorf("policy is %+v, want %+v: S1 lets both hold", policy, want)
	}
	want := []placement.Problem{{Key: placement.PodDisableHyperconvergence, Value: "1"}}
	if diff := cmp.Diff(want, problems, problemsIn); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if len(problems) == 1 && !strings.Contains(problems[0].Detail, placement.PodPreferLocalOnly) {
		t.Errorf("%q does not name the other annotation", problems[0].Detail)
	}
}

func TestVolumePolicy(t *testing.T) {
	var (
		plain   = placement.Traits{}
		service = placement.Traits{Service: true}
		nearOne = placement.Policy{Kind: placement.Near, Weight: 1}
		awayOne = placement.Policy{Kind: placement.Away, Weight: 1}
		remote  = placement.Policy{Kind: placement.Away, Weight: 1, RemoteOnly: true}
		silent  = placement.Policy{Kind: placement.Neutral, Weight: 1}
		shared  = placement.Policy{Kind: placement.Neutral, Weight: 1, Windows: true}
	)
	weighing := func(weight int32) placement.Policy {
		return placement.Policy{Kind: placement.Near, Weight: weight}
	}
	const (
		preferRemote     = placement.VolumePreferRemote
		preferRemoteOnly = placement.VolumePreferRemoteOnly
		skipScoring      = placement.VolumeSkipScoring
		winshare         = placement.VolumeWindows
		volumeWeight     = placement.VolumeWeight
	)
	problem := func(key, value string) []placement.Problem { return []placement.Problem{{Key: key, Value: value}} }
	tests := []struct {
		name     string
		traits   placement.Traits
		claim    text
		volume   volumeLabels
		class    text
		want     placement.Policy
		problems []placement.Problem
	}{
		{name: "an ordinary volume is near", traits: plain, want: nearOne},
		{name: "a service volume is away", traits: service, want: awayOne},
		{name: "a direct access volume is neutral", traits: placement.Traits{Direct: true}, want: silent},
		{name: "a direct access volume with a service is neutral", traits: placement.Traits{Direct: true, Service: true}, want: silent},
		{name: "a Windows volume by its spec is neutral", traits: placement.Traits{Windows: true}, want: shared},
		{name: "a Windows service volume is neutral, and not remote-only", traits: placement.Traits{Windows: true, Service: true},
			class: text{preferRemoteOnly: "true"}, want: shared},

		{name: "preferRemoteNode=false makes a service volume near", traits: service, class: text{preferRemote: "false"}, want: nearOne},
		{name: "preferRemoteNode=true leaves a service volume away", traits: service, class: text{preferRemote: "true"}, want: awayOne},
		{name: "preferRemoteNode says nothing of an ordinary volume", traits: plain, class: text{preferRemote: "true"}, want: nearOne},
		{name: "preferRemoteNodeOnly makes a service volume remote-only", traits: service, class: text{preferRemoteOnly: "true"}, want: remote},
		{name: "preferRemoteNodeOnly says nothing of an ordinary volume", traits: plain, class: text{preferRemoteOnly: "true"}, want: nearOne},
		{name: "preferRemoteNodeOnly without preferRemoteNode has no effect and is told", traits: service,
			class: text{preferRemote: "false", preferRemoteOnly: "true"}, want: nearOne, problems: problem(preferRemoteOnly, "true")},
		{name: "the contradiction is told wherever its halves stand", traits: service,
			claim: text{preferRemote: "F"}, volume: volumeLabels{preferRemoteOnly: "T"}, want: nearOne, problems: problem(preferRemoteOnly, "T")},
		{name: "fastpath makes a near volume a fast one", traits: plain, class: text{placement.VolumeFast: "true"}, want: placement.Policy{Kind: placement.Near, Weight: 1, Fast: true}},
		{name: "the claim's fastpath=false turns off that of its class", traits: plain, claim: text{placement.VolumeFast: "false"}, class: text{placement.VolumeFast: "true"}, want: nearOne},
		{name: "fastpath says nothing of an away volume", traits: service, class: text{placement.VolumeFast: "true"}, want: awayOne},
		{name: "fastpath says nothing of a neutral volume", traits: plain, class: text{placement.VolumeFast: "true", skipScoring: "true"}, want: silent},
		{name: "skipSchedulerScoring makes an ordinary volume neutral", traits: plain, class: text{skipScoring: "true"}, want: silent},
		{name: "skipSchedulerScoring makes a service volume neutral, and not remote-only", traits: service,
			class: text{skipScoring: "true", preferRemoteOnly: "true"}, want: silent},
		{name: "winshare makes a volume a Windows one", traits: plain, class: text{winshare: "true"}, want: shared},
		{name: "winshare=false beats the spec", traits: placement.Traits{Windows: true}, claim: text{winshare: "false"}, want: nearOne},
		{name: "an unparsable winshare leaves it to the spec", traits: placement.Traits{Windows: true}, claim: text{winshare: "maybe"},
			want: shared, problems: problem(winshare, "maybe")},

		{name: "a weight counts", traits: plain, class: text{volumeWeight: "7"}, want: weighing(7)},
		{name: "the least weight is 1", traits: plain, class: text{volumeWeight: "1"}, want: weighing(1)},
		{name: "the greatest weight is MaxVolumeWeight", traits: plain, class: text{volumeWeight: "100"}, want: weighing(placement.MaxVolumeWeight)},
		{name: "a weight of 0 is told", traits: plain, class: text{volumeWeight: "0"}, want: nearOne, problems: problem(volumeWeight, "0")},
		{name: "a negative weight is told", traits: plain, class: text{volumeWeight: "-3"}, want: nearOne, problems: problem(volumeWeight, "-3")},
		{name: "a weight above the greatest is told", traits: plain, class: text{volumeWeight: "101"}, want: nearOne, problems: problem(volumeWeight, "101")},
		{name: "a fraction is told", traits: plain, class: text{volumeWeight: "1.5"}, want: nearOne, problems: problem(volumeWeight, "1.5")},
		{name: "a weight beyond all numbers is told", traits: plain, class: text{volumeWeight: "99999999999999999999"}, want: nearOne,
			problems: problem(volumeWeight, "99999999999999999999")},
		{name: "an empty weight is told", traits: plain, class: text{volumeWeight: ""}, want: nearOne, problems: problem(volumeWeight, "")},

		{name: "the claim beats the volume and the class", traits: service, claim: text{preferRemote: "false"},
			volume: volumeLabels{preferRemote: "true"}, class: text{preferRemote: "true"}, want: nearOne},
		{name: "the volume beats the class", traits: service,
			volume: volumeLabels{preferRemote: "false"}, class: text{preferRemote: "true"}, want: nearOne},
		{name: "the class counts where nothing else speaks", traits: service,
			claim: text{"a": "b"}, volume: volumeLabels{"c": "d"}, class: text{preferRemote: "false"}, want: nearOne},
		{name: "an unparsable value of the claim wins, as the default, and is told", traits: service,
			claim: text{preferRemote: "no"}, volume: volumeLabels{preferRemote: "false"}, class: text{preferRemote: "false"},
			want: awayOne, problems: problem(preferRemote, "no")},
		{name: "an unparsable value that loses is not told", traits: service,
			claim: text{preferRemote: "false"}, volume: volumeLabels{preferRemote: "no"}, class: text{preferRemote: "?"}, want: nearOne},
		{name: "each key is looked up by itself", traits: service,
			claim: text{preferRemote: "true"}, volume: volumeLabels{preferRemoteOnly: "true"}, class: text{preferRemoteOnly: "false", volumeWeight: "2"},
			want: placement.Policy{Kind: placement.Away, RemoteOnly: true, Weight: 2}},

		{name: "unparsable values are told where they have no effect: ordinary volume", traits: plain,
			class: text{preferRemote: "x", preferRemoteOnly: "y"}, want: nearOne,
			problems: []placement.Problem{{Key: preferRemote, Value: "x"}, {Key: preferRemoteOnly, Value: "y"}}},
		{name: "unparsable values are told where they have no effect: Windows volume", traits: placement.Traits{Windows: true},
			class: text{skipScoring: "x", volumeWeight: "w"}, want: shared,
			problems: []placement.Problem{{Key: skipScoring, Value: "x"}, {Key: volumeWeight, Value: "w"}}},
		{name: "every unparsable value is told", traits: service,
			claim: text{preferRemote: "1 ", preferRemoteOnly: "2", skipScoring: "3", winshare: "4", volumeWeight: "five"}, want: awayOne,
			problems: []placement.Problem{{Key: preferRemote, Value: "1 "}, {Key: preferRemoteOnly, Value: "2"}, {Key: skipScoring, Value: "3"},
				{Key: volumeWeight, Value: "five"}, {Key: winshare, Value: "4"}}},
	}
	byKey := cmpopts.SortSlices(func(a, b placement.Problem) bool { return a.Key < b.Key })
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			sources := placement.Sources{Claim: tc.claim, Class: tc.class}
			if tc.volume != nil {
				sources.Volume = tc.volume
			}
			policy, problems := placement.PolicyOf(tc.traits, sources)
			if diff := cmp.Diff(tc.want, policy); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.problems, problems, problemsIn, byKey); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			for _, p := range problems {
				if p.Detail == "" {
					t.Errorf("nothing is said of %s=%q", p.Key, p.Value)
				}
			}
		})
	}
}

func TestOriginOfProblems(t *testing.T) {
	const (
		preferRemote     = placement.VolumePreferRemote
		preferRemoteOnly = placement.VolumePreferRemoteOnly
		volumeWeight     = placement.VolumeWeight
	)
	for _, tc := range []struct {
		name   string
		claim  text
		volume volumeLabels
		class  text
		want   placement.Origin
	}{
		{name: "a value of the claim is the claim's, whatever the others say", want: placement.FromClaim,
			claim: text{preferRemote: "x"}, volume: volumeLabels{preferRemote: "x"}, class: text{preferRemote: "x"}},
		{name: "a label of the volume alone is the volume's", want: placement.FromVolume, volume: volumeLabels{volumeWeight: "x"}},
		{name: "a label of the volume that was edited is the volume's", want: placement.FromVolume,
			volume: volumeLabels{volumeWeight: ""}, class: text{volumeWeight: "x"}},
		{name: "a label of the volume that copies the class is the class's", want: placement.FromClass,
			volume: volumeLabels{volumeWeight: "x"}, class: text{volumeWeight: "x"}},
		{name: "a parameter of the class alone is the class's", want: placement.FromClass, class: text{preferRemote: "x"}},
		{name: "a contradiction within the class is the class's", want: placement.FromClass,
			volume: volumeLabels{preferRemoteOnly: "true"}, class: text{preferRemoteOnly: "true", preferRemote: "false"}},
		{name: "a contradiction between claim and class is the claim's", want: placement.FromClaim,
			claim: text{preferRemote: "false"}, class: text{preferRemoteOnly: "true"}},
		{name: "a contradiction between volume and class is the volume's", want: placement.FromVolume,
			volume: volumeLabels{preferRemoteOnly: "true"}, class: text{preferRemote: "false"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, problems := placement.PolicyOf(placement.Traits{Service: true}, placement.Sources{Claim: tc.claim, Volume: tc.volume, Class: tc.class})
			if len(problems) != 1 || problems[0].Origin != tc.want {
				t.Errorf("problems %+v, want one of origin %d", problems, tc.want)
			}
		})
	}
}

// TestKeys holds the keys to what stands in the manifests of users.
func TestKeys(t *testing.T) {
	for got, want := range map[string]string{
		placement.PodPreferLocalOnly:         "stork.libopenstorage.org/preferLocalNodeOnly",
		placement.PodDisableHyperconvergence: "stork.libopenstorage.org/disableHyperconvergence",
		placement.PodDisableAdmission:        "stork.libopenstorage.org/disable-admission-controller",
		placement.VolumePreferRemote:         "stork.libopenstorage.org/preferRemoteNode",
		placement.VolumePreferRemoteOnly:     "stork.libopenstorage.org/preferRemoteNodeOnly",
		placement.VolumeSkipScoring:          "stork.libopenstorage.org/skipSchedulerScoring",
		placement.VolumeWindows:              "winshare",
		placement.VolumeWeight:               "hyperconverge.dev/volume-weight",
		placement.ClaimRestoreInProgress:     "stork.libopenstorage.org/restore-in-progress",
		placement.NodeUnschedulable:          "operator.libopenstorage.org/unschedulable",
	} {
		if got != want {
			t.Errorf("key %q, want %q", got, want)
		}
	}
}

// TestVolumeKeys keeps the list of keys in step with those that PolicyOf asks for.
func TestVolumeKeys(t *testing.T) {
	var asked recordingLabels = map[string]bool{}
	placement.PolicyOf(placement.Traits{Service: true}, placement.Sources{Volume: asked})
	want := slices.Sorted(slices.Values(placement.VolumeKeys[:]))
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(asked))); diff != "" {
		t.Errorf("keys that PolicyOf asks for (-VolumeKeys +asked):\n%s", diff)
	}
}

// recordingLabels has no labels and remembers which were asked for.
type recordingLabels map[string]bool

func (l recordingLabels) Label(key string) (string, bool) {
	l[key] = true
	return "", false
}

// FuzzPolicy feeds any strings to all keys: whatever stands there, the policy is
// one that the contract knows, and every value that cannot be read is told.
func FuzzPolicy(f *testing.F) {
	for _, value := range slices.Concat(yes, no, noBoolean) {
		f.Add(value, value, value, value, value, byte(0))
		f.Add(value, "", "true", "false", "7", byte(255))
	}
	f.Add("false", "true", "false", "0", "101", byte(1))
	f.Fuzz(func(t *testing.T, remote, remoteOnly, skip, winshare, weight string, shape byte) {
		values := text{
			placement.VolumePreferRemote: remote, placement.VolumePreferRemoteOnly: remoteOnly,
			placement.VolumeSkipScoring: skip, placement.VolumeWindows: winshare, placement.VolumeWeight: weight,
		}
		traits := placement.Traits{Service: shape&1 != 0, Direct: shape&2 != 0, Windows: shape&4 != 0}
		var sources placement.Sources
		switch shape >> 6 {
		case 0:
			sources.Claim = values
		case 1:
			sources.Volume = volumeLabels(values)
		default:
			sources.Class = values
		}
		policy, problems := placement.PolicyOf(traits, sources)
		if policy.Weight < 1 || policy.Weight > placement.MaxVolumeWeight {
			t.Errorf("weight %d is out of range", policy.Weight)
		}
		if policy.Kind == placement.Away && !traits.Service {
			t.Error("a volume without a service is away")
		}
		if policy.RemoteOnly && policy.Kind != placement.Away {
			t.Error("a volume that is not away is remote-only")
		}
		if policy.Kind != placement.Neutral && (policy.Windows || traits.Direct) {
			t.Error("a Windows or direct access volume is not neutral")
		}
		told := map[string]bool{}
		for _, p := range problems {
			if told[p.Key] {
				t.Errorf("%s is told twice", p.Key)
			}
			if told[p.Key] = true; p.Value != values[p.Key] || p.Detail == "" {
				t.Errorf("problem %+v does not show the value %q", p, values[p.Key])
			}
		}
		for key, value := range values {
			unreadable := !slices.Contains(yes, value) && !slices.Contains(no, value)
			if key != placement.VolumeWeight && unreadable && !told[key] {
				t.Errorf("%s=%q is silently ignored", key, value)
			}
		}

		annotations := text{
			placement.PodPreferLocalOnly: remote, placement.PodDisableHyperconvergence: skip, placement.PodDisableAdmission: remoteOnly,
			placement.ClaimRestoreInProgress: winshare, placement.NodeUnschedulable: weight,
		}
		pod, _ := placement.PodPolicyOf(annotations)
		alone, _ := placement.AdmissionDisabled(annotations)
		restoring, _ := placement.Restoring(annotations)
		closed, _ := placement.NodeUnschedulableOf(annotations)
		for _, read := range []struct {
			value string
			got   bool
		}{{remote, pod.Strict}, {skip, pod.Off}, {winshare, restoring}, {weight, closed}, {remoteOnly, alone}} {
			if want := slices.Contains(yes, read.value); read.got != want {
				t.Errorf("%q is read as %t, want %t", read.value, read.got, want)
			}
		}
	})
}
