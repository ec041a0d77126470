package webhook

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

var (
	forStorage     = v1.Toleration{Key: "node.portworx.io/px-storage", Operator: v1.TolerationOpEqual, Value: "true", Effect: v1.TaintEffectNoSchedule}
	forStorageless = v1.Toleration{Key: "node.portworx.io/px-storageless", Operator: v1.TolerationOpEqual, Value: "true", Effect: v1.TaintEffectPreferNoSchedule}
	both           = []v1.Toleration{forStorage, forStorageless}
)

const byDefault = v1.DefaultSchedulerName

func TestPods(t *testing.T) {
	adopted := verdict{Outcome: Mutated, SchedulerName: ours, Tolerations: both}
	left := func(outcome Outcome, scheduler string) verdict {
		return verdict{Outcome: outcome, SchedulerName: scheduler}
	}
	undecided := func(riddle string) verdict {
		return verdict{Outcome: Undecided, SchedulerName: byDefault, Warnings: []string{
			`hyperconverge: the pod stays with "default-scheduler", because its storage is not known: ` + riddle +
				`; create claims before their pods, or set spec.schedulerName to "hyperconverge-scheduler"`}}
	}
	notReady := v1.Toleration{Key: v1.TaintNodeNotReady, Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoExecute}
	everything := v1.Toleration{Operator: v1.TolerationOpExists}

	stork, noTolerations := defaultRules, defaultRules
	stork.ReplaceAny = true
	noTolerations.Tolerate = false
	onlyScheduler := defaultRules
	onlyScheduler.SchedulerName, onlyScheduler.OwnNames = byDefault, sets.New(ours)
	storkAndOurs := stork
	storkAndOurs.SchedulerName, storkAndOurs.OwnNames = "stork", sets.New(ours)
	expected := func(outcome Outcome, tolerations []v1.Toleration) verdict {
		return verdict{outcome, ours, tolerations, []string{
			`hyperconverge: the pod stays with "hyperconverge-scheduler", because its storage is not known: claim "missing" cannot be found; create claims before their pods`}}
	}

	tests := map[string]struct {
		rules *Rules // nil are the default ones
		pod   []podOption
		want  verdict
	}{
		// Whose pod it is.
		"a pod without volumes is not ours":                       {want: left(NotOurs, byDefault)},
		"a pod with a bound claim of the driver is ours":          {pod: []podOption{pvc("data")}, want: adopted},
		"a pod with an unbound claim of the driver is ours":       {pod: []podOption{pvc("coming")}, want: adopted},
		"a pod with a bound claim of another driver is not ours":  {pod: []podOption{pvc("other")}, want: left(NotOurs, byDefault)},
		"a pod with an unbound claim of another one is not ours":  {pod: []podOption{pvc("other-coming")}, want: left(NotOurs, byDefault)},
		"one volume of the driver among others is enough":         {pod: []podOption{pvc("other"), pvc("data")}, want: adopted},
		"a pod with an ephemeral volume of the driver is ours":    {pod: []podOption{ephemeral("px")}, want: adopted},
		"a pod with another ephemeral volume is not ours":         {pod: []podOption{ephemeral("disk")}, want: left(NotOurs, byDefault)},
		"a pod with an in-tree volume is ours":                    {pod: []podOption{source(v1.VolumeSource{PortworxVolume: &v1.PortworxVolumeSource{VolumeID: "1"}})}, want: adopted},
		"a pod with a CSI inline volume of the driver is ours":    {pod: []podOption{source(v1.VolumeSource{CSI: &v1.CSIVolumeSource{Driver: portworx}})}, want: adopted},
		"a pod with another CSI inline volume is not ours":        {pod: []podOption{source(v1.VolumeSource{CSI: &v1.CSIVolumeSource{Driver: "secrets.example.com"}})}, want: left(NotOurs, byDefault)},
		"a pod with other volumes only is not ours":               {pod: []podOption{source(v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}})}, want: left(NotOurs, byDefault)},
		"a claim of that name in another namespace does not help": {pod: []podOption{namespace("web"), pvc("data")}, want: undecided(`claim "data" cannot be found`)},

		// What is not known.
		"a missing claim leaves the pod as it is":               {pod: []podOption{pvc("missing")}, want: undecided(`claim "missing" cannot be found`)},
		"a missing volume leaves the pod as it is":              {pod: []podOption{pvc("lost")}, want: undecided(`the volume of claim "lost" cannot be found`)},
		"a missing class leaves the pod as it is":               {pod: []podOption{pvc("classless")}, want: undecided(`the class of claim "classless" cannot be found`)},
		"a missing class of a template leaves it as it is":      {pod: []podOption{ephemeral("gone")}, want: undecided(`the class of claim "v" cannot be found`)},
		"a claim that will get a volume by hand is a riddle":    {pod: []podOption{pvc("manual")}, want: undecided(`claim "manual" has neither a class nor a volume yet`)},
		"so is a template without class and no default class":   {pod: []podOption{template(nil)}, want: undecided(`claim "v" has neither a class nor a volume yet`)},
		"of several riddles the first is told":                  {pod: []podOption{pvc("one"), pvc("two"), pvc("three")}, want: undecided(`claim "one" cannot be found (and 2 more)`)},
		"a claim that is known outweighs one that is not":       {pod: []podOption{pvc("missing"), pvc("data")}, want: adopted},
		"a claim of another driver does not solve the riddle":   {pod: []podOption{pvc("other"), pvc("missing")}, want: undecided(`claim "missing" cannot be found`)},
		"a name that is no name is told in a form that is safe": {pod: []podOption{pvc("a\n\"b" + strings.Repeat("c", 500))}, want: undecided(`claim "a\n\"b` + strings.Repeat("c", 76) + `..." cannot be found`)},

		// Whom it asks for.
		"no scheduler is the default one":                            {pod: []podOption{scheduler(""), pvc("data")}, want: adopted},
		"another scheduler is respected":                             {pod: []podOption{scheduler("gang"), pvc("data")}, want: left(OtherScheduler, "gang")},
		"Stork as well":                                              {pod: []podOption{scheduler("stork"), pvc("data")}, want: left(OtherScheduler, "stork")},
		"by Stork's rule any scheduler is replaced":                  {rules: &stork, pod: []podOption{scheduler("gang"), pvc("data")}, want: adopted},
		"by Stork's rule, too, only of pods with the driver's":       {rules: &stork, pod: []podOption{scheduler("gang"), pvc("other")}, want: left(NotOurs, "gang")},
		"who asks for our scheduler still gets the tolerations":      {pod: []podOption{scheduler(ours), pvc("data")}, want: adopted},
		"who asks for our scheduler without need keeps it":           {pod: []podOption{scheduler(ours)}, want: left(NotOurs, ours)},
		"if ours is the only scheduler, there are just tolerations":  {rules: &onlyScheduler, pod: []podOption{pvc("data")}, want: verdict{Mutated, byDefault, both, nil}},
		"if ours is the only one and tolerations are off, nothing":   {rules: &Rules{SchedulerName: byDefault}, pod: []podOption{pvc("data")}, want: left(Unchanged, byDefault)},
		"a further name of ours is kept":                             {rules: &onlyScheduler, pod: []podOption{scheduler(ours), pvc("data")}, want: verdict{Mutated, ours, both, nil}},
		"by Stork's rule, too, a further name of ours is kept":       {rules: &storkAndOurs, pod: []podOption{scheduler(ours), pvc("data")}, want: verdict{Mutated, ours, both, nil}},
		"who asks for ours before the claim is there tolerates":      {pod: []podOption{scheduler(ours), pvc("missing")}, want: expected(Undecided, both)},
		"but not if tolerations are off":                             {rules: &noTolerations, pod: []podOption{scheduler(ours), pvc("missing")}, want: expected(Undecided, nil)},
		"a pod that has all it needs is not touched":                 {pod: []podOption{scheduler(ours), tolerating(both...), pvc("data")}, want: verdict{Unchanged, ours, both, nil}},
		"without tolerations by the flag, there is just a scheduler": {rules: &noTolerations, pod: []podOption{pvc("data")}, want: left(Mutated, ours)},

		// Taints.
		"tolerations that are there stay":              {pod: []podOption{tolerating(notReady), pvc("data")}, want: verdict{Mutated, ours, []v1.Toleration{notReady, forStorage, forStorageless}, nil}},
		"a toleration that is there is not added":      {pod: []podOption{tolerating(forStorage), pvc("data")}, want: verdict{Mutated, ours, both, nil}},
		"who tolerates everything needs nothing more":  {pod: []podOption{tolerating(everything), pvc("data")}, want: verdict{Mutated, ours, []v1.Toleration{everything}, nil}},
		"a toleration of another effect is not enough": {pod: []podOption{tolerating(v1.Toleration{Key: forStorage.Key, Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoExecute}), tolerating(forStorageless), pvc("data")}, want: verdict{Mutated, ours, []v1.Toleration{{Key: forStorage.Key, Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoExecute}, forStorageless, forStorage}, nil}},

		// Who is left alone.
		"a pod that opts out is left alone":                     {pod: []podOption{annotation(placement.PodDisableAdmission, "true"), pvc("data")}, want: left(OptedOut, byDefault)},
		"booleans are Go's":                                     {pod: []podOption{annotation(placement.PodDisableAdmission, "T"), pvc("data")}, want: left(OptedOut, byDefault)},
		"an opt-out that is false is none":                      {pod: []podOption{annotation(placement.PodDisableAdmission, "false"), pvc("data")}, want: adopted},
		"an opt-out that is no boolean counts as false":         {pod: []podOption{annotation(placement.PodDisableAdmission, "yes"), pvc("data")}, want: verdict{Mutated, ours, both, []string{`hyperconverge: annotation stork.libopenstorage.org/disable-admission-controller: "yes" is not a boolean, false is used`}}},
		"by Stork's rule, too, a pod may opt out":               {rules: &stork, pod: []podOption{annotation(placement.PodDisableAdmission, "1"), pvc("data")}, want: left(OptedOut, byDefault)},
		"pods of kube-system are left alone":                    {pod: []podOption{namespace("kube-system"), ephemeral("px")}, want: left(Excluded, byDefault)},
		"pods of the own namespace are left alone":              {pod: []podOption{namespace("hyperconverge"), ephemeral("px")}, want: left(Excluded, byDefault)},
		"a pod that has its node is left alone":                 {pod: []podOption{onNode("n1"), pvc("data")}, want: left(Pinned, byDefault)},
		"a mirror pod is left alone":                            {pod: []podOption{annotation(v1.MirrorPodAnnotationKey, "hash"), pvc("data")}, want: left(Pinned, byDefault)},
		"a pod of a DaemonSet is left alone":                    {pod: []podOption{ownedBy("DaemonSet"), pvc("data")}, want: left(Pinned, byDefault)},
		"a pod of a StatefulSet is not":                         {pod: []podOption{ownedBy("StatefulSet"), pvc("data")}, want: adopted},
		"a pod that a DaemonSet merely owns is not left alone":  {pod: []podOption{ownedBy("DaemonSet"), notControlled, pvc("data")}, want: adopted},
		"nobody is warned about claims of pods that are exempt": {pod: []podOption{onNode("n1"), pvc("missing")}, want: left(Pinned, byDefault)},
	}
	worlds := map[*Rules]*world{nil: newWorld(t, defaultRules, stored(), stored())}
	for _, test := range tests {
		if worlds[test.rules] == nil {
			worlds[test.rules] = newWorld(t, *test.rules, stored(), stored())
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := *worlds[test.rules]
			w.TB = t
			pod, got := w.admit(podWith(test.pod...))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
			again, second := w.admit(pod)
			if diff := cmp.Diff(pod, again); diff != "" {
				t.Errorf("a second call changes the pod (-first +second):\n%s", diff)
			}
			if test.want.Outcome == Mutated && second.Outcome != Unchanged {
				t.Errorf("the outcome of a second call is %s", second.Outcome)
			}
		})
	}
}

// What Stork does with its flag enable-fsgroup-optimization.
func TestGroupOfFiles(t *testing.T) {
	shared := func(name, class string, mode v1.PersistentVolumeAccessMode) runtime.Object {
		return &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "db", Name: name}, Spec: v1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []v1.PersistentVolumeAccessMode{mode}}}
	}
	security := func(context v1.PodSecurityContext) podOption {
		return func(pod *v1.Pod) { pod.Spec.SecurityContext = &context }
	}
	const none, always, onMismatch = v1.PodFSGroupChangePolicy(""), v1.FSGroupChangeAlways, v1.FSGroupChangeOnRootMismatch
	group := security(v1.PodSecurityContext{FSGroup: ptr.To[int64](1000), RunAsUser: ptr.To[int64](1)})
	objects := append(stored(), shared("many", "px", v1.ReadWriteMany), shared("readers", "px", v1.ReadOnlyMany), shared("nas", "disk", v1.ReadWriteMany))
	late := append(objects, shared("late", "px", v1.ReadWriteMany))
	optimizing := defaultRules
	optimizing.OptimizeFSGroup = true
	storkOnly := optimizing
	storkOnly.Tolerate = false
	for name, test := range map[string]struct {
		rules *Rules // nil are those with the optimization
		pod   []podOption
		want  v1.PodFSGroupChangePolicy
	}{
		"a pod that shares a volume gets the policy":                    {pod: []podOption{group, pvc("many")}, want: onMismatch},
		"so does one that reads a shared volume":                        {pod: []podOption{group, pvc("readers")}, want: onMismatch},
		"the shared volume may come after another":                      {pod: []podOption{group, pvc("data"), pvc("many")}, want: onMismatch},
		"the shared claim may be newer than the caches":                 {pod: []podOption{group, pvc("data"), pvc("late")}, want: onMismatch},
		"a pod of our scheduler by name gets it, too":                   {pod: []podOption{group, scheduler(ours), pvc("many")}, want: onMismatch},
		"it may be all that a pod lacks":                                {rules: &storkOnly, pod: []podOption{group, scheduler(ours), pvc("many")}, want: onMismatch},
		"a policy that is there stays":                                  {pod: []podOption{security(v1.PodSecurityContext{FSGroup: ptr.To[int64](1), FSGroupChangePolicy: ptr.To(always)}), pvc("many")}, want: always},
		"without a group there is nothing to change":                    {pod: []podOption{security(v1.PodSecurityContext{RunAsUser: ptr.To[int64](1)}), pvc("many")}, want: none},
		"without a security context neither":                            {pod: []podOption{pvc("many")}, want: none},
		"a volume of one node is left to the kubelet":                   {pod: []podOption{group, pvc("data")}, want: none},
		"a shared volume of another driver is none of ours":             {pod: []podOption{group, pvc("nas")}, want: none},
		"nor is it beside a volume of ours that is not shared":          {pod: []podOption{group, pvc("nas"), pvc("data")}, want: none},
		"a pod that opts out is left alone":                             {pod: []podOption{group, annotation(placement.PodDisableAdmission, "true"), pvc("many")}, want: none},
		"a pod of another scheduler is left alone":                      {pod: []podOption{group, scheduler("gang"), pvc("many")}, want: none},
		"who does not ask for the optimization gets the scheduler only": {rules: &defaultRules, pod: []podOption{group, pvc("many")}, want: none},
	} {
		t.Run(name, func(t *testing.T) {
			rules := test.rules
			if rules == nil {
				rules = &optimizing
			}
			w := newWorld(t, *rules, objects, late)
			before := podWith(test.pod...)
			pod, first := w.admit(before)
			want := before.Spec.SecurityContext.DeepCopy()
			if test.want != none {
				want.FSGroupChangePolicy = &test.want
			}
			if diff := cmp.Diff(want, pod.Spec.SecurityContext); diff != "" {
				t.Errorf("security context (-want +got):\n%s", diff)
			}
			if again, second := w.admit(pod); !cmp.Equal(pod, again) || first.Outcome == Mutated && second.Outcome != Unchanged {
				t.Errorf("a second call changes the pod, its outcome is %s", second.Outcome)
			}
		})
	}
}

// notControlled makes the owners of a pod mere owners.
func notControlled(pod *v1.Pod) {
	for i := range pod.OwnerReferences {
		pod.OwnerReferences[i].Controller = nil
	}
}

func TestQuote(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"a name is quoted":                   {"data", `"data"`},
		"a control character is escaped":     {"a\x00b\nc", `"a\x00b\nc"`},
		"what is no text is escaped":         {"a\xffb", `"a\xffb"`},
		"a long text is cut between letters": {strings.Repeat("ä", 100), `"` + strings.Repeat("ä", 80) + `..."`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := quote(test.in); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
