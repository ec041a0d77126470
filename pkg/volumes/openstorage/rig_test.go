package openstorage

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	sim "github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

const driver = "pxd.portworx.com"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a small cluster of both kinds, with the real source between them.
type rig struct {
	t       *testing.T
	cluster *sim.Cluster
	server  *sim.Server
	kube    *fake.Clientset
	index   *volumes.Index
	source  *Source
	log     *lockedBuffer
	// pvWatched is closed when the PV informer watches; what came between its list
	// and its watch would be lost with a fake API server.
	pvWatched chan struct{}
}

// settings are what a test wants otherwise than usual.
type settings struct {
	config  Config
	server  sim.ServerOptions
	options volumes.Options
	faults  sim.Faults // from the start
	nodes   int        // default 4
	tune    func(*Source)
	// setUp prepares the storage cluster.
	setUp func(*rig)
	// kube is what Kubernetes has at the start, besides nodes.
	kube []runtime.Object
}

// start runs everything until the end of the test. Without other settings the
// watch is the only way by which changes can be seen: resyncs take an hour.
func start(t *testing.T, s settings) *rig {
	t.Helper()
	r := &rig{t: t, cluster: sim.NewCluster(sim.Options{}), log: &lockedBuffer{}}
	if s.nodes == 0 {
		s.nodes = 4
	}
	objects := s.kube
	for i := range s.nodes {
		name := fmt.Sprint("node-", i+1)
		node, err := r.cluster.AddNode(sim.Node{SchedulerNodeName: name})
		r.must(err)
		objects = append(objects, &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}},
			&storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: storagev1.CSINodeSpec{
				Drivers: []storagev1.CSINodeDriver{{Name: driver, NodeID: node.ID}}}})
	}
	r.server = sim.NewServer(r.cluster, s.server)
	r.must(r.server.Start("127.0.0.1:0"))
	t.Cleanup(r.server.Stop)
	r.must(r.server.SetFaults(s.faults))
	if s.setUp != nil {
		s.setUp(r)
	}

	ctx, cancel := context.WithCancel(klog.NewContext(context.WithoutCancel(t.Context()), r.logger()))
	r.kube = fake.NewClientset(objects...)
	r.pvWatched = make(chan struct{})
	watched := sync.OnceFunc(func() { close(r.pvWatched) })
	r.kube.PrependWatchReactor("persistentvolumes", func(action clienttesting.Action) (bool, watch.Interface, error) {
		defer watched()
		w, err := r.kube.Tracker().Watch(action.GetResource(), action.GetNamespace())
		return true, w, err
	})
	factory := informers.NewSharedInformerFactory(r.kube, 0)
	s.options.Drivers = []string{driver, claims.InTreeDriver}
	r.index = volumes.NewIndex(s.options)
	core := factory.Core().V1()
	r.must(r.index.AddEventHandlers(core.Nodes(), factory.Storage().V1().CSINodes(), core.PersistentVolumes()))

	config := s.config
	if config.Endpoint == "" {
		config.Endpoint = r.server.Endpoint()
	}
	if config.NodePollInterval == 0 {
		config.NodePollInterval = 20 * time.Millisecond
	}
	if config.ResyncInterval == 0 {
		config.ResyncInterval = time.Hour
	}
	if config.WatchBackoff == 0 {
		config.WatchBackoff = 20 * time.Millisecond
	}
	var err error
	r.source, err = New(config, r.index)
	r.must(err)
	r.source.timing = timing{initialListIdle: 40 * time.Millisecond, accessCheckGap: 20 * time.Millisecond, accessRecheck: 5 * time.Millisecond}
	r.source.retries.first, r.source.retries.last = 5*time.Millisecond, 50*time.Millisecond
	if s.tune != nil {
		s.tune(r.source)
	}

	factory.Start(ctx.Done())
	var running sync.WaitGroup
	running.Go(func() { r.index.Run(ctx) })
	running.Go(func() { r.source.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		factory.Shutdown()
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	return r
}

func (r *rig) logger() klog.Logger {
	return textlogger.NewLogger(textlogger.NewConfig(textlogger.Verbosity(10), textlogger.Output(r.log)))
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// eventually waits for a condition, which says what is missing.
func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			r.t.Fatalf("in vain waited until %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// volume makes a volume in storage with its replicas on these nodes, and returns
// its id.
func (r *rig) volume(name string, nodes ...string) string {
	r.t.Helper()
	v, err := r.cluster.CreateVolume(sim.CreateRequest{Name: name})
	r.must(err)
	r.must(r.cluster.SetReplicaSets(name, nodes))
	return v.GetId()
}

func pvOf(name, handle string) *v1.PersistentVolume {
	return &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PersistentVolumeSpec{
		PersistentVolumeSource: v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: handle}}}}
}

func inTreePV(name, handle string) *v1.PersistentVolume {
	return &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PersistentVolumeSpec{
		PersistentVolumeSource: v1.PersistentVolumeSource{PortworxVolume: &v1.PortworxVolumeSource{VolumeID: handle}}}}
}

// addPV adds a PV that was not there at the start.
func (r *rig) addPV(pv *v1.PersistentVolume) {
	r.t.Helper()
	r.eventually("the index has the initial lists", r.index.HasSynced)
	<-r.pvWatched
	_, err := r.kube.CoreV1().PersistentVolumes().Create(context.Background(), pv, metav1.CreateOptions{})
	r.must(err)
}

// holders returns the Kubernetes nodes with a replica, as a scheduling cycle finds
// them.
func (r *rig) holders(handle string) []string {
	var names []string
	entry, view := r.index.Lookup(handle), r.index.View()
	if entry.Volume == nil {
		return nil
	}
	for i := range entry.Volume.NumSets() {
		for _, ref := range entry.Volume.Set(i) {
			if node, _ := view.Holder(ref); node != nil {
				names = append(names, node.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func (r *rig) eventuallyOn(handle string, nodes ...string) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("volume %s is on %v", handle, nodes), func() bool {
		return slices.Equal(r.holders(handle), nodes)
	})
}

func (r *rig) eventuallyIs(handle string, want volumes.Freshness) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("volume %s is %v", handle, want), func() bool { return r.index.Lookup(handle).Freshness == want })
}

func (r *rig) eventuallyState(node string, want placement.StorageState) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("node %s is %v", node, want), func() bool {
		n := r.index.View().Node(node)
		return n != nil && n.State == want
	})
}

// eventuallyProblem waits for a problem to come up, or to be over.
func (r *rig) eventuallyProblem(reason string, active bool) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("problem %s is active=%v", reason, active), func() bool {
		return slices.ContainsFunc(r.source.Conditions(), func(p Condition) bool { return p.Reason == reason }) == active
	})
}

func (r *rig) watching() {
	r.t.Helper()
	r.eventually("the watch is open", func() bool { return r.source.watchIs(watchOpen) })
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func (r *rig) logged(text string) bool { return strings.Contains(r.log.String(), text) }

// all is for queues whose handles are all followed.
func all(string) bool { return true }

// needsInspect reports whether a handle is unknown, stale or dirty.
func needsInspect(index *volumes.Index, handle string) bool {
	inspection, ok := index.Begin(handle)
	return ok && inspection.Needed
}
