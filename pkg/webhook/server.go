package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
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

// Options is what a server is made of.
type Options struct {
	Rules Rules
	// Drivers are the names under which volumes are the driver's.
	Drivers []string
	// Watch feeds the caches, Read answers for what they lack. They are two, so
	// that Read can have a rate limit of its own.
	Watch, Read kubernetes.Interface
	// Certificates is for the webhook's own port.
	Certificates Certificates
	// Host and Port are where the webhook listens; an empty host is all addresses.
	Host string
	Port int
	// OpsAddress serves /livez, /readyz and /metrics over plain HTTP.
	OpsAddress string
	// ShutdownDelay is how long a server that is told to stop still serves, while
	// it says at /readyz that it is not ready: the time that Kubernetes needs to
	// send no more requests.
	ShutdownDelay time.Duration
}

// Server is one replica of the webhook.
type Server struct {
	options  Options
	storage  *storage
	metrics  *metrics
	webhook  webhook.Server
	draining atomic.Bool
}

// NewServer returns a server that does nothing before Run.
func NewServer(options Options) *Server {
	s := &Server{options: options, metrics: newMetrics()}
	s.storage = newStorage(options.Watch, options.Read, options.Drivers, s.metrics)
	s.metrics.watchCaches(s.storage.hasSynced)
	s.metrics.watchCertificate(options.Certificates)
	s.webhook = webhook.NewServer(webhook.Options{
		Host: options.Host,
		Port: options.Port,
		TLSOpts: []func(*tls.Config){func(config *tls.Config) {
			config.MinVersion = tls.VersionTLS12
			config.GetCertificate = options.Certificates.GetCertificate
		}},
	})
	s.webhook.Register(Path, s.hangUp(newHook(newHandler(options.Rules, s.storage.claimsOf, s.metrics))))
	return s
}

// Run serves until the context ends, and then for the shutdown delay and until
// the last answer is given. Everything it starts has ended when it returns.
func (s *Server) Run(ctx context.Context) error {
	ops, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.options.OpsAddress)
	if err != nil {
		return fmt.Errorf("listening for health checks and metrics: %w", err)
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, serving := errgroup.WithContext(serving)
	group.Go(func() error {
		s.drain(ctx, serving)
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
	group.Go(func() error { return s.webhook.Start(serving) })
	group.Go(func() error { return serveOps(serving, ops, s.opsMux()) })
	return group.Wait()
}

// drain returns when the server may stop serving.
func (s *Server) drain(ctx, serving context.Context) {
	select {
	case <-ctx.Done():
	case <-serving.Done():
		return
	}
	s.draining.Store(true)
	klog.FromContext(ctx).Info("Stopping, requests are still answered for a while", "delay", s.options.ShutdownDelay)
	select {
	case <-time.After(s.options.ShutdownDelay):
	case <-serving.Done():
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
	if _, err := s.options.Certificates.GetCertificate(&tls.ClientHelloInfo{}); err != nil {
		return err
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
	mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.Gatherers{s.metrics.registry, ctrlmetrics.Registry}, promhttp.HandlerOpts{}))
	return mux
}

// serveOps serves until the context ends.
func serveOps(ctx context.Context, listener net.Listener, mux *http.ServeMux) error {
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stopped := context.AfterFunc(ctx, func() {
		if err := server.Close(); err != nil {
			klog.FromContext(ctx).Error(err, "Closing the server of health checks and metrics failed")
		}
	})
	defer stopped()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving health checks and metrics: %w", err)
	}
	return nil
}
