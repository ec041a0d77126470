package hyperconverge

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"
	fwk "k8s.io/kube-scheduler/framework"
	schedulerapi "k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultbinder"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/queuesort"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	schedulermetrics "k8s.io/kubernetes/pkg/scheduler/metrics"
	schedulerprofile "k8s.io/kubernetes/pkg/scheduler/profile"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	tf "k8s.io/kubernetes/pkg/scheduler/testing/framework"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	_ "github.com/hyperconverge/scheduler/pkg/apis/config/scheme" // the defaults of the arguments
	"github.com/hyperconverge/scheduler/pkg/localfirst"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/strategies"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

const (
	driver    = "pxd.portworx.com"
	namespace = "shop"
	profile   = "test-scheduler"
)

func TestMain(m *testing.M) {
	schedulermetrics.Register()
	// The recorder of the framework looks once a second whether it is over.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("k8s.io/kubernetes/pkg/scheduler/metrics.(*MetricAsyncRecorder).run"))
}

// scene is a small cluster with the plugin of one profile in it. Informers,
// listers and the index are the real ones, behind them are a simulated API server
// and a storage system that is a table. It plays in a synctest bubble: time
// stands still while anything happens, and settle waits until nothing does.
type scene struct {
	testing.TB
	// settle waits until everything that was set off has happened.
	settle    func()
	ctx       context.Context
	client    *fake.Clientset
	informers informers.SharedInformerFactory
	storage   *storageTable
	events    *eventList
	queue     *queue
	profile   framework.Framework
	// wrapped is the profile with the prefer-first pass around it.
	wrapped framework.Framework
	pl      *Hyperconverge
	factory *Factory
	handles int
	cancel  context.CancelFunc
}

// setting is what a scene begins with. The nodes are n1, n2, ... and described by
// words, see makeNode.
type setting struct {
	nodes []string
	// args changes the default arguments.
	args func(*config.HyperconvergeArgs)
	// others are plugins of the profile besides ours, options those of its framework.
	others  []tf.RegisterPluginFunc
	options []frameworkruntime.Option
	// neverReached leaves the storage system silent.
	neverReached bool
	// change changes the Kubernetes nodes, by their numbers, and running are pods on them.
	change  func(n int, node *v1.Node)
	running []*v1.Pod
	// resources has virtual machines of KubeVirt, placement strategies and snapshots.
	resources dynamic.Interface
}

func online(n int) setting { return setting{nodes: make([]string, n)} }

// customResources has the resources that a cluster may have.
func customResources(objects ...runtime.Object) *dynamicfake.FakeDynamicClient {
	return dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		virtualMachineInstances: "VirtualMachineInstanceList",
		strategies.Resource:     "VolumePlacementStrategyList",
		{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshots"}:        "VolumeSnapshotList",
		{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshotcontents"}: "VolumeSnapshotContentList",
	}, objects...)
}

// play runs a test in a scene.
func play(t *testing.T, set setting, test func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, set)
		s.settle = synctest.Wait
		s.begin(set)
		test(s)
		s.end()
		time.Sleep(2 * time.Second) // for the recorder of the framework, see TestMain
	})
}

// newScene makes everything; nothing runs yet.
func newScene(t testing.TB, set setting) *scene {
	t.Helper()
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), ktesting.NewLogger(t, ktesting.NewConfig())))
	s := &scene{TB: t, ctx: ctx, cancel: cancel, events: &eventList{}, queue: &queue{}, storage: newStorageTable()}
	var objects []runtime.Object
	var nodes []*v1.Node
	for i, words := range set.nodes {
		node, csiNode, record := makeNode(i+1, words)
		if set.change != nil {
			set.change(i+1, node)
		}
		nodes = append(nodes, node)
		objects = append(objects, node)
		if csiNode != nil {
			objects = append(objects, csiNode)
			s.storage.nodes[record.ID] = record
		}
	}
	s.client = fake.NewClientset(objects...)
	s.informers = informers.NewSharedInformerFactory(s.client, 0)

	factory := NewFactory(NewOpenStorageSource)
	s.factory = factory
	factory.newSource = func(_ config.OpenStorage, index *volumes.Index) (ReplicaSource, error) {
		s.storage.index = index
		return s.storage, nil
	}
	factory.newClient = func(*rest.Config) (dynamic.Interface, error) { return set.resources, nil }
	newOurs := func(ctx context.Context, object runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
		args := object.(*config.HyperconvergeArgs)
		if set.args != nil {
			args = args.DeepCopy()
			set.args(args)
		}
		pl, err := factory.New(ctx, args, handle)
		if err == nil {
			s.pl = pl.(*Hyperconverge)
		}
		return pl, err
	}
	plugins := append([]tf.RegisterPluginFunc{
		tf.RegisterQueueSortPlugin(queuesort.Name, queuesort.New),
		tf.RegisterBindPlugin(defaultbinder.Name, defaultbinder.New),
		tf.RegisterPluginAsExtensions(Name, newOurs, "PreFilter", "Filter", "PreScore", "Score", "Reserve", "PostBind"),
		func(_ *frameworkruntime.Registry, p *schedulerapi.KubeSchedulerProfile) { // which the function above does not know
			p.Plugins.PostFilter.Enabled = append(p.Plugins.PostFilter.Enabled, schedulerapi.Plugin{Name: Name})
		},
	}, set.others...)
	var err error
	s.profile, err = tf.NewFramework(ctx, plugins, profile, append([]frameworkruntime.Option{
		frameworkruntime.WithClientSet(s.client),
		frameworkruntime.WithInformerFactory(s.informers),
		frameworkruntime.WithEventRecorder(s.events),
		frameworkruntime.WithPodActivator(s.queue),
		frameworkruntime.WithPodNominator(s.queue),
		frameworkruntime.WithSnapshotSharedLister(cache.NewSnapshot(set.running, nodes)),
	}, set.options...)...)
	if err != nil {
		t.Fatal(err)
	}
	profiles := schedulerprofile.Map{profile: s.profile}
	localfirst.Wrap(profiles, s.profile.Extenders())
	s.wrapped = profiles[profile]
	return s
}

func (s *scene) begin(set setting) {
	s.Helper()
	s.informers.Start(s.ctx.Done())
	s.informers.WaitForCacheSync(s.ctx.Done())
	if !set.neverReached {
		s.storage.tellNodes()
	}
	s.settle()
	if !s.pl.decider.index.HasSynced() {
		s.Fatal("the index has not taken in the informers' lists")
	}
}

func (s *scene) end() {
	if err := s.profile.Close(); err != nil {
		s.Error(err)
	}
	s.cancel()
	s.informers.Shutdown()
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func nodeName(n int) string  { return "n" + strconv.Itoa(n) }
func storageID(n int) string { return "storage-" + strconv.Itoa(n) }

// makeNode makes node n. The words are a storage state (default Online, NoDriver
// for none), "storageless" for a node without pools, "closed" for the operator's annotation, and key=value for labels.
func makeNode(n int, words string) (*v1.Node, *storagev1.CSINode, volumes.StorageNode) {
	node := st.MakeNode().Name(nodeName(n)).UID(nodeName(n)).Obj()
	record := volumes.StorageNode{ID: storageID(n), State: placement.Online}
	record.Disks = &placement.Disks{ID: record.ID, Pools: []placement.Pool{{UUID: "pool-" + record.ID, Free: -1}}}
	for word := range strings.FieldsSeq(words) {
		if key, value, isLabel := strings.Cut(word, "="); isLabel {
			metav1.SetMetaDataLabel(&node.ObjectMeta, key, value)
			continue
		}
		if word == "storageless" {
			record.Disks = &placement.Disks{ID: record.ID}
			continue
		}
		if word == "closed" {
			metav1.SetMetaDataAnnotation(&node.ObjectMeta, placement.NodeUnschedulable, "true")
			continue
		}
		record.State = stateOf(word)
	}
	if record.State == placement.NoDriver {
		return node, nil, record
	}
	return node, makeCSINode(n), record
}

func makeCSINode(n int) *storagev1.CSINode {
	return &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName(n)},
		Spec:       storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: driver, NodeID: storageID(n)}}},
	}
}

func stateOf(word string) placement.StorageState {
	for state := placement.NoDriver; state <= placement.Offline; state++ {
		if state.String() == word {
			return state
		}
	}
	panic("no storage state is called " + word)
}

// volume is one volume of the storage system, and the claim and PV for it.
type volume struct {
	name string
	// sets are the replica sets, each of them the numbers of its nodes.
	sets [][]int
	// silent is a volume about which storage does not answer.
	silent bool
	// stored, claim and pv change what is made by default.
	stored func(*volumes.Observation)
	claim  func(*v1.PersistentVolumeClaim)
	pv     func(*v1.PersistentVolume)
}

func on(nodes ...int) [][]int { return [][]int{nodes} }

// add makes a volume with a bound claim of that name. It returns the handle.
func (s *scene) add(v volume) (handle string) {
	s.Helper()
	s.handles++
	handle = strconv.Itoa(1000 + s.handles)
	o := observation(handle, v.sets)
	if v.stored != nil {
		v.stored(&o)
	}
	if !v.silent {
		s.storage.put(o)
	}
	pv := makePV(v.name, handle)
	if v.pv != nil {
		v.pv(pv)
	}
	claim := makeClaim(v.name, pv.Name)
	if v.claim != nil {
		v.claim(claim)
	}
	s.create(pv, claim)
	return handle
}

// data adds an ordinary volume with one replica set.
func (s *scene) data(name string, nodes ...int) (handle string) {
	s.Helper()
	return s.add(volume{name: name, sets: on(nodes...)})
}

// service adds a sharedv4 service volume, with parameters as annotations of its
// claim.
func (s *scene) service(name string, annotations map[string]string, nodes ...int) (handle string) {
	s.Helper()
	return s.add(volume{
		name: name, sets: on(nodes...),
		stored: func(o *volumes.Observation) { o.Service = true },
		claim:  func(c *v1.PersistentVolumeClaim) { maps.Copy(c.Annotations, annotations) },
	})
}

func observation(handle string, sets [][]int) volumes.Observation {
	o := volumes.Observation{ID: handle, Name: "pvc-" + handle}
	for _, set := range sets {
		ids := make([]string, len(set))
		for i, n := range set {
			ids[i] = storageID(n)
		}
		o.ReplicaSets = append(o.ReplicaSets, ids)
	}
	return o
}

func makePV(claim, handle string) *v1.PersistentVolume {
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv-" + claim, UID: types.UID("pv-" + claim)},
		Spec: v1.PersistentVolumeSpec{
			ClaimRef: &v1.ObjectReference{Namespace: namespace, Name: claim, UID: types.UID("claim-" + claim)},
			PersistentVolumeSource: v1.PersistentVolumeSource{
				CSI: &v1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: handle},
			},
		},
		Status: v1.PersistentVolumeStatus{Phase: v1.VolumeBound},
	}
}

func makeClaim(name, pv string) *v1.PersistentVolumeClaim {
	claim := st.MakePersistentVolumeClaim().Namespace(namespace).Name(name).VolumeName(pv).Obj()
	claim.UID = types.UID("claim-" + name)
	claim.Annotations = map[string]string{}
	claim.Status.Phase = v1.ClaimBound
	if pv == "" {
		claim.Status.Phase = v1.ClaimPending
	}
	return claim
}

// makePod makes a pending pod with claims.
func makePod(name string, claims ...string) *st.PodWrapper {
	pod := st.MakePod().Namespace(namespace).Name(name).UID("pod-" + name).SchedulerName(profile)
	for _, claim := range claims {
		pod.PVC(claim)
	}
	return pod
}

func strict(pod *st.PodWrapper) *v1.Pod {
	return pod.Annotation(placement.PodPreferLocalOnly, "true").Obj()
}

func (s *scene) create(objects ...runtime.Object) {
	s.Helper()
	for _, object := range objects {
		s.must(s.client.Tracker().Add(object))
	}
	s.settle()
}

// update changes an object of the API, and waits until everybody knows.
func update[T runtime.Object](s *scene, object T, change func(T)) {
	s.Helper()
	changed := object.DeepCopyObject().(T)
	change(changed)
	accessor, err := meta.Accessor(changed)
	s.must(err)
	version, _ := strconv.Atoi(accessor.GetResourceVersion())
	accessor.SetResourceVersion(strconv.Itoa(version + 1))
	s.must(s.client.Tracker().Update(resourceOf(object), changed, accessor.GetNamespace()))
	s.settle()
}

func (s *scene) remove(object metav1.Object) {
	s.Helper()
	s.must(s.client.Tracker().Delete(resourceOf(object.(runtime.Object)), object.GetNamespace(), object.GetName()))
	s.settle()
}

// preFilter runs the PreFilter plugins of the profile.
func (s *scene) preFilter(pod *v1.Pod) (fwk.CycleState, *fwk.PreFilterResult, *fwk.Status) {
	s.Helper()
	state := framework.NewCycleState()
	result, status, _ := s.profile.RunPreFilterPlugins(s.ctx, state, pod)
	return state, result, status
}

// skipped reports whether PreFilter has turned Filter off for the pod.
func skipped(state fwk.CycleState) bool { return state.GetSkipFilterPlugins().Has(Name) }

// rejection is the message by which PreFilter turns the pod down; empty if it
// does not.
func (s *scene) rejection(pod *v1.Pod) string {
	s.Helper()
	_, _, status := s.preFilter(pod)
	if status.IsSuccess() {
		return ""
	}
	if status.Code() != fwk.UnschedulableAndUnresolvable || status.Plugin() != Name {
		s.Errorf("PreFilter: code %v of plugin %q, want UnschedulableAndUnresolvable of %s", status.Code(), status.Plugin(), Name)
	}
	return status.Message()
}

// verdicts has a line for every node: what Filter says of it, "ok" if nothing.
// Nodes that PreFilter leaves out are "left out".
func (s *scene) verdicts(pod *v1.Pod) []string {
	s.Helper()
	state, result, status := s.preFilter(pod)
	if !status.IsSuccess() {
		s.Fatalf("PreFilter: %v", status.Message())
	}
	var verdicts []string
	for _, node := range s.nodeInfos() {
		verdict := "ok"
		if !result.AllNodes() && !result.NodeNames.Has(node.Node().Name) {
			verdict = "left out"
		} else if status := s.profile.RunFilterPlugins(s.ctx, state, pod, node); !status.IsSuccess() {
			if status.Code() != fwk.UnschedulableAndUnresolvable {
				s.Errorf("Filter of %s: code %v, want UnschedulableAndUnresolvable", node.Node().Name, status.Code())
			}
			verdict = status.Message()
		}
		verdicts = append(verdicts, verdict)
	}
	return verdicts
}

// scores are those of all nodes; nil where PreScore skips.
func (s *scene) scores(pod *v1.Pod) []int64 {
	s.Helper()
	state, _, status := s.preFilter(pod)
	if !status.IsSuccess() {
		s.Fatalf("PreFilter: %v", status.Message())
	}
	nodes := s.nodeInfos()
	if status := s.profile.RunPreScorePlugins(s.ctx, state, pod, nodes); !status.IsSuccess() {
		s.Fatalf("PreScore: %v", status.Message())
	}
	if state.GetSkipScorePlugins().Has(Name) {
		return nil
	}
	all, status := s.profile.RunScorePlugins(s.ctx, state, pod, nodes)
	if !status.IsSuccess() {
		s.Fatalf("Score: %v", status.Message())
	}
	scores := make([]int64, len(all))
	for i := range all {
		scores[i] = all[i].TotalScore
	}
	return scores
}

// nodeInfos are the nodes of the snapshot in the order of their numbers.
func (s *scene) nodeInfos() []fwk.NodeInfo {
	s.Helper()
	nodes, err := s.profile.SnapshotSharedLister().NodeInfos().List()
	s.must(err)
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b fwk.NodeInfo) int {
		return cmp.Or(cmp.Compare(len(a.Node().Name), len(b.Node().Name)), cmp.Compare(a.Node().Name, b.Node().Name))
	})
	return nodes
}

// same fails with a diff unless both are equal.
func same[T any](t testing.TB, what string, want, got T) {
	t.Helper()
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func resourceOf(object runtime.Object) schema.GroupVersionResource {
	switch object.(type) {
	case *v1.Pod:
		return v1.SchemeGroupVersion.WithResource("pods")
	case *v1.Node:
		return v1.SchemeGroupVersion.WithResource("nodes")
	case *v1.PersistentVolume:
		return v1.SchemeGroupVersion.WithResource("persistentvolumes")
	case *v1.PersistentVolumeClaim:
		return v1.SchemeGroupVersion.WithResource("persistentvolumeclaims")
	case *storagev1.StorageClass:
		return storagev1.SchemeGroupVersion.WithResource("storageclasses")
	case *storagev1.CSINode:
		return storagev1.SchemeGroupVersion.WithResource("csinodes")
	default:
		panic(fmt.Sprintf("no resource for %T", object))
	}
}

// offer is what the pod's decision offers to the prefer-first pass.
func (s *scene) offer(pod *v1.Pod) [][]string {
	state, _, _ := s.preFilter(pod)
	data, err := state.Read(localfirst.OfferKey)
	if err != nil {
		return nil
	}
	return slices.Collect(data.(localfirst.Offer).Groups())
}
