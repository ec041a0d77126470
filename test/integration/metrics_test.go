package integration

import (
	"testing"

	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/hyperconverge/scheduler/test/kit/child"
)

// gauge is the sum of a gauge or counter over all series that have the label.
// Schedulers of earlier scenarios have counted into the same registry, so that
// only differences of counters mean anything.
func gauge(tb testing.TB, name string, labels ...string) float64 {
	tb.Helper()
	gathered, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	families := child.Families{}
	for _, family := range gathered {
		families[family.GetName()] = family
	}
	sum, _ := families.Sum(name, labels...)
	return sum
}

// attempts is the number of scheduling attempts of all schedulers so far.
func (c *cluster) attempts() float64 {
	c.Helper()
	return gauge(c.TB, "scheduler_schedule_attempts_total")
}

// schedulerErrors is the number of attempts so far that ended neither with a node
// nor with a reason, but with an error.
func (c *cluster) schedulerErrors() float64 {
	c.Helper()
	return gauge(c.TB, "scheduler_schedule_attempts_total", "result", "error")
}
