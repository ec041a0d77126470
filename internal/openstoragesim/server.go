package openstoragesim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// stopGrace is how long Stop lets calls finish before it cuts them off.
const stopGrace = 2 * time.Second

var errStopping = status.Error(codes.Unavailable, "storage simulator is stopping")

// ServerOptions configure a Server. The zero value serves without encryption
// and lets everyone do everything, like a real server without security.
type ServerOptions struct {
	// TLS turns encryption on.
	TLS *tls.Config
	// Tokens turn authentication and authorization on.
	Tokens *Tokens
}

// Server serves one Cluster over gRPC. All methods are safe for concurrent use.
// Message sizes and keepalive are grpc's defaults, as on real servers: anything
// may be sent, 4 MiB may be received, and a client that pings more often than
// every five minutes is sent away.
type Server struct {
	cluster *Cluster
	options ServerOptions
	faults  atomic.Pointer[Faults]
	opened  atomic.Uint64 // watches so far

	callsMu sync.Mutex
	calls   map[string]int // method -> calls, refused ones included

	mu       sync.Mutex
	address  net.Addr      // of the first listener, kept over Disconnect
	serving  *grpc.Server  // nil while disconnected
	served   chan struct{} // closed when serving has returned
	stopping chan struct{} // closed by Stop
	stopped  bool
}

// NewServer returns a server that does not listen yet.
func NewServer(cluster *Cluster, options ServerOptions) *Server {
	s := &Server{cluster: cluster, options: options, calls: map[string]int{}, stopping: make(chan struct{})}
	s.faults.Store(&Faults{})
	return s
}

// Cluster returns the cluster that is served.
func (s *Server) Cluster() *Cluster { return s.cluster }

// Start listens on a TCP address, such as 127.0.0.1:0, and serves in the
// background until Stop.
func (s *Server) Start(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("storage simulator cannot listen on %s: %w", address, err)
	}
	return s.StartOn(listener)
}

// StartOn serves on a listener in the background until Stop, which closes it.
func (s *Server) StartOn(listener net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || s.address != nil {
		return errors.Join(fmt.Errorf("storage simulator was started before: %w", ErrConflict), listener.Close())
	}
	s.address = listener.Addr()
	s.serve(listener)
	return nil
}

// serve needs s.mu.
func (s *Server) serve(listener net.Listener) {
	options := []grpc.ServerOption{
		grpc.UnaryInterceptor(s.interceptCall),
		grpc.StreamInterceptor(s.interceptStream),
		grpc.WaitForHandlers(true),
	}
	if s.options.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.options.TLS)))
	}
	server := grpc.NewServer(options...)
	api.RegisterOpenStorageNodeServer(server, &nodeService{server: s})
	api.RegisterOpenStorageVolumeServer(server, &volumeService{server: s})
	api.RegisterOpenStorageWatchServer(server, &watchService{server: s})

	served := make(chan struct{})
	s.serving, s.served = server, served
	go func() {
		defer close(served)
		// It returns when the server is stopped, or when the listener breaks:
		// then clients see refused connections, which says it all.
		_ = server.Serve(listener)
	}()
}

// Endpoint returns host:port to dial, or "" before the start.
func (s *Server) Endpoint() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.address == nil {
		return ""
	}
	return s.address.String()
}

// Disconnect closes the listener and all connections, as if the machine had
// lost its network. The state of the cluster goes on.
func (s *Server) Disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving == nil {
		return
	}
	s.serving.Stop()
	<-s.served
	s.serving = nil
}

// Reconnect listens again on the address of before.
func (s *Server) Reconnect() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || s.address == nil {
		return fmt.Errorf("storage simulator is not running: %w", ErrConflict)
	}
	if s.serving != nil {
		return nil
	}
	listener, err := net.Listen(s.address.Network(), s.address.String())
	if err != nil {
		return fmt.Errorf("storage simulator cannot listen on %s again: %w", s.address, err)
	}
	s.serve(listener)
	return nil
}

// Stop ends watches and hanging calls, lets other calls finish for a moment,
// then cuts them off. When it returns, nothing of the server runs any more. A
// stopped server cannot be started again.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.stopped = true
		close(s.stopping)
	}
	if s.serving == nil {
		return
	}
	graceful := make(chan struct{})
	go func() {
		defer close(graceful)
		s.serving.GracefulStop()
	}()
	select {
	case <-graceful:
	case <-time.After(stopGrace):
		s.serving.Stop()
		<-graceful
	}
	<-s.served
	s.serving = nil
}

// SetFaults replaces the faults, at once and for open watches too. What
// happens to the event of a change is decided when the change is made. Events
// that WatchFaults.Reorder held back are sent.
func (s *Server) SetFaults(faults Faults) error {
	if err := faults.Validate(); err != nil {
		return err
	}
	s.faults.Store(&faults)
	s.eachWatch((*watch).release)
	return nil
}

// Faults returns what is wrong at the moment. It must not be changed.
func (s *Server) Faults() Faults { return *s.faults.Load() }

// Calls returns how often each method was called, refused calls included, and
// starts to count anew if reset is true.
func (s *Server) Calls(reset bool) map[string]int {
	s.callsMu.Lock()
	defer s.callsMu.Unlock()
	counts := maps.Clone(s.calls)
	if reset {
		clear(s.calls)
	}
	return counts
}

func (s *Server) interceptCall(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, err := s.admit(ctx, MethodName(info.FullMethod))
	if err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

func (s *Server) interceptStream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, err := s.admit(stream.Context(), MethodName(info.FullMethod))
	if err != nil {
		return err
	}
	return handler(service, streamWithContext{stream, ctx})
}

// admit counts the call, lets it go wrong if it shall, and checks who calls.
func (s *Server) admit(ctx context.Context, method string) (context.Context, error) {
	s.callsMu.Lock()
	s.calls[method]++
	s.callsMu.Unlock()
	if err := s.faults.Load().call(method).apply(ctx, s.stopping); err != nil {
		return nil, err
	}
	if s.options.Tokens == nil {
		return ctx, nil
	}
	return s.options.Tokens.authorize(ctx, method)
}

type streamWithContext struct {
	grpc.ServerStream
	ctx context.Context
}

func (s streamWithContext) Context() context.Context { return s.ctx }
