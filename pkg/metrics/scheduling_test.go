package metrics

import (
	"strings"
	"testing"

	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/testutil"
)

// Dashboards and alerts rely on the names and labels.
func TestSchedulingMetricsAreExposed(t *testing.T) {
	RegisterScheduling()
	RegisterScheduling() // once per profile, and no panic

	Pods.WithLabelValues("shop", "local").Set(4)
	PodsBound.WithLabelValues("hyperconverge-scheduler", "local").Inc()
	HeldPods.WithLabelValues("claim does not exist").Add(2)
	ActivatedPods.Add(3)
	UnknownVolumes.WithLabelValues("stale").Inc()

	want := `
# HELP scheduler_hyperconverge_held_pods [ALPHA] Pending pods that are held back on all nodes for a storage reason, by reason.
# TYPE scheduler_hyperconverge_held_pods gauge
scheduler_hyperconverge_held_pods{reason="claim does not exist"} 2
# HELP scheduler_hyperconverge_pods [ALPHA] Pods with volumes that have a node, by namespace and by how they stand to their data: local, partly (of some volumes, or of a part of one), remote, away (as their volumes want) or unknown.
# TYPE scheduler_hyperconverge_pods gauge
scheduler_hyperconverge_pods{locality="local",namespace="shop"} 4
# HELP scheduler_hyperconverge_pods_bound_total [ALPHA] Pods with volumes that want them near, by profile and by the nearest relation of their node to a replica: local (of every volume), partly (of some, or of a part of one), rack, zone, region or remote.
# TYPE scheduler_hyperconverge_pods_bound_total counter
scheduler_hyperconverge_pods_bound_total{profile="hyperconverge-scheduler",relation="local"} 1
# HELP scheduler_hyperconverge_unknown_volumes_total [ALPHA] Volumes that a pod was scheduled without regard to, because their replicas were unknown or last known too long ago (stale).
# TYPE scheduler_hyperconverge_unknown_volumes_total counter
scheduler_hyperconverge_unknown_volumes_total{cause="stale"} 1
# HELP scheduler_hyperconverge_activated_pods_total [ALPHA] Pods put back into the active queue because a change in storage helps them, or changes what they are told.
# TYPE scheduler_hyperconverge_activated_pods_total counter
scheduler_hyperconverge_activated_pods_total 3
`
	err := testutil.GatherAndCompare(legacyregistry.DefaultGatherer, strings.NewReader(want),
		"scheduler_hyperconverge_held_pods", "scheduler_hyperconverge_pods", "scheduler_hyperconverge_pods_bound_total",
		"scheduler_hyperconverge_unknown_volumes_total", "scheduler_hyperconverge_activated_pods_total")
	if err != nil {
		t.Error(err)
	}
}
