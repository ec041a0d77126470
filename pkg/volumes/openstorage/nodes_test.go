package openstorage

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"k8s.io/component-base/metrics/testutil"

	sim "github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// Whatever else storage answers, node states that it does not list any more are
// not believed for longer than MaxStaleness.
func TestNodeStatesGetOldThoughVolumesAreConfirmed(t *testing.T) {
	for _, test := range []struct {
		name   string
		faults sim.Faults
	}{
		{"when the node list fails", failingCalls("Node.*", codes.Internal)},
		{"when it does not come in time", sim.Faults{Calls: map[string]sim.CallFault{"Node.*": {Hang: true}}}},
		{"when it is empty", sim.Faults{HideNodes: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var id string
			r := start(t, settings{
				config:  Config{ResyncInterval: 50 * time.Millisecond, RequestTimeout: 100 * time.Millisecond},
				options: volumes.Options{MaxStaleness: 500 * time.Millisecond},
				setUp:   withVolume(&id),
			})
			r.addPV(pvOf("pv", id))
			r.eventuallyOn(id, "node-1", "node-2")
			r.must(r.cluster.SetNodeState("node-2", sim.StatusOffline))
			r.eventuallyState("node-2", placement.Offline)
			r.must(r.server.SetFaults(test.faults))
			r.eventuallyState("node-2", placement.Online) // by its driver
			r.eventuallyIs(id, volumes.Fresh)
			r.must(r.server.SetFaults(sim.Faults{}))
			r.eventuallyState("node-2", placement.Offline)
		})
	}
}

func TestStorageNodesThatKubernetesDoesNotHaveAreTold(t *testing.T) {
	r := start(t, settings{nodes: 2, setUp: func(r *rig) {
		_, err := r.cluster.AddNode(sim.Node{SchedulerNodeName: "elsewhere", MgmtIP: "192.0.2.7"})
		r.must(err)
	}})
	for matched, want := range map[string]float64{"true": 2, "false": 1} {
		r.eventually("matched="+matched+" is counted", func() bool {
			got, err := testutil.GetGaugeMetricValue(metrics.StorageNodes.WithLabelValues(matched))
			return err == nil && got == want
		})
	}
	r.source.LogSummary(r.logger())
	for _, text := range []string{"unmatchedStorageNodes=1", `schedulerNodeName="elsewhere"`, `managementIP="192.0.2.7"`} {
		if !r.logged(text) {
			t.Errorf("the log lacks %s:\n%s", text, r.log)
		}
	}
}
