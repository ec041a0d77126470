// Package webhook runs the admission webhook's own binary, with the manifests
// and the rights that users give it, against a real kube-apiserver and etcd.
package webhook

import (
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/client-go/rest"
	apiservertesting "k8s.io/kubernetes/cmd/kube-apiserver/app/testing"
	"k8s.io/kubernetes/test/utils/ktesting"
)

// startAPIServer starts kube-apiserver and etcd in this process; they end with
// the test. Calls of Services go through the proxy. The etcd client is for what
// takes too long through the API.
func startAPIServer(tb testing.TB, proxy *serviceProxy) (*rest.Config, *clientv3.Client) {
	tb.Helper()
	storage := storagebackend.NewDefaultConfig("/registry", nil)
	storage.Transport.ServerList = []string{startEtcd(tb)}
	egress := filepath.Join(tb.TempDir(), "egress.yaml")
	err := os.WriteFile(egress, []byte(`apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection: {proxyProtocol: HTTPConnect, transport: {uds: {udsName: `+proxy.socket+`}}}
- name: controlplane
  connection: {proxyProtocol: Direct}
- name: etcd
  connection: {proxyProtocol: Direct}
`), 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	server, err := apiservertesting.StartTestServer(tb, apiservertesting.NewDefaultTestServerOptions(), []string{
		// What these plugins wait for is done by a controller manager, which is not here.
		"--disable-admission-plugins=ServiceAccount,TaintNodesByCondition,Priority,StorageObjectInUseProtection",
		"--authorization-mode=RBAC",
		"--egress-selector-config-file=" + egress,
		"--feature-gates=MutatingAdmissionPolicy=true",
		"--runtime-config=admissionregistration.k8s.io/v1beta1=true",
	}, storage)
	if err != nil {
		tb.Fatalf("kube-apiserver: %v", err)
	}
	tb.Cleanup(server.TearDownFn)
	config := rest.CopyConfig(server.ClientConfig)
	config.QPS, config.Burst = 5000, 10000
	return config, server.EtcdClient
}

// startEtcd returns the client URL of a new, empty etcd.
func startEtcd(tb testing.TB) string {
	tb.Helper()
	config := embed.NewConfig()
	config.Dir = tb.TempDir()
	config.LogLevel = "error"
	config.UnsafeNoFsync = true // the data dies with the test
	client := url.URL{Scheme: "http", Host: freeAddress(tb)}
	peer := url.URL{Scheme: "http", Host: freeAddress(tb)}
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

func freeAddress(tb testing.TB) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer closeIt(tb, listener)
	return listener.Addr().String()
}

// closeIt closes what a test has opened.
func closeIt(tb testing.TB, closer io.Closer) {
	tb.Helper()
	if err := closer.Close(); err != nil {
		tb.Error(err)
	}
}

func TestMain(m *testing.M) {
	// Writing to an object that an informer holds is a crash, not a surprise.
	if err := os.Setenv("KUBE_CACHE_MUTATION_DETECTOR", "true"); err != nil {
		panic(err)
	}
	// The API server's test package turns logging up to 5, which costs more than
	// what is measured here.
	ktesting.SetDefaultVerbosity(1)
	os.Exit(m.Run())
}
