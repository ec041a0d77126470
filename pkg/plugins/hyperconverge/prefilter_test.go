package hyperconverge

import (
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/localfirst"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// fate is what becomes of a pod: exactly one of skipped, rejected and verdicts.
type fate struct {
	name string
	// set is three Online nodes if it has none.
	set setting
	pod func(s *scene) *v1.Pod

	skipped  bool
	rejected string
	// verdicts has one text per node, see scene.verdicts.
	verdicts []string
	// scores has one number per node; nil where scoring is skipped.
	scores []int64
	// events are those that the user sees.
	events []string
}

func runFates(t *testing.T, fates []fate) {
	t.Helper()
	for _, f := range fates {
		t.Run(f.name, func(t *testing.T) {
			if len(f.set.nodes) == 0 {
				f.set.nodes = make([]string, 3)
			}
			play(t, f.set, f.run)
		})
	}
}

func (f *fate) run(s *scene) {
	pod := f.pod(s)
	state, _, status := s.preFilter(pod)
	defer func() { same(s, "events", f.events, s.events.taken()) }()
	if f.rejected != "" {
		same(s, "rejection", f.rejected, s.rejection(pod))
		return
	}
	if !status.IsSuccess() {
		s.Fatalf("the pod is rejected: %s", status.Message())
	}
	if same(s, "skipped", f.skipped, skipped(state)); f.skipped {
		return
	}
	same(s, "verdicts", f.verdicts, s.verdicts(pod))
	same(s, "scores", f.scores, s.scores(pod))
}

var (
	everywhere = []string{"ok", "ok", "ok"}
	atFirst    = []int64{100, 0, 0}
)

func className(name string) func(*v1.PersistentVolumeClaim) {
	return func(c *v1.PersistentVolumeClaim) { c.Spec.StorageClassName = &name }
}

// unbound makes a claim without a PV in a class of the provisioner.
func (s *scene) unbound(name, provisioner string, parameters map[string]string) {
	class := st.MakeStorageClass().Name("class-" + name).Provisioner(provisioner).Obj()
	class.Parameters = parameters
	claim := makeClaim(name, "")
	claim.Spec.StorageClassName = &class.Name
	s.create(class, claim)
}

func TestPodsThatAreNotConcerned(t *testing.T) {
	runFates(t, []fate{
		{
			name: "F1: a pod without volumes is skipped", skipped: true,
			pod: func(*scene) *v1.Pod { return makePod("web").Obj() },
		},
		{
			name: "F1: a pod with volumes that are no claims is skipped", skipped: true,
			pod: func(*scene) *v1.Pod {
				return makePod("web").Volume(v1.Volume{Name: "tmp", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}).Obj()
			},
		},
		{
			name: "F1: a pod with a bound volume of another driver is skipped", skipped: true,
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", pv: func(pv *v1.PersistentVolume) { pv.Spec.CSI.Driver = "ebs.csi.aws.com" }})
				return makePod("web", "data").Obj()
			},
		},
		{
			name: "F1: a pod with an unbound claim of another driver is skipped", skipped: true,
			pod: func(s *scene) *v1.Pod {
				s.unbound("data", "ebs.csi.aws.com", nil)
				return makePod("web", "data").Obj()
			},
		},
		{
			name: "F1: a lost claim of another driver is left to that driver", skipped: true,
			pod: func(s *scene) *v1.Pod {
				s.create(st.MakeStorageClass().Name("gp3").Provisioner("ebs.csi.aws.com").Obj())
				claim := makeClaim("data", "pv-nowhere")
				className("gp3")(claim)
				s.create(claim)
				return makePod("web", "data").Obj()
			},
		},
		{
			name: "F1: a strict pod without volumes of the driver is skipped", skipped: true,
			pod: func(s *scene) *v1.Pod { return strict(makePod("web")) },
		},
		{
			name: "F1: an in-tree volume is none of ours when the in-tree driver is not configured", skipped: true,
			set: setting{args: func(a *config.HyperconvergeArgs) { a.Drivers = []string{driver} }},
			pod: func(s *scene) *v1.Pod { return makePod("web").Volume(inTree("1001")).Obj() },
		},
	})
}

func inTree(volumeID string) v1.Volume {
	return v1.Volume{Name: "in-tree", VolumeSource: v1.VolumeSource{PortworxVolume: &v1.PortworxVolumeSource{VolumeID: volumeID}}}
}

func ephemeral(name string) v1.Volume {
	return v1.Volume{Name: name, VolumeSource: v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{
		VolumeClaimTemplate: &v1.PersistentVolumeClaimTemplate{},
	}}}
}

// ownedBy makes the pod the claim's owner, as the ephemeral volume controller
// does.
func ownedBy(pod *v1.Pod) func(*v1.PersistentVolumeClaim) {
	return func(c *v1.PersistentVolumeClaim) {
		c.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(pod, v1.SchemeGroupVersion.WithKind("Pod"))}
	}
}

func TestRestore(t *testing.T) {
	restoring := func(value string) func(*v1.PersistentVolumeClaim) {
		return func(c *v1.PersistentVolumeClaim) { c.Annotations[placement.ClaimRestoreInProgress] = value }
	}
	runFates(t, []fate{
		{
			name: "F2: a claim that is being restored rejects the pod", rejected: "claim waits for its restore to finish: shop/data",
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: on(1), claim: restoring("true")})
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F2: a claim of another driver counts as well", rejected: "claim waits for its restore to finish: shop/data",
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", claim: restoring("true"), pv: func(pv *v1.PersistentVolume) { pv.Spec.CSI.Driver = "ebs.csi.aws.com" }})
				return makePod("web", "data").Obj()
			},
		},
		{
			name: "F2: an unbound claim counts as well", rejected: "claim waits for its restore to finish: shop/data",
			pod: func(s *scene) *v1.Pod {
				claim := makeClaim("data", "")
				restoring("true")(claim)
				s.create(claim)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F2: any spelling of true counts", rejected: "claim waits for its restore to finish: shop/data",
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: on(1), claim: restoring("T")})
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F2: one of several claims is enough", rejected: "claim waits for its restore to finish: shop/log",
			pod: func(s *scene) *v1.Pod {
				s.data("data", 1)
				s.add(volume{name: "log", sets: on(1), claim: restoring("true")})
				return makePod("db", "data", "log").Obj()
			},
		},
		{
			name: "F2: the second of two claims on one volume counts as well", rejected: "claim waits for its restore to finish: shop/copy",
			pod: func(s *scene) *v1.Pod {
				handle := s.data("data", 1)
				copied := makeClaim("copy", "pv-copy")
				restoring("true")(copied)
				s.create(makePV("copy", handle), copied)
				return makePod("db", "data", "copy").Obj()
			},
		},
		{
			name: "F2: false means that there is no restore", verdicts: everywhere, scores: atFirst,
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: on(1), claim: restoring("false")})
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F2: a value that is no boolean means false and is told", verdicts: everywhere, scores: atFirst,
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: on(1), claim: restoring("soon")})
				return makePod("db", "data").Obj()
			},
			events: []string{`PersistentVolumeClaim data InvalidValue: stork.libopenstorage.org/restore-in-progress: "soon" is not a boolean, false is used`},
		},
	})
}

func TestClaimsOnTheWayToTheirVolume(t *testing.T) {
	runFates(t, []fate{
		{
			name: "F3: a claim that does not exist rejects the pod", rejected: "claim does not exist: shop/data",
			pod: func(*scene) *v1.Pod { return makePod("db", "data").Obj() },
		},
		{
			name: "F3: a claim of that name in another namespace does not help", rejected: "claim does not exist: shop/data",
			pod: func(s *scene) *v1.Pod {
				claim := makeClaim("data", "pv-data")
				claim.Namespace = "elsewhere"
				s.create(makePV("data", "1001"), claim)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F3: a claim that is bound to a PV that does not exist rejects the pod", rejected: "claim is bound to a volume that does not exist: shop/data",
			pod: func(s *scene) *v1.Pod {
				s.create(makeClaim("data", "pv-nowhere"))
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F3: a claim whose PV belongs to another claim rejects the pod", rejected: "claim is bound to a volume that does not exist: shop/data",
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: on(1), pv: func(pv *v1.PersistentVolume) { pv.Spec.ClaimRef.UID = "another" }})
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F3: a PV without a claim serves the claim that names it", verdicts: everywhere, scores: atFirst,
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: on(1), pv: func(pv *v1.PersistentVolume) { pv.Spec.ClaimRef = nil }})
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F3: the claim of an ephemeral volume that does not exist rejects the pod", rejected: "claim does not exist: shop/db-scratch",
			pod: func(*scene) *v1.Pod { return makePod("db").Volume(ephemeral("scratch")).Obj() },
		},
		{
			name: "F3: the claim of an ephemeral volume must be the pod's own", rejected: "claim of an ephemeral volume was not made for this pod: shop/db-scratch",
			pod: func(s *scene) *v1.Pod {
				s.data("db-scratch", 1)
				return makePod("db").Volume(ephemeral("scratch")).Obj()
			},
		},
		{
			name: "F3: the claim of an ephemeral volume of a pod of the same name that is gone is not the pod's own", rejected: "claim of an ephemeral volume was not made for this pod: shop/db-scratch",
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "db-scratch", sets: on(1), claim: ownedBy(makePod("db").UID("before").Obj())})
				return makePod("db").Volume(ephemeral("scratch")).Obj()
			},
		},
		{
			name: "section 3: an ephemeral volume that is the pod's own counts", verdicts: everywhere, scores: atFirst,
			pod: func(s *scene) *v1.Pod {
				pod := makePod("db").Volume(ephemeral("scratch")).Obj()
				s.add(volume{name: "db-scratch", sets: on(1), claim: ownedBy(pod)})
				return pod
			},
		},
		{
			name: "F3: an unbound Immediate claim is left to VolumeBinding", verdicts: everywhere,
			pod: func(s *scene) *v1.Pod {
				s.unbound("data", driver, nil)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F4, F5: an unbound WaitForFirstConsumer claim wants a node with storage", set: setting{nodes: []string{"", "closed", "NoDriver", "Degraded", "Offline", "StorageDown"}},
			verdicts: []string{"ok", placement.ReasonNodeUnschedulable, placement.ReasonNoDriver, placement.ReasonDegraded, placement.ReasonOffline, "ok"},
			pod: func(s *scene) *v1.Pod {
				class := st.MakeStorageClass().Name("wffc").Provisioner(driver).VolumeBindingMode(storagev1.VolumeBindingWaitForFirstConsumer).Obj()
				claim := makeClaim("data", "")
				claim.Spec.StorageClassName = &class.Name
				s.create(class, claim)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F6: a strict pod with an unbound claim runs anywhere", verdicts: everywhere,
			pod: func(s *scene) *v1.Pod {
				s.unbound("data", driver, nil)
				return strict(makePod("db", "data"))
			},
		},
		{
			name: "section 3: an unbound claim is known by the provisioner's annotation", set: setting{nodes: []string{"", "NoDriver"}},
			verdicts: []string{"ok", placement.ReasonNoDriver},
			pod: func(s *scene) *v1.Pod {
				claim := makeClaim("data", "")
				claim.Annotations["volume.kubernetes.io/storage-provisioner"] = driver
				s.create(claim)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "section 3: an unbound claim is known by the provisioner's beta annotation", set: setting{nodes: []string{"", "NoDriver"}},
			verdicts: []string{"ok", placement.ReasonNoDriver},
			pod: func(s *scene) *v1.Pod {
				claim := makeClaim("data", "")
				claim.Annotations["volume.beta.kubernetes.io/storage-provisioner"] = driver
				s.create(claim)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "section 3: an unbound claim is known by the class that its beta annotation names", set: setting{nodes: []string{"", "NoDriver"}},
			verdicts: []string{"ok", placement.ReasonNoDriver},
			pod: func(s *scene) *v1.Pod {
				claim := makeClaim("data", "")
				claim.Annotations[v1.BetaStorageClassAnnotation] = "old"
				s.create(st.MakeStorageClass().Name("old").Provisioner(driver).Obj(), claim)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F1: an unbound claim whose class is missing is nobody's", skipped: true,
			pod: func(s *scene) *v1.Pod {
				claim := makeClaim("data", "")
				className("nowhere")(claim)
				s.create(claim)
				return makePod("db", "data").Obj()
			},
		},
	})
}

func TestFromPVToVolume(t *testing.T) {
	byName := func(name string) func(*volumes.Observation) {
		return func(o *volumes.Observation) { o.Name = name }
	}
	inTreePV := func(volumeID string) func(*v1.PersistentVolume) {
		return func(pv *v1.PersistentVolume) {
			pv.Spec.PersistentVolumeSource = v1.PersistentVolumeSource{PortworxVolume: &v1.PortworxVolumeSource{VolumeID: volumeID}}
		}
	}
	runFates(t, []fate{
		{
			name: "section 3: a CSI volume is found by its handle", verdicts: everywhere, scores: atFirst,
			pod: func(s *scene) *v1.Pod {
				s.data("data", 1)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "section 3: a PV that was made by hand may have any name", verdicts: everywhere, scores: atFirst,
			pod: func(s *scene) *v1.Pod {
				s.add(volume{
					name: "data", sets: on(1),
					pv:    func(pv *v1.PersistentVolume) { pv.Name = "my-old-disk" },
					claim: func(c *v1.PersistentVolumeClaim) { c.Spec.VolumeName = "my-old-disk" },
				})
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "section 3: an in-tree PV is found by the volume's id", verdicts: everywhere, scores: atFirst,
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: on(1), pv: inTreePV("1001")})
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "section 3: an in-tree PV is found by the volume's name", verdicts: everywhere, scores: atFirst,
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: on(1), stored: byName("accounts"), pv: inTreePV("accounts")})
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "section 3: an in-tree PV that is migrated to CSI is found", verdicts: everywhere, scores: atFirst,
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: on(1), pv: func(pv *v1.PersistentVolume) {
					inTreePV("1001")(pv)
					pv.Annotations = map[string]string{"pv.kubernetes.io/migrated-to": driver, "pv.kubernetes.io/provisioned-by": volumes.InTreeDriver}
				}})
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "section 3: an in-tree volume in the pod itself is found by the volume's id", verdicts: everywhere, scores: atFirst,
			pod: func(s *scene) *v1.Pod {
				s.storage.put(observation("1001", on(1)))
				return s.asked(makePod("db").Volume(inTree("1001")).Obj())
			},
		},
		{
			name: "section 3: an in-tree volume in the pod itself is found by the volume's name", verdicts: everywhere, scores: atFirst,
			pod: func(s *scene) *v1.Pod {
				s.storage.put(observation("1001", on(1)))
				return s.asked(makePod("db").Volume(inTree("pvc-1001")).Obj())
			},
		},
		{
			name: "S4: a claim that a pod mounts twice counts once", verdicts: everywhere, scores: []int64{50, 50, 0},
			pod: func(s *scene) *v1.Pod {
				s.data("data", 1)
				s.data("log", 2)
				pod := makePod("db", "data", "log", "data").Obj()
				pod.Spec.Volumes[2].Name = "again"
				return pod
			},
		},
		{
			name: "S4: two claims on one volume count once", verdicts: everywhere, scores: []int64{50, 50, 0},
			pod: func(s *scene) *v1.Pod {
				handle := s.data("data", 1)
				s.data("log", 2)
				s.create(makePV("copy", handle), makeClaim("copy", "pv-copy"))
				return makePod("db", "data", "log", "copy").Obj()
			},
		},
		{
			name: "section 2: an unparsable key is told on the claim, the default counts", verdicts: everywhere, scores: []int64{0, 100, 100},
			pod: func(s *scene) *v1.Pod {
				s.service("data", map[string]string{placement.VolumePreferRemote: "yes please"}, 1)
				return makePod("db", "data").Obj()
			},
			events: []string{`PersistentVolumeClaim data InvalidValue: stork.libopenstorage.org/preferRemoteNode: "yes please" is not a boolean, true is used`},
		},
		{
			name: "section 2: the parameters of the StorageClass count", verdicts: everywhere, scores: atFirst,
			pod: func(s *scene) *v1.Pod {
				class := st.MakeStorageClass().Name("near").Provisioner(driver).Obj()
				class.Parameters = map[string]string{placement.VolumePreferRemote: "false"}
				s.create(class)
				s.add(volume{name: "data", sets: on(1), stored: func(o *volumes.Observation) { o.Service = true }, claim: className("near")})
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "section 2: a weight may be a label of the volume", verdicts: everywhere, scores: []int64{75, 25, 0},
			pod: func(s *scene) *v1.Pod {
				s.add(volume{name: "data", sets: on(1), stored: func(o *volumes.Observation) {
					o.Labels = map[string]string{placement.VolumeWeight: "3"}
				}})
				s.data("log", 2)
				return makePod("db", "data", "log").Obj()
			},
		},
		{
			name: "section 2: the volume's label beats the StorageClass, the claim's annotation beats both", verdicts: everywhere, scores: []int64{50, 50, 0},
			pod: func(s *scene) *v1.Pod {
				class := st.MakeStorageClass().Name("far").Provisioner(driver).Obj()
				class.Parameters = map[string]string{placement.VolumePreferRemote: "true"}
				s.create(class)
				s.add(volume{name: "labelled", sets: on(1), claim: className("far"), stored: func(o *volumes.Observation) {
					o.Service, o.Labels = true, map[string]string{placement.VolumePreferRemote: "false"}
				}})
				s.add(volume{
					name: "annotated", sets: on(2),
					stored: func(o *volumes.Observation) {
						o.Service, o.Labels = true, map[string]string{placement.VolumePreferRemote: "true"}
					},
					claim: func(c *v1.PersistentVolumeClaim) {
						className("far")(c)
						c.Annotations[placement.VolumePreferRemote] = "false"
					},
				})
				return makePod("db", "labelled", "annotated").Obj()
			},
		},
	})
}

// asked has the storage system asked about the volumes of a pod.
func (s *scene) asked(pod *v1.Pod) *v1.Pod {
	s.preFilter(pod)
	s.settle()
	return pod
}

func TestStrictPods(t *testing.T) {
	runFates(t, []fate{
		{
			name: "F6: PreFilter narrows the nodes to the replica nodes of all near volumes", verdicts: []string{"left out", "ok", "left out"}, scores: []int64{50, 100, 50},
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1, 2)
				s.data("b", 2, 3)
				return strict(makePod("db", "a", "b"))
			},
		},
		{
			name: "F6: the reason names the volume that leaves no node", rejected: "preferLocalNodeOnly: no node holds a replica of every volume, ruled out by: shop/b",
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				s.data("b", 2)
				return strict(makePod("db", "a", "b"))
			},
		},
		{
			name: "F7: a remote-only volume rejects its replica nodes", verdicts: []string{placement.ReasonRemoteOnly, "ok", "ok"}, scores: []int64{0, 100, 100},
			pod: func(s *scene) *v1.Pod {
				s.service("data", map[string]string{placement.VolumePreferRemoteOnly: "true"}, 1)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F8: a volume without an Online holder rejects the pod", set: setting{nodes: []string{"Offline", "StorageDown", ""}},
			rejected: "no node that holds a replica of the volume is online: shop/data",
			pod: func(s *scene) *v1.Pod {
				s.data("data", 1, 2)
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F9: with a Windows volume F5 to F8 do not apply, wherever it stands", set: setting{nodes: []string{"Offline", "NoDriver", "closed"}},
			verdicts: []string{"ok", "ok", placement.ReasonNodeUnschedulable}, scores: []int64{0, 0, 0},
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				s.add(volume{name: "b", sets: on(1), stored: func(o *volumes.Observation) { o.Winshare = true }})
				return strict(makePod("db", "a", "b"))
			},
		},
		{
			name: "F9: an unbound Windows volume counts from the start", set: setting{nodes: []string{"Offline", "NoDriver"}},
			verdicts: []string{"ok", "ok"},
			pod: func(s *scene) *v1.Pod {
				s.unbound("data", driver, map[string]string{placement.VolumeWindows: "true"})
				return makePod("db", "data").Obj()
			},
		},
		{
			name: "F10: strict and remote-only together can leave no node", rejected: "preferLocalNodeOnly and preferRemoteNodeOnly leave no node: shop/b",
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				s.service("b", map[string]string{placement.VolumePreferRemoteOnly: "true"}, 1)
				return strict(makePod("db", "a", "b"))
			},
		},
		{
			name: "S1: disableHyperconvergence makes all nodes equal and turns F7 off", verdicts: everywhere,
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				s.service("b", map[string]string{placement.VolumePreferRemoteOnly: "true"}, 1)
				return makePod("db", "a", "b").Annotation(placement.PodDisableHyperconvergence, "true").Obj()
			},
		},
		{
			name: "S1: strict holds beside disableHyperconvergence, and the contradiction is told", verdicts: []string{"ok", "left out", "left out"},
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				return strict(makePod("db", "a").Annotation(placement.PodDisableHyperconvergence, "true"))
			},
			events: []string{`Pod db InvalidValue: stork.libopenstorage.org/disableHyperconvergence: "true" contradicts stork.libopenstorage.org/preferLocalNodeOnly: the pod is kept on replica nodes, and all of them count the same`},
		},
		{
			name: "section 2: an annotation of the pod that is no boolean is told, and false counts", verdicts: everywhere, scores: atFirst,
			pod: func(s *scene) *v1.Pod {
				s.data("a", 1)
				return makePod("db", "a").Annotation(placement.PodPreferLocalOnly, "yes").Obj()
			},
			events: []string{`Pod db InvalidValue: stork.libopenstorage.org/preferLocalNodeOnly: "yes" is not a boolean, false is used`},
		},
	})
}

func TestStoragePods(t *testing.T) {
	set := setting{nodes: []string{"", "StorageDown", "Degraded", "Offline", "NoDriver", "closed"}}
	everywhere := []string{"ok", "ok", "ok", "ok", "ok", "ok"}
	scores := []int64{100, 50, 0, 0, 0, 100}
	runFates(t, []fate{
		{
			name: "F11: a CSI pod of the storage system prefers Online over StorageDown over the rest", set: set,
			verdicts: everywhere, scores: scores,
			pod: func(*scene) *v1.Pod { return makePod("px-csi-ext-5d4f").Obj() },
		},
		{
			name: "F11: nothing is rejected, whatever volumes it has", set: set,
			verdicts: everywhere, scores: scores,
			pod: func(s *scene) *v1.Pod {
				s.data("data", 4)
				return strict(makePod("px-csi-ext-5d4f", "data", "missing"))
			},
		},
		{
			name: "F11: a name with the words elsewhere is not enough", set: set, skipped: true,
			pod: func(*scene) *v1.Pod { return makePod("my-px-csi-ext").Obj() },
		},
	})
}

func TestPodWith64Volumes(t *testing.T) {
	play(t, online(4), func(s *scene) {
		var claims []string
		for i := range 64 {
			claims = append(claims, fmt.Sprintf("data-%d", i))
			s.data(claims[i], 1+i%2, 3)
		}
		pod := strict(makePod("db", claims...))
		same(s, "verdicts", []string{"left out", "left out", "ok", "left out"}, s.verdicts(pod))
		same(s, "scores", []int64{50, 50, 100, 0}, s.scores(pod))
	})
}

// Whatever happens to the objects between PreFilter and Filter, a cycle sees one
// state of the cluster.
func TestObjectsThatVanishInTheCycle(t *testing.T) {
	play(t, online(3), func(s *scene) {
		s.data("data", 1)
		pod := strict(makePod("db", "data"))
		state, result, _ := s.preFilter(pod)
		same(s, "node set", []string{"n1"}, result.NodeNames.UnsortedList())
		s.remove(makeClaim("data", ""))
		s.remove(makePV("data", ""))
		node, _, _ := makeNode(1, "")
		s.remove(node)
		if status := s.profile.RunFilterPlugins(s.ctx, state, pod, s.nodeInfos()[0]); !status.IsSuccess() {
			s.Errorf("Filter: %v", status.Message())
		}
		same(s, "next attempt", "claim does not exist: shop/data", s.rejection(pod))
	})
}

func TestOfferToThePreferFirstPass(t *testing.T) {
	offer := func(s *scene, pod *v1.Pod) [][]string {
		state, _, _ := s.preFilter(pod)
		data, err := state.Read(localfirst.OfferKey)
		if err != nil {
			return nil
		}
		return data.(localfirst.Offer).PreferredNodes()
	}
	t.Run("LocalFirst offers the replica nodes, then the partial ones", func(t *testing.T) {
		play(t, online(4), func(s *scene) {
			s.data("a", 2)
			s.add(volume{name: "b", sets: [][]int{{3}, {4}}})
			same(s, "offer", [][]string{{"n2"}, {"n3", "n4"}}, offer(s, makePod("db", "a", "b").Obj()))
		})
	})
	t.Run("with preference Score there is no offer", func(t *testing.T) {
		set := online(4)
		set.args = func(a *config.HyperconvergeArgs) { a.Preference = config.PreferenceScore }
		play(t, set, func(s *scene) {
			s.data("a", 2)
			same(s, "offer", nil, offer(s, makePod("db", "a").Obj()))
		})
	})
}

func TestCostOfNotBeingConcerned(t *testing.T) {
	play(t, online(3), func(s *scene) {
		state := framework.NewCycleState()
		pod := makePod("web").Volume(v1.Volume{Name: "tmp"}).Obj()
		allocs := testing.AllocsPerRun(100, func() {
			if _, status := s.pl.PreFilter(s.ctx, state, pod, nil); !status.IsSkip() {
				s.Errorf("PreFilter: %v, want Skip", status)
			}
		})
		same(s, "F1: allocations for a pod without claims", 0, allocs)
	})
}
