package webhook

import (
	"fmt"
	"slices"
	"strconv"

	"gomodules.xyz/jsonpatch/v2"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	storagehelpers "k8s.io/component-helpers/storage/volume"

	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/spelling"
)

// Outcome says what became of a pod. It is a label of the metric of pods.
type Outcome string

const (
	// Mutated pods use the driver's volumes and were changed.
	Mutated Outcome = "mutated"
	// Unchanged pods use the driver's volumes and have all they need already.
	Unchanged Outcome = "unchanged"
	// NotOurs is every pod without volumes of the driver.
	NotOurs Outcome = "not-ours"
	// Undecided pods have a claim of which nobody can say yet whose it will be.
	Undecided Outcome = "undecided"
	// OptedOut pods carry placement.PodDisableAdmission.
	OptedOut Outcome = "opted-out"
	// OtherScheduler is for pods that ask for a scheduler by name.
	OtherScheduler Outcome = "other-scheduler"
	// Pinned pods have their node already: bound, mirror and DaemonSet pods.
	Pinned Outcome = "pinned"
	// Excluded pods are in a namespace that is left alone.
	Excluded Outcome = "excluded-namespace"
	// Unreadable requests hold no pod that is being created.
	Unreadable Outcome = "unreadable"
	// Crashed requests hit a defect of this program.
	Crashed Outcome = "crashed"
)

// Rules is what an administrator decides about the webhook.
type Rules struct {
	// SchedulerName is given to pods that use the driver's volumes.
	SchedulerName string
	// OwnNames are further names that our scheduler serves. Pods that ask for one of
	// them keep it, and get tolerations only.
	OwnNames sets.Set[string]
	// ReplaceAny gives it to pods that ask for another scheduler, too, as Stork
	// does. Otherwise only the default scheduler is replaced.
	ReplaceAny bool
	// Tolerate lets these pods onto nodes that the storage operator has tainted.
	Tolerate bool
	// OptimizeFSGroup keeps the kubelet from walking through shared volumes to change
	// the group of every file, as Stork's enable-fsgroup-optimization does.
	OptimizeFSGroup bool
	// ExcludedNamespaces are left alone.
	ExcludedNamespaces sets.Set[string]
}

// Admission is the answer for one pod.
type Admission struct {
	Outcome Outcome
	// Patch is what changes in the pod.
	Patch []jsonpatch.Operation
	// Warnings are sentences for the user who creates the pod.
	Warnings []string
}

// Ignores tells whether the pod is to be left alone whatever its volumes are. If
// it is not, only the warnings of the decision have a meaning.
func (r *Rules) Ignores(pod *v1.Pod) (Admission, bool) {
	var decision Admission
	disabled, problem := placement.AdmissionDisabled(pod.Annotations)
	if problem != nil {
		decision.Warnings = warningsOf(*problem)
	}
	switch {
	case r.ExcludedNamespaces.Has(pod.Namespace):
		decision.Outcome = Excluded
	case disabled:
		decision.Outcome = OptedOut
	case pod.Spec.NodeName != "" || pod.Annotations[v1.MirrorPodAnnotationKey] != "" || ofDaemonSet(pod):
		decision.Outcome = Pinned
	case !r.ReplaceAny && !r.isOurs(pod.Spec.SchedulerName) && !isDefault(pod.Spec.SchedulerName):
		decision.Outcome = OtherScheduler
	default:
		return decision, false
	}
	return decision, true
}

// isOurs reports whether our scheduler serves this name. A pod that asks for it may
// still want tolerations.
func (r *Rules) isOurs(schedulerName string) bool {
	return schedulerName == r.SchedulerName || r.OwnNames.Has(schedulerName)
}

// isDefault reports whether a pod asks for no scheduler in particular.
func isDefault(schedulerName string) bool {
	return schedulerName == "" || schedulerName == v1.DefaultSchedulerName
}

// ofDaemonSet reports whether a DaemonSet made the pod for a certain node.
func ofDaemonSet(pod *v1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && owner.Kind == "DaemonSet"
}

// warningsOf tells of annotations that cannot be taken as written.
func warningsOf(problems ...placement.Problem) []string {
	var warnings []string
	for _, p := range problems {
		warnings = append(warnings, fmt.Sprintf("annotation %s: %s %s", p.Key, quote(p.Value), p.Detail))
	}
	return warnings
}

// Decide judges a pod by its claims; Ignores has been asked before. The claims are
// complete unless something could not be read for them.
func (r *Rules) Decide(pod *v1.Pod, found []claims.Claim, complete bool) Admission {
	decision := r.decide(pod, found, complete)
	if decision.Outcome != NotOurs {
		_, problems := placement.PodPolicyOf(pod.Annotations)
		problems = append(problems, spelling.Misspelt(pod.Annotations)...)
		decision.Warnings = append(decision.Warnings, warningsOf(problems...)...)
	}
	return decision
}

func (r *Rules) decide(pod *v1.Pod, found []claims.Claim, complete bool) Admission {
	first, unknown := "", 0
	add := func(riddle string) {
		if unknown++; first == "" {
			first = riddle
		}
	}
	for i := range found {
		if found[i].Driver != "" {
			return r.adopt(pod, slices.ContainsFunc(found, func(c claims.Claim) bool { return decides(&c, true) }))
		}
		if isRiddle(&found[i]) {
			add(riddleOf(&found[i]))
		}
	}
	if len(pod.Spec.Volumes) > maxVolumes {
		add(fmt.Sprintf("no more than %d volumes are looked at", maxVolumes))
	}
	switch {
	case unknown == 0:
		return Admission{Outcome: NotOurs}
	case unknown > 1:
		first += fmt.Sprintf(" (and %d more)", unknown-1)
	}
	if !complete {
		first += "; not all of it could be read from the API server in time"
	}
	return r.leave(pod, first)
}

// leave lets an undecided pod keep its scheduler. If that is one of ours, somebody
// knows already whose the storage will be.
func (r *Rules) leave(pod *v1.Pod, reason string) Admission {
	decision := Admission{Outcome: Undecided}
	advice := "create claims before their pods, or set spec.schedulerName to " + quote(r.SchedulerName)
	if r.isOurs(pod.Spec.SchedulerName) && !isDefault(pod.Spec.SchedulerName) {
		advice = "create claims before their pods"
		if r.Tolerate {
			decision.Patch = tolerate(pod.Spec.Tolerations)
		}
	}
	decision.Warnings = []string{fmt.Sprintf("the pod stays with %s, because its storage is not known: %s; %s",
		quote(pod.Spec.SchedulerName), reason, advice)}
	return decision
}

// adopt makes the pod one of our scheduler's. Doing it twice changes nothing. Shared
// tells that the pod uses a volume of the driver that several pods share.
func (r *Rules) adopt(pod *v1.Pod, shared bool) Admission {
	var patch []jsonpatch.Operation
	if !r.isOurs(pod.Spec.SchedulerName) {
		patch = append(patch, jsonpatch.NewOperation("add", "/spec/schedulerName", r.SchedulerName))
	}
	if r.Tolerate {
		patch = append(patch, tolerate(pod.Spec.Tolerations)...)
	}
	if shared && r.asksForShared(pod) {
		patch = append(patch, jsonpatch.NewOperation("add", "/spec/securityContext/fsGroupChangePolicy", v1.FSGroupChangeOnRootMismatch))
	}
	if len(patch) == 0 {
		return Admission{Outcome: Unchanged}
	}
	return Admission{Outcome: Mutated, Patch: patch}
}

// asksForShared reports whether it matters that a volume of the pod is shared: the pod
// has a group for its files, and does not say itself when they are changed.
func (r *Rules) asksForShared(pod *v1.Pod) bool {
	security := pod.Spec.SecurityContext
	return r.OptimizeFSGroup && security != nil && security.FSGroup != nil && security.FSGroupChangePolicy == nil
}

// decides reports whether no other claim of the pod matters any more, once this one is
// known.
func decides(claim *claims.Claim, askShared bool) bool {
	return claim.Driver != "" && (!askShared || claim.Shared())
}

// isUndecided reports whether it is open whose claims these are, or, if that is asked,
// whether one of them is shared.
func isUndecided(found []claims.Claim, askShared bool) bool {
	open := false
	for i := range found {
		if decides(&found[i], askShared) {
			return false
		}
		open = open || found[i].Driver == "" && isRiddle(&found[i])
	}
	return open
}

// isRiddle reports whether it is not known whose a claim without driver will be.
func isRiddle(claim *claims.Claim) bool {
	return claim.State == placement.ClaimMissing || claim.State == placement.ClaimLost ||
		claim.State == placement.ClaimUnbound && claim.Class == nil
}

// riddleOf says why it is not known whose a claim will be. It says nothing that
// stands in other objects than the pod: who asks may see no more than that.
func riddleOf(claim *claims.Claim) string {
	name := "claim " + quote(claim.Name)
	switch {
	case claim.State == placement.ClaimMissing:
		return name + " cannot be found"
	case claim.State == placement.ClaimLost:
		return "the volume of " + name + " cannot be found"
	case storagehelpers.GetPersistentVolumeClaimClass(claim.PVC) != "":
		return "the class of " + name + " cannot be found"
	default:
		return name + " has neither a class nor a volume yet"
	}
}

// quote makes a text of the user fit for a warning: mutating webhooks run before
// validation, so a name may be anything.
func quote(text string) string {
	const longest = 80
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "..."
	}
	return strconv.Quote(text)
}
