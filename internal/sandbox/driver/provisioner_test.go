package driver

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/test/kit"
)

func TestProvisionMakesTheVolumeAndAPVAsTheDriverDoes(t *testing.T) {
	server := newServer(t, openstoragesim.ServerOptions{})
	p := newProvisioner(t, server)

	class := NewClass("fast", storagev1.VolumeBindingImmediate, map[string]string{
		"repl": "2", "sharedv4": "true", "stork.libopenstorage.org/preferRemoteNode": "false",
	})
	class.ReclaimPolicy = ptr.To(corev1.PersistentVolumeReclaimRetain)
	class.MountOptions = []string{"noatime"}
	pv, state, err := p.Provision(t.Context(), controller.ProvisionOptions{StorageClass: class, PVName: "pvc-1234", PVC: claim()})
	if err != nil || state != controller.ProvisioningFinished {
		t.Fatalf("Provision() = %v, %v", state, err)
	}

	volume, err := server.Cluster().Volume("pvc-1234")
	if err != nil {
		t.Fatal(err)
	}
	if got := len(volume.GetReplicaSets()[0].GetNodes()); got != 2 {
		t.Errorf("the volume has %d replicas, want 2", got)
	}
	if got, want := volume.GetSpec().GetSize(), uint64(5<<30); got != want {
		t.Errorf("the volume has %d bytes, want %d", got, want)
	}
	for key, want := range map[string]string{
		"pvc": "mysql-data", "namespace": "shop", "stork.libopenstorage.org/preferRemoteNode": "false",
	} {
		if got := volume.GetLocator().GetVolumeLabels()[key]; got != want {
			t.Errorf("volume label %s is %q, want %q", key, got, want)
		}
	}

	want := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-1234"},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      claim().Spec.Resources.Requests,
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			MountOptions:                  []string{"noatime"},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: "pxd.portworx.com", VolumeHandle: volume.GetId(), FSType: "ext4",
			}},
		},
	}
	if diff := cmp.Diff(want, pv, cmpopts.IgnoreFields(corev1.CSIPersistentVolumeSource{}, "VolumeAttributes")); diff != "" {
		t.Errorf("PV differs (-want +got):\n%s", diff)
	}
	attributes := pv.Spec.CSI.VolumeAttributes
	if attributes["sharedv4"] != "true" || attributes["state"] == "" || attributes["storage.kubernetes.io/csiProvisionerIdentity"] == "" {
		t.Errorf("volume attributes are %v", attributes)
	}
	if _, leaked := attributes["stork.libopenstorage.org/preferRemoteNode"]; leaked {
		t.Error("labels are no attributes")
	}
}

func TestASecondAttemptFindsTheVolumeOfTheFirst(t *testing.T) {
	server := newServer(t, openstoragesim.ServerOptions{})
	p := newProvisioner(t, server)
	options := controller.ProvisionOptions{
		StorageClass: NewClass("c", storagev1.VolumeBindingImmediate, nil), PVName: "pvc-1234", PVC: claim(),
	}
	first, _, err := p.Provision(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := p.Provision(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if first.Spec.CSI.VolumeHandle != second.Spec.CSI.VolumeHandle || volumeCount(server) != 1 {
		t.Error("the second attempt made a second volume")
	}
}

func TestOnlyAnUnknownOutcomeKeepsProvisioningGoing(t *testing.T) {
	outage := openstoragesim.Outage()
	for name, row := range map[string]struct {
		parameters map[string]string
		faults     *openstoragesim.Faults
		want       controller.ProvisioningState
	}{
		"a parameter that makes no sense is final": {
			parameters: map[string]string{"repl": "many"}, want: controller.ProvisioningFinished,
		},
		"too few nodes is final for now": {
			parameters: map[string]string{"repl": "3", "nodes": "one,two"}, want: controller.ProvisioningFinished,
		},
		"an outage may have come after the volume was made": {
			faults: &outage, want: controller.ProvisioningInBackground,
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, openstoragesim.ServerOptions{})
			p := newProvisioner(t, server)
			if row.faults != nil {
				if err := server.SetFaults(*row.faults); err != nil {
					t.Fatal(err)
				}
			}
			_, state, err := p.Provision(t.Context(), controller.ProvisionOptions{
				StorageClass: NewClass("c", storagev1.VolumeBindingImmediate, row.parameters), PVName: "pvc-1234", PVC: claim(),
			})
			if err == nil || state != row.want {
				t.Errorf("Provision() = %v, %v; want %v and an error", state, err, row.want)
			}
		})
	}
}

func TestDeleteDeletesOurVolumesOnly(t *testing.T) {
	server := newServer(t, openstoragesim.ServerOptions{})
	p := newProvisioner(t, server)
	volume, err := server.Cluster().CreateVolume(openstoragesim.CreateRequest{Name: "pvc-1234"})
	if err != nil {
		t.Fatal(err)
	}
	pv := func(driver string) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
			CSI: &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: volume.GetId()},
		}}}
	}

	var ignored *controller.IgnoredError
	if err := p.Delete(t.Context(), pv("ebs.csi.aws.com")); !errors.As(err, &ignored) {
		t.Errorf("deleting somebody else's volume: %v, want it ignored", err)
	}
	if volumeCount(server) != 1 {
		t.Error("somebody else's PV deleted our volume")
	}
	for range 2 { // the second time it is gone already
		if err := p.Delete(t.Context(), pv(Name)); err != nil {
			t.Error(err)
		}
	}
	if volumeCount(server) != 0 {
		t.Error("the volume is still there")
	}
}

func TestAClaimGetsItsPVAndTheVolumeGoesWithIt(t *testing.T) {
	server := newServer(t, openstoragesim.ServerOptions{})
	storage := newProvisioner(t, server).storage
	pvc := claim()
	// What the volume controller writes when it waits for a provisioner.
	pvc.Annotations = map[string]string{"volume.kubernetes.io/storage-provisioner": Name}
	client := fake.NewClientset(StorageClasses()[0], pvc)

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		RunProvisioner(ctx, client, customResources(), storage)
	}()
	defer func() { cancel(); <-ended }()

	name := "pvc-" + string(pvc.UID)
	var pv *corev1.PersistentVolume
	kit.Eventually(t, kit.Soon, "the PV is there", func() (err error) {
		pv, err = client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
		return err
	})
	if pv.Spec.ClaimRef.UID != pvc.UID || pv.Annotations["pv.kubernetes.io/provisioned-by"] != Name {
		t.Errorf("the PV belongs to %v, provisioned by %v", pv.Spec.ClaimRef, pv.Annotations)
	}
	if _, err := server.Cluster().Volume(pv.Spec.CSI.VolumeHandle); err != nil {
		t.Error(err)
	}

	released := pv.DeepCopy()
	released.Status.Phase = corev1.VolumeReleased
	if _, err := client.CoreV1().PersistentVolumes().Update(ctx, released, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, kit.Soon, "volume and PV are gone", kit.Holds(func() bool {
		_, err := client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err) && volumeCount(server) == 0
	}))
}

func newProvisioner(t *testing.T, server *openstoragesim.Server) *provisioner {
	t.Helper()
	storage, _, err := Connect(t.Context(), server.Endpoint(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = storage.Close() })
	return &provisioner{storage: storage, client: fake.NewClientset(), resources: customResources(), identity: "test"}
}

// customResources has placement strategies and snapshots.
func customResources(objects ...runtime.Object) *dynamicfake.FakeDynamicClient {
	return dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		strategies: "VolumePlacementStrategyList", snapshots: "VolumeSnapshotList", contents: "VolumeSnapshotContentList",
	}, objects...)
}

func claim() *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "mysql-data", UID: "1234"},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: ptr.To(ClassDB),
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")},
			},
		},
	}
}

func volumeCount(server *openstoragesim.Server) int {
	return len(slices.Collect(server.Cluster().Volumes()))
}
