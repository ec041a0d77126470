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
)

// serviceProxy stands in for kube-proxy: the API server asks it for a connection
// to the webhook's Service, and it connects to one replica after the other.
type serviceProxy struct {
	socket string

	mu    sync.Mutex
	next  int
	ready []string // addresses of ready replicas
}

func startServiceProxy(tb testing.TB) *serviceProxy {
	tb.Helper()
	proxy := &serviceProxy{socket: filepath.Join(tb.TempDir(), "proxy")}
	listener, err := net.Listen("unix", proxy.socket)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { listener.Close() })
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

// connect serves one CONNECT request.
func (p *serviceProxy) connect(client net.Conn) {
	defer client.Close()
	reader := bufio.NewReader(client)
	request, err := http.ReadRequest(reader)
	if err != nil {
		return
	}
	address, found := p.pick()
	if !found {
		fmt.Fprintf(client, "%s 503 no endpoints\r\n\r\n", request.Proto)
		return
	}
	replica, err := net.Dial("tcp", address)
	if err != nil {
		fmt.Fprintf(client, "%s 502 %v\r\n\r\n", request.Proto, err)
		return
	}
	defer replica.Close()
	fmt.Fprintf(client, "%s 200 connected\r\n\r\n", request.Proto)
	go func() {
		_, _ = io.Copy(replica, reader)
		_ = replica.(*net.TCPConn).CloseWrite() // it may still have something to say
	}()
	_, _ = io.Copy(client, replica)
}
