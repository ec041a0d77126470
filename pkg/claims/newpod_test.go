package claims

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	storagehelpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

const (
	portworx = "pxd.portworx.com"
	foreign  = "disk.example.com"
)

// newPodWorld is what the API server holds when the pods of the table arrive.
func newPodWorld() []runtime.Object {
	class := func(name, provisioner string, age time.Duration, annotations map[string]string) *storagev1.StorageClass {
		return &storagev1.StorageClass{Provisioner: provisioner, ObjectMeta: metav1.ObjectMeta{
			Name: name, Annotations: annotations, CreationTimestamp: metav1.NewTime(time.Unix(1_000_000, 0).Add(-age)),
		}}
	}
	claim := func(name, volume string, class *string, annotations map[string]string) *v1.PersistentVolumeClaim {
		return &v1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "db", Name: name, UID: "b1", Annotations: annotations, ResourceVersion: "7",
				Labels: map[string]string{"app": "db"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
			},
			Spec: v1.PersistentVolumeClaimSpec{VolumeName: volume, StorageClassName: class},
		}
	}
	volume := func(name string, source v1.PersistentVolumeSource) *v1.PersistentVolume {
		return &v1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "7", Labels: map[string]string{"zone": "a"}},
			Spec:       v1.PersistentVolumeSpec{PersistentVolumeSource: source},
		}
	}
	return []runtime.Object{
		class("px", portworx, time.Hour, nil),
		class("disk", foreign, time.Hour, nil),
		class("older-default", foreign, time.Hour, map[string]string{annDefaultClass: "true"}),
		class("newer-default", portworx, time.Minute, map[string]string{annBetaDefaultClass: "true"}),
		class("twin-of-newer-default", foreign, time.Minute, map[string]string{annDefaultClass: "true"}),
		class("newest-but-not-default", foreign, 0, map[string]string{annDefaultClass: "false"}),

		volume("pv-px", v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: portworx, VolumeHandle: "1"}}),
		volume("pv-in-tree", v1.PersistentVolumeSource{PortworxVolume: &v1.PortworxVolumeSource{VolumeID: "2"}}),
		volume("pv-disk", v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: foreign, VolumeHandle: "3"}}),
		volume("pv-nfs", v1.PersistentVolumeSource{NFS: &v1.NFSVolumeSource{Server: "nas"}}),

		claim("bound", "pv-px", ptr.To("disk"), nil),
		claim("bound-in-tree", "pv-in-tree", nil, nil),
		claim("bound-elsewhere", "pv-disk", ptr.To("px"), nil),
		claim("bound-to-nfs", "pv-nfs", ptr.To("px"), nil),
		claim("lost", "pv-gone", ptr.To("px"), nil),
		claim("unbound", "", ptr.To("px"), nil),
		claim("unbound-by-annotation", "", nil, map[string]string{v1.BetaStorageClassAnnotation: "px"}),
		claim("unbound-provisioned", "", ptr.To("gone"), map[string]string{storagehelpers.AnnStorageProvisioner: portworx}),
		claim("unbound-elsewhere", "", ptr.To("disk"), nil),
		claim("unbound-without-class", "", nil, nil),
		claim("unbound-wants-no-class", "", ptr.To(""), nil),
		claim("unbound-class-gone", "", ptr.To("gone"), nil),
		// Of a claim of that name in another namespace, pods in db know nothing.
		&v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "not-here"}},
	}
}

func listersOver(pvcs, pvs, classes cache.Indexer) Listers {
	return Listers{
		PVCs:    pvcs,
		PVs:     corelisters.NewPersistentVolumeLister(pvs),
		Classes: storagelisters.NewStorageClassLister(classes),
	}
}

func digestsOver(pvcs, pvs, classes cache.Indexer) Digests {
	return Digests{PVCs: pvcs, PVs: pvs, Classes: storagelisters.NewStorageClassLister(classes)}
}

// storesOf are the stores of informers with a transform: of PVCs, PVs and classes.
func storesOf(t *testing.T, objects []runtime.Object, transform cache.TransformFunc) (pvcs, pvs, classes cache.Indexer) {
	t.Helper()
	newStore := func() cache.Indexer { return cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{}) }
	pvcs, pvs, classes = newStore(), newStore(), newStore()
	for _, object := range objects {
		store := classes
		switch object.(type) {
		case *v1.PersistentVolumeClaim:
			store = pvcs
		case *v1.PersistentVolume:
			store = pvs
		}
		kept, err := transform(object)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Add(kept); err != nil {
			t.Fatal(err)
		}
	}
	return pvcs, pvs, classes
}

func TestClaimsOfNewPod(t *testing.T) {
	pvc := func(name string) v1.VolumeSource {
		return v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name}}
	}
	template := func(spec v1.PersistentVolumeClaimSpec) v1.VolumeSource {
		return v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{VolumeClaimTemplate: &v1.PersistentVolumeClaimTemplate{Spec: spec}}}
	}
	type verdict struct {
		State  placement.ClaimState
		Driver string
	}
	tests := map[string]struct {
		volume v1.VolumeSource
		want   []verdict
	}{
		"a bound claim is its volume's, whatever its class says":    {pvc("bound"), []verdict{{placement.ClaimBound, portworx}}},
		"a bound claim of an in-tree volume":                        {pvc("bound-in-tree"), []verdict{{placement.ClaimBound, InTreeDriver}}},
		"a bound claim of another driver":                           {pvc("bound-elsewhere"), []verdict{{placement.ClaimBound, ""}}},
		"a bound claim of a volume without driver":                  {pvc("bound-to-nfs"), []verdict{{placement.ClaimBound, ""}}},
		"a claim that lost its volume is its class's":               {pvc("lost"), []verdict{{placement.ClaimLost, portworx}}},
		"an unbound claim is its class's":                           {pvc("unbound"), []verdict{{placement.ClaimUnbound, portworx}}},
		"the class may stand in the beta annotation":                {pvc("unbound-by-annotation"), []verdict{{placement.ClaimUnbound, portworx}}},
		"the provisioner annotation counts when the class is gone":  {pvc("unbound-provisioned"), []verdict{{placement.ClaimUnbound, portworx}}},
		"an unbound claim of another driver":                        {pvc("unbound-elsewhere"), []verdict{{placement.ClaimUnbound, ""}}},
		"a claim without class will get the newest default class":   {pvc("unbound-without-class"), []verdict{{placement.ClaimUnbound, portworx}}},
		"a claim that wants no class gets none":                     {pvc("unbound-wants-no-class"), []verdict{{placement.ClaimUnbound, ""}}},
		"a claim whose class does not exist":                        {pvc("unbound-class-gone"), []verdict{{placement.ClaimUnbound, ""}}},
		"a claim that does not exist":                               {pvc("nowhere"), []verdict{{placement.ClaimMissing, ""}}},
		"a claim of that name in another namespace does not count":  {pvc("not-here"), []verdict{{placement.ClaimMissing, ""}}},
		"an ephemeral volume is its template's class":               {template(v1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("px")}), []verdict{{placement.ClaimUnbound, portworx}}},
		"an ephemeral volume of another driver":                     {template(v1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("disk")}), []verdict{{placement.ClaimUnbound, ""}}},
		"an ephemeral volume without class gets the default class":  {template(v1.PersistentVolumeClaimSpec{}), []verdict{{placement.ClaimUnbound, portworx}}},
		"an ephemeral volume may name its volume":                   {template(v1.PersistentVolumeClaimSpec{VolumeName: "pv-px", StorageClassName: ptr.To("")}), []verdict{{placement.ClaimBound, portworx}}},
		"an ephemeral volume without template is no volume":         {v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{}}, nil},
		"an in-tree volume in the pod":                              {v1.VolumeSource{PortworxVolume: &v1.PortworxVolumeSource{VolumeID: "9"}}, []verdict{{placement.ClaimBound, InTreeDriver}}},
		"a CSI inline volume of the driver":                         {v1.VolumeSource{CSI: &v1.CSIVolumeSource{Driver: portworx}}, []verdict{{placement.ClaimInline, portworx}}},
		"a CSI inline volume of another driver is none of our own":  {v1.VolumeSource{CSI: &v1.CSIVolumeSource{Driver: foreign}}, nil},
		"volumes that are not stored anywhere are none of our own":  {v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}, nil},
		"a volume without any source, which validation will refuse": {v1.VolumeSource{}, nil},
	}
	whole := func(object any) (any, error) { return object, nil }
	for form, objects := range map[string]Objects{
		"whole":   listersOver(storesOf(t, newPodWorld(), whole)),
		"digests": digestsOver(storesOf(t, newPodWorld(), Digest)),
	} {
		claims := NewFinder(objects, []string{portworx, InTreeDriver})
		for name, test := range tests {
			t.Run(form+"/"+name, func(t *testing.T) {
				pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "db", GenerateName: "db-"}}
				pod.Spec.Volumes = []v1.Volume{{Name: "data", VolumeSource: test.volume}}
				var got []verdict
				for claim := range claims.OfNew(pod) {
					got = append(got, verdict{claim.State, claim.Driver})
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("claims (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestDigestsTellSharedClaims(t *testing.T) {
	for mode, want := range map[v1.PersistentVolumeAccessMode]bool{
		v1.ReadWriteOnce: false, v1.ReadWriteOncePod: false, v1.ReadWriteMany: true, v1.ReadOnlyMany: true,
	} {
		pvc := &v1.PersistentVolumeClaim{Spec: v1.PersistentVolumeClaimSpec{AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce, mode}}}
		if claim := (Claim{PVC: DigestOfClaim(pvc).PVC()}); claim.Shared() != want {
			t.Errorf("a claim with %s counts as shared: %t", mode, !want)
		}
	}
}

func TestInTreeVolumesCountOnlyWhereTheDriverIsConfigured(t *testing.T) {
	claims := NewFinder(digestsOver(storesOf(t, nil, Digest)), []string{portworx})
	pod := &v1.Pod{Spec: v1.PodSpec{Volumes: []v1.Volume{
		{VolumeSource: v1.VolumeSource{PortworxVolume: &v1.PortworxVolumeSource{VolumeID: "9"}}},
	}}}
	if got := slices.Collect(claims.OfNew(pod)); len(got) != 0 {
		t.Errorf("claims %+v, want none", got)
	}
}

func TestWithoutDefaultClassAClaimBelongsToNobody(t *testing.T) {
	claims := NewFinder(digestsOver(storesOf(t, nil, Digest)), []string{portworx})
	pod := &v1.Pod{Spec: v1.PodSpec{Volumes: []v1.Volume{{VolumeSource: v1.VolumeSource{
		Ephemeral: &v1.EphemeralVolumeSource{VolumeClaimTemplate: &v1.PersistentVolumeClaimTemplate{}},
	}}}}}
	got := slices.Collect(claims.OfNew(pod))
	if len(got) != 1 || got[0].Driver != "" || got[0].State != placement.ClaimUnbound || got[0].Class != nil {
		t.Errorf("claims %+v, want one unbound claim without driver", got)
	}
}

func TestDigestsLeaveTheObjectsAlone(t *testing.T) {
	for _, object := range newPodWorld() {
		before := object.DeepCopyObject()
		digest, err := Digest(object)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, object); diff != "" {
			t.Errorf("a digest wrote to the object (-before +after):\n%s", diff)
		}
		// An informer may transform what it has transformed before.
		if again, err := Digest(digest); err != nil || !cmp.Equal(again, digest, cmp.Exporter(func(reflect.Type) bool { return true })) {
			t.Errorf("the digest %+v of the digest %+v is another one (%v)", again, digest, err)
		}
	}
	if kept, err := Digest("not an object"); kept != "not an object" || err != nil {
		t.Errorf("a foreign object became %v, %v", kept, err)
	}
}

func TestACacheOfSomethingElseKnowsNothing(t *testing.T) {
	whole := func(object any) (any, error) { return object, nil }
	digests := digestsOver(storesOf(t, newPodWorld(), whole))
	if pvc, err := digests.PVC("db", "bound"); err == nil {
		t.Errorf("found %v", pvc)
	}
	if pv, err := digests.PV("pv-px"); err == nil {
		t.Errorf("found %v", pv)
	}
}
