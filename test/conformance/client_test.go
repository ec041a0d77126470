package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	sim "github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage"
)

const csiDriver = "pxd.portworx.com"

// client is our own client on one of the servers.
type client struct {
	*world
	index  *volumes.Index
	source *openstorage.Source
}

// connect starts our client with a caller's token. Kubernetes has these PVs: PV
// name -> handle.
func (w *world) connect(as caller, pvs map[string]string) *client {
	config := openstorage.Config{
		Endpoint:            w.endpoint,
		AllowPlaintextToken: true,
		NodePollInterval:    100 * time.Millisecond,
		ResyncInterval:      time.Second,
		WatchBackoff:        time.Second,
	}
	if bearer := w.bearers[as.name]; bearer != "" {
		config.TokenFile = filepath.Join(w.t.TempDir(), "auth-token")
		must(w.t, os.WriteFile(config.TokenFile, []byte(bearer), 0o600))
	}
	var objects []runtime.Object
	for _, node := range w.cluster.Nodes() {
		meta := metav1.ObjectMeta{Name: node.SchedulerNodeName}
		objects = append(objects, &v1.Node{ObjectMeta: meta}, &storagev1.CSINode{ObjectMeta: meta,
			Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: csiDriver, NodeID: node.ID}}}})
	}
	for name, handle := range pvs {
		objects = append(objects, &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PersistentVolumeSpec{
			PersistentVolumeSource: v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: csiDriver, VolumeHandle: handle}}}})
	}
	c := &client{world: w, index: volumes.NewIndex(volumes.Options{Drivers: []string{csiDriver}})}
	factory := informers.NewSharedInformerFactory(fake.NewClientset(objects...), 0)
	core := factory.Core().V1()
	must(w.t, c.index.AddEventHandlers(core.Nodes(), factory.Storage().V1().CSINodes(), core.PersistentVolumes()))
	var err error
	c.source, err = openstorage.New(config, c.index)
	must(w.t, err)

	logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Verbosity(5), textlogger.Output(w.t.Output())))
	ctx, cancel := context.WithCancel(klog.NewContext(context.Background(), logger))
	factory.Start(ctx.Done())
	var running sync.WaitGroup
	running.Go(func() { c.index.Run(ctx) })
	running.Go(func() { c.source.Run(ctx) })
	w.t.Cleanup(func() {
		cancel()
		running.Wait()
		factory.Shutdown()
	})
	return c
}

func (c *client) eventually(what string, holds func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			c.t.Fatalf("in vain waited until %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *client) eventuallyOn(handle string, nodes ...string) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("volume %s is on %v", handle, nodes), func() bool {
		entry, view := c.index.Lookup(handle), c.index.View()
		if entry.Freshness != volumes.Fresh || entry.Volume.NumSets() != 1 {
			return false
		}
		var holders []string
		for _, ref := range entry.Volume.Set(0) {
			if node, _ := view.Holder(ref); node != nil {
				holders = append(holders, node.Name)
			}
		}
		return slices.Equal(holders, nodes)
	})
}

func (c *client) eventuallyProblem(reason string) {
	c.t.Helper()
	c.eventually(reason+" is found out", func() bool {
		return slices.ContainsFunc(c.source.Conditions(), func(p openstorage.Condition) bool { return p.Reason == reason })
	})
}

func TestClientFollowsReplicasAndNodes(t *testing.T) {
	onBoth(t, func(w *world) {
		id := w.volume("pvc-1", "node-1", "node-2")
		c := w.connect(viewer, map[string]string{"pv": id})
		c.eventuallyOn(id, "node-1", "node-2")

		must(t, w.cluster.SetReplicaSets(id, []string{"node-1", "node-3"}))
		c.eventuallyOn(id, "node-1", "node-3")

		must(t, w.cluster.SetNodeState("node-3", sim.StatusStorageDown))
		c.eventually("node-3 is StorageDown", func() bool {
			node := c.index.View().Node("node-3")
			return node != nil && node.State == placement.StorageDown
		})

		late := w.volume("pvc-late", "node-2")
		c.index.Request(late)
		c.eventuallyOn(late, "node-2")
		c.index.Request("pvc-late")
		c.eventuallyOn("pvc-late", "node-2")

		must(t, w.cluster.DeleteVolume(id))
		c.eventually("the deleted volume is suspect", func() bool { return c.index.Lookup(id).Freshness == volumes.Suspect })
		if problems := c.source.Conditions(); len(problems) > 0 {
			t.Errorf("problems: %+v", problems)
		}
	})
}

func TestClientFindsOutWhatItsTokenIsWorth(t *testing.T) {
	for _, test := range []struct {
		caller caller
		reason string
	}{
		{blindViewer, openstorage.ReasonTokenBlind},
		{guest, openstorage.ReasonTokenBlind},
		{expired, openstorage.ReasonTokenRefused},
		{garbage, openstorage.ReasonTokenRefused},
	} {
		t.Run(test.caller.name, func(t *testing.T) {
			onBoth(t, func(w *world) {
				id := w.volume("pvc-1", "node-1", "node-2")
				w.connect(test.caller, map[string]string{"pv": id}).eventuallyProblem(test.reason)
			})
		})
	}
}

func TestClientManagesWithoutAWatch(t *testing.T) {
	onBoth(t, func(w *world) {
		id := w.volume("pvc-1", "node-1", "node-2")
		c := w.connect(user, map[string]string{"pv": id})
		c.eventuallyProblem(openstorage.ReasonNoWatch)
		c.eventuallyOn(id, "node-1", "node-2")
		must(t, w.cluster.SetReplicaSets(id, []string{"node-3"}))
		c.eventuallyOn(id, "node-3")
	})
}
