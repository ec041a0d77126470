// Package integration runs the real scheduler against a real kube-apiserver and
// etcd, and a simulated storage cluster that serves the OpenStorage SDK.
package integration

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	apiservertesting "k8s.io/kubernetes/cmd/kube-apiserver/app/testing"
	"k8s.io/kubernetes/test/utils/ktesting"
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
	shared.once.Do(func() { shared.plane = startControlPlane(processTB{t}) })
	if shared.plane == nil {
		t.Fatal("the control plane did not start, see the first test")
	}
	return shared.plane
}

var shared struct {
	once  sync.Once
	plane *controlPlane
}

// processTB is a test whose cleanups wait for the end of the process.
type processTB struct{ *testing.T }

func (processTB) Cleanup(f func()) { atExit = append(atExit, f) }

// Log and Logf are silent: the control plane outlives the test it would log to.
func (processTB) Log(...any)          {}
func (processTB) Logf(string, ...any) {}

func (processTB) TempDir() string {
	dir, err := os.MkdirTemp("", "hyperconverge-integration-")
	if err != nil {
		panic(err)
	}
	atExit = append(atExit, func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	})
	return dir
}

// startControlPlane starts both in this process; they end with the test.
func startControlPlane(t ktesting.TB) *controlPlane {
	t.Helper()
	storage := storagebackend.NewDefaultConfig("/registry", nil)
	storage.Transport.ServerList = []string{startEtcd(t)}
	server, err := apiservertesting.StartTestServer(t, apiservertesting.NewDefaultTestServerOptions(), []string{
		// What these plugins wait for is done by a controller manager, which is not here.
		"--disable-admission-plugins=ServiceAccount,TaintNodesByCondition,Priority,StorageObjectInUseProtection",
		"--authorization-mode=AlwaysAllow",
	}, storage)
	if err != nil {
		t.Fatalf("kube-apiserver: %v", err)
	}
	t.Cleanup(server.TearDownFn)
	config := rest.CopyConfig(server.ClientConfig)
	config.QPS, config.Burst = 5000, 10000
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &controlPlane{config: config, client: client}
}

// startEtcd returns the client URL of a new, empty etcd.
func startEtcd(t ktesting.TB) string {
	t.Helper()
	config := embed.NewConfig()
	config.Dir = t.TempDir()
	config.LogLevel = "error"
	config.UnsafeNoFsync = true // the data dies with the test
	client, peer := freeURL(t), freeURL(t)
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

func freeURL(t ktesting.TB) url.URL {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return url.URL{Scheme: "http", Host: listener.Addr().String()}
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
