package openstorage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/quick"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"

	sim "github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// simulated serves a storage cluster, and returns where.
func simulated(t *testing.T, options sim.ServerOptions, faults sim.Faults) (endpoint string) {
	t.Helper()
	cluster := sim.NewCluster(sim.Options{})
	if _, err := cluster.AddNode(sim.Node{SchedulerNodeName: "node-1"}); err != nil {
		t.Fatal(err)
	}
	server := sim.NewServer(cluster, options)
	if err := errors.Join(server.Start("127.0.0.1:0"), server.SetFaults(faults)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server.Endpoint()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// web answers all with a status, by HTTP/1.1 or, without TLS as well, by HTTP/2.
func web(t *testing.T, http2 bool, status int) (endpoint string) {
	t.Helper()
	listener := listen(t)
	protocols := &http.Protocols{}
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }), Protocols: protocols, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // until it is closed
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return listener.Addr().String()
}

// mute is an address at which packets are lost: the queue of a listener that takes no
// connection is full.
func mute(t *testing.T) (endpoint string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	endpoint = fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for {
		conn, err := net.DialTimeout("tcp", endpoint, 200*time.Millisecond)
		if err != nil {
			return endpoint
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
}

// resolveBy has names resolved by a DNS server that knows none, or by nobody.
func resolveBy(t *testing.T, server bool) {
	t.Helper()
	before := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = before })
	if !server {
		net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, syscall.ECONNREFUSED
		}}
		return
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		message := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(message)
			if err != nil {
				return
			}
			message[2] |= 1 << 7 // an answer,
			message[3] = 3       // and there is no such name (RFC 1035, section 4.1.1)
			_, _ = conn.WriteTo(message[:n], from)
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-served
	})
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// with returns the settings of a server whose certificate is made like that.
func (a *authority) with(change func(*x509.Certificate)) *tls.Config {
	template := &x509.Certificate{SerialNumber: big.NewInt(3), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	change(template)
	key := a.newKey()
	cert := a.sign(template, a.cert, &key.PublicKey, a.key)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
}

// TestFirstInstallIsToldWhatIsWrong polls servers of every kind once, as a scheduler does
// that has just been installed.
func TestFirstInstallIsToldWhatIsWrong(t *testing.T) {
	ca := newAuthority(t)
	trusted := TLSOptions{Enabled: true, CAFile: ca.file()}
	tlsServer := func(config *tls.Config) func(*testing.T) Config {
		return func(t *testing.T) Config {
			return Config{Endpoint: simulated(t, sim.ServerOptions{TLS: config}, sim.Faults{}), TLS: trusted}
		}
	}
	failing := func(fault sim.CallFault) func(*testing.T) Config {
		return func(t *testing.T) Config {
			return Config{
				Endpoint:  simulated(t, sim.ServerOptions{}, sim.Faults{Calls: map[string]sim.CallFault{"Node.*": fault}}),
				TokenFile: tokenPath(t, goodToken), AllowPlaintextToken: true,
			}
		}
	}
	var remove string // a file that goes when the source has been made
	for _, test := range []struct {
		name   string
		config func(*testing.T) Config
		want   string // all of the advice
	}{
		{"a name that DNS does not know", func(t *testing.T) Config {
			resolveBy(t, true)
			return Config{Endpoint: "storage.elsewhere.svc:9020"}
		}, AdviceService},
		{"a name that DNS does not know, with TLS", func(t *testing.T) Config {
			resolveBy(t, true)
			return Config{Endpoint: "dns:///storage.elsewhere.svc:9020", TLS: trusted}
		}, AdviceService},
		{"a DNS server that cannot be reached", func(t *testing.T) Config {
			resolveBy(t, false)
			return Config{Endpoint: "portworx-api.portworx.svc:9020"}
		}, adviceDNS},
		{"a port at which nobody listens", func(t *testing.T) Config {
			listener := listen(t)
			_ = listener.Close()
			return Config{Endpoint: listener.Addr().String()}
		}, adviceRefused},
		{"packets that are dropped", func(t *testing.T) Config { return Config{Endpoint: mute(t)} }, adviceSilent},
		{"a socket that is not there", func(t *testing.T) Config {
			return Config{Endpoint: "unix://" + filepath.Join(t.TempDir(), "sdk.sock")}
		}, adviceSocket},
		{"plain text to a server with TLS", func(t *testing.T) Config {
			return Config{Endpoint: simulated(t, sim.ServerOptions{TLS: ca.server("127.0.0.1")}, sim.Faults{})}
		}, adviceServerHasTLS},
		{"plain text to a server with TLS that asks for certificates", func(t *testing.T) Config {
			config := ca.server("127.0.0.1")
			config.ClientAuth, config.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
			return Config{Endpoint: simulated(t, sim.ServerOptions{TLS: config}, sim.Faults{})}
		}, adviceServerHasTLS},
		{"TLS to a server without", func(t *testing.T) Config {
			return Config{Endpoint: simulated(t, sim.ServerOptions{}, sim.Faults{}), TLS: trusted}
		}, adviceServerHasNoTLS},
		{"TLS to a web server without", func(t *testing.T) Config { return Config{Endpoint: web(t, false, http.StatusNotFound), TLS: trusted} }, adviceServerHasNoTLS},
		{"a certificate for another name", tlsServer(ca.server("portworx-api")), `The certificate is for "portworx-api". ` + adviceServerName},
		{"a certificate for many other names", tlsServer(ca.with(func(c *x509.Certificate) {
			c.DNSNames, c.IPAddresses = []string{"a", "b", "c", strings.Repeat("d", 2*nameShown)}, []net.IP{net.IPv4(10, 0, 0, 1)}
		})), `The certificate is for "a", "b", "c", "` + strings.Repeat("d", nameShown) + `" and 1 more. ` + adviceServerName},
		{"a certificate for no name", tlsServer(ca.with(func(c *x509.Certificate) { c.IPAddresses = nil })), "The certificate is for no name at all. " + adviceServerName},
		{"a certificate of an authority that nobody knows", func(t *testing.T) Config {
			return Config{Endpoint: simulated(t, sim.ServerOptions{TLS: ca.server("127.0.0.1")}, sim.Faults{}), TLS: TLSOptions{Enabled: true}}
		}, adviceAuthority},
		{"an authority whose file is gone later", func(t *testing.T) Config {
			c := Config{Endpoint: simulated(t, sim.ServerOptions{TLS: ca.server("127.0.0.1")}, sim.Faults{}), TLS: TLSOptions{Enabled: true, CAFile: ca.file()}}
			remove = c.TLS.CAFile
			return c
		}, adviceAuthority},
		{"a certificate that has expired", tlsServer(ca.with(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })), adviceExpired},
		{"a certificate for clients", tlsServer(ca.with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })), adviceCertificate},
		{"a server that asks its clients for certificates", func(t *testing.T) Config {
			config := ca.server("127.0.0.1")
			config.ClientAuth = tls.RequireAnyClientCert
			return tlsServer(config)(t)
		}, adviceHandshake},
		{"a web server", func(t *testing.T) Config { return Config{Endpoint: web(t, false, http.StatusNotFound)} }, adviceNoGRPC},
		{"a web server that speaks HTTP/2", func(t *testing.T) Config { return Config{Endpoint: web(t, true, http.StatusNotFound)} }, adviceNoGRPC},
		{"a web server that lets nobody in", func(t *testing.T) Config { return Config{Endpoint: web(t, true, http.StatusForbidden)} }, adviceNoGRPC},
		{"a web server that asks who is there", func(t *testing.T) Config {
			return Config{Endpoint: web(t, true, http.StatusUnauthorized), TokenFile: tokenPath(t, goodToken), AllowPlaintextToken: true}
		}, adviceNoGRPC},
		{"another gRPC server", func(t *testing.T) Config {
			return Config{Endpoint: rawServer(t, func(string) ([][]byte, error) { return nil, status.Error(codes.Unimplemented, "unknown service") })}
		}, adviceNoSDK},
		{"no token for a server that wants one", func(t *testing.T) Config {
			return Config{Endpoint: simulated(t, sim.ServerOptions{}, failingCalls("Node.*", codes.Unauthenticated))}
		}, adviceNoToken},
		{"no token for a server that lets nobody else do anything", func(t *testing.T) Config {
			return Config{Endpoint: simulated(t, sim.ServerOptions{}, failingCalls("Node.*", codes.PermissionDenied))}
		}, adviceNoToken},
		{"a token that the server does not know", func(t *testing.T) Config {
			return Config{Endpoint: simulated(t, sim.ServerOptions{Tokens: newTokens()}, sim.Faults{}), TokenFile: tokenPath(t, wrongToken), AllowPlaintextToken: true}
		}, adviceToken},
		{"a token file that is not there", func(t *testing.T) Config {
			return Config{Endpoint: simulated(t, sim.ServerOptions{}, sim.Faults{}), TokenFile: filepath.Join(t.TempDir(), "token"), AllowPlaintextToken: true}
		}, adviceTokenFile},
		{"a token without the role", failing(sim.CallFault{Code: codes.PermissionDenied}), adviceRights},
		{"a server that hangs", failing(sim.CallFault{Hang: true}), adviceSlow},
		{"a server that fails", failing(sim.CallFault{Code: codes.Internal}), adviceFails},
		{"a server that is not ready", failing(sim.CallFault{Code: codes.Unavailable}), adviceFails},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := test.config(t)
			config.RequestTimeout = time.Second
			s, err := New(config, volumes.NewIndex(volumes.Options{}))
			if err != nil {
				t.Fatal(err)
			}
			closeLater(t, s)
			if remove != "" {
				if err := os.Remove(remove); err != nil {
					t.Fatal(err)
				}
				remove = ""
			}
			s.pollNodes(t.Context())
			conditions := s.Conditions()
			if len(conditions) != 1 || conditions[0].Advice != test.want {
				t.Fatalf("conditions are %+v, want one with the advice %q", conditions, test.want)
			}
			switch message := conditions[0].Message; {
			case strings.Contains(message, "produced zero addresses"), strings.Contains(message, "Lost"),
				test.want == adviceNoGRPC && conditions[0].Reason != ReasonUnreachable,
				conditions[0].Reason == ReasonUnreachable && !strings.HasPrefix(message, "Not reached yet: "):
				t.Errorf("%s: message is %q", conditions[0].Reason, message)
			}
		})
	}
}

// What gRPC says of a name that does not resolve leads nobody to it.
func TestEndOfAWatchSaysWhatToDo(t *testing.T) {
	resolveBy(t, true)
	r := start(t, settings{config: Config{Endpoint: "storage.elsewhere.svc:9020"}})
	r.eventually("a watch has failed", func() bool { return r.logged("Watch of the storage API ended") })
	for line := range strings.Lines(r.log.String()) {
		if strings.Contains(line, "Watch of the storage API ended") && (strings.Contains(line, "produced zero addresses") || !strings.Contains(line, AdviceService)) {
			t.Errorf("it says %s", line)
		}
	}
}

func TestStorageThatWasReachedIsLost(t *testing.T) {
	r := start(t, settings{})
	r.eventually("storage is reached", func() bool { return r.index.View().Reached() })
	r.server.Disconnect()
	r.eventuallyProblem(ReasonUnreachable, true)
	if message := r.source.Conditions()[0].Message; !strings.HasPrefix(message, "Lost: ") || strings.Contains(message, "Not reached") {
		t.Errorf("message is %q", message)
	}
	if !r.logged(adviceRefused) {
		t.Error("the log does not say what to do")
	}
}

// TestAdviceRepeatsNoSecret: what a server says may quote the token.
func TestAdviceRepeatsNoSecret(t *testing.T) {
	token := &tokenFile{}
	token.use(goodToken)
	config := Config{Endpoint: "storage:9020", TokenFile: "/etc/token"}
	advised := func(before, after string, code uint8, raw bool) bool {
		err := status.Error(codes.Code(code%17), before+goodToken+after)
		if raw { // as no call returns it
			return !strings.Contains(advise(&config, err), goodToken)
		}
		h := newHealth(&config)
		h.logTo(klog.Logger{})
		k := kindOf(token.redact(err))
		h.observeNodes(k, token.redact(err))
		for _, c := range h.list() {
			if strings.Contains(c.Message+c.Advice, goodToken) {
				return false
			}
		}
		return true
	}
	if err := quick.Check(advised, nil); err != nil {
		t.Error(err)
	}
}
