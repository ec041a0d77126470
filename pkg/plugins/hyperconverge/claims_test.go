package hyperconverge

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
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
			scores: []int64{62, 62, 0, 0, 0, 0},
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
					pv.Annotations = map[string]string{"pv.kubernetes.io/migrated-to": driver, "pv.kubernetes.io/provisioned-by": claims.InTreeDriver}
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
	s.create(pod)
	s.preFilter(pod)
	s.settle()
	return pod
}
