// Package manifests applies what is deployed to a real kube-apiserver that
// enforces RBAC, and runs the scheduler as a process of its own with the token of
// its ServiceAccount and nothing more.
package manifests

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	apiservertesting "k8s.io/kubernetes/cmd/kube-apiserver/app/testing"
	"k8s.io/kubernetes/test/utils/ktesting"
)

// controlPlane is one kube-apiserver on one etcd, shared by all tests.
type controlPlane struct {
	// config is that of an administrator.
	config  *rest.Config
	client  kubernetes.Interface
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	// audit is the path of the audit log.
	audit string
}

var shared struct {
	once  sync.Once
	plane *controlPlane
}

// sharedPlane starts the control plane for the first that asks; it ends with the
// process.
func sharedPlane(t *testing.T) *controlPlane {
	t.Helper()
	shared.once.Do(func() { shared.plane = startControlPlane(processTB{t}) })
	if shared.plane == nil {
		t.Fatal("the control plane did not start, see the first test")
	}
	return shared.plane
}

// processTB is a test whose cleanups wait for the end of the process.
type processTB struct{ *testing.T }

func (processTB) Cleanup(f func()) { atExit = append(atExit, f) }

// Log and Logf are silent: the control plane outlives the test it would log to.
func (processTB) Log(...any)          {}
func (processTB) Logf(string, ...any) {}

func (processTB) TempDir() string {
	dir, err := os.MkdirTemp("", "hyperconverge-manifests-")
	if err != nil {
		panic(err)
	}
	atExit = append(atExit, func() { _ = os.RemoveAll(dir) })
	return dir
}

// auditPolicy logs who did what, for the accounts of our own.
const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: ["system:serviceaccounts:hyperconverge-system"]
- level: None
`

// noController are the admission plugins whose work needs a controller manager,
// which is not here. All others are on, the Pod Security check among them.
const noController = "ServiceAccount,TaintNodesByCondition,StorageObjectInUseProtection"

func startControlPlane(t ktesting.TB) *controlPlane {
	t.Helper()
	dir := t.TempDir()
	policy, audit := filepath.Join(dir, "audit-policy.yaml"), filepath.Join(dir, "audit.log")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	storage := storagebackend.NewDefaultConfig("/registry", nil)
	storage.Transport.ServerList = []string{startEtcd(t)}
	server, err := apiservertesting.StartTestServer(t, apiservertesting.NewDefaultTestServerOptions(), []string{
		"--authorization-mode=RBAC",
		"--disable-admission-plugins=" + noController,
		"--audit-policy-file=" + policy,
		"--audit-log-path=" + audit,
		"--audit-log-mode=blocking-strict",
	}, storage)
	if err != nil {
		t.Fatalf("kube-apiserver: %v", err)
	}
	t.Cleanup(server.TearDownFn)
	config := rest.CopyConfig(server.ClientConfig)
	config.QPS, config.Burst = 5000, 10000
	p := &controlPlane{config: config, audit: audit}
	if p.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if p.dynamic, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	p.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(p.client.Discovery()))
	return p
}

// startEtcd returns the client URL of a new, empty etcd.
func startEtcd(t ktesting.TB) string {
	t.Helper()
	config := embed.NewConfig()
	config.Dir = t.TempDir()
	config.LogLevel = "error"
	config.LogOutputs = []string{logFile}
	config.UnsafeNoFsync = true // the data dies with the test
	client, peer := url.URL{Scheme: "http", Host: freeAddress(t)}, url.URL{Scheme: "http", Host: freeAddress(t)}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		t.Fatalf("etcd: %v", err)
	}
	t.Cleanup(etcd.Close)
	select {
	case <-etcd.Server.ReadyNotify():
	case <-time.After(time.Minute):
		t.Fatal("etcd is not ready after a minute")
	}
	return client.String()
}

// freeAddress is a TCP address on this machine that nobody listens on.
func freeAddress(t ktesting.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}
