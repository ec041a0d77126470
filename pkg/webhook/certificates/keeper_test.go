package certificates

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2/ktesting"
)

const serverName = "webhook.hyperconverge.svc"

var target = Target{
	Secret:        types.NamespacedName{Namespace: "hyperconverge", Name: "webhook-certificates"},
	Configuration: "hyperconverge",
	Service:       types.NamespacedName{Namespace: "hyperconverge", Name: "webhook"},
}

// hours has a certificate whose whole life fits into a test.
var hours = Requirements{Validity: 3 * time.Hour, Settle: time.Minute}

// cluster is an API server that knows resource versions, with the empty secret of
// the manifests, and a webhook configuration with a webhook of ours and one of
// somebody else.
type cluster struct {
	*testing.T
	*fake.Clientset
	ctx context.Context
}

func newCluster(t *testing.T) *cluster {
	_, ctx := ktesting.NewTestContext(t)
	c := &cluster{T: t, ctx: ctx, Clientset: fake.NewClientset(emptySecret(), &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: target.Configuration, ResourceVersion: "1"},
		Webhooks: []admissionv1.MutatingWebhook{
			{Name: "ours", ClientConfig: admissionv1.WebhookClientConfig{
				Service: &admissionv1.ServiceReference{Namespace: target.Service.Namespace, Name: target.Service.Name}}},
			{Name: "theirs", ClientConfig: admissionv1.WebhookClientConfig{CABundle: []byte("theirs"),
				Service: &admissionv1.ServiceReference{Namespace: "elsewhere", Name: target.Service.Name}}},
		},
	})}
	var mu sync.Mutex
	version := 1
	c.PrependReactor("*", "*", func(action k8stesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		var object runtime.Object
		switch action := action.(type) { // an update looks like a creation, too
		case k8stesting.CreateAction:
			object = action.GetObject()
		default:
			return false, nil, nil
		}
		written, err := meta.Accessor(object)
		if err != nil {
			return true, nil, err
		}
		if action.GetVerb() == "update" {
			stored, err := c.Tracker().Get(action.GetResource(), action.GetNamespace(), written.GetName())
			if err != nil {
				return true, nil, err
			}
			if stored, err := meta.Accessor(stored); err != nil || stored.GetResourceVersion() != written.GetResourceVersion() {
				return true, nil, apierrors.NewConflict(action.GetResource().GroupResource(), written.GetName(), errors.New("changed since"))
			}
		}
		version++
		written.SetResourceVersion(strconv.Itoa(version))
		return false, nil, nil
	})
	return c
}

// emptySecret is what the manifests bring.
func emptySecret() *v1.Secret {
	return &v1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: target.Secret.Namespace, Name: target.Secret.Name, ResourceVersion: "1"},
		Type:       v1.SecretTypeOpaque,
	}
}

// empty deletes the secret, and applies the manifests again after a while.
func (c *cluster) empty(after time.Duration) {
	c.Helper()
	secrets := c.CoreV1().Secrets(target.Secret.Namespace)
	if err := secrets.Delete(c.ctx, target.Secret.Name, metav1.DeleteOptions{}); err != nil {
		c.Fatal(err)
	}
	time.Sleep(after)
	if _, err := secrets.Create(c.ctx, emptySecret(), metav1.CreateOptions{}); err != nil {
		c.Fatal(err)
	}
}

// start runs a replica until the returned function is called.
func (c *cluster) start(requirements Requirements) (*Keeper, context.CancelFunc) {
	keeper := NewKeeper(c.Clientset, target, requirements)
	ctx, cancel := context.WithCancel(c.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := keeper.Start(ctx); err != nil {
			c.Error(err)
		}
	}()
	return keeper, func() { cancel(); <-done }
}

func (c *cluster) secret() *v1.Secret {
	c.Helper()
	secret, err := c.CoreV1().Secrets(target.Secret.Namespace).Get(c.ctx, target.Secret.Name, metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	return secret
}

func (c *cluster) configuration() *admissionv1.MutatingWebhookConfiguration {
	c.Helper()
	configuration, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(c.ctx, target.Configuration, metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	return configuration
}

// bundle is what API servers trust of us.
func (c *cluster) bundle() []byte { return c.configuration().Webhooks[0].ClientConfig.CABundle }

// handshake is what an API server with this CA bundle makes of a replica.
func handshake(keeper *Keeper, bundle []byte) error {
	certificate, err := keeper.GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	_, err = certificate.Leaf.Verify(x509.VerifyOptions{DNSName: serverName, Roots: roots})
	return err
}

func (c *cluster) expectTrusted(keeper *Keeper) {
	c.Helper()
	if err := handshake(keeper, c.bundle()); err != nil {
		c.Errorf("the API server does not trust the webhook: %v", err)
	}
}

func served(t *testing.T, keeper *Keeper) []byte {
	t.Helper()
	certificate, err := keeper.GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	return certificate.Leaf.Raw
}

// quiet returns when everything has reacted to everything. The clock of these
// tests is not the real one: a second takes no time.
func quiet() {
	time.Sleep(time.Second)
	synctest.Wait()
}

func TestFirstStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		keeper := NewKeeper(c.Clientset, target, hours)
		if _, err := keeper.GetCertificate(&tls.ClientHelloInfo{}); !errors.Is(err, errNoCertificate) {
			t.Errorf("before the start: %v", err)
		}
		keeper, stop := c.start(hours)
		defer stop()
		quiet()
		c.expectTrusted(keeper)
		secret := c.secret()
		if secret.Type != v1.SecretTypeOpaque || len(secret.Data[v1.TLSPrivateKeyKey]) == 0 {
			t.Errorf("the secret of type %v has no key", secret.Type)
		}
		if _, found := secret.Data[keyNextCertificate]; found {
			t.Error("a fresh start announces a successor")
		}
		if got := c.configuration().Webhooks[1].ClientConfig.CABundle; string(got) != "theirs" {
			t.Error("the CA bundle of somebody else's webhook was changed")
		}
	})
}

// The promise of this package: an API server that learns of a CA bundle late, but
// within Settle, never meets a certificate that it does not trust, while replicas
// come and go and the secret is deleted and spoiled.
func TestNoHandshakeFailsWhileCertificatesRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		var replicas [3]*Keeper
		var stops [3]context.CancelFunc
		for i := range replicas {
			replicas[i], stops[i] = c.start(hours)
		}
		defer func() {
			for _, stop := range stops {
				stop()
			}
		}()
		const step = 20 * time.Second
		quiet()
		late := [][]byte{c.bundle(), c.bundle()}
		seen, trusted := map[string]bool{}, map[string]bool{}
		for tick := range int(6 * time.Hour / step) {
			switch {
			case tick%500 == 250: // a replica is replaced
				i := tick / 500 % len(replicas)
				stops[i]()
				replicas[i], stops[i] = c.start(hours)
			case tick%850 == 400:
				c.empty(0)
			case tick%850 == 800:
				secret := c.secret()
				secret.Data = map[string][]byte{keyCertificate: []byte("spoiled"), keyPrivateKey: nil}
				if _, err := c.CoreV1().Secrets(target.Secret.Namespace).Update(c.ctx, secret, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			// Something is always going on, so that keepers have reason to look.
			busy := c.configuration()
			busy.Annotations = map[string]string{"tick": strconv.Itoa(tick)}
			if _, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(c.ctx, busy, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(step)
			synctest.Wait()
			for i, replica := range replicas {
				certificate := string(served(t, replica))
				if seen[certificate] = true; trusted[certificate+string(late[0])] {
					continue // that pair has been tried
				}
				if err := handshake(replica, late[0]); err != nil {
					t.Fatalf("after %v, replica %d: %v", time.Duration(tick)*step, i, err)
				}
				trusted[certificate+string(late[0])] = true
			}
			late = append(late[1:], c.bundle())
		}
		if len(seen) < 4 {
			t.Errorf("%d certificates were served in six hours, want at least 4", len(seen))
		}
	})
}

func TestResetCABundleIsPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		keeper, stop := c.start(hours)
		defer stop()
		quiet()
		reset := c.configuration()
		reset.Webhooks[0].ClientConfig.CABundle = nil
		if _, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(c.ctx, reset, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		quiet()
		c.expectTrusted(keeper)
	})
}

func TestDeletedSecretMeansANewKeyWithoutAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		keeper, stop := c.start(hours)
		defer stop()
		quiet()
		before := served(t, keeper)
		c.empty(hours.Settle)
		quiet()
		if !bytes.Equal(before, served(t, keeper)) {
			t.Error("the certificate changed before API servers could learn of its successor")
		}
		time.Sleep(3 * hours.Settle)
		quiet()
		if bytes.Equal(before, served(t, keeper)) {
			t.Error("the certificate did not change")
		}
		c.expectTrusted(keeper)
	})
}

// A replica that starts while the secret is empty has nothing that anybody trusts: the one
// that serves writes back what it serves, even if that takes a second attempt.
func TestNewReplicaLeavesAnEmptySecretToTheOneThatServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		serving, stopServing := c.start(hours)
		defer stopServing()
		quiet()
		before := served(t, serving)
		var refused atomic.Bool
		c.PrependReactor("update", "secrets", func(k8stesting.Action) (bool, runtime.Object, error) {
			if refused.Swap(true) {
				return false, nil, nil
			}
			return true, nil, apierrors.NewServiceUnavailable("busy")
		})
		c.empty(0)
		synctest.Wait() // the first attempt has failed
		young, stopYoung := c.start(hours)
		defer stopYoung()
		for range 10 {
			quiet()
			if err := handshake(young, c.bundle()); err != nil && !errors.Is(err, errNoCertificate) {
				t.Fatalf("the new replica serves what nobody trusts: %v", err)
			}
		}
		if !refused.Load() || !bytes.Equal(before, served(t, young)) {
			t.Error("the new replica does not serve what the other does")
		}
		c.expectTrusted(serving)
	})
}

// With nobody left who serves, a secret that is empty is not waited for.
func TestEmptySecretHealsOnStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		_, stop := c.start(hours)
		quiet()
		stop()
		c.empty(0)
		keeper, stop := c.start(hours)
		defer stop()
		time.Sleep(ownerPatience + retryAfter)
		quiet()
		c.expectTrusted(keeper)
	})
}

// Without the right to create secrets, a secret that is gone has to be applied again.
// Until then what is served goes on to be served, and a new replica is not ready.
func TestMissingSecretIsNotCreated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		keeper, stop := c.start(hours)
		defer stop()
		quiet()
		before := served(t, keeper)
		if err := c.CoreV1().Secrets(target.Secret.Namespace).Delete(c.ctx, target.Secret.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		quiet()
		young, stop := c.start(hours)
		defer stop()
		time.Sleep(10 * retryAfter)
		quiet()
		if secrets, err := c.CoreV1().Secrets("").List(c.ctx, metav1.ListOptions{}); err != nil || len(secrets.Items) > 0 {
			t.Errorf("secrets %v were made (%v)", secrets, err)
		}
		if !bytes.Equal(before, served(t, keeper)) {
			t.Error("another certificate is served")
		}
		c.expectTrusted(keeper)
		_, err := young.GetCertificate(&tls.ClientHelloInfo{})
		if !errors.Is(err, errNoCertificate) || !strings.Contains(err.Error(), "is missing") {
			t.Errorf("a new replica serves, or does not say why not: %v", err)
		}
	})
}

func TestExpiredSecretHealsOnStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		_, stop := c.start(hours)
		quiet()
		stop()
		time.Sleep(2 * hours.Validity)
		keeper, stop := c.start(hours)
		defer stop()
		quiet()
		c.expectTrusted(keeper)
	})
}

func TestAllReplicasServeTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		one, stopOne := c.start(hours)
		defer stopOne()
		two, stopTwo := c.start(hours)
		defer stopTwo()
		time.Sleep(2*hours.Validity + 10*hours.Settle)
		quiet()
		if !bytes.Equal(served(t, one), served(t, two)) {
			t.Error("two replicas serve two certificates")
		}
		c.expectTrusted(one)
	})
}

func TestWithoutConfigurationNothingIsPromoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		if err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(c.ctx, target.Configuration, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		keeper, stop := c.start(hours)
		defer stop()
		time.Sleep(hours.Validity - 10*time.Minute)
		quiet()
		if len(c.secret().Data[keyNextCertificate]) == 0 {
			t.Error("no successor was announced")
		}
		first := served(t, keeper)
		time.Sleep(20 * time.Minute)
		quiet()
		if bytes.Equal(first, served(t, keeper)) {
			t.Error("an expired certificate is served")
		}
	})
}

func TestRefusedWritesAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		var mu sync.Mutex
		refused := map[string]int{}
		c.PrependReactor("*", "*", func(action k8stesting.Action) (bool, runtime.Object, error) {
			mu.Lock()
			defer mu.Unlock()
			writes := action.GetVerb() == "create" || action.GetVerb() == "update"
			if resource := action.GetResource().Resource; writes && refused[resource] < 3 {
				refused[resource]++
				return true, nil, apierrors.NewForbidden(action.GetResource().GroupResource(), "", errors.New("no rule"))
			}
			return false, nil, nil
		})
		keeper, stop := c.start(hours)
		defer stop()
		quiet()
		if _, err := keeper.GetCertificate(&tls.ClientHelloInfo{}); !errors.Is(err, errNoCertificate) {
			t.Errorf("a certificate that is in no secret is served: %v", err)
		}
		time.Sleep(10 * retryAfter)
		quiet()
		c.expectTrusted(keeper)
	})
}

// A secret that cannot be written, because a right is gone or it is immutable, is
// no reason to serve less than it holds.
func TestValidCertificateIsServedWhileTheSecretCannotBeWritten(t *testing.T) {
	for what, test := range map[string]struct {
		spoil    func(*v1.Secret)
		restarts bool
	}{
		"a replica that starts when a renewal is due": {restarts: true},
		"a replica that starts, and the CA bundle in the secret is lost": {
			restarts: true, spoil: func(secret *v1.Secret) { delete(secret.Data, keyTrust) },
		},
		"a replica that runs on, and the secret is spoiled": {
			spoil: func(secret *v1.Secret) { secret.Data = nil },
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				keeper, stop := c.start(hours)
				defer func() { stop() }()
				quiet()
				before := served(t, keeper)
				if test.restarts {
					stop()
				}
				c.refuseSecrets()
				if test.spoil != nil {
					secret := c.secret()
					test.spoil(secret)
					if err := c.Tracker().Update(v1.SchemeGroupVersion.WithResource("secrets"), secret, secret.Namespace); err != nil {
						t.Fatal(err)
					}
				}
				reset := c.configuration()
				reset.Webhooks[0].ClientConfig.CABundle = nil
				if _, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(c.ctx, reset, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
				if test.restarts {
					time.Sleep(hours.Validity * 5 / 6)
					keeper, stop = c.start(hours)
				}
				quiet()
				if !bytes.Equal(before, served(t, keeper)) {
					t.Error("another certificate is served than the one of the secret")
				}
				c.expectTrusted(keeper)
			})
		})
	}
}

// Once the certificate has expired, a secret that cannot be written leaves nothing
// to start with.
func TestExpiredCertificateIsNotServedWhileTheSecretCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		_, stop := c.start(hours)
		quiet()
		stop()
		c.refuseSecrets()
		time.Sleep(2 * hours.Validity)
		keeper, stop := c.start(hours)
		defer stop()
		quiet()
		if _, err := keeper.GetCertificate(&tls.ClientHelloInfo{}); !errors.Is(err, errNoCertificate) {
			t.Errorf("an expired certificate is served: %v", err)
		}
	})
}

// refuseSecrets takes the right to write secrets away.
func (c *cluster) refuseSecrets() {
	c.PrependReactor("*", "secrets", func(action k8stesting.Action) (bool, runtime.Object, error) {
		if verb := action.GetVerb(); verb != "create" && verb != "update" {
			return false, nil, nil
		}
		return true, nil, apierrors.NewForbidden(action.GetResource().GroupResource(), "", errors.New("no rule"))
	})
}
