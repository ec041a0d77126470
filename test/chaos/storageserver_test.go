package chaos

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
)

// The calls of the scheduler.
const (
	listNodes   = "Node.EnumerateWithFilters"
	listVolumes = "Volume.Enumerate"
	inspect     = "Volume.Inspect"
	findByName  = "Volume.InspectWithFilters"
	watch       = "Watch.Watch"
)

// storageServer stands before the simulated storage and hands all calls on to it,
// byte by byte, except where a row has it lie. It can lie in bytes that no server
// code would let through.
type storageServer struct {
	upstream    *grpc.ClientConn
	listener    *listener
	certificate atomic.Pointer[tls.Certificate]
	server      *grpc.Server

	mu      sync.Mutex
	lies    []lie
	calls   map[string]int // method -> calls
	asked   map[string]int // handle -> Inspects
	bearers map[string]int // authorization -> calls
	closing chan struct{}  // ends what hangs; made anew by heal
}

// lie is what becomes of some calls.
type lie struct {
	method, volume string // empty: all
	answer         answer
}

// answer serves one call. truth asks the simulated storage; it is for calls of one
// answer.
type answer func(c *call, truth func() ([]byte, error)) ([]byte, error)

// call is one call of a client.
type call struct {
	ctx     context.Context
	method  string
	request []byte
	// ended is closed when the row is over.
	ended <-chan struct{}
	// send sends one more message of a stream.
	send func([]byte) error
}

// raw passes messages on as bytes.
type raw struct{}

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func (raw) Name() string { return "proto" }

// startStorageServer serves on an address until stop.
func startStorageServer(address, upstream string, certificate *tls.Certificate) (*storageServer, error) {
	s := &storageServer{calls: map[string]int{}, asked: map[string]int{}, bearers: map[string]int{}, closing: make(chan struct{})}
	s.certificate.Store(certificate)
	var err error
	s.upstream, err = grpc.NewClient("passthrough:///"+upstream,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{}), grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		return nil, err
	}
	if s.listener, err = listen(address); err != nil {
		return nil, err
	}
	s.server = grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(s.serve),
		grpc.Creds(credentials.NewTLS(&tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate.Load(), nil },
		})))
	go func() { _ = s.server.Serve(s.listener) }() // it ends with stop
	return s, nil
}

func (s *storageServer) stop() {
	s.heal()
	s.server.Stop()
	_ = s.upstream.Close()
}

func (s *storageServer) address() string { return s.listener.Addr().String() }

// lie has calls answered in another way, until heal. Of several lies about a call
// the youngest counts.
func (s *storageServer) lie(method, volume string, a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lies = append(s.lies, lie{method, volume, a})
}

// heal ends all lies, and what hangs.
func (s *storageServer) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lies = nil
	close(s.closing)
	s.closing = make(chan struct{})
	s.listener.open()
}

// count is how often a method was called since the last call of forget.
func (s *storageServer) count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// countOf is how often a volume was asked for.
func (s *storageServer) countOf(handle string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[handle]
}

// countAsked is how many Inspects there were of handles that match.
func (s *storageServer) countAsked(match func(handle string) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	for handle, n := range s.asked {
		if match(handle) {
			sum += n
		}
	}
	return sum
}

func (s *storageServer) bearerSeen(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bearers["bearer "+token] > 0
}

// forget begins all counts anew.
func (s *storageServer) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, counts := range []map[string]int{s.calls, s.asked, s.bearers} {
		maps.DeleteFunc(counts, func(string, int) bool { return true })
	}
}

// note counts a call and finds the lie about it.
func (s *storageServer) note(ctx context.Context, method string, request []byte) (answer, <-chan struct{}) {
	volume := ""
	if method == inspect {
		volume = requested(request)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[method]++
	if volume != "" {
		s.asked[volume]++
	}
	for _, bearer := range metadata.ValueFromIncomingContext(ctx, "authorization") {
		s.bearers[bearer]++
	}
	for i := len(s.lies) - 1; i >= 0; i-- {
		if l := s.lies[i]; (l.method == "" || l.method == method) && (l.volume == "" || l.volume == volume) {
			return l.answer, s.closing
		}
	}
	return nil, s.closing
}

func (s *storageServer) serve(_ any, stream grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(stream)
	var request []byte
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	c := &call{ctx: stream.Context(), method: openstoragesim.MethodName(full), request: request}
	c.send = func(message []byte) error { return stream.SendMsg(&message) }
	var a answer
	a, c.ended = s.note(c.ctx, c.method, request)
	ctx := c.ctx
	if header, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, metadata.MD{"authorization": header["authorization"]})
	}
	if c.method == watch {
		if a != nil {
			_, err := a(c, nil)
			return err
		}
		return s.follow(ctx, full, c)
	}
	truth := func() ([]byte, error) {
		var response []byte
		err := s.upstream.Invoke(ctx, full, &request, &response)
		return response, err
	}
	var response []byte
	var err error
	if a != nil {
		response, err = a(c, truth)
	} else {
		response, err = truth()
	}
	if err != nil {
		return err
	}
	return c.send(response)
}

// follow hands a stream on.
func (s *storageServer) follow(ctx context.Context, full string, c *call) error {
	up, err := s.upstream.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, full)
	if err != nil {
		return err
	}
	if err := up.SendMsg(&c.request); err != nil {
		return err
	}
	if err := up.CloseSend(); err != nil {
		return err
	}
	for {
		var message []byte
		if err := up.RecvMsg(&message); err != nil {
			return err
		}
		if err := c.send(message); err != nil {
			return err
		}
	}
}

// The usual lies.

// says answers with these bytes. On a stream they are one message, and the stream
// stays open.
func says(bytes wire) answer {
	return func(c *call, _ func() ([]byte, error)) ([]byte, error) {
		if c.method != watch {
			return bytes, nil
		}
		if err := c.send(bytes); err != nil {
			return nil, err
		}
		return nil, c.hang()
	}
}

// fails answers with a code.
func fails(code codes.Code) answer {
	return func(*call, func() ([]byte, error)) ([]byte, error) {
		return nil, status.Error(code, "injected fault")
	}
}

// hangs answers never.
func hangs(c *call, _ func() ([]byte, error)) ([]byte, error) { return nil, c.hang() }

func (c *call) hang() error {
	select {
	case <-c.ctx.Done():
	case <-c.ended:
	}
	return status.Error(codes.Unavailable, "the fault is over")
}

// slow tells the truth, late.
func slow(delay time.Duration) answer {
	return func(c *call, truth func() ([]byte, error)) ([]byte, error) {
		select {
		case <-time.After(delay):
		case <-c.ctx.Done():
		case <-c.ended:
		}
		if truth == nil {
			return nil, status.Error(codes.Unavailable, "the fault is over")
		}
		return truth()
	}
}

// changes lets the truth through after a change of its bytes.
func changes(change func([]byte) []byte) answer {
	return func(_ *call, truth func() ([]byte, error)) ([]byte, error) {
		response, err := truth()
		if err != nil {
			return nil, err
		}
		return change(response), nil
	}
}

// truncated loses the last third.
func truncated(message []byte) []byte { return message[:2*len(message)/3] }

// garbage is no message at all.
var garbage = wire{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00, 0xfe}

// padded adds n MiB in a field that nobody knows.
func padded(mebibytes int) func([]byte) []byte {
	return func(message []byte) []byte {
		return append(message, text(2000, make([]byte, mebibytes<<20))...)
	}
}

// listener knows its connections, so that they can be cut, and can refuse new ones.
type listener struct {
	net.Listener
	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

func listen(address string) (*listener, error) {
	inner, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return &listener{Listener: inner, conns: map[net.Conn]bool{}}, nil
}

// Accept implements net.Listener. While the door is shut, callers are hung up on.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			_ = conn.Close()
			continue
		}
		l.conns[conn] = true
		l.mu.Unlock()
		return &trackedConn{conn, l}, nil
	}
}

// cut breaks all connections and returns how many there were.
func (l *listener) cut() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.conns)
	for conn := range l.conns {
		_ = conn.Close()
	}
	return n
}

// shut breaks all connections and accepts no more.
func (l *listener) shut() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cut()
}

func (l *listener) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = false
}

type trackedConn struct {
	net.Conn
	of *listener
}

func (t *trackedConn) Close() error {
	t.of.mu.Lock()
	delete(t.of.conns, t.Conn)
	t.of.mu.Unlock()
	return t.Conn.Close()
}
