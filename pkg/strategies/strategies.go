// Package strategies knows what Kubernetes says about volumes that do not exist yet: the
// VolumePlacementStrategies, what claims are clones and restores of, and which claims have
// the labels that strategies look for. It answers from memory.
package strategies

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/lru"

	"github.com/hyperconverge/scheduler/pkg/optional"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// Resource is that of VolumePlacementStrategies.
var Resource = schema.GroupVersionResource{Group: "portworx.io", Version: "v1beta2", Resource: "volumeplacementstrategies"}

// Parameters of a StorageClass that say where replicas go. Strategy may be an annotation
// of the claim, too, which counts before the parameter.
const (
	Strategy   = "placement_strategy"
	Nodes      = "nodes"
	Zones      = "zones"
	Racks      = "racks"
	Replicas   = "repl"
	BestEffort = "best_effort_location_provisioning"
)

const (
	// rulesKept bounds the rules that are shared by the pods that have the same, and
	// rulesBytes what they take: tenants label claims, and each label that a template stands
	// for makes rules of its own.
	rulesKept  = 4096
	rulesBytes = 64 << 20
)

// Store is all that is known.
type Store struct {
	pvcs                           cache.SharedIndexInformer
	strategies, snapshots, content *optional.Informer // nil without a client
	labelled                       labelled
	// rules are shared, so that what is found out about nodes can be kept by them. The values
	// are keptRules.
	rules *lru.Cache

	keeping sync.Mutex // held while rules are added
	// kept is how many bytes they take, about.
	kept int64

	mu sync.Mutex
	// changed are called when a strategy has changed.
	changed map[int]func()
	last    int
}

// New returns a store that follows nothing yet. A nil client leaves strategies and
// snapshots unknown.
func New(client dynamic.Interface, pvcs cache.SharedIndexInformer) (*Store, error) {
	s := &Store{pvcs: pvcs, changed: map[int]func(){}}
	s.rules = lru.NewWithEvictionFunc(rulesKept, func(_ lru.Key, value any) {
		if kept, ok := value.(keptRules); ok {
			s.kept -= kept.bytes // keep holds the lock
		}
	})
	if client == nil {
		return s, nil
	}
	var err error
	if s.strategies, err = optional.NewInformer(client, Resource, parse, nil,
		"where new volumes go by VolumePlacementStrategies is not known"); err != nil {
		return nil, err
	}
	if s.snapshots, err = optional.NewInformer(client, snapshots, trimSnapshot, nil,
		"where volumes go that are restored from VolumeSnapshots is not known"); err != nil {
		return nil, err
	}
	if s.content, err = optional.NewInformer(client, contents, trimContent, nil,
		"where volumes go that are restored from VolumeSnapshots is not known"); err != nil {
		return nil, err
	}
	if _, err := s.strategies.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { s.strategyChanged() }, UpdateFunc: func(any, any) { s.strategyChanged() }, DeleteFunc: func(any) { s.strategyChanged() },
	}); err != nil {
		return nil, fmt.Errorf("following strategies: %w", err)
	}
	return s, nil
}

// Run follows strategies, snapshots and the labels of claims until the context ends.
func (s *Store) Run(ctx context.Context) {
	if s.strategies == nil {
		return
	}
	handler, err := s.pvcs.AddEventHandler(s.labelled.handler())
	if err == nil {
		defer func() { _ = s.pvcs.RemoveEventHandler(handler) }() // it fails only for a handler of another informer
	}
	var running sync.WaitGroup
	for _, informer := range []*optional.Informer{s.strategies, s.snapshots, s.content} {
		running.Go(func() { informer.RunWithContext(ctx) })
	}
	running.Wait()
}

// Tried reports whether all that can be read has been.
func (s *Store) Tried() bool {
	return s.strategies == nil || s.strategies.Tried() && s.snapshots.Tried() && s.content.Tried()
}

// Subscribe calls f after a strategy has changed, with no lock held.
func (s *Store) Subscribe(f func()) (unsubscribe func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	number := s.last
	s.changed[number] = f
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.changed, number)
	}
}

func (s *Store) strategyChanged() {
	keys := map[string]struct{}{}
	for _, object := range s.strategies.GetStore().List() {
		if p, ok := object.(*parsed); ok {
			for _, key := range p.labels {
				keys[key] = struct{}{}
			}
		}
	}
	s.labelled.follow(keys, s.pvcs.GetStore().List)
	s.mu.Lock()
	tell := make([]func(), 0, len(s.changed))
	for _, f := range s.changed {
		tell = append(tell, f)
	}
	s.mu.Unlock()
	for _, f := range tell {
		f()
	}
}

// rulesKey is all that rules are made of.
type rulesKey struct {
	strategy   *parsed
	values     string
	parameters string
}

// Rules are those for the volume of a claim that is not bound: nil if they cannot be told,
// with a problem of the claim where it is one. Claims that have the same rules get the same
// pointer, as long as it is not forgotten.
func (s *Store) Rules(claim *v1.PersistentVolumeClaim, parameters map[string]string, pod *v1.Pod) (*placement.StrategyRules, *placement.Problem) {
	var key rulesKey
	if name := strategyOf(claim, parameters); name != "" {
		var problem *placement.Problem
		if key.strategy, problem = s.strategy(name); key.strategy == nil {
			return nil, problem
		}
	}
	values := map[string]string{}
	if key.strategy != nil && len(key.strategy.templates) > 0 {
		var all strings.Builder
		for _, found := range key.strategy.templates {
			values[found] = fill(found, claim, pod)
			all.WriteString(values[found] + "\x00")
		}
		key.values = all.String()
	}
	// Storage reads no value of it: "false" is best effort, too.
	_, bestEffort := parameters[BestEffort]
	if len(parameters) > 0 {
		key.parameters = parameters[Nodes] + "\x00" + parameters[Zones] + "\x00" + parameters[Racks] + "\x00" + parameters[Replicas] + "\x00" + strconv.FormatBool(bestEffort)
	}
	if kept, found := s.rules.Get(key); found {
		if kept, ok := kept.(keptRules); ok {
			return kept.rules, nil
		}
	}
	rules := &placement.StrategyRules{
		Replicas: 1, Nodes: split(parameters[Nodes]), Zones: split(parameters[Zones]), Racks: split(parameters[Racks]),
		BestEffort: bestEffort,
	}
	if n, err := strconv.Atoi(parameters[Replicas]); err == nil && n > 0 {
		rules.Replicas = n
	}
	bytes := rulesOverhead + int64(len(key.values)+2*len(key.parameters))
	if key.strategy != nil {
		var more int64
		rules.Strategy, more = key.strategy.resolve(values)
		bytes += more
	}
	return s.keep(key, keptRules{rules, bytes}), nil
}

// keptRules are rules, and how many bytes they take beside the strategy that they are made
// of, about.
type keptRules struct {
	rules *placement.StrategyRules
	bytes int64
}

// rulesOverhead is what rules take that hold nothing.
const rulesOverhead = 512

// keep keeps rules, and forgets others for that. It returns those of another pod if that
// was faster.
func (s *Store) keep(key rulesKey, rules keptRules) *placement.StrategyRules {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	if before, found := s.rules.Get(key); found {
		if before, ok := before.(keptRules); ok {
			return before.rules
		}
	}
	s.kept += rules.bytes
	s.rules.Add(key, rules)
	for s.kept > rulesBytes && s.rules.Len() > 0 {
		s.rules.RemoveOldest()
	}
	return rules.rules
}

// SameWishes reports whether strategies read the same of two versions of a claim.
func SameWishes(a, b *v1.PersistentVolumeClaim) bool {
	nameA, inA := a.Annotations[Strategy]
	nameB, inB := b.Annotations[Strategy]
	return nameA == nameB && inA == inB && maps.Equal(a.Labels, b.Labels)
}

// strategyOf is the name of the strategy of a claim.
func strategyOf(claim *v1.PersistentVolumeClaim, parameters map[string]string) string {
	if name, found := claim.Annotations[Strategy]; found {
		return name
	}
	return parameters[Strategy]
}

// strategy looks a strategy up. That it is not there is a problem only where strategies
// can be.
func (s *Store) strategy(name string) (*parsed, *placement.Problem) {
	if s.strategies == nil || !s.strategies.HasSynced() || s.strategies.Gone() {
		return nil, nil
	}
	problem := func(detail string) *placement.Problem {
		return &placement.Problem{Key: Strategy, Value: placement.Excerpt(name), Detail: detail + ", so that nothing is expected of where the volume will lie"}
	}
	object, _, err := s.strategies.GetStore().GetByKey(name)
	if p, found := object.(*parsed); err == nil && found {
		if p.fault != "" {
			return nil, problem("is a VolumePlacementStrategy that cannot be understood (" + p.fault + ")")
		}
		return p, nil
	}
	return nil, problem("is no VolumePlacementStrategy that exists")
}

// split reads a list that is separated by commas or semicolons.
func split(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(",; \t\n", r) })
}
