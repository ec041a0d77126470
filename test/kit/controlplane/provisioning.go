package controlplane

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	storagehelpers "k8s.io/component-helpers/storage/volume"

	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
	"github.com/hyperconverge/scheduler/test/kit"
)

// Dynamic returns a client for custom resources.
func (c *Cluster) Dynamic() dynamic.Interface {
	c.Helper()
	client, err := dynamic.NewForConfig(c.Config)
	c.Must(err)
	return client
}

// RunProvisioner runs the sandbox's provisioner for the claims of the cluster until the
// test ends, and as much of the volume controller as it needs. The API server serves
// placement strategies and snapshots from then on, to the end.
func (c *Cluster) RunProvisioner() {
	c.Helper()
	if err := driver.Define(c.Ctx, c.Dynamic()); !apierrors.IsAlreadyExists(err) {
		c.Must(err)
	}
	storage, _, err := driver.Connect(c.Ctx, c.Server.Endpoint(), "")
	c.Must(err)
	ctx, stop := context.WithCancel(context.WithoutCancel(c.Ctx))
	var running sync.WaitGroup
	running.Go(func() { driver.RunProvisioner(ctx, c.Client, c.Dynamic(), storage) })
	running.Go(func() { wait.UntilWithContext(ctx, c.controlVolumes, 20*time.Millisecond) })
	c.Cleanup(func() {
		stop()
		running.Wait()
		_ = storage.Close()
	})
}

// controlVolumes is one turn of the volume controller: it hands claims whose pod has a node
// to the provisioner, and binds those that have a volume. What fails is tried again.
func (c *Cluster) controlVolumes(ctx context.Context) {
	api := c.Client.CoreV1().PersistentVolumeClaims(c.Namespace)
	claims, err := api.List(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	for i := range claims.Items {
		claim := &claims.Items[i]
		if claim.Spec.VolumeName != "" {
			continue
		}
		if claim.Annotations[storagehelpers.AnnSelectedNode] != "" && claim.Annotations[storagehelpers.AnnStorageProvisioner] == "" {
			metav1.SetMetaDataAnnotation(&claim.ObjectMeta, storagehelpers.AnnStorageProvisioner, driver.Name)
			_, _ = api.Update(ctx, claim, metav1.UpdateOptions{})
			continue
		}
		pv, err := c.Client.CoreV1().PersistentVolumes().Get(ctx, "pvc-"+string(claim.UID), metav1.GetOptions{})
		if err != nil {
			continue
		}
		kit.Bind(claim, pv.Name)
		if claim, err = api.Update(ctx, claim, metav1.UpdateOptions{}); err == nil {
			kit.Bind(claim, pv.Name)
			_, _ = api.UpdateStatus(ctx, claim, metav1.UpdateOptions{})
		}
	}
}
