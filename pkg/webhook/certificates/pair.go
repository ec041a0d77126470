// Package certificates makes and renews the serving certificate of a webhook,
// and keeps the CA bundle of its configuration current, without a moment in
// which an API server meets a certificate that it does not trust.
//
// Every certificate has a certificate authority of its own, whose key is thrown
// away as soon as it has signed. So there is no long-lived key to guard, and
// only one kind of rotation: a certificate and its trust are renewed together.
//
// A new certificate is first made known (its authority enters the CA bundle),
// and served only when API servers have had time to learn of it. All of this
// stands in one secret, so that the replicas of the webhook agree; any of them
// takes the next step, and a conflict means that another one was faster.
package certificates

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	certutil "k8s.io/client-go/util/cert"
)

// clockSkew is how long before its making a certificate is valid already; it is
// what client-go takes off for clocks that are behind.
const clockSkew = time.Hour

// maxTrusted bounds the CA bundle, whatever happens to the secret.
const maxTrusted = 5

// Pair is a serving certificate and its key in PEM. The certificate is followed
// by that of its authority.
type Pair struct {
	Certificate, Key []byte
}

// Set is all that the replicas share.
type Set struct {
	// Current is served.
	Current Pair
	// Next is trusted, but not served yet; empty most of the time.
	Next Pair
	// Trust is the CA bundle in PEM: the authorities of both, and of certificates
	// before them that have not expired.
	Trust []byte
}

// Requirements says what certificates have to be like.
type Requirements struct {
	// Names are the DNS names under which API servers call the webhook; there is
	// at least one.
	Names []string
	// Validity is how long a certificate lasts. It is renewed when a third of
	// that is left.
	Validity time.Duration
	// Settle is how long a new authority has to stand in the CA bundle before a
	// certificate of its is served.
	Settle time.Duration
}

// Renew returns the set as it should be now. Settled says that API servers have
// trusted the whole of set.Trust for the time of Settle; force asks for a new
// certificate before the current one is due.
func (p *Requirements) Renew(set Set, now time.Time, settled, force bool) (Set, error) {
	current, next := p.check(set.Current, now), p.check(set.Next, now)
	var err error
	switch {
	case current == nil && next != nil, next != nil && settled:
		set.Current, set.Next = set.Next, Pair{}
	case current == nil:
		// Whatever is served now, nobody can trust it: there is nothing to wait for.
		set.Current, err = p.newPair()
		set.Next = Pair{}
	case next == nil && (force || !now.Before(current.Leaf.NotAfter.Add(-p.Validity/3))):
		set.Next, err = p.newPair()
	case next == nil:
		set.Next = Pair{}
	}
	if err != nil {
		return Set{}, fmt.Errorf("making a serving certificate for %v: %w", p.Names, err)
	}
	set.Trust = trustOf(set, now)
	return set, nil
}

// Equal reports whether both sets are the same.
func (s Set) Equal(other Set) bool {
	return s.Current.equal(other.Current) && s.Next.equal(other.Next) && bytes.Equal(s.Trust, other.Trust)
}

func (p Pair) equal(other Pair) bool {
	return bytes.Equal(p.Certificate, other.Certificate) && bytes.Equal(p.Key, other.Key)
}

// check returns the pair if it can be served now, nil otherwise.
func (p *Requirements) check(pair Pair, now time.Time) *tls.Certificate {
	certificate, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		return nil
	}
	roots := x509.NewCertPool()
	for _, authority := range authoritiesIn(pair.Certificate) {
		roots.AddCert(authority)
	}
	for _, name := range p.Names {
		if _, err := certificate.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now}); err != nil {
			return nil
		}
	}
	return &certificate
}

func (p *Requirements) newPair() (Pair, error) {
	certificate, key, err := certutil.GenerateSelfSignedCertKeyWithOptions(certutil.SelfSignedCertKeyOptions{
		Host: p.Names[0], AlternateDNS: p.Names[1:], MaxAge: p.Validity + clockSkew,
	})
	return Pair{Certificate: certificate, Key: key}, err
}

// trustOf is the CA bundle that goes with a set: first the authorities that are
// needed, then older ones, without those that have expired.
func trustOf(set Set, now time.Time) []byte {
	var trusted []*x509.Certificate
	for _, source := range [][]byte{set.Current.Certificate, set.Next.Certificate, set.Trust} {
		for _, authority := range authoritiesIn(source) {
			if len(trusted) < maxTrusted && now.Before(authority.NotAfter) && !slices.ContainsFunc(trusted, authority.Equal) {
				trusted = append(trusted, authority)
			}
		}
	}
	var bundle bytes.Buffer
	for _, authority := range trusted {
		// Writing to a buffer does not fail.
		_ = pem.Encode(&bundle, &pem.Block{Type: certutil.CertificateBlockType, Bytes: authority.Raw})
	}
	return bundle.Bytes()
}

// authoritiesIn returns the certificates of authorities in a PEM text, and skips
// everything else in it.
func authoritiesIn(text []byte) []*x509.Certificate {
	var found []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return found
		}
		if certificate, err := x509.ParseCertificate(block.Bytes); err == nil && certificate.IsCA {
			found = append(found, certificate)
		}
	}
}
