package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	cacheddiscovery "k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/events"
	"k8s.io/kubernetes/pkg/controller/disruption"
	"k8s.io/kubernetes/pkg/controller/statefulset"
	schedulerapi "k8s.io/kubernetes/pkg/scheduler/apis/config"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/internal/rebalancer"
	"github.com/hyperconverge/scheduler/internal/sandbox/fakenodes"
	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/debug"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/rebalance"
	"github.com/hyperconverge/scheduler/pkg/simulation"
	"github.com/hyperconverge/scheduler/test/kit"
)

// homestead is a cluster with all that makes pods anew: the scheduler, kubelets, and the
// controllers of StatefulSets and of PodDisruptionBudgets as kube-controller-manager runs
// them.
type homestead struct {
	*cluster
	yaml string
	// own is the namespace of the rebalancer, of which no pod is evicted.
	own string
	// evictions counts those that the API server was asked for.
	evictions atomic.Int32
	// onEviction is called before one is sent; an error ends it there. After is called with
	// the answer.
	onEviction, after func() error
	// deletions and onDeletion are those of deletions of pods.
	deletions  atomic.Int32
	onDeletion func()
	// stalled holds back what watches of pods of the next controllers would tell.
	stalled atomic.Bool
	// conditions are what the last controller's engine has against storage.
	conditions func() []string
}

const homeNodes = 3

func newHomestead(t *testing.T) *homestead {
	t.Helper()
	h := &homestead{cluster: newCluster(t, homeNodes)}
	h.own = h.Namespace + "-own"
	h.runScheduler("")
	h.yaml = schedulerYAML{profiles: []profileYAML{{name: schedulerName}}}.render(h.Server.Endpoint())
	ctx, stop := context.WithCancel(context.WithoutCancel(h.Ctx))
	var running sync.WaitGroup
	factory := informers.NewSharedInformerFactory(h.Client, 0)
	core, apps := factory.Core().V1(), factory.Apps().V1()
	sets := statefulset.NewStatefulSetController(ctx, core.Pods(), apps.StatefulSets(), core.PersistentVolumeClaims(), apps.ControllerRevisions(), h.Client)
	discovery := cacheddiscovery.NewMemCacheClient(h.Client.Discovery())
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(discovery)
	scales, err := scale.NewForConfig(h.Config, mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(discovery))
	h.Must(err)
	budgets := disruption.NewDisruptionController(ctx, core.Pods(), factory.Policy().V1().PodDisruptionBudgets(), core.ReplicationControllers(),
		apps.ReplicaSets(), apps.Deployments(), apps.StatefulSets(), h.Client, mapper, scales, discovery)
	factory.Start(ctx.Done())
	running.Go(func() { sets.Run(ctx, 2) })
	running.Go(func() {
		switch c := any(budgets).(type) {
		case interface{ Run(ctx context.Context) }:
			c.Run(ctx)
		case interface { // since Kubernetes 1.37
			Run(ctx context.Context, workers int)
		}:
			c.Run(ctx, 1)
		}
	})
	var nodes []fakenodes.Node
	for i := range homeNodes {
		nodes = append(nodes, fakenodes.Node{Name: fmt.Sprintf("n%d", i+1), StorageID: "some", IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})})
	}
	running.Go(func() { _ = fakenodes.Run(ctx, h.Client, nodes) })
	t.Cleanup(func() {
		for _, set := range h.sets() {
			h.Must(h.Client.AppsV1().StatefulSets(h.Namespace).Delete(ctx, set, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationOrphan)}))
		}
		stop()
		factory.Shutdown()
		running.Wait()
	})
	_, err = h.Client.CoreV1().Namespaces().Create(h.Ctx, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: h.own}}, metav1.CreateOptions{})
	h.Must(err)
	_, err = h.Client.CoreV1().ConfigMaps(h.own).Create(h.Ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: rebalancer.Name}}, metav1.CreateOptions{})
	h.Must(err)
	_, err = h.Client.AppsV1().Deployments(h.own).Create(h.Ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: rebalancer.Name},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "rebalancer"}},
			Template: v1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "rebalancer"}}, Spec: kit.Pod("", "", "").Container("pause").Obj().Spec},
		},
	}, metav1.CreateOptions{})
	h.Must(err)
	return h
}

func (h *homestead) sets() (names []string) {
	list, err := h.Client.AppsV1().StatefulSets(h.Namespace).List(context.WithoutCancel(h.Ctx), metav1.ListOptions{})
	h.Must(err)
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

// database makes a StatefulSet of one pod with a volume on n1.
func (h *homestead) database(name string, annotations map[string]string, scheduler string) {
	h.Helper()
	h.Volume(name, "n1")
	h.set(name, annotations, scheduler, func(*appsv1.StatefulSetSpec) {})
}

// set makes a StatefulSet of one pod with the volume of its name.
func (h *homestead) set(name string, annotations map[string]string, scheduler string, change func(*appsv1.StatefulSetSpec)) {
	h.Helper()
	pod := kit.Pod(h.Namespace, name, scheduler, name).Req(kit.CPU("1")).Label("app", "db").Label("set", name).Annotations(annotations).Obj()
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1)
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.StatefulSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"set": name}},
			Template: v1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels, Annotations: pod.Annotations}, Spec: pod.Spec},
		},
	}
	change(&set.Spec)
	_, err := h.Client.AppsV1().StatefulSets(h.Namespace).Create(h.Ctx, set, metav1.CreateOptions{})
	h.Must(err)
	h.isReady(name)
}

var optIn = map[string]string{rebalance.ReturnHome: "true"}

func (h *homestead) isReady(set string) {
	h.Helper()
	h.Eventually("pod of "+set+" is ready", func() error {
		pod, err := h.Client.CoreV1().Pods(h.Namespace).Get(h.Ctx, set+"-0", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !ready(pod) {
			return errors.New(kit.Unplaced(pod))
		}
		return nil
	})
}

func ready(pod *v1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c v1.PodCondition) bool { return c.Type == v1.PodReady && c.Status == v1.ConditionTrue })
}

// budget lets so many of all databases be away.
func (h *homestead) budget(away int) {
	h.Helper()
	_, err := h.Client.PolicyV1().PodDisruptionBudgets(h.Namespace).Create(h.Ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: policyv1.PodDisruptionBudgetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}, MinAvailable: ptr.To(intstr.FromInt(len(h.sets()) - away)),
		},
	}, metav1.CreateOptions{})
	h.Must(err)
	h.Eventually("the budget is counted", func() error {
		pdb, err := h.Client.PolicyV1().PodDisruptionBudgets(h.Namespace).Get(h.Ctx, "db", metav1.GetOptions{})
		if err != nil || int(pdb.Status.DisruptionsAllowed) != away || pdb.Status.CurrentHealthy == 0 {
			return fmt.Errorf("%+v %w", pdb.Status, err)
		}
		return nil
	})
}

// RoundTrip lets the test know of evictions.
func (h *homestead) roundTrip(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if request.Method == http.MethodDelete && strings.Contains(request.URL.Path, "/pods/") {
			h.deletions.Add(1)
			if h.onDeletion != nil {
				h.onDeletion()
			}
		}
		if request.Method != http.MethodPost || !strings.HasSuffix(request.URL.Path, "/eviction") {
			return next.RoundTrip(request)
		}
		h.evictions.Add(1)
		if h.onEviction != nil {
			if err := h.onEviction(); err != nil {
				return nil, err
			}
		}
		response, err := next.RoundTrip(request)
		if h.after != nil && err == nil {
			if err := h.after(); err != nil {
				_ = response.Body.Close()
				return nil, err
			}
		}
		return response, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// stall has watches of pods stand still while the test wants it.
func (h *homestead) stall(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(request)
		if err == nil && strings.HasSuffix(request.URL.Path, "/pods") && request.URL.Query().Get("watch") != "" {
			response.Body = &stallingBody{ReadCloser: response.Body, h: h}
		}
		return response, err
	})
}

type stallingBody struct {
	io.ReadCloser
	h *homestead
}

// Read implements io.Reader.
func (b *stallingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	_ = kit.Wait(b.h.Ctx, kit.Soon, "the watch goes on", kit.Holds(func() bool { return !b.h.stalled.Load() }))
	return n, err
}

// engine simulates the scheduler.
func (h *homestead) engine() (*simulation.Engine, *simulation.Asked) {
	h.Helper()
	configuration, err := debug.DecodeConfiguration([]byte(h.yaml))
	h.Must(err)
	replicas := &simulation.Asked{Settings: settingsOf(configuration), Patience: kit.Soon}
	connection := rest.CopyConfig(h.Config)
	connection.Wrap(h.stall)
	engine, err := simulation.New(h.Ctx, simulation.EngineOptions{RESTConfig: connection, Configuration: configuration, Replicas: replicas, Follow: rebalancer.Follow})
	h.Must(err)
	h.Cleanup(engine.Close)
	return engine, replicas
}

// rebalancer is a controller whose looks the test takes.
func (h *homestead) rebalancer(changes ...func(*rebalance.Configuration)) *rebalancer.Controller {
	h.Helper()
	engine, replicas := h.engine()
	return h.rebalancerOf(engine, replicas, changes...)
}

func (h *homestead) rebalancerOf(engine *simulation.Engine, replicas *simulation.Asked, changes ...func(*rebalance.Configuration)) *rebalancer.Controller {
	h.Helper()
	connection := rest.CopyConfig(h.Config)
	connection.Wrap(h.roundTrip)
	client, err := kubernetes.NewForConfig(connection)
	h.Must(err)
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: h.Client.EventsV1()})
	ctx, stop := context.WithCancel(context.WithoutCancel(h.Ctx))
	h.Must(broadcaster.StartRecordingToSinkWithContext(ctx))
	h.Cleanup(func() { stop(); broadcaster.Shutdown() })
	settings := rebalance.Default()
	settings.DryRun, settings.MinAge, settings.Interval = false, metav1.Duration{}, metav1.Duration{Duration: time.Millisecond}
	settings.Budgets.MaxConcurrent = 3
	for _, change := range changes {
		change(settings)
	}
	h.conditions = func() (reasons []string) {
		for _, c := range engine.Conditions() {
			reasons = append(reasons, c.Reason)
		}
		return reasons
	}
	return rebalancer.NewController(&rebalancer.Options{
		Configuration: settings, Client: client, Events: broadcaster.NewRecorder(nil, rebalancer.Name),
		Namespace: h.own, Journal: rebalancer.Name, Deployment: rebalancer.Name, Drivers: []string{kit.Driver},
		Observer: &rebalancer.Observer{Engine: engine, Index: replicas.Index(), NodeListMaxAge: kit.Soon, Conditions: h.conditions},
	})
}

func settingsOf(configuration *schedulerapi.KubeSchedulerConfiguration) config.OpenStorage {
	for _, plugin := range configuration.Profiles[0].PluginConfig {
		if args, ours := plugin.Args.(*config.HyperconvergeArgs); ours {
			return args.OpenStorage
		}
	}
	return config.OpenStorage{}
}

func (h *homestead) journal() *rebalance.Journal {
	h.Helper()
	j, err := rebalancer.ReadJournal(h.Ctx, h.Client, h.own, rebalancer.Name)
	h.Must(err)
	return j
}

// until takes looks until the condition holds.
func (h *homestead) until(c *rebalancer.Controller, what string, condition func() error) {
	h.Helper()
	h.Eventually(what, func() error {
		if err := c.Look(h.Ctx); err != nil {
			return err
		}
		return condition()
	})
}

// metric is the value of a series of a controller.
func (h *homestead) metric(c *rebalancer.Controller, name, label string) float64 {
	h.Helper()
	families, err := c.Metrics().Gather()
	h.Must(err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "hyperconverge_rebalancer_"+name && (label == "" || len(m.GetLabel()) > 0 && m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return -1
}

func (h *homestead) reasonIs(c *rebalancer.Controller, reason rebalance.StayReason, n float64) func() error {
	return func() error {
		if got := h.metric(c, "candidates", string(reason)); got != n {
			return fmt.Errorf("%v candidates stay for %s, want %v", got, reason, n)
		}
		return nil
	}
}

func (h *homestead) allHome() error {
	for _, set := range h.sets() {
		pod, err := h.Client.CoreV1().Pods(h.Namespace).Get(h.Ctx, set+"-0", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if pod.Spec.NodeName != "n1" || !ready(pod) {
			return fmt.Errorf("pod %s is on %q", pod.Name, pod.Spec.NodeName)
		}
	}
	if j := h.journal(); len(j.Evictions) > 0 {
		return fmt.Errorf("%d are on their way", len(j.Evictions))
	}
	return nil
}

func TestPodsReturnAfterADrainOneByOne(t *testing.T) {
	h := newHomestead(t)
	h.cordon("n1", true)
	for _, name := range []string{"a", "b", "c"} {
		h.database(name, optIn, schedulerName)
	}
	h.budget(1)
	c := h.rebalancer()
	h.until(c, "nobody goes while the node is closed", h.reasonIs(c, rebalance.NotNearer, 3))
	if n := h.evictions.Load(); n != 0 {
		t.Fatalf("%d evictions to a node that is closed", n)
	}
	h.onEviction = func() error { // the budget holds by the API server; it was not asked in vain
		pods, err := h.Client.CoreV1().Pods(h.Namespace).List(h.Ctx, metav1.ListOptions{LabelSelector: "app=db"})
		if err != nil {
			return err
		}
		if away := 3 - len(slices.DeleteFunc(pods.Items, func(p v1.Pod) bool { return !ready(&p) })); away > 0 {
			t.Errorf("an eviction while %d pods are away", away)
		}
		return nil
	}
	h.cordon("n1", false)
	h.until(c, "all are home", h.allHome)
	if n := h.evictions.Load(); n != 3 {
		t.Errorf("%d evictions, want 3", n)
	}
	if n := h.metric(c, "evictions_total", string(rebalance.Home)); n != 3 {
		t.Errorf("%v are counted as home", n)
	}
	for _, object := range []string{"a", "a-0"} {
		h.expectEvent(object, rebalancer.EventReturning, "volume "+h.Namespace+"/a", "node n1", "100 instead of 0")
		h.expectEvent(object, rebalancer.EventReturned, "runs on node n1")
	}
	h.Must(c.Look(h.Ctx))
	if n := h.evictions.Load(); n != 3 {
		t.Error("pods that are home are evicted")
	}
}

// A landing is what the full placement says, and a picture in which pods have come and gone is
// what one that is made anew is: for pods with affinities, and with claims that one pod only
// may use, the picture keeps lists.
func TestALandingIsWhatThePlacementSays(t *testing.T) {
	h := newHomestead(t)
	h.Volume("shared", "n1", "n2")
	claim := kit.Claim(h.Namespace, "single", ptr.To(""))
	claim.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteOncePod}
	claim = h.Claim(claim)
	h.PersistentVolume(h.PVName("single"), claim, kit.CSI(kit.Driver, h.Stored("single", nil, "n2")))
	h.Complete(claim, h.PVName("single"))
	for _, pod := range []*st.PodWrapper{
		h.pod("plain", "shared"),
		h.pod("apart-1", "shared").Label("app", "apart").PodAntiAffinityExists("app", v1.LabelHostname, st.PodAntiAffinityWithRequiredReq),
		h.pod("apart-2", "shared").Label("app", "apart").PodAntiAffinityExists("app", v1.LabelHostname, st.PodAntiAffinityWithRequiredReq),
		h.pod("beside", "shared").PodAffinityExists("app", v1.LabelHostname, st.PodAffinityWithPreferredReq),
		h.pod("alone", "single"),
	} {
		h.Create(pod)
		h.ExpectBound(pod.Obj().Name)
	}
	engine, _ := h.engine()
	used, err := engine.Cluster()
	h.Must(err)
	for range 2 {
		for _, pod := range slices.Clone(used.Pods()) {
			landing, err := used.Land(h.Ctx, pod)
			h.Must(err)
			fresh, err := engine.Cluster()
			h.Must(err)
			placed, err := fresh.Place(h.Ctx, pod)
			h.Must(err)
			want := append([]string{placed.Node}, placed.Equals...)
			slices.Sort(want)
			if placed.Node == "" || !slices.Equal(landing.Nodes, want) {
				t.Errorf("%s would land on %v (%s), and be placed on %v (%s)", pod.Name, landing.Nodes, landing.Message, want, placed.Message)
			}
			used.Add(pod, pod.Spec.NodeName)
		}
	}
}

// Pods that nobody places, which cost a tenant nothing, keep nobody from their node.
func TestPodsThatAreNotToBePlacedKeepNobodyFromHome(t *testing.T) {
	for _, tc := range []struct {
		name, scheduler string
		gates           []string
	}{
		{"with a scheduling gate", schedulerName, []string{"tenant.example/never"}},
		{"of a scheduler that does not exist", "nobody", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHomestead(t)
			h.cordon("n1", true)
			h.database("a", optIn, schedulerName)
			waits := kit.Pod(h.Namespace, "waits", tc.scheduler).Req(kit.CPU("1m")).NodeSelector(map[string]string{v1.LabelHostname: "n1"}).Priority(1).Obj()
			for _, gate := range tc.gates {
				waits.Spec.SchedulingGates = append(waits.Spec.SchedulingGates, v1.PodSchedulingGate{Name: gate})
			}
			_, err := h.Client.CoreV1().Pods(h.Namespace).Create(h.Ctx, waits, metav1.CreateOptions{})
			h.Must(err)
			h.cordon("n1", false)
			h.until(h.rebalancer(), "it is home", h.allHome)
		})
	}
}

// OnDelete: the administrator of the database decides when a pod gets the new template.
func TestAnEvictionRollsNothingOut(t *testing.T) {
	h := newHomestead(t)
	h.Volume("a", "n1")
	h.cordon("n1", true)
	h.set("a", optIn, schedulerName, func(s *appsv1.StatefulSetSpec) { s.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType })
	sets := h.Client.AppsV1().StatefulSets(h.Namespace)
	_, err := sets.Patch(h.Ctx, "a", types.StrategicMergePatchType, []byte(`{"spec":{"template":{"metadata":{"labels":{"version":"next"}}}}}`), metav1.PatchOptions{})
	h.Must(err)
	h.Eventually("the update is seen", func() error {
		set, err := sets.Get(h.Ctx, "a", metav1.GetOptions{})
		if err != nil || set.Status.UpdateRevision == set.Status.CurrentRevision {
			return fmt.Errorf("not yet: %w", err)
		}
		return nil
	})
	h.cordon("n1", false)
	c := h.rebalancer()
	h.until(c, "it stays", h.reasonIs(c, rebalance.OwnerBusy, 1))
	h.Must(h.Client.CoreV1().Pods(h.Namespace).Delete(h.Ctx, "a-0", metav1.DeleteOptions{})) // the administrator decides
	h.until(c, "the new version is home", h.allHome)
	if n := h.evictions.Load(); n != 0 {
		t.Errorf("%d evictions", n)
	}
}

func TestADryRunEvictsNothing(t *testing.T) {
	h := newHomestead(t)
	h.cordon("n1", true)
	h.database("a", optIn, schedulerName)
	h.cordon("n1", false)
	c := h.rebalancer(func(c *rebalance.Configuration) { c.DryRun = true })
	h.until(c, "it would go", func() error {
		if n := h.metric(c, "moves", ""); n != 1 {
			return fmt.Errorf("%v moves", n)
		}
		return nil
	})
	if n := h.evictions.Load(); n != 0 || len(h.journal().Evictions) != 0 {
		t.Errorf("%d evictions in a dry run", n)
	}
}

func TestRoomThatIsTakenInBetweenCoolsDown(t *testing.T) {
	h := newHomestead(t)
	h.cordon("n1", true)
	h.database("a", optIn, schedulerName)
	h.cordon("n1", false)
	h.onEviction = func() error {
		return h.fill("n1")
	}
	c := h.rebalancer()
	h.until(c, "its owner cools down", func() error {
		if len(h.journal().Cooldowns) == 0 {
			return errors.New("it does not")
		}
		return nil
	})
	h.expectEvent("a", rebalancer.EventNotReturned, "is left alone until")
	h.Delete("filler")
	h.until(c, "the cool-down is told", h.reasonIs(c, rebalance.CoolingDown, 1))
	if n := h.evictions.Load(); n != 1 {
		t.Errorf("%d evictions", n)
	}
}

// fill takes the room of a node.
func (h *homestead) fill(node string) error {
	_, err := h.Client.CoreV1().Pods(h.Namespace).Create(h.Ctx, kit.Pod(h.Namespace, "filler", "none").Req(kit.CPU("3500m")).Node(node).Obj(), metav1.CreateOptions{})
	return err
}

func TestAPodThatFindsNoRoomStays(t *testing.T) {
	h := newHomestead(t)
	h.cordon("n1", true)
	h.database("a", optIn, schedulerName)
	h.Must(h.fill("n1"))
	h.cordon("n1", false)
	c := h.rebalancer()
	h.until(c, "it stays", h.reasonIs(c, rebalance.NotNearer, 1))
	if n := h.evictions.Load(); n != 0 {
		t.Errorf("%d evictions", n)
	}
}

var errKilled = errors.New("killed")

func TestKilledAfterTheEviction(t *testing.T) {
	h := newHomestead(t)
	h.cordon("n1", true)
	h.database("a", optIn, schedulerName)
	h.cordon("n1", false)
	h.after = func() error { return errKilled }
	killed := h.rebalancer()
	h.Eventually("the controller is killed", func() error {
		if err := killed.Look(h.Ctx); !errors.Is(err, errKilled) {
			return fmt.Errorf("not yet: %w", err)
		}
		return nil
	})
	if j := h.journal(); len(j.Evictions) != 1 || j.Evictions[0].Accepted {
		t.Fatalf("the note is %+v", j.Evictions)
	}
	c := h.rebalancer()
	h.until(c, "the next one sees it home", h.allHome)
	if n := h.evictions.Load(); n != 1 || h.metric(c, "evictions_total", string(rebalance.Home)) != 1 {
		t.Errorf("%d evictions", n)
	}
}

func TestKilledBeforeTheEviction(t *testing.T) {
	h := newHomestead(t)
	h.cordon("n1", true)
	h.database("a", optIn, schedulerName)
	h.cordon("n1", false)
	h.onEviction = func() error { return errKilled }
	killed := h.rebalancer()
	h.Eventually("the controller is killed", func() error {
		if err := killed.Look(h.Ctx); !errors.Is(err, errKilled) {
			return fmt.Errorf("not yet: %w", err)
		}
		return nil
	})
	h.onEviction = nil
	c := h.rebalancer()
	h.Must(c.Look(h.Ctx))
	if n := h.evictions.Load(); n != 1 {
		t.Fatalf("%d evictions while one may be on its way", n)
	}
	j := h.journal() // as it is a while later
	j.Evictions[0].At = j.Evictions[0].At.Add(-time.Hour)
	h.rewrite(j)
	h.until(c, "it comes home after all", h.allHome)
	if n := h.evictions.Load(); n != 2 || h.metric(c, "evictions_total", string(rebalance.NotBegun)) != 1 {
		t.Errorf("%d evictions", n)
	}
}

func TestAnEvictionBehindAWatchThatStandsStillIsNotForgotten(t *testing.T) {
	h := newHomestead(t)
	h.cordon("n1", true)
	h.database("a", optIn, schedulerName)
	h.cordon("n1", false)
	h.onEviction = func() error { h.stalled.Store(true); return nil }
	h.after = func() error { return errKilled }
	c := h.rebalancer()
	h.Eventually("the answer is lost", func() error {
		if err := c.Look(h.Ctx); !errors.Is(err, errKilled) {
			return fmt.Errorf("not yet: %w", err)
		}
		return nil
	})
	h.isReady("a")
	j := h.journal() // as it is a while later
	j.Evictions[0].At = j.Evictions[0].At.Add(-time.Hour)
	h.rewrite(j)
	h.Must(c.Look(h.Ctx))
	if j := h.journal(); len(j.Evictions) != 1 || !j.Evictions[0].Accepted {
		t.Errorf("the note is %+v", j.Evictions)
	}
	h.stalled.Store(false)
	h.until(c, "it is home", h.allHome)
	if n := h.evictions.Load(); n != 1 {
		t.Errorf("%d evictions", n)
	}
}

func TestADeadNodeIsEmptiedAndItsVolumesAreDetached(t *testing.T) {
	h := newHomestead(t)
	h.database("a", nil, schedulerName)
	h.database("b", nil, schedulerName)
	h.Must(h.Storage.AddReplica("a", h.StorageID("n2")))
	attachments := h.Client.StorageV1().VolumeAttachments()
	attached := func(name string) bool {
		_, err := attachments.Get(h.Ctx, h.Namespace+"-"+name, metav1.GetOptions{})
		return err == nil
	}
	for name, driver := range map[string]string{"a": kit.Driver, "b": kit.Driver, "theirs": "csi.example.com"} {
		claim, err := h.Client.CoreV1().PersistentVolumeClaims(h.Namespace).Get(h.Ctx, cmp.Or(map[string]string{"theirs": "a"}[name], name), metav1.GetOptions{})
		h.Must(err)
		_, err = attachments.Create(h.Ctx, &storagev1.VolumeAttachment{
			ObjectMeta: metav1.ObjectMeta{Name: h.Namespace + "-" + name},
			Spec:       storagev1.VolumeAttachmentSpec{Attacher: driver, NodeName: "n1", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &claim.Spec.VolumeName}},
		}, metav1.CreateOptions{})
		h.Must(err)
	}
	h.patch("node", "n1", fmt.Sprintf(`{"spec":{"taints":[{"key":%q,"effect":"NoSchedule"}]}}`, v1.TaintNodeUnreachable))
	h.storageState("n1", openstoragesim.StatusOffline)
	c := h.rebalancer(func(c *rebalance.Configuration) {
		c.Rescue = rebalance.Rescue{Enabled: true, ForceDelete: true, Batch: 10}
	})
	on := func(pod, node string) func() error {
		return func() error {
			if got, err := h.Client.CoreV1().Pods(h.Namespace).Get(h.Ctx, pod, metav1.GetOptions{}); err != nil || got.Spec.NodeName != node || !ready(got) {
				return fmt.Errorf("it is not: %s %w", kit.Unplaced(got), err)
			}
			return nil
		}
	}
	h.until(c, "the pod is where its other replica is", on("a-0", "n2"))
	detached := func(name string) func() error {
		return func() error {
			if attached(name) {
				return errors.New("not yet")
			}
			return nil
		}
	}
	h.until(c, "its volume is detached", detached("a"))
	h.Must(on("b-0", "n1")()) // is ready, and its data is nowhere else
	if !attached("b") {
		t.Error("a volume is detached from a pod that runs")
	}
	_, err := h.Client.AppsV1().StatefulSets(h.Namespace).Patch(h.Ctx, "b", types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{})
	h.Must(err)
	h.until(c, "the other one is detached", detached("b"))
	if !attached("theirs") {
		t.Error("a volume of another driver is detached")
	}
	if n := h.evictions.Load(); n != 0 || h.metric(c, "rescues_total", "deleted") != 1 {
		t.Errorf("%d evictions", n)
	}
}

// rescue turns the rescue on.
func rescue(c *rebalance.Configuration) { c.Rescue = rebalance.Rescue{Enabled: true, Batch: 10} }

// stranded makes databases on n1 whose other replica is on n2.
func (h *homestead) stranded(names ...string) {
	h.Helper()
	h.cordon("n2", true)
	for _, name := range names {
		h.Volume(name, "n1", "n2")
		h.set(name, nil, schedulerName, func(*appsv1.StatefulSetSpec) {})
	}
	h.cordon("n2", false)
}

// looksAfter takes some looks after the controller may have acted.
func (h *homestead) looksAfter(c *rebalancer.Controller, what string, happened func() bool) {
	h.Helper()
	h.until(c, what, kit.Holds(happened))
	for range 5 {
		h.Must(c.Look(h.Ctx))
	}
}

func TestAReadyPodThatFitsNowhereElseIsNotRescued(t *testing.T) {
	h := newHomestead(t)
	h.Volume("a", "n1", "n2")
	h.set("a", nil, schedulerName, func(s *appsv1.StatefulSetSpec) {
		s.Template.Spec.NodeSelector = map[string]string{v1.LabelHostname: "n1"}
	})
	h.cordon("n2", true)
	h.Volume("b", "n1", "n2")
	h.set("b", nil, schedulerName, func(*appsv1.StatefulSetSpec) {})
	h.cordon("n2", false)
	h.storageState("n1", openstoragesim.StatusOffline)
	c := h.rebalancer(rescue)
	h.looksAfter(c, "the other one is rescued", func() bool { return h.evictions.Load() > 0 })
	if n := h.evictions.Load(); n != 1 {
		t.Errorf("%d evictions", n)
	}
}

func TestAPodThatComesBackIsNotRescuedAgainAndAgain(t *testing.T) {
	h := newHomestead(t)
	h.Volume("a", "n1", "n2")
	h.set("a", nil, schedulerName, func(s *appsv1.StatefulSetSpec) { s.Template.Spec.NodeName = "n1" })
	h.storageState("n1", openstoragesim.StatusOffline)
	// The API server counts in seconds.
	c := h.rebalancer(rescue, func(c *rebalance.Configuration) { c.Rescue.After = metav1.Duration{Duration: time.Second} })
	h.looksAfter(c, "it is rescued once", func() bool { return h.evictions.Load() > 0 })
	h.until(c, "it is back for longer than it takes to give up a node, or away again", func() error {
		pod, err := h.Client.CoreV1().Pods(h.Namespace).Get(h.Ctx, "a-0", metav1.GetOptions{})
		if h.evictions.Load() == 1 && (err != nil || !ready(pod) || time.Since(pod.CreationTimestamp.Time) < 3*time.Second) {
			return fmt.Errorf("not yet: %w", err)
		}
		return nil
	})
	if n := h.evictions.Load(); n > 1 {
		t.Errorf("%d evictions of a pod that comes back to the node whose storage is gone", n)
	}
}

func TestTheReturnEndsWhenSomebodyPauses(t *testing.T) {
	h := newHomestead(t)
	h.cordon("n1", true)
	for _, name := range []string{"a", "b", "c"} {
		h.database(name, optIn, schedulerName)
	}
	h.cordon("n1", false)
	h.onEviction = func() error { return h.annotate(rebalance.PauseAnnotation, "true") }
	c := h.rebalancer()
	h.looksAfter(c, "a pod is evicted", func() bool { return h.evictions.Load() > 0 })
	if n := h.evictions.Load(); n != 1 {
		t.Errorf("%d evictions after somebody has paused", n)
	}
}

func TestABatchEndsWhenSomebodyPauses(t *testing.T) {
	h := newHomestead(t)
	h.stranded("a", "b", "c")
	h.storageState("n1", openstoragesim.StatusOffline)
	h.onEviction = func() error { return h.annotate(rebalance.PauseAnnotation, "true") }
	c := h.rebalancer(rescue)
	h.looksAfter(c, "a batch begins", func() bool { return h.evictions.Load() > 0 })
	if n := h.evictions.Load(); n != 1 {
		t.Errorf("%d evictions, although it was paused after the first", n)
	}
}

// The node comes back while its first pod is deleted, and the others run there.
func TestAPodOnANodeThatIsBackIsNotForceDeleted(t *testing.T) {
	h := newHomestead(t)
	h.stranded("a", "b")
	taint := fmt.Sprintf(`{"spec":{"taints":[{"key":%q,"effect":"NoSchedule"}]}}`, v1.TaintNodeUnreachable)
	h.patch("node", "n1", taint)
	h.storageState("n1", openstoragesim.StatusOffline)
	engine, replicas := h.engine()
	c := h.rebalancerOf(engine, replicas, rescue, func(c *rebalance.Configuration) { c.Rescue.ForceDelete = true })
	h.onDeletion = func() {
		h.storageState("n1", openstoragesim.StatusOK)
		h.Must(kit.Wait(h.Ctx, kit.Soon, "storage is seen to be back", kit.Holds(func() bool {
			return replicas.Index().View().Node("n1").State == placement.Online
		})))
	}
	h.looksAfter(c, "a batch begins", func() bool { return h.deletions.Load() > 0 })
	if n := h.deletions.Load(); n != 1 {
		t.Errorf("%d pods are deleted without a grace period, although storage is back", n)
	}
}

func (h *homestead) rewrite(j *rebalance.Journal) {
	h.Helper()
	object, err := h.Client.CoreV1().ConfigMaps(h.own).Get(h.Ctx, rebalancer.Name, metav1.GetOptions{})
	h.Must(err)
	data, err := j.Encode()
	h.Must(err)
	for key := range maps.Keys(object.Data) {
		object.Data[key] = string(data)
	}
	_, err = h.Client.CoreV1().ConfigMaps(h.own).Update(h.Ctx, object, metav1.UpdateOptions{})
	h.Must(err)
}

func TestStorageIsLostInTheMiddle(t *testing.T) {
	h := newHomestead(t)
	h.cordon("n1", true)
	h.database("a", optIn, schedulerName)
	h.database("b", optIn, schedulerName)
	h.cordon("n1", false)
	h.after = func() error { // the next look may come at once, and has to know
		h.Server.Stop()
		return kit.Wait(h.Ctx, kit.Soon, "the loss is known", kit.Holds(func() bool { return len(h.conditions()) > 0 }))
	}
	c := h.rebalancer(func(c *rebalance.Configuration) { c.Budgets.MaxConcurrent = 1 })
	h.until(c, "everything is held", func() error {
		if h.metric(c, "held", string(rebalance.StorageProblem)) != 1 {
			return errors.New("it is not")
		}
		return nil
	})
	for range 3 {
		h.Must(c.Look(h.Ctx))
	}
	if n := h.evictions.Load(); n != 1 {
		t.Errorf("%d evictions", n)
	}
}

func TestASuccessorOfAnotherSchedulerIsLeftAlone(t *testing.T) {
	h := newHomestead(t)
	h.runProfiles(profileYAML{name: "other", without: true})
	h.cordon("n1", true)
	h.database("a", optIn, "other")
	h.database("b", map[string]string{rebalance.ReturnHome: "yes, please"}, schedulerName)
	h.cordon("n1", false)
	c := h.rebalancer()
	h.until(c, "it is left", h.reasonIs(c, rebalance.OtherScheduler, 1))
	h.until(c, "and so is who says neither yes nor no", h.reasonIs(c, rebalance.OptInInvalid, 1))
	h.expectEvent("a-0", rebalancer.EventKept, "another scheduler")
	h.expectEvent("b-0", rebalancer.EventKept, "neither true nor false")
}

// annotate writes an order on the Deployment of the rebalancer.
func (h *homestead) annotate(key, value string) error {
	_, err := h.Client.AppsV1().Deployments(h.own).Patch(h.Ctx, rebalancer.Name, types.MergePatchType,
		fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, key, value), metav1.PatchOptions{})
	return err
}

func TestALateSuccessorHaltsUntilSomebodyResumes(t *testing.T) {
	h := newHomestead(t)
	h.cordon("n1", true)
	h.database("a", optIn, schedulerName)
	h.database("b", optIn, schedulerName)
	h.cordon("n1", false)
	h.onEviction = func() error { // nobody takes the successor
		for i := range homeNodes {
			h.cordon(fmt.Sprintf("n%d", i+1), true)
		}
		return nil
	}
	c := h.rebalancer(func(c *rebalance.Configuration) {
		c.Budgets.MaxConcurrent, c.ReadyTimeout = 1, metav1.Duration{Duration: time.Second}
	})
	h.until(c, "it halts", func() error {
		if h.journal().Halt == nil {
			return errors.New("it does not")
		}
		return nil
	})
	h.expectEvent(rebalancer.Name, rebalancer.EventHalted, rebalance.ResumeAnnotation+"="+h.journal().Halt.ID)
	h.onEviction = nil
	for i := range homeNodes {
		h.cordon(fmt.Sprintf("n%d", i+1), false)
	}
	h.until(c, "the other one is held", h.reasonIs(c, rebalance.Halted, 1))
	if n := h.evictions.Load(); n != 1 {
		t.Errorf("%d evictions", n)
	}
	h.Must(h.annotate(rebalance.PauseAnnotation, "true"))
	h.Must(h.annotate(rebalance.ResumeAnnotation, h.journal().Halt.ID))
	h.until(c, "it is paused instead", h.reasonIs(c, rebalance.Paused, 1))
	h.Must(h.annotate(rebalance.PauseAnnotation, "false"))
	h.until(c, "all are home", h.allHome)
}
