//go:build kubernetes1.37

package integration

import (
	"errors"
	"fmt"
	"testing"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/kubernetes/pkg/features"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// With the feature gate SchedulerPreQueueingHints, the event of a claim is looked at for the
// pod that waits for that claim, and for none of the others that wait.
func TestEventsOfClaimsAreLookedAtForTheirPodsAlone(t *testing.T) {
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.SchedulerPreQueueingHints, true)
	plane := controlplane.Start(t, controlplane.WithoutControllers, "--authorization-mode=AlwaysAllow")
	c := &cluster{controlplane.NewCluster(t, plane, kit.Soon, 3, openstoragesim.ServerOptions{})}
	c.class("new", "repl", "1")
	c.runScheduler("")
	const waiting = 200
	for i := range waiting {
		c.Create(c.pod(fmt.Sprintf("db-%d", i), fmt.Sprintf("data-%d", i)))
	}
	for i := range waiting {
		c.expectPending(fmt.Sprintf("db-%d", i), "not found")
	}
	before := hintsAsked(t)
	c.newVolume("data-7", "new", nil)
	var asked uint64
	c.Eventually("hints are counted", func() error {
		if asked = hintsAsked(t) - before; asked == 0 {
			return errors.New("none is")
		}
		return nil
	})
	if asked > waiting/10 {
		t.Errorf("%d hints were asked for of %d waiting pods, want those of one", asked, waiting)
	}
	c.Eventually("the claim has its node", func() error {
		if c.GetClaim("data-7").Annotations["volume.kubernetes.io/selected-node"] == "" {
			return errors.New("it has none")
		}
		return nil
	})
}

// hintsAsked is how often, in this process, any plugin was asked whether a new claim helps a
// pod. Before the first time there is no such metric.
func hintsAsked(t *testing.T) uint64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var asked uint64
	for _, family := range families {
		if family.GetName() != "scheduler_queueing_hint_execution_duration_seconds" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "event" && label.GetValue() == "PersistentVolumeClaimAdd" {
					asked += metric.GetHistogram().GetSampleCount()
				}
			}
		}
	}
	return asked
}
