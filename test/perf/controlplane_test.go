// Package perf compares four ways to schedule pods that use volumes, side by
// side on one kube-apiserver and etcd: kube-scheduler as it is, the plugin with
// preference Score, the plugin with preference LocalFirst, and an HTTP extender.
// docs/performance.md says what is measured and how to repeat it.
package perf

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	apiservertesting "k8s.io/kubernetes/cmd/kube-apiserver/app/testing"
)

// startControlPlane starts etcd and kube-apiserver in this process, and returns
// how to reach them. They end with the test.
func startControlPlane(tb testing.TB) *rest.Config {
	tb.Helper()
	storage := storagebackend.NewDefaultConfig("/registry", nil)
	storage.Transport.ServerList = []string{startEtcd(tb)}
	server, err := apiservertesting.StartTestServer(quiet{tb}, apiservertesting.NewDefaultTestServerOptions(), []string{
		// What these plugins wait for is done by a controller manager, which is not here.
		"--disable-admission-plugins=ServiceAccount,TaintNodesByCondition,Priority,StorageObjectInUseProtection",
		"--authorization-mode=AlwaysAllow",
		// It refuses the loopback address that this server has, again and again.
		"--endpoint-reconciler-type=none",
		// Clearing away a workload is not measured, but waited for.
		"--delete-collection-workers=8",
	}, storage)
	if err != nil {
		tb.Fatalf("kube-apiserver: %v", err)
	}
	tb.Cleanup(server.TearDownFn)
	config := rest.CopyConfig(server.ClientConfig)
	// The client limits are those of scheduler_perf: kube-scheduler's own default
	// of 50 requests per second would be all that is measured. The encoding is
	// kube-scheduler's default.
	config.QPS, config.Burst = 5000, 5000
	config.ContentType = runtime.ContentTypeProtobuf
	return config
}

// startEtcd returns the client URL of a new, empty etcd.
func startEtcd(tb testing.TB) string {
	tb.Helper()
	config := embed.NewConfig()
	config.Dir = tb.TempDir()
	config.LogLevel = "fatal"
	config.UnsafeNoFsync = true // the data dies with the test
	config.QuotaBackendBytes = 8 << 30
	client, peer := freeURL(tb), freeURL(tb)
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		tb.Fatalf("etcd: %v", err)
	}
	tb.Cleanup(etcd.Close)
	select {
	case <-etcd.Server.ReadyNotify():
	case <-time.After(time.Minute):
		tb.Fatal("etcd is not ready after a minute")
	}
	return client.String()
}

func freeURL(tb testing.TB) url.URL {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		tb.Fatal(err)
	}
	return url.URL{Scheme: "http", Host: listener.Addr().String()}
}

// quiet is a test that is not told what the API server has to say.
type quiet struct{ testing.TB }

func (quiet) Log(...any)          {}
func (quiet) Logf(string, ...any) {}

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
