// Package manifests applies what is deployed to a real kube-apiserver that
// enforces RBAC, and runs the scheduler as a process of its own with the token of
// its ServiceAccount and nothing more.
package manifests

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hyperconverge/scheduler/test/kit/controlplane"
	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

// controlPlane is one kube-apiserver on one etcd, shared by all tests.
type controlPlane struct {
	*controlplane.ControlPlane
	*deploy.Applier
	// audit is the path of the audit log.
	audit string
}

// sharedPlane is the control plane of all tests of this package.
var sharedPlane = controlplane.Once(startControlPlane)

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

// limitedClasses is what GKE has: pods of system priority need a quota that names it.
const limitedClasses = `
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources:
    - resource: pods
      matchScopes:
      - {scopeName: PriorityClass, operator: In, values: [system-node-critical, system-cluster-critical]}
`

// noController are the admission plugins whose work needs a controller manager,
// which is not here. All others are on, the Pod Security check among them.
const noController = "ServiceAccount,TaintNodesByCondition,StorageObjectInUseProtection"

func startControlPlane(t controlplane.Process) *controlPlane {
	t.Helper()
	dir := t.TempDir()
	policy, audit := filepath.Join(dir, "audit-policy.yaml"), filepath.Join(dir, "audit.log")
	admission := filepath.Join(dir, "admission.yaml")
	for file, content := range map[string]string{policy: auditPolicy, admission: limitedClasses} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	plane := controlplane.Start(t,
		"--authorization-mode=RBAC",
		"--disable-admission-plugins="+noController,
		"--admission-control-config-file="+admission,
		// What the roles for schedulers grant is served, so that it can be tried.
		"--feature-gates=CoordinatedLeaderElection=true,MutatingAdmissionPolicy=true",
		"--runtime-config=coordination.k8s.io/v1beta1=true,admissionregistration.k8s.io/v1beta1=true",
		"--audit-policy-file="+policy,
		"--audit-log-path="+audit,
		"--audit-log-mode=blocking-strict",
	)
	applier, err := deploy.NewApplier(plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	return &controlPlane{ControlPlane: plane, Applier: applier, audit: audit}
}
