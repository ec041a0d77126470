package certificates

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	admissioninformers "k8s.io/client-go/informers/admissionregistration/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Keys of the secret. The first three are those that cert-manager uses, too.
const (
	keyCertificate     = v1.TLSCertKey
	keyPrivateKey      = v1.TLSPrivateKeyKey
	keyTrust           = v1.ServiceAccountRootCAKey // ca.crt
	keyNextCertificate = "next.crt"
	keyNextPrivateKey  = "next.key"
)

const (
	// retryAfter is how long after a failure the next attempt is, if nothing happens.
	retryAfter = 5 * time.Second
	// ownerPatience is how long a secret without a certificate is left to the replica that
	// may serve one: that writes it back as soon as it sees the change.
	ownerPatience = 5 * time.Second
)

// errNoCertificate is what TLS handshakes and readiness get before the first
// certificate is there.
var errNoCertificate = errors.New("there is no serving certificate yet")

// Keeper keeps the secret and the CA bundle current, and hands out the serving
// certificate of the moment.
type Keeper struct {
	client        kubernetes.Interface
	secret        types.NamespacedName
	configuration string
	service       types.NamespacedName
	requirements  Requirements

	served atomic.Pointer[tls.Certificate]
	// failure is why the last pass failed; it holds nil if it did not.
	failure atomic.Pointer[error]

	// The fields below belong to the goroutine of Start.

	// last is the set whose certificate is served.
	last Set
	// published is the CA bundle that was found in the configuration, and since
	// when it has been there as far as this process knows.
	published      []byte
	publishedSince time.Time
	// emptySince is since when the secret has no certificate, and none is served here.
	emptySince time.Time
	// told is set while it is known, and said, that there is no configuration.
	told bool

	secrets        cache.SharedIndexInformer
	configurations cache.SharedIndexInformer
	changed        chan struct{}
}

// Target says what a Keeper works on.
type Target struct {
	// Secret holds the certificates.
	Secret types.NamespacedName
	// Configuration is the name of the MutatingWebhookConfiguration.
	Configuration string
	// Service is the one through which API servers call; webhooks of the
	// configuration that name another one are left alone.
	Service types.NamespacedName
}

// NewKeeper returns a keeper that does nothing before Start. The names of the
// requirements may be left empty: those of the service are taken.
func NewKeeper(client kubernetes.Interface, target Target, requirements Requirements) *Keeper {
	if len(requirements.Names) == 0 {
		host := target.Service.Name + "." + target.Service.Namespace + ".svc"
		requirements.Names = []string{host, host + ".cluster.local"}
	}
	only := func(name string) func(*metav1.ListOptions) {
		selector := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		return func(options *metav1.ListOptions) { options.FieldSelector = selector }
	}
	return &Keeper{
		client: client, requirements: requirements,
		secret: target.Secret, configuration: target.Configuration, service: target.Service,
		secrets: coreinformers.NewFilteredSecretInformer(client, target.Secret.Namespace, 0,
			cache.Indexers{}, only(target.Secret.Name)),
		configurations: admissioninformers.NewFilteredMutatingWebhookConfigurationInformer(client, 0,
			cache.Indexers{}, only(target.Configuration)),
		changed: make(chan struct{}, 1),
	}
}

// GetCertificate is for tls.Config.
func (k *Keeper) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if certificate := k.served.Load(); certificate != nil {
		return certificate, nil
	}
	if failure := k.failure.Load(); failure != nil && *failure != nil {
		return nil, fmt.Errorf("%w: %w", errNoCertificate, *failure)
	}
	return nil, errNoCertificate
}

// Start keeps the certificates until the context ends. It looks after every
// change of the secret and of the configuration, and once per Settle.
func (k *Keeper) Start(ctx context.Context) error {
	logger := klog.LoggerWithName(klog.FromContext(ctx), "certificates")
	ctx = klog.NewContext(ctx, logger)
	var running sync.WaitGroup
	defer running.Wait()
	for _, informer := range []cache.SharedIndexInformer{k.secrets, k.configurations} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
			AddFunc:    func(any, bool) { k.signal() },
			UpdateFunc: func(any, any) { k.signal() },
			DeleteFunc: func(any) { k.signal() },
		}); err != nil {
			return fmt.Errorf("watching certificates: %w", err)
		}
		running.Go(func() { informer.RunWithContext(ctx) })
	}
	if !cache.WaitForCacheSync(ctx.Done(), k.secrets.HasSynced, k.configurations.HasSynced) {
		return nil // the context has ended
	}
	for {
		pause := k.requirements.Settle
		err := k.pass(ctx)
		k.failure.Store(&err)
		if err != nil {
			pause = min(pause, retryAfter)
			logger.Error(err, "Renewing certificates failed", "retryAfter", pause)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		case <-k.changed:
		}
	}
}

func (k *Keeper) signal() {
	select {
	case k.changed <- struct{}{}:
	default: // a pass is due already
	}
}

// pass brings secret, served certificate and CA bundle one step on. Its own
// writes come back as changes and cause the next pass.
func (k *Keeper) pass(ctx context.Context) error {
	now := time.Now()
	secret := k.cachedSecret()
	found := setIn(secret)
	base, lost := k.restore(found, now)
	if secret == nil {
		missing := fmt.Errorf("secret %s is missing; apply the manifests again, which bring it empty: a right to create secrets would be one to create tokens of any account of the namespace", k.secret)
		return errors.Join(missing, k.carryOn(ctx, base, now))
	}
	if k.leavesToOwner(base, now) {
		return fmt.Errorf("secret %s has no certificate, but webhook configuration %q has an authority: waiting %v for the replica that may serve its certificate", k.secret, k.configuration, ownerPatience)
	}
	wanted, err := k.requirements.Renew(base, now, k.hasSettled(found, now), lost)
	if err != nil {
		return err
	}
	if !wanted.Equal(found) {
		if err := k.write(ctx, secret, wanted); err != nil {
			if apierrors.IsConflict(err) {
				return nil // another replica was faster, and its change is on the way
			}
			return errors.Join(err, k.carryOn(ctx, base, now))
		}
		klog.FromContext(ctx).Info("Wrote the secret of certificates", "secret", k.secret,
			"newCertificate", !wanted.Current.equal(k.last.Current), "successorAnnounced", len(wanted.Next.Certificate) > 0)
	}
	if err := k.serve(wanted); err != nil {
		return err
	}
	return k.publish(ctx, wanted.Trust, now)
}

// carryOn makes the best of a secret that cannot be written: what is in it, or is
// served already, stays served and trusted while it is valid.
func (k *Keeper) carryOn(ctx context.Context, base Set, now time.Time) error {
	if k.requirements.check(base.Current, now) == nil {
		return nil
	}
	if err := k.serve(base); err != nil {
		return err
	}
	return k.publish(ctx, trustOf(base, now), now)
}

// restore returns the set to go on with. If the secret has been deleted, emptied or
// spoiled, what is served goes on to be served, because API servers trust it, and
// lost asks for a successor: whoever empties the secret wants a new key.
func (k *Keeper) restore(found Set, now time.Time) (base Set, lost bool) {
	if k.requirements.check(found.Current, now) != nil || k.requirements.check(k.last.Current, now) == nil {
		return found, false
	}
	return Set{Current: k.last.Current, Trust: k.last.Trust}, true
}

// leavesToOwner reports whether another replica may serve a certificate that API servers
// trust, and has not had time yet to write it back into a secret that was emptied. A new
// one would be served before anybody trusts it.
func (k *Keeper) leavesToOwner(base Set, now time.Time) bool {
	if k.requirements.check(base.Current, now) != nil || k.requirements.check(base.Next, now) != nil || !k.trusted(now) {
		k.emptySince = time.Time{}
		return false
	}
	if k.emptySince.IsZero() {
		k.emptySince = now
	}
	return now.Sub(k.emptySince) < ownerPatience
}

// trusted reports whether API servers trust an authority of ours that is valid.
func (k *Keeper) trusted(now time.Time) bool {
	configuration := k.cachedConfiguration()
	if configuration == nil {
		return false
	}
	for i := range configuration.Webhooks {
		client := &configuration.Webhooks[i].ClientConfig
		if k.calls(client) && len(trustOf(Set{Trust: client.CABundle}, now)) > 0 {
			return true
		}
	}
	return false
}

// calls reports whether API servers call the service by that.
func (k *Keeper) calls(client *admissionv1.WebhookClientConfig) bool {
	return client.Service != nil && client.Service.Name == k.service.Name && client.Service.Namespace == k.service.Namespace
}

// hasSettled reports whether API servers have had time to trust all of the set.
func (k *Keeper) hasSettled(set Set, now time.Time) bool {
	return len(set.Trust) > 0 && bytes.Equal(set.Trust, k.published) && now.Sub(k.publishedSince) >= k.requirements.Settle
}

// serve hands out the current certificate of a set from now on.
func (k *Keeper) serve(set Set) error {
	if served := k.served.Load(); served != nil && k.last.Current.equal(set.Current) {
		k.last = set
		return nil
	}
	certificate, err := tls.X509KeyPair(set.Current.Certificate, set.Current.Key)
	if err != nil {
		return fmt.Errorf("reading the certificate in secret %s: %w", k.secret, err)
	}
	k.served.Store(&certificate)
	k.last = set
	return nil
}

// write updates the secret, if it is still the one that was read.
func (k *Keeper) write(ctx context.Context, secret *v1.Secret, set Set) error {
	updated := secret.DeepCopy()
	setInto(updated, set)
	if _, err := k.client.CoreV1().Secrets(k.secret.Namespace).Update(ctx, updated, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("updating secret %s with new certificates: %w", k.secret, err)
	}
	return nil
}

// publish puts the CA bundle into the webhook configuration, and notes since
// when it stands there.
func (k *Keeper) publish(ctx context.Context, trust []byte, now time.Time) error {
	configuration := k.cachedConfiguration()
	if configuration == nil {
		k.published = nil
		if !k.told {
			klog.FromContext(ctx).Info("There is no webhook configuration, so that no API server calls this webhook; apply its manifest",
				"configuration", k.configuration)
		}
		k.told = true
		return nil
	}
	k.told = false
	updated, outdated := k.withTrust(configuration, trust)
	if !outdated {
		if !bytes.Equal(k.published, trust) {
			k.published, k.publishedSince = trust, now
		}
		return nil
	}
	k.published = nil
	_, err := k.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(ctx, updated, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		return nil // the configuration has changed, and the change is on the way
	}
	if err != nil {
		return fmt.Errorf("putting the CA bundle into webhook configuration %q: %w", k.configuration, err)
	}
	klog.FromContext(ctx).Info("Put the CA bundle into the webhook configuration", "configuration", k.configuration)
	return nil
}

// withTrust returns a configuration whose webhooks at the service have the CA
// bundle, and whether that is a change.
func (k *Keeper) withTrust(configuration *admissionv1.MutatingWebhookConfiguration, trust []byte,
) (updated *admissionv1.MutatingWebhookConfiguration, changed bool) {
	updated = configuration.DeepCopy()
	for i := range updated.Webhooks {
		client := &updated.Webhooks[i].ClientConfig
		if k.calls(client) && !bytes.Equal(client.CABundle, trust) {
			client.CABundle, changed = trust, true
		}
	}
	return updated, changed
}

func (k *Keeper) cachedSecret() *v1.Secret {
	for _, object := range k.secrets.GetStore().List() {
		if secret, ok := object.(*v1.Secret); ok && secret.Name == k.secret.Name {
			return secret
		}
	}
	return nil
}

func (k *Keeper) cachedConfiguration() *admissionv1.MutatingWebhookConfiguration {
	for _, object := range k.configurations.GetStore().List() {
		if configuration, ok := object.(*admissionv1.MutatingWebhookConfiguration); ok && configuration.Name == k.configuration {
			return configuration
		}
	}
	return nil
}

// setIn reads a secret, which may be missing or hold anything.
func setIn(secret *v1.Secret) Set {
	if secret == nil {
		return Set{}
	}
	return Set{
		Current: Pair{Certificate: secret.Data[keyCertificate], Key: secret.Data[keyPrivateKey]},
		Next:    Pair{Certificate: secret.Data[keyNextCertificate], Key: secret.Data[keyNextPrivateKey]},
		Trust:   secret.Data[keyTrust],
	}
}

// setInto writes a set into a secret and leaves its other keys alone.
func setInto(secret *v1.Secret, set Set) {
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	for key, value := range map[string][]byte{
		keyCertificate: set.Current.Certificate, keyPrivateKey: set.Current.Key,
		keyNextCertificate: set.Next.Certificate, keyNextPrivateKey: set.Next.Key,
		keyTrust: set.Trust,
	} {
		if len(value) == 0 {
			delete(secret.Data, key)
		} else {
			secret.Data[key] = value
		}
	}
}
