package strategies

import (
	"maps"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"
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
	// keys are label key -> value -> namespace/name of the claims that have it.
	keys map[string]map[string]map[string]struct{}
}

// follow makes these the keys by which claims are found.
func (l *labelled) follow(keys map[string]struct{}, claims func() []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.keys, func(key string, _ map[string]map[string]struct{}) bool { _, wanted := keys[key]; return !wanted })
	if l.keys == nil {
		l.keys = map[string]map[string]map[string]struct{}{}
	}
	var added []string
	for key := range keys {
		if _, found := l.keys[key]; !found {
			l.keys[key] = map[string]map[string]struct{}{}
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
				delete(values[value], old.Namespace+"/"+old.Name)
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
				values[value] = map[string]struct{}{}
			}
			values[value][claim.Namespace+"/"+claim.Name] = struct{}{}
		}
	}
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

// candidates are the claims that meet one condition of a rule, which is one that says what
// there is: a label before the namespace, which has more of them.
func (s *Store) candidates(rule *placement.StrategyRule) (keys []string, findable bool) {
	for i := range rule.Match {
		m := &rule.Match[i]
		if m.Key != LabelNamespace && m.Key != LabelPVC && m.Operator != placement.NotIn && m.Operator != placement.DoesNotExist {
			return s.labelled.find(m), true
		}
	}
	for i := range rule.Match {
		m := &rule.Match[i]
		if m.Key == LabelNamespace && m.Operator == placement.In {
			for _, namespace := range m.Values {
				found, err := s.pvcs.GetIndexer().IndexKeys(cache.NamespaceIndex, namespace)
				if err != nil {
					return nil, false
				}
				keys = append(keys, found...)
			}
			return keys, true
		}
	}
	return nil, false
}

// find returns the claims of which a label meets a condition, a few more than may be
// looked at at most.
func (l *labelled) find(m *placement.Requirement) (keys []string) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for value, claims := range l.keys[m.Key] {
		if !m.Matches(value, true) {
			continue
		}
		for key := range claims {
			if keys = append(keys, key); len(keys) > looksLimit {
				return keys
			}
		}
	}
	return keys
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
