package strategies

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// parsed is what is kept of a VolumePlacementStrategy.
type parsed struct {
	name string
	// strategy has templates in its values. It is nil if fault says what is wrong.
	strategy *placement.Strategy
	fault    string
	// templates are those that stand in the values, each once.
	templates []string
	// labels are the keys that rules about other volumes look for.
	labels []string
}

// GetObjectMeta implements metav1.ObjectMetaAccessor, for the key in the cache.
func (p *parsed) GetObjectMeta() metav1.Object { return &metav1.ObjectMeta{Name: p.name} }

// strategySpec is the spec of a VolumePlacementStrategy of portworx.io/v1beta2.
type strategySpec struct {
	ReplicaAffinity     []ruleSpec `json:"replicaAffinity"`
	ReplicaAntiAffinity []ruleSpec `json:"replicaAntiAffinity"`
	VolumeAffinity      []ruleSpec `json:"volumeAffinity"`
	VolumeAntiAffinity  []ruleSpec `json:"volumeAntiAffinity"`
}

type ruleSpec struct {
	Weight           uint64            `json:"weight"`
	Enforcement      string            `json:"enforcement"`
	TopologyKey      string            `json:"topologyKey"`
	AffectedReplicas uint32            `json:"affected_replicas"`
	MatchExpressions []requirementSpec `json:"matchExpressions"`
}

type requirementSpec struct {
	Key      string   `json:"key"`
	Operator string   `json:"operator"`
	Values   []string `json:"values"`
}

// parse is an informer transform. What cannot be understood is kept with its fault.
func parse(object any) (any, error) {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil
	}
	p := &parsed{name: u.GetName()}
	var spec strategySpec
	text, err := json.Marshal(u.Object["spec"])
	if err == nil {
		// Unlike that of encoding/json, it tells upper and lower case apart, as storage does.
		err = json.Unmarshal(text, &spec)
	}
	if err == nil {
		p.strategy, err = spec.strategy(p)
	}
	if err != nil {
		p.strategy, p.fault = nil, err.Error()
	}
	return p, nil
}

func (s *strategySpec) strategy(p *parsed) (*placement.Strategy, error) {
	strategy := &placement.Strategy{Name: p.name}
	templates, labels := sets.New[string](), sets.New[string]()
	for _, list := range []struct {
		name string
		from []ruleSpec
		to   *[]placement.StrategyRule
	}{
		{"replicaAffinity", s.ReplicaAffinity, &strategy.ReplicaAffinity},
		{"replicaAntiAffinity", s.ReplicaAntiAffinity, &strategy.ReplicaAntiAffinity},
		{"volumeAffinity", s.VolumeAffinity, &strategy.VolumeAffinity},
		{"volumeAntiAffinity", s.VolumeAntiAffinity, &strategy.VolumeAntiAffinity},
	} {
		ofVolumes := strings.HasPrefix(list.name, "volume")
		for i := range list.from {
			rule, err := list.from[i].rule(ofVolumes)
			if err != nil {
				return nil, fmt.Errorf("spec.%s[%d]%w", list.name, i, err)
			}
			*list.to = append(*list.to, rule)
			note(&rule, templates, labels, ofVolumes)
		}
	}
	p.templates, p.labels = sets.List(templates), sets.List(labels)
	return strategy, nil
}

// rule reads one rule; an error begins with the path within it.
func (s *ruleSpec) rule(ofVolumes bool) (placement.StrategyRule, error) {
	rule := placement.StrategyRule{Weight: max(s.Weight, 1), Replicas: int(s.AffectedReplicas), TopologyKey: s.TopologyKey}
	switch s.Enforcement {
	case "", "required":
	case "preferred":
		rule.Preferred = true
	default:
		return rule, fmt.Errorf(".enforcement: %.64q is neither required nor preferred", s.Enforcement)
	}
	switch {
	case len(s.MatchExpressions) > 0:
	case ofVolumes:
		return rule, errors.New(": matchExpressions are missing")
	case s.TopologyKey == "":
		return rule, errors.New(": neither matchExpressions nor topologyKey")
	}
	for i, m := range s.MatchExpressions {
		r := placement.Requirement{Key: m.Key, Operator: placement.Operator(m.Operator), Values: m.Values}
		if err := validate(&r); err != nil {
			return rule, fmt.Errorf(".matchExpressions[%d]%w", i, err)
		}
		rule.Match = append(rule.Match, r)
	}
	return rule, nil
}

func validate(r *placement.Requirement) error {
	if r.Key == "" {
		return errors.New(".key: is missing")
	}
	switch r.Operator {
	case placement.In, placement.NotIn:
		if len(r.Values) == 0 {
			return fmt.Errorf(".values: %s needs some", r.Operator)
		}
	case placement.Exists, placement.DoesNotExist:
		if len(r.Values) > 0 {
			return fmt.Errorf(".values: %s takes none", r.Operator)
		}
	case placement.Gt, placement.Lt:
		if len(r.Values) != 1 {
			return fmt.Errorf(".values: %s takes one number", r.Operator)
		}
		if _, err := strconv.ParseInt(r.Values[0], 10, 64); err != nil && !template.MatchString(r.Values[0]) {
			return fmt.Errorf(".values: %.64q is no whole number", r.Values[0])
		}
	default:
		return fmt.Errorf(".operator: %.64q is none of In, NotIn, Exists, DoesNotExist, Gt, Lt", r.Operator)
	}
	for _, value := range r.Values {
		for _, match := range template.FindAllStringSubmatch(value, -1) {
			if key := match[1]; key != templateNamespace && key != templatePod && !strings.HasPrefix(key, templateLabel) {
				return fmt.Errorf(".values: ${%.64s} is none of ${%s}, ${%s}, ${%sKEY}", key, templateNamespace, templatePod, templateLabel)
			}
		}
	}
	return nil
}

// note adds the templates of a rule and, of one about other volumes, the labels that it
// looks for.
func note(rule *placement.StrategyRule, templates, labels sets.Set[string], ofVolumes bool) {
	for i := range rule.Match {
		m := &rule.Match[i]
		if ofVolumes {
			labels.Insert(m.Key)
		}
		for _, value := range m.Values {
			templates.Insert(template.FindAllString(value, -1)...)
		}
	}
}

// Templates that may stand in the values of a rule.
const (
	templateNamespace = "pvc.namespace"
	templatePod       = "pvc.statefulset-pod"
	templateLabel     = "pvc.labels."
)

var template = regexp.MustCompile(`\$\{([^}]*)\}`)

// fill is what a template stands for: for the pod of a StatefulSet its name, for every
// other nothing.
func fill(found string, claim *v1.PersistentVolumeClaim, pod *v1.Pod) string {
	switch key := found[2 : len(found)-1]; key {
	case templateNamespace:
		return claim.Namespace
	case templatePod:
		if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind == "StatefulSet" {
			return pod.Name
		}
		return ""
	default:
		return claim.Labels[strings.TrimPrefix(key, templateLabel)]
	}
}

// resolve returns the strategy with what the templates stand for, and about how many bytes
// that takes. Rules without any are shared with the original.
func (p *parsed) resolve(values map[string]string) (s placement.Strategy, bytes int64) {
	s = *p.strategy
	if len(values) == 0 {
		return s, 0
	}
	for _, list := range []*[]placement.StrategyRule{&s.ReplicaAffinity, &s.ReplicaAntiAffinity, &s.VolumeAffinity, &s.VolumeAntiAffinity} {
		rules := slices.Clone(*list)
		bytes += int64(len(rules)) * int64(unsafe.Sizeof(placement.StrategyRule{}))
		for i := range rules {
			if slices.ContainsFunc(rules[i].Match, hasTemplate) {
				bytes += fillIn(&rules[i], values)
			}
		}
		*list = rules
	}
	return s, bytes
}

func hasTemplate(m placement.Requirement) bool {
	return slices.ContainsFunc(m.Values, template.MatchString)
}

// fillIn gives a rule conditions of its own, and returns about how many bytes these take.
func fillIn(rule *placement.StrategyRule, values map[string]string) (bytes int64) {
	rule.Match = slices.Clone(rule.Match)
	for i := range rule.Match {
		m := &rule.Match[i]
		m.Values = slices.Clone(m.Values)
		bytes += int64(unsafe.Sizeof(*m))
		for j := range m.Values {
			m.Values[j] = template.ReplaceAllStringFunc(m.Values[j], func(found string) string { return values[found] })
			bytes += int64(unsafe.Sizeof(m.Values[j])) + int64(len(m.Values[j]))
		}
	}
	return bytes
}
