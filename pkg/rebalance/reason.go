package rebalance

// StayReason says why a pod stays where it is; empty for one that goes. It is the value of a
// metric label.
type StayReason string

// What keeps all pods where they are.
const (
	Paused         StayReason = "Paused"
	Halted         StayReason = "Halted"
	WindowClosed   StayReason = "WindowClosed"
	StorageProblem StayReason = "StorageProblem"
	NodeListOld    StayReason = "NodeListOld"
	JournalFull    StayReason = "JournalFull"
)

// What keeps one pod where it is, in the order in which it is asked.
const (
	OfTheSystem    StayReason = "SystemNamespace"
	OptInInvalid   StayReason = "OptInInvalid"
	NotOptedIn     StayReason = "NotOptedIn"
	Leaving        StayReason = "Leaving"
	NoOwner        StayReason = "NoOwner"
	OwnerKind      StayReason = "OwnerKind"
	OwnerGone      StayReason = "OwnerGone"
	OtherScheduler StayReason = "OtherScheduler"
	MachineStays   StayReason = "MachineStays"
	LocalData      StayReason = "LocalData"
	NotReady       StayReason = "NotReady"
	TooYoung       StayReason = "TooYoung"
	LongGrace      StayReason = "LongGracePeriod"
	VolumeUnknown  StayReason = "VolumeUnknown"
	ReplicaDown    StayReason = "ReplicaDown"
	Resyncing      StayReason = "Resyncing"
	CoolingDown    StayReason = "CoolingDown"
	OwnerBusy      StayReason = "OwnerBusy"
	BudgetOfPods   StayReason = "DisruptionBudget"
	NoBudget       StayReason = "NoDisruptionBudget"
	WaitsForTurn   StayReason = "WaitsForTurn"
	NoRoom         StayReason = "NoRoom"
	NotNearer      StayReason = "NotNearer"
	PendingFirst   StayReason = "PendingFirst"
	Unsimulated    StayReason = "SimulationFailed"
	NotEvicted     StayReason = "EvictionRefused"
)

// sentences say for users what each reason means.
var sentences = map[StayReason]string{
	Paused:         "the rebalancer is paused by the annotation " + PauseAnnotation + " on its Deployment",
	Halted:         "a successor was not ready in time, so that nobody goes home until an administrator resumes",
	WindowClosed:   "the maintenance window is closed",
	StorageProblem: "something is wrong with the storage API",
	NodeListOld:    "storage has not listed its nodes lately",
	JournalFull:    "too many owners cool down: the journal has no room for more",
	OfTheSystem:    "pods of kube-system and of the rebalancer's own namespace are never evicted",
	OptInInvalid:   "the value of " + ReturnHome + " on the pod or its namespace is neither true nor false",
	NotOptedIn:     "neither the pod nor its namespace has asked for it by " + ReturnHome,
	Leaving:        "the pod is being deleted",
	NoOwner:        "nobody would make the pod anew",
	OwnerKind:      "the kind of its owner does not place pods elsewhere, or is not known to make them anew",
	OwnerGone:      "its owner is gone, and would not make it anew",
	OtherScheduler: "another scheduler would place its successor",
	MachineStays:   "its virtual machine cannot migrate while it runs",
	LocalData:      "it has a volume whose data would be lost: emptyDir, hostPath, local or ephemeral",
	NotReady:       "the pod is not ready",
	TooYoung:       "the pod has not been ready for long enough",
	LongGrace:      "its grace period is longer than an hour, for which nobody else could go",
	VolumeUnknown:  "where the replicas of a volume are is not known for certain",
	ReplicaDown:    "a replica of a volume is not online",
	Resyncing:      "a volume is being synchronized, or has lost a replica",
	CoolingDown:    "a pod of its owner has lately not come home",
	OwnerBusy:      "its owner is short of a pod, has one too many, or is rolling out",
	BudgetOfPods:   "a PodDisruptionBudget allows no disruption, or it has several, with which the API server evicts nothing",
	NoBudget:       "how many pods its owner wants is not known, and no PodDisruptionBudget counts them",
	WaitsForTurn:   "others come first within the budgets",
	NoRoom:         "no node would take the pod",
	NotNearer:      "it would land no nearer to its data",
	PendingFirst:   "a pending pod of higher priority would take the room",
	Unsimulated:    "where it would land could not be simulated",
	NotEvicted:     "the API server has refused its eviction a moment ago",
}

// Sentence says what the reason means.
func (r StayReason) Sentence() string { return sentences[r] }

// Reasons are all that there are, in no order.
func Reasons() []StayReason {
	all := make([]StayReason, 0, len(sentences))
	for reason := range sentences {
		all = append(all, reason)
	}
	return all
}
