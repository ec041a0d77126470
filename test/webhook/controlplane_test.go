// Package webhook runs the admission webhook's own binary, with the manifests
// and the rights that users give it, against a real kube-apiserver and etcd.
package webhook

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/hyperconverge/scheduler/test/controlplane"
)

func TestMain(m *testing.M) { controlplane.Main(m) }

// startControlPlane starts an API server whose calls of Services go through the
// proxy.
func startControlPlane(tb testing.TB, proxy *serviceProxy) controlplane.ControlPlane {
	tb.Helper()
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
	return controlplane.Start(tb, controlplane.WithoutControllers,
		"--admission-control-config-file="+proxy.certificate.admissionConfig,
		"--authorization-mode=RBAC",
		"--egress-selector-config-file="+egress,
		"--feature-gates=MutatingAdmissionPolicy=true",
		"--runtime-config=admissionregistration.k8s.io/v1beta1=true",
	)
}

// freeAddress returns a port of this machine that nobody listens on.
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
