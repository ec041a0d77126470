package webhook

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
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
}

func startServiceProxy(tb testing.TB) *serviceProxy {
	tb.Helper()
	proxy := &serviceProxy{socket: filepath.Join(tb.TempDir(), "proxy"), certificate: newClientCertificate(tb)}
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
	replica, err := net.Dial("tcp", address)
	if err != nil {
		answer("502 the replica does not listen")
		return
	}
	defer func() { _ = replica.Close() }()
	answer("200 connected")
	go func() {
		_, _ = io.Copy(replica, reader)
		_ = replica.(*net.TCPConn).CloseWrite() // it may still have something to say
	}()
	_, _ = io.Copy(client, replica)
}
