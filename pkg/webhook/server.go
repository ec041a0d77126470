package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

// Path is where pods are judged.
const Path = "/mutate-pods"

// Certificates hands out the serving certificate, which changes while it runs.
type Certificates interface {
	// Start keeps the certificate current until the context ends.
	Start(context.Context) error
	// GetCertificate returns the certificate of the moment, or an error while
	// there is none.
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// ServerOptions is what a server is made of.
type ServerOptions struct {
	Rules Rules
	// Drivers are the names under which volumes are the driver's.
	Drivers []string
	// Watch feeds the caches, Read answers for what they lack. They are two, so
	// that Read can be without a rate limit of its own.
	Watch, Read kubernetes.Interface
	// LookupQPS is how many objects per second are read by Read, LookupBurst how many
	// at once. Namespaces share them.
	LookupQPS   float64
	LookupBurst int
	// Certificates is for the webhook's own port.
	Certificates Certificates
	// ClientCAFile is a PEM file of the authorities of those who may ask; empty lets
	// everybody ask. It is read at every handshake, so that it may change.
	ClientCAFile string
	// Host and Port are where the webhook listens; an empty host is all addresses.
	Host string
	Port int
	// OpsAddress serves /livez, /readyz and /metrics over plain HTTP.
	OpsAddress string
	// ShutdownDelay is how long a server that is told to stop still serves, while
	// it says at /readyz that it is not ready: the time that Kubernetes needs to
	// send no more requests.
	ShutdownDelay time.Duration
	// ShutdownTimeout is how long after it was told to stop a server serves those who
	// keep a connection. API servers close one that has been idle for 90 s; whoever closes
	// it here may have a request on the way, which is lost.
	ShutdownTimeout time.Duration
}

const (
	// maxConnections is how many API servers and others may have open; more make the
	// oldest silent or idle ones close. Each takes some 50 kB, what it sends before a
	// reservation included.
	maxConnections = 1024
	// handshakeGrace is how long the handshake and the first header may take where all
	// connections are taken. As many as wait in the kernel, 4096, come in within
	// a second.
	handshakeGrace = 200 * time.Millisecond
	// maxOpsConnections is how many there may be for health and metrics.
	maxOpsConnections = 128
	// opsGrace is how long they are left alone where all are taken: an answer takes a
	// few milliseconds, and probes wait for a second.
	opsGrace = 10 * time.Millisecond
	// maxScrapes is how many may ask for metrics at the same time.
	maxScrapes = 4
	// opsTimeout is how long a request of health and metrics may take to come, to be
	// answered, and to be read.
	opsTimeout = 5 * time.Second
	// maxHeader is the most bytes of a request before its body; API servers send a
	// few hundred.
	maxHeader = 8 << 10
	// drainPoll is how often a server that is to stop looks for connections.
	drainPoll = 100 * time.Millisecond
	// lastAnswers is how long they may take when nobody is served any more.
	lastAnswers = longestWait
)

// Server is one replica of the webhook.
type Server struct {
	options  ServerOptions
	storage  *storage
	metrics  *metrics
	reviews  http.Handler
	draining atomic.Bool
}

// NewServer returns a server that does nothing before Run.
func NewServer(options ServerOptions) *Server {
	s := &Server{options: options, metrics: newMetrics()}
	s.storage = newStorage(options.Watch, options.Read, options.Drivers, newShares(options.LookupQPS, options.LookupBurst), s.metrics)
	s.metrics.watchCaches(s.storage.hasSynced)
	s.metrics.watchCertificate(options.Certificates)
	mux := http.NewServeMux()
	// The server of controller-runtime is not started: it bounds neither connections
	// nor headers. It brings the metrics of requests.
	webhook.NewServer(webhook.Options{WebhookMux: mux}).Register(Path,
		s.hangUp(newHook(newHandler(options.Rules, s.storage.claimsOf, s.metrics))))
	s.reviews = mux
	return s
}

// Run serves until the context ends, and then for the shutdown delay, while there are
// connections and the shutdown timeout is not over, and until the last answer is given. Everything it starts has ended when it returns.
func (s *Server) Run(ctx context.Context) error {
	config, err := s.tlsConfig()
	if err != nil {
		return err
	}
	ops, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.options.OpsAddress)
	if err != nil {
		return fmt.Errorf("listening for health checks and metrics: %w", err)
	}
	admission, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(s.options.Host, strconv.Itoa(s.options.Port)))
	if err != nil {
		return errors.Join(fmt.Errorf("listening for admission reviews: %w", err), ops.Close())
	}
	connections := newBoundedListener(admission, maxConnections, handshakeGrace)
	admission = tls.NewListener(connections, config)
	// All connections are as good as silent there: one that is not read is active, too.
	ops = newBoundedListener(ops, maxOpsConnections, opsGrace)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, serving := errgroup.WithContext(serving)
	group.Go(func() error {
		s.drain(ctx, serving, connections)
		stop()
		return nil
	})
	group.Go(func() error {
		s.storage.factory.Start(serving.Done())
		<-serving.Done()
		s.storage.factory.Shutdown()
		return nil
	})
	group.Go(func() error { return s.options.Certificates.Start(serving) })
	group.Go(func() error {
		return serve(serving, admission, &http.Server{
			Handler:           s.reviews,
			ReadHeaderTimeout: 10 * time.Second,
			WriteTimeout:      longestWait + 10*time.Second,
			IdleTimeout:       2 * time.Minute, // an API server closes it first, after 90 s
			ConnState:         tellListener,
		})
	})
	group.Go(func() error {
		return serve(serving, ops, &http.Server{
			Handler:      s.opsMux(),
			ReadTimeout:  opsTimeout,
			WriteTimeout: 2 * opsTimeout,   // the time of the answer counts, too
			IdleTimeout:  90 * time.Second, // longer than scrapes are apart
		})
	})
	return group.Wait()
}

// tlsConfig is that of the admission endpoint.
func (s *Server) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"}, // API servers call webhooks by nothing else
		GetCertificate: s.options.Certificates.GetCertificate,
	}
	if s.options.ClientCAFile == "" {
		return config, nil
	}
	authenticating := func(*tls.ClientHelloInfo) (*tls.Config, error) {
		authorities, err := certutil.NewPool(s.options.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the authorities of clients: %w", err)
		}
		checked := config.Clone()
		checked.ClientCAs, checked.ClientAuth = authorities, tls.RequireAndVerifyClientCert
		return checked, nil
	}
	_, err := authenticating(nil) // what is wrong at the start is said at the start
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: authenticating}, err
}

// drain returns when the server may stop serving.
func (s *Server) drain(ctx, serving context.Context, connections *boundedListener) {
	select {
	case <-ctx.Done():
	case <-serving.Done():
		return
	}
	s.draining.Store(true)
	klog.FromContext(ctx).Info("Stopping, requests are still answered for a while", "delay", s.options.ShutdownDelay)
	timeout := time.After(s.options.ShutdownTimeout)
	for pause := s.options.ShutdownDelay; ; pause = drainPoll {
		select {
		case <-time.After(pause):
		case <-serving.Done():
			return
		}
		if connections.count() == 0 {
			return
		}
		select {
		case <-timeout:
			return
		default:
		}
	}
}

// hangUp ends the connections of a server that is about to stop, each with an
// answer on it. An API server keeps its connections, and would lose the request
// that it sends on one of them in the moment in which the server closes it.
func (s *Server) hangUp(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// ready returns why the server should get no requests, nil if it should.
func (s *Server) ready() error {
	if s.draining.Load() {
		return errors.New("stopping")
	}
	leaf, err := servedBy(s.options.Certificates)
	if err != nil {
		return err
	}
	if now := time.Now(); now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return fmt.Errorf("the serving certificate is valid from %s to %s only", leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
	}
	if !s.storage.hasSynced() {
		return errors.New("the caches of claims, volumes and classes are not complete yet")
	}
	return nil
}

func (s *Server) opsMux() *http.ServeMux {
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter) { _, _ = fmt.Fprintln(w, "ok") } // a prober that has hung up needs no answer
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { ok(w) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.ready(); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		ok(w)
	})
	// The timeout makes an answer complete before it is sent, so that who reads slowly
	// keeps none of the places of those who ask.
	mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.Gatherers{s.metrics.registry, ctrlmetrics.Registry},
		promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: opsTimeout}))
	return mux
}

// servedBy is the certificate that is served now.
func servedBy(certificates Certificates) (*x509.Certificate, error) {
	certificate, err := certificates.GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		return nil, err
	}
	if certificate == nil || certificate.Leaf == nil {
		return nil, errors.New("there is no serving certificate")
	}
	return certificate.Leaf, nil
}

// tellListener tells which connections over TLS can be closed without loss.
func tellListener(connection net.Conn, state http.ConnState) {
	if encrypted, ok := connection.(*tls.Conn); ok {
		if bounded, ok := encrypted.NetConn().(*boundedConn); ok {
			bounded.enter(state)
		}
	}
}

// serve serves until the context ends and the last answer is given.
func serve(ctx context.Context, listener net.Listener, server *http.Server) error {
	server.MaxHeaderBytes = maxHeader
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving at %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		klog.FromContext(ctx).Error(err, "Connections are closed before their last answer", "address", listener.Addr())
		_ = server.Close() // the listener is closed already
	}
	<-ended //nolint:errcheck // it says that the server is closed
	return nil
}
