// Package integration runs the real scheduler against a real kube-apiserver and
// etcd, and a simulated storage cluster that serves the OpenStorage SDK.
package integration

import (
	"testing"

	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

func TestMain(m *testing.M) { controlplane.Main(m) }

// sharedPlane is the control plane of all tests of this package.
var sharedPlane = controlplane.Once(func(p controlplane.Process) *controlplane.ControlPlane {
	return controlplane.Start(p, controlplane.WithoutControllers, "--authorization-mode=AlwaysAllow")
})
