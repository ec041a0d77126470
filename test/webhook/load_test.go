package webhook

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	ratelimit "golang.org/x/time/rate"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/test/kit/controlplane"
	"github.com/hyperconverge/scheduler/test/kit/deploy"
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
	ctx, cancel := context.WithCancel(c.Ctx)
	l := &load{cancel: cancel}
	for range 8 {
		pod := pod.DeepCopy() // the client writes into what it sends
		l.workers.Go(func() {
			for ctx.Err() == nil {
				created, err := c.Client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
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

// podsPerSecond is the rate of a stream.
const podsPerSecond = 100

// startStream is a load by the clock: pods are created at a rate, whether those before
// them are answered or not, and stored.
func startStream(c *cluster, pod *v1.Pod) *load {
	ctx, cancel := context.WithCancel(c.Ctx)
	l := &load{cancel: cancel}
	l.workers.Go(func() {
		var running errgroup.Group
		running.SetLimit(5 * podsPerSecond) // a machine that is overrun gets fewer
		clock := ratelimit.NewLimiter(podsPerSecond, 1)
		for clock.Wait(ctx) == nil {
			running.Go(func() error {
				// Each has its own: the client writes into what it sends.
				created, err := c.Client.CoreV1().Pods(pod.Namespace).Create(c.Ctx, pod.DeepCopy(), metav1.CreateOptions{})
				if err == nil {
					err = isOurs(created)
				}
				l.count(err)
				return nil
			})
		}
		_ = running.Wait() // errors are counted
	})
	return l
}

// pods is how many there are so far.
func (l *load) pods() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.result.pods
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
	secrets := c.Client.CoreV1().Secrets(ownNamespace)
	served := map[string]bool{}
	// another waits until a certificate is current that was not before.
	another := func() {
		c.Helper()
		var now string
		c.Eventually("another certificate is served", func() error {
			secret, err := secrets.Get(c.Ctx, secretName, metav1.GetOptions{})
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
	c.Must(secrets.Delete(c.Ctx, secretName, metav1.DeleteOptions{}))
	c.Must(c.applier.Apply(c.Ctx, deploy.Object(c.TB, c.objects, "Secret", secretName)))
	another()
	c.Eventually("the secret is spoiled", func() error {
		secret, err := secrets.Get(c.Ctx, secretName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		secret.Data = map[string][]byte{v1.TLSCertKey: []byte("spoiled"), v1.TLSPrivateKeyKey: []byte("spoiled")}
		_, err = secrets.Update(c.Ctx, secret, metav1.UpdateOptions{})
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

// startDefaultScheduler runs the scheduler of Kubernetes, with a node, until the test
// ends.
func startDefaultScheduler(c *cluster) {
	c.Helper()
	_, err := controlplane.StartScheduler(c.TB, c.Config, controlplane.KubeScheduler,
		"apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n")
	c.Must(err)
	ctx := context.WithoutCancel(c.Ctx)
	c.Cleanup(func() { c.Must(c.Client.CoreV1().Nodes().Delete(ctx, "n1", metav1.DeleteOptions{})) })
	c.AddBareNode("n1", nil)
}

// expectScheduled waits until a pod has a node.
func (c *cluster) expectScheduled(name string) {
	c.Helper()
	start := time.Now()
	c.ExpectBound(name)
	c.Logf("scheduled after %v", time.Since(start).Round(time.Millisecond))
}
