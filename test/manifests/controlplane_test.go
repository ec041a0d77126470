// Package manifests applies what is deployed to a real kube-apiserver that
// enforces RBAC, and runs the scheduler as a process of its own with the token of
// its ServiceAccount and nothing more.
package manifests

import (
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/kubernetes/test/utils/ktesting"

	"github.com/hyperconverge/scheduler/test/controlplane"
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
	shared.once.Do(func() { shared.plane = startControlPlane(controlplane.Process{TB: t}) })
	if shared.plane == nil {
		t.Fatal("the control plane did not start, see the first test")
	}
	return shared.plane
}

func TestMain(m *testing.M) { controlplane.Main(m) }

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
	config := controlplane.Start(t,
		"--authorization-mode=RBAC",
		"--disable-admission-plugins="+noController,
		// What the roles for schedulers grant is served, so that it can be tried.
		"--feature-gates=CoordinatedLeaderElection=true",
		"--runtime-config=coordination.k8s.io/v1beta1=true",
		"--audit-policy-file="+policy,
		"--audit-log-path="+audit,
		"--audit-log-mode=blocking-strict",
	).Config
	p := &controlPlane{config: config, audit: audit}
	var err error
	if p.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if p.dynamic, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	p.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(p.client.Discovery()))
	return p
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
