package localfirst

import (
	"cmp"
	"sync"

	v1 "k8s.io/api/core/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// answersKey is where the answers of a cycle stand in its state.
const answersKey fwk.StateKey = "localfirst/answers"

// WhyNot says what a Filter plugin of the pass or an extender had against a node in
// the cycle of this state; it is empty if they had nothing, or were not asked.
func WhyNot(state fwk.CycleState, node string) string {
	data, err := state.Read(answersKey)
	if err != nil {
		return ""
	}
	a, ok := data.(*cycleAnswers)
	if !ok {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.against[node]
}

// answers are those of the scheduling cycle of the moment, of which a scheduler has
// one, whatever the profile. They are nil for pods without an offer.
type answers struct{ current *cycleAnswers }

// cycleAnswers are what was said of nodes in one cycle. Binding may still read them
// when the next cycle has begun.
type cycleAnswers struct {
	mu sync.Mutex
	// against: node → why the pod cannot have it.
	against map[string]string
	// extenders: extender → node → what it said. An extender that has failed is not
	// asked again.
	extenders map[*remembering]map[string]extenderAnswer
	failed    map[*remembering]error
}

type extenderAnswer struct {
	passed, unresolvable bool
	why                  string
}

// Clone returns the answers themselves: those of a cycle belong together.
func (a *cycleAnswers) Clone() fwk.StateData { return a }

func (a *answers) begin(state fwk.CycleState) {
	a.current = &cycleAnswers{}
	state.Write(answersKey, a.current)
}

func (a *answers) note(node, why string) {
	a.current.mu.Lock()
	defer a.current.mu.Unlock()
	a.current.put(node, why)
}

func (a *cycleAnswers) put(node, why string) {
	if a.against == nil {
		a.against = map[string]string{}
	}
	a.against[node] = why
}

// remembering is an extender that is asked about a node once in a cycle: the pass
// asks, and the cycle does after it.
type remembering struct {
	fwk.Extender
	answers *answers
}

// Filter implements fwk.Extender.
func (r *remembering) Filter(pod *v1.Pod, nodes []fwk.NodeInfo) (passed []fwk.NodeInfo, failed, unresolvable extenderv1.FailedNodesMap, err error) {
	if !r.IsFilter() || r.answers.current == nil {
		return r.Extender.Filter(pod, nodes)
	}
	a := r.answers.current
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.failed[r]; err != nil {
		return nil, nil, nil, err
	}
	known := a.extenders[r]
	if known == nil {
		known = make(map[string]extenderAnswer, len(nodes))
		if a.extenders == nil {
			a.extenders = map[*remembering]map[string]extenderAnswer{}
		}
		a.extenders[r] = known
	}
	var open []fwk.NodeInfo
	for _, node := range nodes {
		if _, found := known[node.Node().Name]; !found {
			open = append(open, node)
		}
	}
	if err := r.ask(pod, open, known, a); err != nil {
		return nil, nil, nil, err
	}
	failed, unresolvable = extenderv1.FailedNodesMap{}, extenderv1.FailedNodesMap{}
	for _, node := range nodes {
		name := node.Node().Name
		switch answer := known[name]; {
		case answer.passed:
			passed = append(passed, node)
		case answer.unresolvable:
			unresolvable[name] = answer.why
		default:
			failed[name] = answer.why
		}
	}
	return passed, failed, unresolvable, nil
}

// ask has the extender filter the nodes that it was not asked about.
func (r *remembering) ask(pod *v1.Pod, nodes []fwk.NodeInfo, known map[string]extenderAnswer, a *cycleAnswers) error {
	if len(nodes) == 0 {
		return nil
	}
	passed, failed, unresolvable, err := r.Extender.Filter(pod, nodes)
	if err != nil {
		if a.failed == nil {
			a.failed = map[*remembering]error{}
		}
		a.failed[r] = err
		return err
	}
	for _, node := range nodes {
		name := node.Node().Name
		why, final := unresolvable[name]
		known[name] = extenderAnswer{unresolvable: final,
			why: cmp.Or(why, failed[name], "turned down by extender "+r.Name())}
	}
	for _, node := range passed {
		known[node.Node().Name] = extenderAnswer{passed: true}
	}
	for _, node := range nodes {
		if answer := known[node.Node().Name]; !answer.passed {
			a.put(node.Node().Name, answer.why)
		}
	}
	return nil
}
