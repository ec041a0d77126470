// Package perf compares four ways to schedule pods that use volumes, side by
// side on one kube-apiserver and etcd: kube-scheduler as it is, the plugin with
// preference Score, the plugin with preference LocalFirst, and an HTTP extender.
// docs/performance.md says what is measured and how to repeat it.
package perf

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// startControlPlane starts etcd and kube-apiserver in this process. They end with the
// test.
func startControlPlane(tb testing.TB) *controlplane.ControlPlane {
	tb.Helper()
	plane := controlplane.Start(tb, controlplane.WithoutControllers, "--authorization-mode=AlwaysAllow",
		// Clearing away a workload is not measured, but waited for.
		"--delete-collection-workers=8")
	// The encoding is kube-scheduler's default.
	plane.Config.QPS, plane.Config.Burst = clientLimit, clientLimit
	plane.Config.ContentType = runtime.ContentTypeProtobuf
	plane.Client = kubernetes.NewForConfigOrDie(plane.Config)
	return plane
}

// clientLimit of requests per second is that of scheduler_perf: kube-scheduler's own
// default of 50 would be all that is measured.
const clientLimit = 5000

// TestMain turns logging down to what a deployed scheduler does, and keeps all that
// is not an error out of the benchmark's output. The API server's test package has
// turned it up to 5, which costs a tenth of the CPU.
//
// The garbage collector runs less often than it would by itself: the components
// share one heap here, so that each of them pays for marking the objects of all.
func TestMain(m *testing.M) {
	logging := flag.NewFlagSet("logging", flag.ContinueOnError)
	klog.InitFlags(logging)
	if err := logging.Parse([]string{"-v=0", "-logtostderr=false", "-stderrthreshold=ERROR"}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	klog.SetOutput(io.Discard)
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}
