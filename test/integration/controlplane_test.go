// Package integration runs the real scheduler against a real kube-apiserver and
// etcd, and a simulated storage cluster that serves the OpenStorage SDK.
package integration

import (
	"context"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/test/utils/ktesting"

	"github.com/hyperconverge/scheduler/test/controlplane"
)

// controlPlane is one kube-apiserver on one etcd, shared by all scenarios.
type controlPlane struct {
	config *rest.Config
	client kubernetes.Interface
}

// sharedPlane is the control plane of all tests of this package. It is started by
// the first that asks and ends with the process.
func sharedPlane(t *testing.T) *controlPlane {
	t.Helper()
	shared.once.Do(func() { shared.plane = startControlPlane(controlplane.Process{TB: t}) })
	if shared.plane == nil {
		t.Fatal("the control plane did not start, see the first test")
	}
	return shared.plane
}

var shared struct {
	once  sync.Once
	plane *controlPlane
}

func TestMain(m *testing.M) { controlplane.Main(m) }

func startControlPlane(t ktesting.TB) *controlPlane {
	t.Helper()
	config := controlplane.Start(t, controlplane.WithoutControllers, "--authorization-mode=AlwaysAllow").Config
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &controlPlane{config: config, client: client}
}

// clear removes everything that a scenario has left in the cluster.
func (p *controlPlane) clear(ctx context.Context, t *testing.T, namespace string) {
	t.Helper()
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	all := metav1.ListOptions{}
	core, storage := p.client.CoreV1(), p.client.StorageV1()
	for what, remove := range map[string]func() error{
		"pods":        func() error { return core.Pods(namespace).DeleteCollection(ctx, now, all) },
		"claims":      func() error { return core.PersistentVolumeClaims(namespace).DeleteCollection(ctx, now, all) },
		"volumes":     func() error { return core.PersistentVolumes().DeleteCollection(ctx, now, all) },
		"nodes":       func() error { return core.Nodes().DeleteCollection(ctx, now, all) },
		"CSI nodes":   func() error { return storage.CSINodes().DeleteCollection(ctx, now, all) },
		"CSI drivers": func() error { return storage.CSIDrivers().DeleteCollection(ctx, now, all) },
		"classes":     func() error { return storage.StorageClasses().DeleteCollection(ctx, now, all) },
	} {
		if err := remove(); err != nil {
			t.Errorf("removing %s: %v", what, err)
		}
	}
}
