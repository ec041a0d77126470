package webhook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	certutil "k8s.io/client-go/util/cert"

	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

// endpointLag is how long the Service still leads to a replica that is not ready.
const endpointLag = 500 * time.Millisecond

// fleet is the replicas of a Deployment, with a Service that follows their readiness.
type fleet struct {
	*cluster // of the subtest that runs
	// whole is the cluster of the test, whose replicas outlive subtests.
	whole *cluster
	load  *load

	replicas []*replica // that are meant to run
	leaving  []*replica // that were told to stop
	killed   []*replica
	// wrote is how often they had written certificates before they were asked for another.
	wrote map[*replica]int

	mu     sync.Mutex
	listed []*replica // that the Service may lead to
}

// TestWebhookOutlivesItsReplicas has a hundred pods a second created while replicas come,
// go and are killed, and certificates change. Every pod becomes ours, but for those
// whose request went to a replica that was killed; and the configuration of the webhook
// is there at every moment, with authorities that API servers can trust.
//
// SOAK=10m goes through the table again and again for that time.
func TestWebhookOutlivesItsReplicas(t *testing.T) {
	soak, err := time.ParseDuration("0" + os.Getenv("SOAK"))
	if err != nil {
		t.Fatalf("SOAK: %v", err)
	}
	f := newFleet(t)
	seen := f.watchConfiguration()
	for end := time.Now().Add(soak); ; {
		for _, scenario := range []struct {
			name string
			do   func(*fleet)
		}{
			{"a replica is killed with requests in flight", (*fleet).kill},
			{"the replica that has announced a certificate is killed before the certificate is served", (*fleet).killAnnouncer},
			{"a rolling update replaces one replica after the other", (*fleet).roll},
			{"a node is drained, and one replica has to do until another is ready", (*fleet).drain},
			{"an upgrade changes the configuration and the replicas", (*fleet).upgrade},
		} {
			t.Run(scenario.name, func(t *testing.T) { f.endure(t, scenario.do) })
		}
		if t.Failed() || time.Now().After(end) {
			break
		}
		f.waitForLeaving() // they may still write certificates
	}
	t.Run("the last replica goes, and leaves the configuration to the next one", func(t *testing.T) {
		f.within(t, func() {
			for len(f.replicas) > 0 {
				f.leave(f.replicas[0])
			}
			f.join()
			f.Must(isOurs(f.create(podIn("db", pvc("data")))))
		})
	})
	if changes := seen(); changes == 0 {
		t.Error("no change of the configuration was seen, although certificates have changed")
	}
}

// newFleet starts two replicas in a new cluster.
func newFleet(t *testing.T) *fleet {
	c := newCluster(t)
	c.namespace("db", nil)
	c.volume("data", kit.Driver)
	f := &fleet{cluster: c, whole: c}
	// Pods are to be missed because nobody answers, not because this machine is busy.
	f.configure(30)
	ctx, stop := context.WithCancel(c.Ctx)
	var following sync.WaitGroup
	following.Go(func() { f.follow(ctx) })
	t.Cleanup(func() { stop(); following.Wait() })
	f.join()
	f.join()
	f.Eventually("the API server trusts the webhook", func() error { return isOurs(f.try(podIn("db", pvc("data")))) })
	return f
}

// within lets a subtest use the fleet.
func (f *fleet) within(t *testing.T, do func()) {
	f.cluster = f.whole.in(t)
	defer func() { f.cluster = f.whole }()
	do()
}

// endure does something to the replicas while pods are created and certificates
// change, and looks at every pod.
func (f *fleet) endure(t *testing.T, do func(*fleet)) {
	f.within(t, func() {
		lost := func() (sum int) {
			for _, r := range f.killed {
				sum += f.proxy.lostAt(r.address)
			}
			return sum
		}
		before, killed := lost(), len(f.killed)
		f.load = startStream(f.cluster, podIn("db", pvc("data")))
		f.pods()
		served := f.secret().Data[v1.TLSCertKey]
		f.wrote = map[*replica]int{}
		for _, r := range f.replicas {
			f.wrote[r] = writes(r)
		}
		f.renew()
		do(f)
		f.Eventually("another certificate is served", func() error {
			if slices.Equal(served, f.secret().Data[v1.TLSCertKey]) {
				return errors.New("it is still the same")
			}
			return nil
		})
		f.pods()
		result, allowed := f.load.stop(), lost()-before
		t.Logf("of %d pods %d were not mutated; killed replicas took %d requests with them", result.pods, result.failed, allowed)
		if result.failed > allowed {
			t.Errorf("%d pods more were not mutated than requests were lost with killed replicas; the first: %v", result.failed-allowed, result.first)
		}
		if len(f.killed) > killed && allowed == 0 {
			t.Error("no request was in flight at the killed replica: this proves nothing")
		}
	})
}

func (f *fleet) roll() { f.replace() }

// replace replaces the replicas as a Deployment does: a new one is ready before an old one
// goes.
func (f *fleet) replace(flags ...string) {
	f.Helper()
	for _, old := range slices.Clone(f.replicas) {
		f.join(flags...)
		f.leave(old)
		f.pods()
	}
}

// drain evicts a replica. The budget for disruptions keeps the other one until a new one
// is ready.
func (f *fleet) drain() {
	f.Helper()
	f.leave(f.replicas[0])
	f.pods()
	f.join()
	f.leave(f.replicas[0])
	f.pods()
	f.join()
}

// kill has a replica hold requests, and kills it.
func (f *fleet) kill() {
	f.Helper()
	f.lose(f.replicas[0])
	f.pods()
	f.join()
}

// killAnnouncer kills the replica that has written a new certificate, before the time in
// which API servers learn of it is over. The other has to go on with it.
func (f *fleet) killAnnouncer() {
	f.Helper()
	var announcer *replica
	f.Eventually("a replica has announced a certificate", func() error {
		for r, before := range f.wrote {
			if writes(r) > before {
				announcer = r
				return nil
			}
		}
		return errors.New("none has")
	})
	f.lose(announcer)
	f.join()
}

// writes is how often a replica has written certificates.
func writes(r *replica) int { return strings.Count(r.Said(0), "Wrote the secret of certificates") }

// upgrade applies another configuration without its CA bundle, as manifests have it, and
// replaces the replicas by such with other flags.
func (f *fleet) upgrade() {
	f.Helper()
	f.configure(29)
	f.pods()
	f.replace("--enable-fsgroup-optimization")
	f.configure(30)
}

// configure applies the webhook's configuration with a timeout in seconds.
func (f *fleet) configure(timeout int64) {
	f.Helper()
	configuration := deploy.Object(f.TB, f.objects, "MutatingWebhookConfiguration", name).DeepCopy()
	webhooks, _, err := unstructured.NestedSlice(configuration.Object, "webhooks")
	f.Must(err)
	webhooks[0].(map[string]any)["timeoutSeconds"] = timeout
	f.Must(unstructured.SetNestedSlice(configuration.Object, webhooks, "webhooks"))
	f.Must(f.applier.Apply(f.Ctx, configuration))
}

// join starts a replica, and returns when the Service leads to it.
func (f *fleet) join(flags ...string) {
	f.Helper()
	r := startReplica(f.whole.TB, f.whole.asWebhook(), f.deployment(),
		append(flags, "--shutdown-delay=3s", "--certificate-settle=1s", "--certificate-validity=1h")...)
	f.replicas = append(f.replicas, r)
	f.mu.Lock()
	f.listed = append(f.listed, r)
	f.mu.Unlock()
	f.Eventually("the Service leads to the new replica", func() error {
		if err := r.ready(); err != nil || f.proxy.leadsTo(r.address) {
			return err
		}
		return errors.New("it does not yet")
	})
}

// leave tells a replica to stop. It ends when the API server has closed the connections
// that it does not use, a minute and a half later.
func (f *fleet) leave(r *replica) {
	f.Helper()
	r.Signal(syscall.SIGTERM)
	f.leaving = append(f.leaving, r)
	f.forget(r)
}

// waitForLeaving waits until all have ended that were told to stop.
func (f *fleet) waitForLeaving() {
	for _, r := range f.leaving {
		<-r.Done()
	}
	f.leaving = nil
}

// lose kills a replica that has requests to answer.
func (f *fleet) lose(r *replica) {
	f.Helper()
	r.Signal(syscall.SIGSTOP)
	f.Eventually("the replica has requests to answer", func() error {
		if f.proxy.waiting(r.address) == 0 {
			return errors.New("it has none")
		}
		return nil
	})
	r.Kill()
	f.killed = append(f.killed, r)
	f.forget(r)
}

// forget waits until the Service does not lead to a replica any more.
func (f *fleet) forget(r *replica) {
	f.Helper()
	f.Eventually("the Service does not lead to the replica any more", func() error {
		if f.proxy.leadsTo(r.address) {
			return errors.New("it does")
		}
		return nil
	})
	same := func(other *replica) bool { return other == r }
	f.replicas = slices.DeleteFunc(f.replicas, same)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listed = slices.DeleteFunc(f.listed, same)
}

// follow has the Service lead to the replicas that are ready: to a new one at once, and
// to one that is not ready any more for some time yet, until every node has heard of it.
func (f *fleet) follow(ctx context.Context) {
	unready := map[*replica]time.Time{}
	for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) { // the period of the probe
		f.mu.Lock()
		listed := slices.Clone(f.listed)
		f.mu.Unlock()
		var addresses []string
		for _, r := range listed {
			_, err := r.Get("/readyz")
			switch since, known := unready[r]; {
			case err == nil:
				delete(unready, r)
				addresses = append(addresses, r.address)
			case !known:
				unready[r] = time.Now()
				fallthrough
			case time.Since(since) < endpointLag:
				if f.proxy.leadsTo(r.address) {
					addresses = append(addresses, r.address)
				}
			}
		}
		f.proxy.route(addresses...)
	}
}

// pods waits until some more pods have been created.
func (f *fleet) pods() {
	f.Helper()
	goal := f.load.pods() + podsPerSecond/2
	f.Eventually("more pods are created", func() error {
		if now := f.load.pods(); now < goal {
			return fmt.Errorf("%d are missing", goal-now)
		}
		return nil
	})
}

func (f *fleet) secret() *v1.Secret {
	f.Helper()
	secret, err := f.Client.CoreV1().Secrets(ownNamespace).Get(f.Ctx, secretName, metav1.GetOptions{})
	f.Must(err)
	return secret
}

// renew asks the replicas for another certificate, as docs/webhook.md says.
func (f *fleet) renew() {
	f.Helper()
	_, err := f.Client.CoreV1().Secrets(ownNamespace).Patch(f.Ctx, secretName, types.MergePatchType, []byte(`{"data":null}`), metav1.PatchOptions{})
	f.Must(err)
}

// watchConfiguration fails the test when the configuration is deleted, or has no valid
// authority. The function that is returned says how many changes were seen.
func (f *fleet) watchConfiguration() (stop func() int) {
	f.Helper()
	configurations := f.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	first, err := configurations.Get(f.Ctx, name, metav1.GetOptions{})
	f.Must(err)
	ctx, cancel := context.WithCancel(f.Ctx)
	events, err := watchtools.NewRetryWatcherWithContext(ctx, first.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = only
			return configurations.Watch(ctx, options)
		},
	})
	f.Must(err)
	tb, changes := f.TB, 0
	var watching sync.WaitGroup
	watching.Go(func() {
		for event := range events.ResultChan() {
			changes++
			configuration, is := event.Object.(*admissionregistrationv1.MutatingWebhookConfiguration)
			if event.Type != watch.Modified || !is {
				tb.Errorf("the configuration is %s: %v", event.Type, event.Object)
				continue
			}
			if err := trusted(configuration); err != nil {
				tb.Errorf("version %s of the configuration: %v", configuration.ResourceVersion, err)
			}
		}
	})
	end := sync.OnceFunc(func() { cancel(); watching.Wait() })
	f.Cleanup(end)
	return func() int { end(); return changes }
}

// trusted returns why API servers could trust no replica.
func trusted(configuration *admissionregistrationv1.MutatingWebhookConfiguration) error {
	authorities, err := certutil.ParseCertsPEM(configuration.Webhooks[0].ClientConfig.CABundle)
	if err != nil {
		return fmt.Errorf("the CA bundle: %w", err)
	}
	now := time.Now()
	for _, authority := range authorities {
		if authority.IsCA && now.After(authority.NotBefore) && now.Before(authority.NotAfter) {
			return nil
		}
	}
	return errors.New("no authority of the CA bundle is valid")
}
