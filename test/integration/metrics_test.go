package integration

import (
	"testing"

	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"
)

// gauge is the sum of a gauge or counter over all series that have the label.
// Schedulers of earlier scenarios have counted into the same registry, so that
// only differences of counters mean anything.
func gauge(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			if hasLabels(metric, labels) {
				sum += metric.GetGauge().GetValue() + metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// hasLabels takes pairs of name and value.
func hasLabels(metric *dto.Metric, pairs []string) bool {
	for i := 0; i+1 < len(pairs); i += 2 {
		found := false
		for _, label := range metric.GetLabel() {
			found = found || (label.GetName() == pairs[i] && label.GetValue() == pairs[i+1])
		}
		if !found {
			return false
		}
	}
	return true
}

// attempts is the number of scheduling attempts of all schedulers so far.
func (c *cluster) attempts() float64 {
	c.Helper()
	return gauge(c.T, "scheduler_schedule_attempts_total")
}

// schedulerErrors is the number of attempts so far that ended neither with a node
// nor with a reason, but with an error.
func (c *cluster) schedulerErrors() float64 {
	c.Helper()
	return gauge(c.T, "scheduler_schedule_attempts_total", "result", "error")
}
