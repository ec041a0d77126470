// Package webhook runs the admission webhook's own binary, with the manifests
// and the rights that users give it, against a real kube-apiserver and etcd.
package webhook

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

func TestMain(m *testing.M) { controlplane.Main(m) }

// startControlPlane starts an API server whose calls of Services go through the
// proxy.
func startControlPlane(tb testing.TB, proxy *serviceProxy) *controlplane.ControlPlane {
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
