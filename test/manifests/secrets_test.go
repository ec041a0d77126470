package manifests

import (
	"strings"
	"testing"

	"github.com/hyperconverge/scheduler/test/kit"
)

// Whoever may read logs learns no token from them, however much is logged: not that of
// the storage system, nor the scheduler's own, nor those of who reads the metrics.
func TestSchedulerLogsNoSecrets(t *testing.T) {
	plane := sharedPlane(t)
	objects := build(t, "manifests/overlays/secure-storage")
	plane.apply(t, objects)
	c := newCluster(t, plane, 2, plane.secureStorage(t))
	reader := plane.metricsReader(t)
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			replica := plane.startReplica(t, objects, podOptions{
				name: "the scheduler", endpoint: c.Server.Endpoint(),
				args: []string{"--v=10", "--logging-format=" + format},
			})
			replica.awaitReady(t)
			c.Volume("data-"+format, "n2")
			c.Create(c.pod(format, schedulerName, "data-"+format))
			c.ExpectNode(format, "n2")
			c.Create(c.pod("anywhere-"+format, schedulerName)) // a choice, which is logged from 10 on
			c.ExpectBound("anywhere-" + format)
			replica.awaitMetrics(t, reader)
			replica.stop(t)
			log := replica.Said(0)
			for _, proof := range []string{"tokenreviews", "Plugin scored node for pod"} {
				if !strings.Contains(log, proof) {
					t.Errorf("the log does not have %q: it is not that of verbosity 10", proof)
				}
			}
			for _, leaked := range kit.Leaks(log, map[string]string{
				"the token of the storage system":         storageToken,
				"the scheduler's own token":               replica.token,
				"the token of somebody who reads metrics": reader,
			}) {
				t.Errorf("the log has %s", leaked)
			}
		})
	}
}
