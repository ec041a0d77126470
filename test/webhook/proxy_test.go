package webhook

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hyperconverge/scheduler/test/kit"
)

// serviceProxy stands in for kube-proxy: the API server asks it for a connection
// to the webhook's Service, and it connects to one replica after the other.
type serviceProxy struct {
	socket string
	// certificate is what the API server shows to who is behind the proxy.
	certificate clientCertificate

	mu    sync.Mutex
	next  int
	ready []string // addresses of ready replicas
	open  map[*conversation]struct{}
	lost  map[string]int // address → requests that were sent there and not answered
}

// conversation is a connection to a replica.
type conversation struct {
	address string
	// unanswered is how many bytes the API server has sent since the replica last
	// said something.
	unanswered atomic.Int64
}

// farewell is more bytes than TLS says goodbye with, and fewer than a request has.
const farewell = 64

// waits reports whether the API server waits for an answer. HTTP/1.1 has one request
// at a time on a connection.
func (c *conversation) waits() bool { return c.unanswered.Load() > farewell }

// asks and answers are what is sent, and read, through the proxy.
type (
	asks    struct{ *conversation }
	answers struct{ *conversation }
)

func (c asks) Write(p []byte) (int, error) {
	c.unanswered.Add(int64(len(p)))
	return len(p), nil
}

func (c answers) Write(p []byte) (int, error) {
	c.unanswered.Store(0)
	return len(p), nil
}

func startServiceProxy(tb testing.TB) *serviceProxy {
	tb.Helper()
	proxy := &serviceProxy{socket: filepath.Join(tb.TempDir(), "proxy"), certificate: newClientCertificate(tb),
		open: map[*conversation]struct{}{}, lost: map[string]int{}}
	listener, err := net.Listen("unix", proxy.socket)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { kit.Close(tb, listener) })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // the test has ended
			}
			go proxy.connect(connection)
		}
	}()
	return proxy
}

// route sends new connections to these addresses from now on.
func (p *serviceProxy) route(addresses ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = addresses
}

// leadsTo reports whether new connections may go to the address.
func (p *serviceProxy) leadsTo(address string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.ready, address)
}

// waiting is how many requests a replica has been sent and not answered yet.
func (p *serviceProxy) waiting(address string) (count int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		if c.address == address && c.waits() {
			count++
		}
	}
	return count
}

// lostAt is how many requests a replica will never answer: it ended with them, or did not
// listen any more.
func (p *serviceProxy) lostAt(address string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost[address]
}

func (p *serviceProxy) began(c *conversation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[c] = struct{}{}
}

func (p *serviceProxy) ended(c *conversation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
	if c.waits() {
		p.lost[c.address]++
	}
}

func (p *serviceProxy) pick() (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ready) == 0 {
		return "", false
	}
	p.next++
	return p.ready[p.next%len(p.ready)], true
}

// connect serves one CONNECT request. Whatever fails here is an error that the
// API server sees, so that it needs no report.
func (p *serviceProxy) connect(client net.Conn) {
	defer func() { _ = client.Close() }()
	reader := bufio.NewReader(client)
	request, err := http.ReadRequest(reader)
	if err != nil {
		return
	}
	answer := func(status string) { _, _ = fmt.Fprintf(client, "%s %s\r\n\r\n", request.Proto, status) }
	address, found := p.pick()
	if !found {
		answer("503 no endpoints")
		return
	}
	conversation := &conversation{address: address}
	p.began(conversation)
	defer p.ended(conversation)
	replica, err := net.Dial("tcp", address)
	if err != nil {
		conversation.unanswered.Store(farewell + 1)
		answer("502 the replica does not listen")
		return
	}
	defer func() { _ = replica.Close() }()
	answer("200 connected")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.Copy(replica, io.TeeReader(reader, asks{conversation}))
		_ = replica.(*net.TCPConn).CloseWrite() // it may still have something to say
	}()
	_, _ = io.Copy(client, io.TeeReader(replica, answers{conversation}))
	// What the API server sends before it sees the end is lost, too.
	_ = client.(*net.UnixConn).CloseWrite()
	<-sent
}
