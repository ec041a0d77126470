package strategies

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

func strategyObject(name string, spec any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "portworx.io/v1beta2", "kind": "VolumePlacementStrategy", "metadata": map[string]any{"name": name}, "spec": spec,
	}}
}

func parsedOf(t *testing.T, spec any) *parsed {
	t.Helper()
	object, err := parse(strategyObject("s", spec))
	if err != nil {
		t.Fatal(err)
	}
	return object.(*parsed)
}

func ruleList(fields map[string]any) []any {
	rule := map[string]any{"matchExpressions": []any{map[string]any{"key": "k", "operator": "In", "values": []any{"${pvc.labels.app}", "v"}}}}
	for key, value := range fields {
		rule[key] = value
	}
	return []any{rule}
}

func TestFieldsOfStrategiesAreReadAsTheyAreWritten(t *testing.T) {
	for _, row := range []struct {
		name  string
		spec  any
		rules int
		fault string
	}{
		{"the fields of the resource", map[string]any{"replicaAffinity": ruleList(map[string]any{"weight": int64(7), "affected_replicas": int64(1)})}, 1, ""},
		{"a field in other letters is another one", map[string]any{"ReplicaAffinity": ruleList(nil), "replicaaffinity": ruleList(nil)}, 0, ""},
		{"a field of a rule in other letters", map[string]any{"replicaAffinity": ruleList(map[string]any{"Enforcement": "never"})}, 1, ""},
		{"no spec at all", nil, 0, ""},
		{"a spec that is a list", []any{}, 0, "cannot unmarshal"},
		{"a weight that is a text", map[string]any{"replicaAffinity": ruleList(map[string]any{"weight": "7"})}, 0, "cannot unmarshal"},
		{"a weight below zero", map[string]any{"replicaAffinity": ruleList(map[string]any{"weight": int64(-1)})}, 0, "cannot unmarshal"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := parsedOf(t, row.spec)
			switch {
			case (p.fault == "") != (row.fault == "") || !strings.Contains(p.fault, row.fault):
				t.Errorf("fault is %q, want one with %q", p.fault, row.fault)
			case p.fault == "" && len(p.strategy.ReplicaAffinity) != row.rules:
				t.Errorf("rules are %+v", p.strategy.ReplicaAffinity)
			}
		})
	}
}

func TestResolvedRulesAreNoLargerThanTheirTemplates(t *testing.T) {
	plain := make([]any, 1000)
	for i := range plain {
		plain[i] = strings.Repeat("x", 50)
	}
	rules := append(ruleList(nil), map[string]any{"matchExpressions": []any{map[string]any{"key": "k", "operator": "In", "values": plain}}})
	p := parsedOf(t, map[string]any{"replicaAffinity": rules})
	long := strings.Repeat("l", 5000)
	s, bytes := p.resolve(map[string]string{"${pvc.labels.app}": long})
	if got := s.ReplicaAffinity[0].Match[0].Values; got[0] != long || got[1] != "v" {
		t.Errorf("values are %q", got)
	}
	if bytes < 5000 || bytes > 6000 {
		t.Errorf("they are said to take %d bytes", bytes)
	}
	if got := p.strategy.ReplicaAffinity[0].Match[0].Values[0]; got != "${pvc.labels.app}" {
		t.Errorf("the original has %q", got)
	}
	if &s.ReplicaAffinity[1].Match[0] != &p.strategy.ReplicaAffinity[1].Match[0] {
		t.Error("a rule without templates is copied")
	}
}

// TestRulesTakeBoundedMemory: each label that a template stands for makes rules of its own.
func TestRulesTakeBoundedMemory(t *testing.T) {
	s := newWorld(t).Store
	key := func(i int) rulesKey { return rulesKey{values: strconv.Itoa(i)} }
	first := &placement.StrategyRules{}
	for range 3 {
		if got := s.keep(key(0), keptRules{first, rulesBytes / 4}); got != first {
			t.Fatal("the same rules are kept twice")
		}
		s.keep(key(0), keptRules{&placement.StrategyRules{}, rulesBytes / 4})
	}
	for i := range 100 {
		s.keep(key(i), keptRules{&placement.StrategyRules{}, rulesBytes / 4})
	}
	if s.kept != rulesBytes || s.rules.Len() != 4 {
		t.Errorf("%d rules of %d bytes are kept, want 4 of %d", s.rules.Len(), s.kept, rulesBytes)
	}
	s.keep(key(-1), keptRules{&placement.StrategyRules{}, 2 * rulesBytes})
	if s.kept != 0 || s.rules.Len() != 0 {
		t.Errorf("%d rules of %d bytes are kept, although one alone is too large", s.rules.Len(), s.kept)
	}
}

// TestResourceThatIsRemovedIsNobodysMistake: where there can be no strategies, a claim that
// names one is not told that it does not exist.
func TestResourceThatIsRemovedIsNobodysMistake(t *testing.T) {
	client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		Resource: "VolumePlacementStrategyList", snapshots: "VolumeSnapshotList", contents: "VolumeSnapshotContentList",
	}, strategyObject("there", map[string]any{}))
	var gone atomic.Bool
	ended := make(chan struct{}) // ends the watch
	missing := apierrors.NewNotFound(Resource.GroupResource(), "")
	client.PrependReactor("list", Resource.Resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		return gone.Load(), nil, missing
	})
	client.PrependWatchReactor(Resource.Resource, func(clienttesting.Action) (bool, watch.Interface, error) {
		if gone.Load() {
			return true, nil, missing
		}
		w, err := client.Tracker().Watch(Resource, "")
		if err == nil {
			go func() {
				<-ended
				w.Stop()
			}()
		}
		return true, w, err
	})
	pvcs := informers.NewSharedInformerFactory(fake.NewClientset(), 0).Core().V1().PersistentVolumeClaims().Informer()
	s, err := New(client, pvcs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.strategies.RunWithContext(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-stopped
	})
	lost := claim("a", "x", nil)
	lost.Annotations = map[string]string{Strategy: "lost"}
	expect := func(when string, problem bool) {
		t.Helper()
		err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
			rules, got := s.Rules(lost, nil, &v1.Pod{})
			if rules != nil {
				return false, errors.New("it has rules")
			}
			return (got != nil) == problem, nil
		})
		if err != nil {
			t.Fatalf("%s, that the claim is told is not %t: %v", when, problem, err)
		}
	}
	expect("with the resource", true)
	gone.Store(true)
	close(ended)
	expect("without the resource", false)
	ended = make(chan struct{})
	defer close(ended)
	gone.Store(false)
	expect("with the resource again", true)
}
