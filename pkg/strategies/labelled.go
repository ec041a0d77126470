package strategies

import (
	"maps"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/cache"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

const (
	// matchesLimit is how many volumes one rule may be about, and looksLimit how many claims
	// are looked at to find them. A rule about more has no say: tenants label claims, and
	// the work of placing a pod must not grow with what they do.
	matchesLimit = 256
	looksLimit   = 4 * matchesLimit
)

// labelled finds claims by the labels that strategies look for, and by no others.
type labelled struct {
	mu sync.RWMutex
	// keys are label key → value → the claims that have it.
	keys map[string]map[string]claimSet
}

// claimSet is a set of claims: namespace, as rules see it → namespace/name.
type claimSet map[string]sets.Set[string]

// follow makes these the keys by which claims are found.
func (l *labelled) follow(keys map[string]struct{}, claims func() []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.keys, func(key string, _ map[string]claimSet) bool { _, wanted := keys[key]; return !wanted })
	if l.keys == nil {
		l.keys = map[string]map[string]claimSet{}
	}
	var added []string
	for key := range keys {
		if _, found := l.keys[key]; !found {
			l.keys[key] = map[string]claimSet{}
			added = append(added, key)
		}
	}
	if len(added) == 0 {
		return
	}
	for _, object := range claims() {
		if claim, ok := object.(*v1.PersistentVolumeClaim); ok {
			l.set(nil, claim, added...)
		}
	}
}

func (l *labelled) handler() cache.ResourceEventHandler {
	change := func(old, claim *v1.PersistentVolumeClaim) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.set(old, claim, slices.Collect(maps.Keys(l.keys))...)
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			if claim, ok := object.(*v1.PersistentVolumeClaim); ok {
				change(nil, claim)
			}
		},
		UpdateFunc: func(before, object any) {
			old, _ := before.(*v1.PersistentVolumeClaim)
			if claim, ok := object.(*v1.PersistentVolumeClaim); ok {
				change(old, claim)
			}
		},
		DeleteFunc: func(object any) {
			if gone, unseen := object.(cache.DeletedFinalStateUnknown); unseen {
				object = gone.Obj
			}
			if claim, ok := object.(*v1.PersistentVolumeClaim); ok {
				change(claim, nil)
			}
		},
	}
}

// set moves a claim from where it was to where it is. The caller holds the lock.
func (l *labelled) set(old, claim *v1.PersistentVolumeClaim, keys ...string) {
	for _, key := range keys {
		values := l.keys[key]
		if old != nil {
			if value, found := old.Labels[key]; found {
				values[value].delete(old)
				if len(values[value]) == 0 {
					delete(values, value)
				}
			}
		}
		if claim == nil {
			continue
		}
		if value, found := claim.Labels[key]; found {
			if values[value] == nil {
				values[value] = claimSet{}
			}
			values[value].insert(claim)
		}
	}
}

func (s claimSet) insert(claim *v1.PersistentVolumeClaim) {
	namespace := namespaceOf(claim)
	if s[namespace] == nil {
		s[namespace] = sets.New[string]()
	}
	s[namespace].Insert(claim.Namespace + "/" + claim.Name)
}

func (s claimSet) delete(claim *v1.PersistentVolumeClaim) {
	namespace := namespaceOf(claim)
	s[namespace].Delete(claim.Namespace + "/" + claim.Name)
	if len(s[namespace]) == 0 {
		delete(s, namespace)
	}
}

// namespaceOf is the namespace of a claim as rules see it: they take a label of that name
// for it.
func namespaceOf(claim *v1.PersistentVolumeClaim) string {
	if namespace, found := claim.Labels[LabelNamespace]; found {
		return namespace
	}
	return claim.Namespace
}

// LabelNamespace and LabelPVC are labels that every volume has in the storage system: those
// of its claim.
const (
	LabelNamespace = "namespace"
	LabelPVC       = "pvc"
)

// Matches returns the claims whose volumes a rule about other volumes speaks of; false if
// there are too many, or if the rule has no condition by which they could be found.
func (s *Store) Matches(rule *placement.StrategyRule) (claims []*v1.PersistentVolumeClaim, all bool) {
	keys, findable := s.candidates(rule)
	if !findable || len(keys) > looksLimit {
		return nil, false
	}
	for _, key := range keys {
		object, _, err := s.pvcs.GetStore().GetByKey(key)
		if claim, ok := object.(*v1.PersistentVolumeClaim); err == nil && ok && Matches(rule, claim) {
			claims = append(claims, claim)
		}
	}
	return claims, len(claims) <= matchesLimit
}

// candidates are the claims that meet the condition of a rule that the fewest meet, and its
// namespaces, if it names some: no tenant has a say in how many there are in another's
// namespace. It is a condition that says what there is, and a label before the namespace,
// which has more of them.
func (s *Store) candidates(rule *placement.StrategyRule) (keys []string, findable bool) {
	namespaces := namespacesOf(rule)
	for i := range rule.Match {
		m := &rule.Match[i]
		if m.Key == LabelNamespace || m.Key == LabelPVC || m.Operator == placement.NotIn || m.Operator == placement.DoesNotExist {
			continue
		}
		if found, few := s.labelled.find(m, namespaces); few && (!findable || len(found) < len(keys)) {
			keys, findable = found, true
		}
	}
	if findable || namespaces == nil {
		return keys, findable
	}
	for namespace := range namespaces {
		found, err := s.pvcs.GetIndexer().IndexKeys(cache.NamespaceIndex, namespace)
		if err != nil {
			return nil, false
		}
		keys = append(keys, found...)
	}
	return keys, true
}

// namespacesOf are the namespaces that a rule names; nil for all.
func namespacesOf(rule *placement.StrategyRule) sets.Set[string] {
	for i := range rule.Match {
		if m := &rule.Match[i]; m.Key == LabelNamespace && m.Operator == placement.In {
			return sets.New(m.Values...)
		}
	}
	return nil
}

// find returns the claims of which a label meets a condition, in some namespaces or, if
// nil, all; false if more would have to be looked at than may be.
func (l *labelled) find(m *placement.Requirement, namespaces sets.Set[string]) (keys []string, few bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	values := l.keys[m.Key]
	if m.Operator == placement.In {
		for value := range sets.New(m.Values...) {
			if keys, few = values[value].appendTo(keys, namespaces); !few {
				return nil, false
			}
		}
		return keys, true
	}
	looks := 0
	for value, claims := range values {
		if looks++; looks > looksLimit {
			return nil, false
		}
		if !m.Matches(value, true) {
			continue
		}
		if keys, few = claims.appendTo(keys, namespaces); !few {
			return nil, false
		}
	}
	return keys, true
}

// appendTo adds the claims of some namespaces or, if nil, all; false if they are too many.
func (s claimSet) appendTo(keys []string, namespaces sets.Set[string]) (all []string, few bool) {
	add := func(claims sets.Set[string]) bool {
		for key := range claims {
			if len(keys) == looksLimit {
				return false
			}
			keys = append(keys, key)
		}
		return true
	}
	if namespaces == nil {
		for _, claims := range s {
			if !add(claims) {
				return nil, false
			}
		}
		return keys, true
	}
	for namespace := range namespaces {
		if !add(s[namespace]) {
			return nil, false
		}
	}
	return keys, true
}

// Matches reports whether a rule about other volumes speaks of that of a claim.
func Matches(rule *placement.StrategyRule, claim *v1.PersistentVolumeClaim) bool {
	for i := range rule.Match {
		m := &rule.Match[i]
		value, found := claim.Labels[m.Key]
		switch {
		case found:
		case m.Key == LabelNamespace:
			value, found = claim.Namespace, true
		case m.Key == LabelPVC:
			value, found = claim.Name, true
		}
		if !m.Matches(value, found) {
			return false
		}
	}
	return true
}
