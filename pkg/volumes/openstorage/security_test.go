package openstorage

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sim "github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

const (
	goodToken  = "eyJ.good.token"
	blindToken = "eyJ.blind.token"
	wrongToken = "eyJ.wrong.token"
)

func newTokens() *sim.Tokens {
	tokens := &sim.Tokens{}
	tokens.Set(goodToken, sim.Token{User: "scheduler", Roles: []string{sim.RoleView}, Groups: []string{sim.AdminGroup}})
	tokens.Set(blindToken, sim.Token{User: "scheduler", Roles: []string{sim.RoleView}})
	return tokens
}

// tokenPath writes a token to a file.
func tokenPath(t *testing.T, token string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth-token")
	writeFile(t, path, token)
	return path
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.key = a.newKey()
	a.cert = a.sign(template, template, &a.key.PublicKey, a.key)
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *authority) sign(template, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// server returns the settings of a server with a certificate for this name, or
// for the loopback address.
func (a *authority) server(name string) *tls.Config {
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour)}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	key := a.newKey()
	cert := a.sign(template, a.cert, &key.PublicKey, a.key)
	return &tls.Config{MinVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
}

func (a *authority) file() string {
	path := filepath.Join(a.t.TempDir(), "ca.crt")
	writeFile(a.t, path, a.pem())
	return path
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

func TestServerMustProveWhoItIs(t *testing.T) {
	ca := newAuthority(t)
	tests := []struct {
		name   string
		server *tls.Config
		client TLSOptions
		ok     bool
	}{
		{"a certificate of the given authority for the endpoint", ca.server("127.0.0.1"), TLSOptions{Enabled: true, CAFile: ca.file()}, true},
		{"a certificate for the given server name", ca.server("portworx-api"), TLSOptions{Enabled: true, CAFile: ca.file(), ServerName: "portworx-api"}, true},
		{"a certificate for another name", ca.server("portworx-api"), TLSOptions{Enabled: true, CAFile: ca.file()}, false},
		{"a certificate of an authority nobody knows", ca.server("127.0.0.1"), TLSOptions{Enabled: true}, false},
		{"a certificate of another authority", ca.server("127.0.0.1"), TLSOptions{Enabled: true, CAFile: newAuthority(t).file()}, false},
		{"no TLS at the server", nil, TLSOptions{Enabled: true, CAFile: ca.file()}, false},
		{"no TLS at the client", ca.server("127.0.0.1"), TLSOptions{}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, settings{config: Config{TLS: test.client, RequestTimeout: time.Second}, server: sim.ServerOptions{TLS: test.server}})
			if test.ok {
				r.eventually("storage is reached", func() bool { return r.index.View().Reached() })
				return
			}
			r.eventuallyProblem(ReasonUnreachable, true)
			if r.index.View().Reached() {
				t.Error("storage is reached")
			}
		})
	}
}

func TestAuthorityIsReadAgainWhenItIsRotated(t *testing.T) {
	old, current := newAuthority(t), newAuthority(t)
	file := old.file()
	r := start(t, settings{config: Config{TLS: TLSOptions{Enabled: true, CAFile: file}}, server: sim.ServerOptions{TLS: current.server("127.0.0.1")}})
	r.eventuallyProblem(ReasonUnreachable, true)
	writeFile(t, file, current.pem())
	r.eventuallyProblem(ReasonUnreachable, false)
}

func TestTokenTravelsOverTLSOnly(t *testing.T) {
	file := tokenPath(t, goodToken)
	index := volumes.NewIndex(volumes.Options{})
	if _, err := New(Config{Endpoint: "storage:9020", TokenFile: file}, index); err == nil || !strings.Contains(err.Error(), "allowPlaintextToken") {
		t.Errorf("a token without TLS: %v, want an error that names the way out", err)
	}
	for _, config := range []Config{
		{Endpoint: "storage:9020", TokenFile: file, AllowPlaintextToken: true},
		{Endpoint: "storage:9020", TokenFile: file, TLS: TLSOptions{Enabled: true}},
		{Endpoint: "storage:9020"},
	} {
		s, err := New(config, index)
		if err != nil {
			t.Fatalf("%+v: %v", config, err)
		}
		if err := s.client.conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestConnectionRefusesATokenWithoutTLS(t *testing.T) {
	if c, err := dial(&Config{Endpoint: "storage:9020"}, &tokenFile{}, nil); err == nil {
		t.Errorf("connection %v would send a token in plain text", c)
	}
}

func TestWrongConfigurationIsNamed(t *testing.T) {
	noPEM := filepath.Join(t.TempDir(), "ca.crt")
	writeFile(t, noPEM, "hello")
	for name, config := range map[string]Config{
		"no-port":              {Endpoint: "no-port"},
		"does-not-exist":       {Endpoint: "storage:9020", TLS: TLSOptions{Enabled: true, CAFile: "/does-not-exist"}},
		"holds no certificate": {Endpoint: "storage:9020", TLS: TLSOptions{Enabled: true, CAFile: noPEM}},
	} {
		if _, err := New(config, volumes.NewIndex(volumes.Options{})); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error is %v, want one with %q", err, name)
		}
	}
}

func TestTokenIsRotated(t *testing.T) {
	tests := []struct {
		name    string
		before  string
		problem string
	}{
		{"a token that storage does not know", wrongToken, ReasonTokenRefused},
		{"a token that shows nothing", blindToken, ReasonTokenBlind},
		{"an empty file", "", ReasonTokenUnreadable},
		{"a file with two lines", goodToken + "\n" + goodToken, ReasonTokenUnreadable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var id string
			ca := newAuthority(t)
			file := tokenPath(t, test.before)
			r := start(t, settings{
				config: Config{TokenFile: file, TLS: TLSOptions{Enabled: true, CAFile: ca.file()}, ResyncInterval: 200 * time.Millisecond},
				server: sim.ServerOptions{Tokens: newTokens(), TLS: ca.server("127.0.0.1")},
				setUp:  withVolume(&id),
				tune:   func(s *Source) { s.token.maxAge = 10 * time.Millisecond },
			})
			r.addPV(pvOf("pv", id))
			r.eventuallyProblem(test.problem, true)
			writeFile(t, file, goodToken+"\n")
			r.eventuallyOn(id, "node-1", "node-2")
			r.eventuallyProblem(test.problem, false)
		})
	}
}

func TestTokenThatStopsToShowAnythingTakesNothingAway(t *testing.T) {
	file := tokenPath(t, goodToken)
	r, id := startKnown(t, settings{
		config: Config{TokenFile: file, AllowPlaintextToken: true, ResyncInterval: 100 * time.Millisecond},
		server: sim.ServerOptions{Tokens: newTokens()},
		tune:   func(s *Source) { s.token.maxAge = 10 * time.Millisecond },
	})
	writeFile(t, file, blindToken)
	r.eventuallyProblem(ReasonTokenBlind, true)
	if got := r.holders(id); len(got) != 2 {
		t.Errorf("volume is on %v", got)
	}
}

func TestLastTokenIsUsedWhileTheFileIsGone(t *testing.T) {
	file := tokenPath(t, goodToken)
	r := start(t, settings{
		config: Config{TokenFile: file, AllowPlaintextToken: true},
		server: sim.ServerOptions{Tokens: newTokens()},
		tune:   func(s *Source) { s.token.maxAge = time.Millisecond },
	})
	r.eventually("storage is reached", func() bool { return r.index.View().Reached() })
	r.must(os.Remove(file))
	r.eventuallyProblem(ReasonTokenUnreadable, true)
	r.must(r.cluster.SetNodeState("node-1", sim.StatusOffline))
	r.eventuallyState("node-1", placement.Offline)
}

func TestNoTokenInAnyLogOrProblem(t *testing.T) {
	for _, token := range []string{goodToken, wrongToken, blindToken} {
		var id string
		file := tokenPath(t, token)
		r := start(t, settings{
			config: Config{TokenFile: file, AllowPlaintextToken: true, ResyncInterval: 100 * time.Millisecond},
			server: sim.ServerOptions{Tokens: newTokens()},
			setUp:  withVolume(&id),
		})
		r.addPV(pvOf("pv", id))
		r.eventually("something is logged", func() bool { return len(r.log.String()) > 200 })
		if token == goodToken {
			r.watching()
			r.server.Disconnect()
			r.eventuallyProblem(ReasonUnreachable, true)
		}
		r.source.LogSummary(r.logger())
		secret := strings.Split(token, ".")[1] + "."
		if r.logged(secret) || r.logged("bearer") {
			t.Errorf("the token is in the log:\n%s", r.log)
		}
		for _, p := range r.source.Conditions() {
			if strings.Contains(p.Message, secret) {
				t.Errorf("the token is in %q", p.Message)
			}
		}
	}
}

func TestServerThatQuotesATokenIsCensored(t *testing.T) {
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.c2lnbmF0dXJl-_"
	tests := []struct {
		name, message, want string
	}{
		{"the token in use", "token " + goodToken + " is bad", "token (token) is bad"},
		{"twice", goodToken + `, "` + goodToken + `"`, `(token), "(token)"`},
		{"one that has been replaced, as the end of a watch may", "expired: former.secret", "expired: (token)"},
		{"the first of all", "expired: first.secret", "expired: (token)"},
		{"one that was never ours", "signed by nobody: " + jwt, "signed by nobody: (token)"},
		{"one that is cut off", "cannot parse eyJhbGciOiJIUzI1NiJ9.eyJz...", "cannot parse (token)"},
		{"in a header", `"authorization":"bearer ` + jwt + `"`, `"authorization":"bearer (token)"`},
		{"no token", "no such volume: pvc-1.eyJ", "no such volume: pvc-1.eyJ"},
	}
	path := tokenPath(t, "first.secret")
	token := &tokenFile{path: path, plaintext: true, observe: func(error) {}}
	for _, secret := range []string{"first.secret", "former.secret", goodToken} {
		writeFile(t, path, secret)
		if metadata, err := token.GetRequestMetadata(t.Context()); err != nil || metadata["authorization"] != "bearer "+secret {
			t.Fatalf("metadata is %v, %v", metadata, err)
		}
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := status.Error(codes.Unauthenticated, test.message)
			after := token.redact(before)
			if got := status.Convert(after); got.Code() != codes.Unauthenticated || got.Message() != test.want {
				t.Errorf("error is %v, want %q", after, test.want)
			}
			if test.want == test.message && !errors.Is(after, before) {
				t.Errorf("an error without a token became %v", after)
			}
		})
	}
	plain := errors.New("plain")
	if err := (*tokenFile)(nil).redact(plain); !errors.Is(err, plain) {
		t.Errorf("without a token an error became %v", err)
	}
	if err := token.redact(nil); err != nil {
		t.Errorf("success became %v", err)
	}
}

func TestOnlyTheLastTokensAreRemembered(t *testing.T) {
	token := &tokenFile{}
	for i := range 3 * tokensRemembered {
		token.use("steady")
		token.use(fmt.Sprint("token ", i))
	}
	if len(token.sent) != tokensRemembered || token.sent[tokensRemembered-1] != "token 23" || !slices.Contains(token.sent, "steady") {
		t.Errorf("remembered are %q", token.sent)
	}
}
