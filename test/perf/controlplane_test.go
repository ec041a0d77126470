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
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/test/controlplane"
)

// startControlPlane starts etcd and kube-apiserver in this process, and returns
// how to reach them. They end with the test.
func startControlPlane(tb testing.TB) *rest.Config {
	tb.Helper()
	config := controlplane.Start(tb, controlplane.WithoutControllers, "--authorization-mode=AlwaysAllow",
		// Clearing away a workload is not measured, but waited for.
		"--delete-collection-workers=8").Config
	// The client limits are those of scheduler_perf: kube-scheduler's own default
	// of 50 requests per second would be all that is measured. The encoding is
	// kube-scheduler's default.
	config.QPS, config.Burst = 5000, 5000
	config.ContentType = runtime.ContentTypeProtobuf
	return config
}

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
