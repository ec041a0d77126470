package certificates

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

const day = 24 * time.Hour

var requirements = Requirements{Names: []string{"webhook.hyperconverge.svc"}, Validity: 90 * day, Settle: time.Minute}

func mustPair(t *testing.T, p Requirements) Pair {
	t.Helper()
	pair, err := p.newPair()
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestRenew(t *testing.T) {
	a, b := mustPair(t, requirements), mustPair(t, requirements)
	elsewhere := mustPair(t, Requirements{Names: []string{"elsewhere.svc"}, Validity: 90 * day})
	brief := mustPair(t, Requirements{Names: requirements.Names, Validity: time.Minute})
	now := time.Now()
	trust := func(pairs ...Pair) []byte {
		var text []byte
		for _, pair := range pairs {
			text = append(text, pair.Certificate...)
		}
		return trustOf(Set{Trust: text}, now)
	}
	// In what is wanted, made stands for a pair that was made in this step.
	made := Pair{Certificate: []byte("made")}

	tests := map[string]struct {
		set            Set
		after          time.Duration
		settled, force bool
		want           Set
	}{
		"with nothing in hand, a certificate is made and served at once": {
			want: Set{Current: made, Trust: trust(made)},
		},
		"a fresh certificate is left alone": {
			set:  Set{Current: a, Trust: trust(a)},
			want: Set{Current: a, Trust: trust(a)},
		},
		"a certificate is left alone until a third of its validity is left": {
			set: Set{Current: a, Trust: trust(a)}, after: 60*day - time.Hour,
			want: Set{Current: a, Trust: trust(a)},
		},
		"then its successor is announced and not yet served": {
			set: Set{Current: a, Trust: trust(a)}, after: 60*day + time.Hour,
			want: Set{Current: a, Next: made, Trust: trust(a, made)},
		},
		"a successor is announced early when it is asked for": {
			set: Set{Current: a, Trust: trust(a)}, force: true,
			want: Set{Current: a, Next: made, Trust: trust(a, made)},
		},
		"a successor is not served while API servers may not know it": {
			set: Set{Current: a, Next: b, Trust: trust(a, b)}, after: 61 * day,
			want: Set{Current: a, Next: b, Trust: trust(a, b)},
		},
		"a successor is served once API servers know it, and its predecessor stays trusted": {
			set: Set{Current: a, Next: b, Trust: trust(a, b)}, settled: true,
			want: Set{Current: b, Trust: trust(b, a)},
		},
		"when the current certificate has ended, its successor takes over at once": {
			set: Set{Current: brief, Next: b, Trust: trust(brief, b)}, after: time.Hour,
			want: Set{Current: b, Trust: trust(b)},
		},
		"when the current certificate has ended and there is no successor, one is made": {
			set: Set{Current: brief, Trust: trust(brief)}, after: time.Hour,
			want: Set{Current: made, Trust: trust(made)},
		},
		"a certificate that is none is replaced": {
			set:  Set{Current: Pair{Certificate: []byte("x"), Key: []byte("y")}, Trust: []byte("z")},
			want: Set{Current: made, Trust: trust(made)},
		},
		"a certificate with the key of another is replaced": {
			set:  Set{Current: Pair{Certificate: a.Certificate, Key: b.Key}, Trust: trust(a)},
			want: Set{Current: made, Trust: trust(made, a)},
		},
		"a certificate for other names is replaced": {
			set:  Set{Current: elsewhere, Trust: trust(elsewhere)},
			want: Set{Current: made, Trust: trust(made, elsewhere)},
		},
		"a certificate without its authority is replaced": {
			set:  Set{Current: Pair{Certificate: firstBlock(a.Certificate), Key: a.Key}},
			want: Set{Current: made, Trust: trust(made)},
		},
		"a successor that is none is forgotten": {
			set:  Set{Current: a, Next: Pair{Certificate: []byte("x")}, Trust: trust(a)},
			want: Set{Current: a, Trust: trust(a)},
		},
		"trust that has ended or is none is dropped": {
			set: Set{Current: a, Trust: append(append(trust(a), trust(brief)...), "nonsense"...)}, after: time.Hour,
			want: Set{Current: a, Trust: trust(a)},
		},
		"trust that is missing is put back": {
			set:  Set{Current: a, Next: b},
			want: Set{Current: a, Next: b, Trust: trust(a, b)},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := requirements.Renew(test.set, now.Add(test.after), test.settled, test.force)
			if err != nil {
				t.Fatal(err)
			}
			want, known := test.want, []Pair{a, b, brief, elsewhere}
			var added []Pair
			for _, pair := range []struct{ want, got *Pair }{{&want.Current, &got.Current}, {&want.Next, &got.Next}} {
				if !pair.want.equal(made) {
					continue
				}
				for _, old := range known {
					if pair.got.equal(old) {
						t.Fatal("an old pair stands where a new one is wanted")
					}
				}
				if requirements.check(*pair.got, now.Add(test.after)) == nil {
					t.Fatal("the new pair cannot be served")
				}
				*pair.want = *pair.got
				added = append(added, *pair.got)
			}
			for _, pair := range added { // the authorities of new pairs stand first or after the current one
				if !bytes.Contains(got.Trust, secondBlock(pair.Certificate)) {
					t.Error("the new pair is not trusted")
				}
			}
			if !got.Current.equal(want.Current) || !got.Next.equal(want.Next) {
				t.Error("not the pairs that are wanted")
			}
			for _, old := range known {
				authority := secondBlock(old.Certificate)
				if want, got := bytes.Contains(test.want.Trust, authority), bytes.Contains(got.Trust, authority); want != got {
					t.Errorf("an older authority is trusted: %t, want %t", got, want)
				}
			}
			if again, err := requirements.Renew(got, now.Add(test.after), false, false); err != nil || !again.Equal(got) {
				t.Errorf("a second step changes something again (%v)", err)
			}
		})
	}
}

// firstBlock is the certificate itself, secondBlock that of its authority.
func firstBlock(text []byte) []byte { return text[:len(text)-len(secondBlock(text))] }

func secondBlock(text []byte) []byte {
	return text[strings.LastIndex(string(text), "-----BEGIN"):]
}

func TestTrustIsBounded(t *testing.T) {
	set := Set{Current: mustPair(t, requirements)}
	for range maxTrusted + 2 {
		var err error
		if set, err = requirements.Renew(set, time.Now(), true, true); err != nil { // announce
			t.Fatal(err)
		}
		if set, err = requirements.Renew(set, time.Now(), true, false); err != nil { // promote
			t.Fatal(err)
		}
	}
	if got := len(authoritiesIn(set.Trust)); got != maxTrusted {
		t.Errorf("%d authorities are trusted, want %d", got, maxTrusted)
	}
	if !bytes.HasPrefix(set.Trust, secondBlock(set.Current.Certificate)) {
		t.Error("the authority that is needed does not stand first")
	}
}

func FuzzAnySecretHeals(f *testing.F) {
	pair, err := requirements.newPair()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pair.Certificate, pair.Key, pair.Certificate, pair.Key, pair.Certificate)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----"), []byte{}, []byte{}, []byte{}, []byte("x"))
	f.Fuzz(func(t *testing.T, certificate, key, nextCertificate, nextKey, trust []byte) {
		now := time.Now()
		set, err := requirements.Renew(Set{
			Current: Pair{Certificate: certificate, Key: key},
			Next:    Pair{Certificate: nextCertificate, Key: nextKey},
			Trust:   trust,
		}, now, false, false)
		if err != nil {
			t.Fatal(err)
		}
		if requirements.check(set.Current, now) == nil {
			t.Fatal("the current certificate cannot be served")
		}
		if !bytes.Contains(set.Trust, secondBlock(set.Current.Certificate)) {
			t.Fatal("the current certificate is not trusted")
		}
	})
}
