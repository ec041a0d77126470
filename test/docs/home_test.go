package docs

import (
	"go/ast"
	"strings"
	"testing"

	"github.com/hyperconverge/scheduler/pkg/rebalance"
)

// Whoever wonders why a pod stays where it is finds every reason, result, event and metric
// in docs/back-home.md.
func TestBackHomeNamesAllThatTheRebalancerTells(t *testing.T) {
	document := read(t, "docs/back-home.md")
	mentioned := func(what, name string) {
		t.Helper()
		if !strings.Contains(document, "`"+name+"`") {
			t.Errorf("docs/back-home.md does not mention the %s %q", what, name)
		}
	}
	for _, reason := range rebalance.Reasons() {
		mentioned("reason", string(reason))
	}
	for _, result := range rebalance.Results() {
		mentioned("result", string(result))
	}
	events := search(t, "internal/rebalancer/act.go", constant("Event"))
	metrics := search(t, "internal/rebalancer/metrics.go", rebalancerMetric)
	if len(events) < 5 || len(metrics) < 14 {
		t.Fatalf("only these were found: %v, %v", events, metrics)
	}
	for _, event := range events {
		mentioned("event", event)
	}
	for _, metric := range metrics {
		mentioned("metric", metric)
	}
}

// rebalancerMetric finds the names of metrics, be it in their options or in the call of a
// maker.
func rebalancerMetric(n ast.Node) (string, bool) {
	if call, is := n.(*ast.CallExpr); is && len(call.Args) == 2 {
		if maker, is := call.Fun.(*ast.Ident); is && (maker.Name == "gauge" || maker.Name == "counter") {
			return literal(call.Args[0])
		}
	}
	name, found := metricName(n)
	return strings.TrimSuffix(strings.TrimPrefix(name, "`scheduler_hyperconverge_"), "`"), found
}
