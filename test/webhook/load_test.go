package webhook

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/events"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/profile"
)

// loadResult is what became of the pods of a load.
type loadResult struct {
	pods, failed int
	first        error // why the first pod was not mutated
	certificates int   // how many were served meanwhile
}

// load creates pods without storing them, one after the other in each of some
// workers, until it is stopped.
type load struct {
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu     sync.Mutex
	result loadResult
}

func startLoad(c *cluster, pod *v1.Pod) *load {
	ctx, cancel := context.WithCancel(c.ctx)
	l := &load{cancel: cancel}
	for range 8 {
		l.workers.Go(func() {
			for ctx.Err() == nil {
				created, err := c.client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				if ctx.Err() != nil {
					return
				}
				if err == nil {
					err = isOurs(created)
				}
				l.count(err)
			}
		})
	}
	return l
}

func (l *load) count(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.pods++
	if err != nil {
		l.result.failed++
		if l.result.first == nil {
			l.result.first = err
		}
	}
}

func (l *load) stop() loadResult {
	l.cancel()
	l.workers.Wait()
	return l.result
}

// rotateUnderLoad creates pods while certificates change, because they are about
// to end and because somebody deletes or spoils the secret.
func rotateUnderLoad(c *cluster) loadResult {
	c.Helper()
	load := startLoad(c, podIn("db", pvc("data")))
	secrets := c.client.CoreV1().Secrets(ownNamespace)
	served := map[string]bool{}
	// another waits until a certificate is current that was not before.
	another := func() {
		c.Helper()
		var now string
		c.eventually("another certificate is served", func() error {
			secret, err := secrets.Get(c.ctx, secretName, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if now = string(secret.Data[v1.TLSCertKey]); served[now] {
				return errors.New("it is still the same")
			}
			return nil
		})
		served[now] = true
	}
	another() // the one that is served at the start
	another() // and its successor, because it is about to end
	c.must(secrets.Delete(c.ctx, secretName, metav1.DeleteOptions{}))
	c.applier.create(c.ctx, c.TB, []*unstructured.Unstructured{find(c.TB, c.objects, "Secret", secretName)})
	another()
	c.eventually("the secret is spoiled", func() error {
		secret, err := secrets.Get(c.ctx, secretName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		secret.Data = map[string][]byte{v1.TLSCertKey: []byte("spoiled"), v1.TLSPrivateKeyKey: []byte("spoiled")}
		_, err = secrets.Update(c.ctx, secret, metav1.UpdateOptions{})
		return err
	})
	served["spoiled"] = true
	another()
	another()
	result := load.stop()
	result.certificates = len(served) - 1
	return result
}

// certificateOf is the certificate of a test server in PEM.
func certificateOf(server *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

// startDefaultScheduler runs the scheduler of Kubernetes until the test ends.
func startDefaultScheduler(c *cluster) {
	c.Helper()
	ctx, cancel := context.WithCancel(c.ctx)
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: c.client.EventsV1()})
	factory := scheduler.NewInformerFactory(c.client, 0)
	sched, err := scheduler.New(ctx, c.client, factory, nil, profile.NewRecorderFactory(broadcaster), scheduler.WithKubeConfig(c.config))
	c.must(err)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	c.must(sched.WaitForHandlersSync(ctx))
	var running sync.WaitGroup
	running.Go(func() { sched.Run(ctx) })
	c.Cleanup(func() {
		cancel()
		running.Wait()
		factory.Shutdown()
		broadcaster.Shutdown()
	})
}

func (c *cluster) node(name string) {
	c.Helper()
	nodes, ctx := c.client.CoreV1().Nodes(), context.WithoutCancel(c.ctx)
	c.Cleanup(func() { c.must(nodes.Delete(ctx, name, metav1.DeleteOptions{})) })
	capacity := v1.ResourceList{v1.ResourceCPU: resource.MustParse("4"), v1.ResourceMemory: resource.MustParse("8Gi"), v1.ResourcePods: resource.MustParse("110")}
	_, err := nodes.Create(ctx, &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status:     v1.NodeStatus{Capacity: capacity, Allocatable: capacity},
	}, metav1.CreateOptions{})
	c.must(err)
}

// expectScheduled waits until a pod in namespace db has a node.
func (c *cluster) expectScheduled(name string) {
	c.Helper()
	start := time.Now()
	c.eventually("pod "+name+" is scheduled", func() error {
		pod, err := c.client.CoreV1().Pods("db").Get(c.ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if pod.Spec.NodeName == "" {
			return fmt.Errorf("its status is %+v", pod.Status)
		}
		return nil
	})
	c.Logf("scheduled after %v", time.Since(start).Round(time.Millisecond))
}
