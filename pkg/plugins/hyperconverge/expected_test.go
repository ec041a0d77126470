package hyperconverge

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/strategies"
)

// strategy is a VolumePlacementStrategy; a spec is a map of rule lists.
func strategy(name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "portworx.io/v1beta2", "kind": "VolumePlacementStrategy", "metadata": map[string]any{"name": name}, "spec": spec,
	}}
}

// where is a spec with one rule: "replicaAffinity disk In ssd nvme".
func where(text string) map[string]any {
	words := strings.Fields(text)
	expression := map[string]any{"key": words[1], "operator": words[2]}
	if len(words) > 3 {
		var values []any
		for _, value := range words[3:] {
			values = append(values, value)
		}
		expression["values"] = values
	}
	return map[string]any{words[0]: []any{map[string]any{"matchExpressions": []any{expression}}}}
}

// newClaim makes a claim that waits for its first consumer, with a class of its own.
func (s *scene) newClaim(name string, parameters map[string]string, change func(*v1.PersistentVolumeClaim)) {
	s.Helper()
	class := st.MakeStorageClass().Name("class-" + name).Provisioner(driver).VolumeBindingMode(storagev1.VolumeBindingWaitForFirstConsumer).Obj()
	class.Parameters = parameters
	claim := makeClaim(name, "")
	claim.Spec.StorageClassName = &class.Name
	claim.Spec.Resources.Requests = v1.ResourceList{v1.ResourceStorage: resource.MustParse("10Gi")}
	if change != nil {
		change(claim)
	}
	s.create(class, claim)
}

func placedBy(name string) map[string]string { return map[string]string{strategies.Strategy: name} }

func cloneOf(kind, name string) func(*v1.PersistentVolumeClaim) {
	return func(c *v1.PersistentVolumeClaim) {
		c.Spec.DataSource = &v1.TypedLocalObjectReference{Kind: kind, Name: name}
		if kind == "VolumeSnapshot" {
			c.Spec.DataSource.APIGroup = ptr.To("snapshot.storage.k8s.io")
		}
	}
}

func snapshotOf(name, content string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": map[string]any{"namespace": namespace, "name": name},
		"status": map[string]any{"boundVolumeSnapshotContentName": content},
	}}
}

func contentOf(name, by string, source map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"driver": by, "source": source},
	}}
}

// TestNewVolumes: what is expected of volumes that do not exist yet, with everything that a
// strategy may say, and what is said of mistakes.
func TestNewVolumes(t *testing.T) {
	nodes := []string{"disk=ssd zone=a", "disk=hdd zone=b", "disk=ssd zone=c", "storageless zone=a"}
	ssd := strategy("fast", where("replicaAffinity disk In ssd"))
	type change func(*v1.PersistentVolumeClaim)
	nothing := []string{"-"}
	for _, row := range []struct {
		name       string
		nodes      []string // those above, if empty
		objects    []runtime.Object
		parameters map[string]string
		claim      change
		pod        func(*st.PodWrapper)
		before     func(*scene)
		// scores of the nodes; nothing where scoring is skipped.
		scores []string
		events []string
	}{
		{name: "a volume without rules may go to every node with pools", scores: []string{"62", "62", "62", "0"}},
		{name: "the class names a strategy", objects: []runtime.Object{ssd}, parameters: placedBy("fast"), scores: []string{"62", "0", "62", "0"}},
		{name: "so does the claim, before the class", objects: []runtime.Object{ssd, strategy("slow", where("replicaAffinity disk In hdd"))}, parameters: placedBy("fast"),
			claim: func(c *v1.PersistentVolumeClaim) { c.Annotations[strategies.Strategy] = "slow" }, scores: []string{"0", "62", "0", "0"}},
		{name: "templates are filled in", objects: []runtime.Object{strategy("by-name", map[string]any{"replicaAffinity": []any{
			map[string]any{"matchExpressions": []any{map[string]any{"key": "zone", "operator": "In", "values": []any{"${pvc.namespace}", "${pvc.labels.zone}", "${pvc.statefulset-pod}"}}}}}})},
			parameters: placedBy("by-name"), claim: func(c *v1.PersistentVolumeClaim) { c.Labels = map[string]string{"zone": "b"} },
			scores: []string{"0", "62", "0", "0"}},
		{name: "the name of a pod of a StatefulSet is one of them", objects: []runtime.Object{strategy("by-pod", where("replicaAffinity zone In ${pvc.statefulset-pod}"))},
			parameters: placedBy("by-pod"), pod: func(p *st.PodWrapper) {
				p.Name("c").OwnerReference("c", schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "StatefulSet"})
				p.OwnerReferences[0].Controller = ptr.To(true)
			}, scores: []string{"0", "0", "62", "0"}},
		{name: "nodes, zones and racks of the class", parameters: map[string]string{strategies.Nodes: storageID(1) + ";" + storageID(2), strategies.Zones: "b,c"},
			nodes: []string{"px/zone=a", "px/zone=b", "px/zone=c", "storageless"}, scores: []string{"0", "62", "0", "0"}},
		{name: "volumes of claims with a label", objects: []runtime.Object{strategy("beside", where("volumeAffinity app In db"))}, parameters: placedBy("beside"),
			before: func(s *scene) {
				s.add(volume{name: "data", sets: on(2), claim: func(c *v1.PersistentVolumeClaim) { c.Labels = map[string]string{"app": "db"} }})
				s.add(volume{name: "other", sets: on(1), claim: func(c *v1.PersistentVolumeClaim) { c.Labels = map[string]string{"app": "web"} }})
			}, scores: []string{"0", "62", "0", "0"}},
		{name: "volumes of a namespace", objects: []runtime.Object{strategy("apart", where("volumeAntiAffinity namespace In ${pvc.namespace}"))}, parameters: placedBy("apart"),
			before: func(s *scene) { s.data("data", 2) }, scores: []string{"62", "0", "62", "0"}},
		{name: "a rule about volumes of which there are none says nothing", objects: []runtime.Object{strategy("beside", where("volumeAffinity app In db"))}, parameters: placedBy("beside"),
			scores: []string{"62", "62", "62", "0"}},
		{name: "a clone is expected where its source lies", claim: cloneOf("PersistentVolumeClaim", "data"), before: func(s *scene) { s.data("data", 2) },
			scores: []string{"0", "81", "0", "0"}},
		{name: "so is a restore", objects: []runtime.Object{snapshotOf("yesterday", "content"), contentOf("content", driver, map[string]any{"volumeHandle": "1001"})},
			claim: cloneOf("VolumeSnapshot", "yesterday"), before: func(s *scene) { s.data("data", 3) }, scores: []string{"0", "0", "81", "0"}},
		{name: "of a volume that is gone, where its snapshot lies", objects: []runtime.Object{snapshotOf("old", "content"),
			contentOf("content", driver, map[string]any{"snapshotHandle": "1001"})}, claim: cloneOf("VolumeSnapshot", "old"),
			before: func(s *scene) { s.storage.put(observation("1001", on(1))) }, scores: []string{"81", "0", "0", "0"}},
		{name: "what somebody else fills has the rules of its class", claim: cloneOf("Backup", "x"), scores: []string{"62", "62", "62", "0"}},
		{name: "of a source in another namespace nothing is told", claim: func(c *v1.PersistentVolumeClaim) {
			c.Spec.DataSourceRef = &v1.TypedObjectReference{Kind: "PersistentVolumeClaim", Namespace: ptr.To("other"), Name: "lost"}
		}, scores: []string{"62", "62", "62", "0"}},
		{name: "a shared volume with a service will be away", parameters: map[string]string{"sharedv4_svc_type": "ClusterIP"}, scores: nothing},

		{name: "a strategy that does not exist", parameters: placedBy("fsat"), scores: nothing,
			events: []string{`PersistentVolumeClaim new InvalidValue: placement_strategy: "fsat" is no VolumePlacementStrategy that exists, so that nothing is expected of where the volume will lie`}},
		{name: "a strategy that is malformed", objects: []runtime.Object{strategy("bad", map[string]any{"replicaAffinity": "everywhere"})}, parameters: placedBy("bad"), scores: nothing,
			events: []string{"cannot be understood (json: cannot unmarshal string"}},
		{name: "an operator that does not exist", objects: []runtime.Object{strategy("bad", where("replicaAffinity disk Is ssd"))}, parameters: placedBy("bad"), scores: nothing,
			events: []string{`(spec.replicaAffinity[0].matchExpressions[0].operator: "Is" is none of In, NotIn, Exists, DoesNotExist, Gt, Lt)`}},
		{name: "an enforcement that does not exist", objects: []runtime.Object{strategy("bad", map[string]any{"volumeAffinity": []any{map[string]any{"enforcement": "hard"}}})},
			parameters: placedBy("bad"), scores: nothing, events: []string{`(spec.volumeAffinity[0].enforcement: "hard" is neither required nor preferred)`}},
		{name: "a template that does not exist", objects: []runtime.Object{strategy("bad", where("replicaAffinity disk In ${pod.name}"))}, parameters: placedBy("bad"), scores: nothing,
			events: []string{"(spec.replicaAffinity[0].matchExpressions[0].values: ${pod.name} is none of ${pvc.namespace}, ${pvc.statefulset-pod}, ${pvc.labels.KEY})"}},
		{name: "a rule that says nothing", objects: []runtime.Object{strategy("bad", map[string]any{"replicaAffinity": []any{map[string]any{}}})}, parameters: placedBy("bad"), scores: nothing,
			events: []string{"(spec.replicaAffinity[0]: neither matchExpressions nor topologyKey)"}},
		{name: "Gt with a word", objects: []runtime.Object{strategy("bad", where("replicaAffinity disk Gt many"))}, parameters: placedBy("bad"), scores: nothing,
			events: []string{`(spec.replicaAffinity[0].matchExpressions[0].values: "many" is no whole number)`}},
		{name: "a clone of nothing", claim: cloneOf("PersistentVolumeClaim", "lost"), scores: nothing,
			events: []string{`PersistentVolumeClaim new InvalidValue: dataSource: "PersistentVolumeClaim lost" does not exist, so that`}},
		{name: "a clone of a claim that is not bound", claim: cloneOf("PersistentVolumeClaim", "later"), before: func(s *scene) { s.newClaim("later", nil, nil) }, scores: nothing,
			events: []string{`dataSource: "PersistentVolumeClaim later" is not bound to a volume`}},
		{name: "a clone of itself", claim: cloneOf("PersistentVolumeClaim", "new"), scores: nothing, events: []string{"is not bound to a volume"}},
		{name: "a clone of another driver's volume", claim: cloneOf("PersistentVolumeClaim", "disk"), before: func(s *scene) {
			s.add(volume{name: "disk", silent: true, pv: func(pv *v1.PersistentVolume) { pv.Spec.CSI.Driver = "disk.csi.azure.com" }})
		}, scores: nothing, events: []string{"is no volume of the storage driver"}},
		{name: "a snapshot that does not exist", claim: cloneOf("VolumeSnapshot", "lost"), scores: nothing, events: []string{`"VolumeSnapshot lost" does not exist`}},
		{name: "a snapshot without content", objects: []runtime.Object{snapshotOf("new", "")}, claim: cloneOf("VolumeSnapshot", "new"), scores: nothing, events: []string{"has no content yet"}},
		{name: "a snapshot of another driver", objects: []runtime.Object{snapshotOf("new", "c"), contentOf("c", "disk.csi.azure.com", map[string]any{"volumeHandle": "1"})},
			claim: cloneOf("VolumeSnapshot", "new"), scores: nothing, events: []string{"is no snapshot of the storage driver"}},
		{name: "a clone of a volume whose replicas stay unknown", claim: cloneOf("PersistentVolumeClaim", "data"), before: func(s *scene) {
			s.add(volume{name: "data", silent: true})
			s.pass(grace)
		}, scores: nothing},
	} {
		t.Run(row.name, func(t *testing.T) {
			set := setting{nodes: nodes, resources: customResources(row.objects...)}
			if row.nodes != nil {
				set.nodes = row.nodes
			}
			play(t, set, func(s *scene) {
				if row.before != nil {
					row.before(s)
				}
				s.newClaim("new", row.parameters, row.claim)
				wrapper := makePod("db", "new")
				if row.pod != nil {
					row.pod(wrapper)
				}
				pod := wrapper.Obj()
				s.create(pod)
				s.preFilter(pod) // a volume that only the pod leads to is asked for
				s.pass(time.Second)
				got := nothing
				for i, score := range s.scores(pod) {
					if i == 0 {
						got = nil
					}
					got = append(got, strconv.FormatInt(score, 10))
				}
				same(s, "scores", row.scores, got)
				s.scores(pod) // an event is told once
				events := s.events.taken()
				if len(events) != len(row.events) {
					s.Fatalf("events are %q, want %q", events, row.events)
				}
				for i, want := range row.events {
					if !strings.Contains(events[i], want) {
						s.Errorf("event %q does not say %q", events[i], want)
					}
				}
			})
		})
	}
}

// TestCopiesOfVolumesThatMayBeKnownSoon: section 12, pods wait a moment for the sources of
// copies.
func TestCopiesOfVolumesThatMayBeKnownSoon(t *testing.T) {
	const notKnown = placement.ReasonVolumeUnknown + ": shop/new"

	t.Run("a clone waits for the replicas of its source, and is tried again when they are known", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			handle := s.unknown("data")
			s.newClaim("new", nil, cloneOf("PersistentVolumeClaim", "data"))
			pod := s.pending(strict(makePod("db", "new")))
			same(s, "rejection", notKnown, s.rejection(pod))
			s.replicas(handle, 2)
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
			same(s, "scores", []int64{0, 81, 0}, s.scores(pod))
		})
	})
	t.Run("a clone waits for its source no longer than for a volume", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.unknown("data")
			s.newClaim("new", nil, cloneOf("PersistentVolumeClaim", "data"))
			pod := s.pending(makePod("db", "new").Obj())
			s.pass(grace - time.Millisecond)
			same(s, "activated early", nil, s.queue.taken())
			s.pass(time.Millisecond)
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
			same(s, "verdicts", everywhere, s.verdicts(pod))
		})
	})
	t.Run("a restore waits for nothing when the snapshot is known and its volume is not", func(t *testing.T) {
		client := customResources(snapshotOf("old", "content"), contentOf("content", driver, map[string]any{"volumeHandle": "gone", "snapshotHandle": "1001"}))
		play(t, setting{nodes: []string{"", "", ""}, resources: client}, func(s *scene) {
			s.data("data", 2)
			s.newClaim("new", nil, cloneOf("VolumeSnapshot", "old"))
			same(s, "scores", []int64{0, 81, 0}, s.scores(s.pending(makePod("db", "new").Obj())))
		})
	})
	t.Run("a restore does not wait for what storage alone may know", func(t *testing.T) {
		client := customResources(snapshotOf("old", "content"), contentOf("content", driver, map[string]any{"snapshotHandle": "cloud/77"}))
		play(t, setting{nodes: []string{"", "", ""}, resources: client}, func(s *scene) {
			s.newClaim("new", nil, cloneOf("VolumeSnapshot", "old"))
			same(s, "verdicts", everywhere, s.verdicts(s.pending(makePod("db", "new").Obj())))
		})
	})
	t.Run("a pod without placement waits for no source", func(t *testing.T) {
		play(t, online(3), func(s *scene) {
			s.unknown("data")
			s.newClaim("new", nil, cloneOf("PersistentVolumeClaim", "data"))
			same(s, "verdicts", everywhere, s.verdicts(s.pending(makePod("db", "new").Annotation(placement.PodDisableHyperconvergence, "true").Obj())))
		})
	})
}

// TestStrictPodsWithNewVolumes: F15, and that its pods are tried again when a strategy or a
// node leaves them one more node, and at no other time.
func TestStrictPodsWithNewVolumes(t *testing.T) {
	ssd := strategy("fast", where("replicaAffinity disk In ssd"))
	client := customResources(ssd)
	play(t, setting{nodes: []string{"disk=ssd", "disk=hdd", "disk=tape", "storageless disk=ssd"}, resources: client}, func(s *scene) {
		s.newClaim("new", placedBy("fast"), nil)
		pod := strict(makePod("db", "new"))
		soft := makePod("web", "new").Obj()
		s.create(pod, soft)
		no := placement.ReasonNoNewReplica
		same(s, "verdicts", []string{"ok", no, no, "ok"}, s.verdicts(pod))
		same(s, "verdicts on a soft pod", []string{"ok", "ok", "ok", "ok"}, s.verdicts(soft))
		same(s, "offer", [][]string{{"n1"}}, s.offer(pod))
		for _, step := range []struct {
			name string
			do   func()
			want []string
		}{
			{"a strategy of others changes", func() { s.must(client.Tracker().Add(strategy("other", where("replicaAffinity disk In hdd")))) }, nil},
			{"the strategy admits one more node", func() { s.setStrategy(client, strategy("fast", where("replicaAffinity disk In ssd hdd"))) }, []string{"shop/db"}},
			{"the same once more", func() { s.setStrategy(client, strategy("fast", where("replicaAffinity disk In ssd hdd"))) }, nil},
			{"the strategy admits less", func() { s.setStrategy(client, strategy("fast", where("replicaAffinity disk In hdd"))) }, nil},
			{"a node gets another label", func() { s.label("n3", "rack", "r1") }, nil},
			{"a node gets the label", func() { s.label("n3", "disk", "hdd") }, []string{"shop/db"}},
			{"a node loses it", func() { s.label("n3", "disk", "tape") }, nil},
			{"the strategy is deleted", func() {
				s.must(client.Tracker().Delete(strategies.Resource, "", "fast"))
			}, []string{"shop/db"}},
			{"the strategy comes back", func() { s.must(client.Tracker().Add(ssd)) }, nil},
			{"the claim names another one", func() {
				claim, err := s.informers.Core().V1().PersistentVolumeClaims().Lister().PersistentVolumeClaims(namespace).Get("new")
				s.must(err)
				changed := claim.DeepCopy()
				changed.Annotations[strategies.Strategy] = "other"
				update(s, claim, func(c *v1.PersistentVolumeClaim) { c.Annotations[strategies.Strategy] = "other" })
				_, err = s.pl.isSchedulableAfterPersistentVolumeClaimChange(klog.Background(), pod, claim, changed)
				s.must(err)
			}, []string{"shop/db"}},
		} {
			step.do()
			s.settle()
			s.pass(time.Second)
			same(s, step.name+": activated", step.want, s.queue.taken())
			s.resetGaps()
			s.preFilter(pod)
			s.preFilter(soft)
			s.queue.taken()
		}
	})
}

// TestStrategyIsDeletedWhilePodsWait: it is told, though nothing helps the pod.
func TestStrategyIsDeletedWhilePodsWait(t *testing.T) {
	client := customResources(strategy("fast", where("replicaAffinity disk In ssd")))
	play(t, setting{nodes: []string{"disk=ssd"}, resources: client}, func(s *scene) {
		s.newClaim("new", placedBy("fast"), nil)
		pod := makePod("db", "new").Obj()
		s.create(pod)
		s.preFilter(pod)
		same(s, "events", nil, s.events.taken())
		for range 2 { // once
			s.must(client.Tracker().Delete(strategies.Resource, "", "fast"))
			s.settle()
			s.must(client.Tracker().Add(strategy("fast", where("replicaAffinity disk In ssd"))))
			s.settle()
		}
		same(s, "events", []string{`PersistentVolumeClaim new InvalidValue: placement_strategy: "fast" is no VolumePlacementStrategy that exists, so that nothing is expected of where the volume will lie`}, s.events.taken())
		same(s, "activated", nil, s.queue.taken())
	})
}

func (s *scene) setStrategy(client *dynamicfake.FakeDynamicClient, object *unstructured.Unstructured) {
	s.Helper()
	s.must(client.Tracker().Update(strategies.Resource, object, ""))
}

func (s *scene) label(node, key, value string) {
	s.Helper()
	n, err := s.informers.Core().V1().Nodes().Lister().Get(node)
	s.must(err)
	update(s, n, func(n *v1.Node) { metav1.SetMetaDataLabel(&n.ObjectMeta, key, value) })
}

// TestStrategiesAreInstalledLater: until then nothing is said of a name that stands for
// nothing.
func TestStrategiesAreInstalledLater(t *testing.T) {
	for name, refusal := range map[string]error{
		"the resource does not exist yet":   apierrors.NewNotFound(strategies.Resource.GroupResource(), ""),
		"the scheduler may not read it yet": apierrors.NewForbidden(strategies.Resource.GroupResource(), "", errors.New("no role")),
	} {
		t.Run(name, func(t *testing.T) {
			var installed atomic.Bool
			client := customResources(strategy("fast", where("replicaAffinity disk In ssd")))
			client.PrependReactor("list", strategies.Resource.Resource, func(clienttesting.Action) (bool, runtime.Object, error) { return !installed.Load(), nil, refusal })
			play(t, setting{nodes: []string{"disk=ssd", "disk=hdd"}, resources: client}, func(s *scene) {
				s.newClaim("new", placedBy("fast"), nil)
				pod := makePod("db", "new").Obj()
				same(s, "scores", nil, s.scores(pod))
				same(s, "events", nil, s.events.taken())
				s.pass(5 * time.Minute) // the reflector is at its slowest then
				installed.Store(true)
				s.pass(2 * time.Minute)
				same(s, "scores with strategies", []int64{62, 0}, s.scores(pod))
			})
		})
	}
}

// TestRoomThatIsTaken: what new volumes of pods will take that have got their node counts
// for the pods behind them, until storage tells of it itself.
func TestRoomThatIsTaken(t *testing.T) {
	play(t, online(2), func(s *scene) {
		for n := range 2 {
			record := s.storage.nodes[storageID(n+1)]
			record.Disks = &placement.Disks{ID: record.ID, Pools: []placement.Pool{{UUID: record.ID, Free: 15 << 30}}}
			s.storage.nodes[record.ID] = record
		}
		s.storage.tellNodes()
		s.settle()
		s.newClaim("first", nil, nil)
		s.newClaim("second", nil, nil)
		first, second := makePod("first", "first").Obj(), makePod("second", "second").Obj()
		s.create(first, second)
		same(s, "all nodes have room", nil, s.scores(second))
		state, _, _ := s.preFilter(first)
		reserve := func() {
			if status := s.profile.RunReservePluginsReserve(s.ctx, state, first, "n1"); !status.IsSuccess() {
				s.Fatal(status.Message())
			}
		}
		reserve()
		same(s, "the first pod has n1", []int64{34, 62}, s.scores(second))
		same(s, "its own room is no matter to itself", nil, s.scores(first))
		s.profile.RunReservePluginsUnreserve(s.ctx, state, first, "n1")
		same(s, "it has failed there", nil, s.scores(second))
		reserve()
		s.profile.RunPostBindPlugins(s.ctx, state, first, "n1")
		same(s, "it is bound", []int64{34, 62}, s.scores(second))
		s.pass(time.Minute)
		same(s, "storage has listed its nodes since", nil, s.scores(second))
	})
}

// TestWhatUsersAreToldOfNewVolumes at the end.
func TestWhatUsersAreToldOfNewVolumes(t *testing.T) {
	for _, row := range []struct {
		node string
		want []string
	}{
		{"n1", []string{"Pod db ReplicaExpected: Pod runs on n1, where replicas are expected of shop/new"}},
		{"n2", []string{"Pod db NonOptimumScheduling: Pod runs on n2, which is not expected to hold a replica of shop/new. n1: feasible, but another node scored higher"}},
	} {
		t.Run(row.node, func(t *testing.T) {
			play(t, setting{nodes: []string{"disk=ssd", "disk=hdd"}, resources: customResources(strategy("fast", where("replicaAffinity disk In ssd")))}, func(s *scene) {
				s.newClaim("new", placedBy("fast"), nil)
				pod := makePod("db", "new").Obj()
				s.create(pod)
				state, _, _ := s.preFilter(pod)
				if status := s.profile.RunReservePluginsReserve(s.ctx, state, pod, row.node); !status.IsSuccess() {
					s.Fatal(status.Message())
				}
				s.profile.RunPostBindPlugins(s.ctx, state, pod, row.node)
				same(s, "events", row.want, s.events.taken())
			})
		})
	}
}

// TestBookingsOfAnySize: whoever makes claims writes sizes as they like.
func TestBookingsOfAnySize(t *testing.T) {
	b := newBookings(time.Minute)
	for _, uid := range []types.UID{"a", "b"} {
		b.book(&v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}}, "n1", []placement.Expected{{Size: math.MaxInt64}, {Size: math.MaxInt64}})
	}
	if got := b.onNodes("c", time.Now())["n1"]; got != math.MaxInt64 {
		t.Errorf("%d bytes are booked", got)
	}
}
