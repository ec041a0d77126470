// Package controlplane starts a real kube-apiserver on a real etcd inside a test
// process, and on it what a test needs: nodes with simulated storage, volumes, pods, and
// the scheduler as cmd/scheduler makes it.
package controlplane

import (
	"net/url"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	apiservertesting "k8s.io/kubernetes/cmd/kube-apiserver/app/testing"

	"github.com/hyperconverge/scheduler/test/kit"
)

// WithoutControllers disables the admission plugins that wait for what a
// controller manager does, which is not here.
const WithoutControllers = "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition,Priority,StorageObjectInUseProtection"

// ControlPlane is a kube-apiserver on an etcd.
type ControlPlane struct {
	// Config is that of an administrator, whose requests are not throttled.
	Config *rest.Config
	// Client is for Config as it was at the start.
	Client kubernetes.Interface
	// Etcd is for what takes too long through the API.
	Etcd *clientv3.Client
}

// Start starts both; they end with the test. The flags are those of
// kube-apiserver.
func Start(tb testing.TB, flags ...string) *ControlPlane {
	tb.Helper()
	storage := storagebackend.NewDefaultConfig("/registry", nil)
	storage.Transport.ServerList = []string{startEtcd(tb)}
	// The API server refuses the loopback address that it has here as an endpoint
	// of its own Service, again and again.
	flags = append([]string{"--endpoint-reconciler-type=none"}, flags...)
	server, err := apiservertesting.StartTestServer(quiet{tb}, apiservertesting.NewDefaultTestServerOptions(), flags, storage)
	if err != nil {
		tb.Fatalf("kube-apiserver: %v", err)
	}
	tb.Cleanup(server.TearDownFn)
	config := rest.CopyConfig(server.ClientConfig)
	config.QPS, config.Burst = 5000, 10000
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		tb.Fatal(err)
	}
	return &ControlPlane{Config: config, Client: client, Etcd: server.EtcdClient}
}

// startEtcd returns the client URL of a new, empty etcd.
func startEtcd(tb testing.TB) string {
	tb.Helper()
	config := embed.NewConfig()
	config.Dir = tb.TempDir()
	config.LogLevel = "fatal"
	config.UnsafeNoFsync = true // the data dies with the test
	config.QuotaBackendBytes = 8 << 30
	client, peer := url.URL{Scheme: "http", Host: kit.FreeAddress(tb)}, url.URL{Scheme: "http", Host: kit.FreeAddress(tb)}
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

// quiet is a test that is not told what the API server has to say. The server may
// outlive the test that has started it, and a test that is over takes no logs.
type quiet struct{ testing.TB }

func (quiet) Log(...any)          {}
func (quiet) Logf(string, ...any) {}
