package webhook

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	dto "github.com/prometheus/client_model/go"
	v1 "k8s.io/api/core/v1"
)

// An increase is seen only of a series that was there before, so that no series may
// begin with its first event.
func TestCountersBeginAtZero(t *testing.T) {
	counters := []string{"hyperconverge_webhook_pods_total", "hyperconverge_webhook_lookups_total"}
	series := func(w *world) (all []*dto.Metric) {
		for _, name := range counters {
			all = append(all, w.gather(name)...)
		}
		return all
	}
	w := newWorld(t, defaultRules, stored(), nil)
	for _, one := range series(w) {
		if one.GetCounter().GetValue() != 0 {
			t.Errorf("%v is not 0 at the start", one)
		}
	}
	before := len(series(w))
	if want := len(outcomesInSource(t)) + len(lookupResources)*len(lookupResults); before != want {
		t.Errorf("%d series are there at the start, want %d", before, want)
	}
	for _, pod := range []*v1.Pod{podWith(pvc("data")), podWith(), podWith(pvc("missing"))} {
		w.admit(pod)
	}
	if after := len(series(w)); after != before {
		t.Errorf("%d series have begun with their first event", after-before)
	}
}

func TestEveryOutcomeHasASeries(t *testing.T) {
	for _, outcome := range outcomesInSource(t) {
		if !slices.Contains(outcomes, outcome) {
			t.Errorf("the series of outcome %q begins with its first pod", outcome)
		}
	}
}

// outcomesInSource returns the values of all constants of type Outcome.
func outcomesInSource(t *testing.T) (values []Outcome) {
	file, err := parser.ParseFile(token.NewFileSet(), "decision.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Outcome" {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		value, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, Outcome(value))
		return true
	})
	if len(values) == 0 {
		t.Fatal("decision.go has no outcomes")
	}
	return values
}
