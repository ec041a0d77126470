package sandbox

import (
	"context"
	"fmt"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// SchedulerMetric reads a gauge or counter of the scheduler: the sum of all
// series that carry these labels, 0 if there are none.
func (s *Sandbox) SchedulerMetric(ctx context.Context, name string, labels map[string]string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.SchedulerAddress+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := s.scheduler.Do(request)
	if err != nil {
		return 0, fmt.Errorf("reading the scheduler's metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("reading the scheduler's metrics: %s", response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return 0, fmt.Errorf("reading the scheduler's metrics: %w", err)
	}
	sum := 0.0
	for _, metric := range families[name].GetMetric() {
		if carries(metric, labels) {
			sum += metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
		}
	}
	return sum, nil
}

func carries(metric *dto.Metric, labels map[string]string) bool {
	found := 0
	for _, pair := range metric.GetLabel() {
		if value, asked := labels[pair.GetName()]; asked && value == pair.GetValue() {
			found++
		}
	}
	return found == len(labels)
}
