package webhook

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperconverge/scheduler/test/kit"
)

// flood holds connections that are closed when the test ends.
type flood struct {
	*testing.T
	held  []net.Conn
	mu    sync.Mutex
	ended bool
	doing sync.WaitGroup
}

func newFlood(t *testing.T) *flood {
	f := &flood{T: t}
	t.Cleanup(func() {
		f.mu.Lock()
		f.ended = true
		for _, connection := range f.held {
			_ = connection.Close() // the server may have done so
		}
		f.mu.Unlock()
		f.doing.Wait()
	})
	return f
}

// hold keeps the connection, until the test has ended.
func (f *flood) hold(connection net.Conn) (ended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		_ = connection.Close() // so has the server, perhaps
		return true
	}
	f.held = append(f.held, connection)
	return false
}

func (f *flood) expectReviews(r *replica, trusted []byte) {
	f.Helper()
	client := r.client(trusted)
	client.Timeout = 3 * time.Second // timeoutSeconds of the configuration
	for i := range 10 {
		if err := r.admitted(client); err != nil {
			f.Errorf("review %d got no answer: %v", i, err)
		}
	}
}

func TestReviewsAreAnsweredBesideManySilentConnections(t *testing.T) {
	r, trusted := startServing(t)
	address := fmt.Sprintf("127.0.0.1:%d", r.options.Port)
	f := newFlood(t)
	var first sync.WaitGroup
	for range maxConnections + 500 {
		first.Add(1)
		f.doing.Go(func() {
			for dialled := false; ; dialled = true {
				connection, err := net.Dial("tcp", address)
				if !dialled {
					first.Done()
				}
				if err != nil || f.hold(connection) {
					return
				}
				_, _ = connection.Read(make([]byte, 1)) // until the server hangs up
			}
		})
	}
	first.Wait()
	f.expectReviews(r, trusted)
}

func TestReviewsAreAnsweredBesideConnectionsThatWait(t *testing.T) {
	for what, text := range map[string]string{
		"after the handshake": "",
		"within a header":     "POST " + Path + " HTTP/1.1\r\nHost: w",
		"for another request": "GET /none HTTP/1.1\r\nHost: webhook\r\n\r\n",
	} {
		t.Run(what, func(t *testing.T) {
			r, trusted := startServing(t)
			f := newFlood(t)
			for range maxConnections {
				f.hold(r.dial(text))
			}
			f.expectReviews(r, trusted)
		})
	}
}

// A connection that serves is not closed for the sake of new ones, which wait.
func TestRequestsAreNotCutOffByNewConnections(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := newBoundedListener(inner, 1, time.Millisecond)
	f := newFlood(t)
	dial := func() net.Conn {
		connection, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		f.hold(connection)
		return connection
	}
	accepted := make(chan net.Conn)
	accept := func() {
		f.doing.Go(func() {
			connection, _ := listener.Accept()
			accepted <- connection
		})
	}
	dial()
	accept()
	serving := (<-accepted).(*boundedConn)
	serving.enter(http.StateActive)
	dial()
	accept()
	select {
	case <-accepted:
		t.Fatal("there are two connections")
	case <-time.After(50 * time.Millisecond): // many times the grace
	}
	kit.Close(t, serving)
	next := (<-accepted).(*boundedConn)
	next.enter(http.StateActive)
	dial()
	accept()
	kit.Close(t, listener)
	if connection := <-accepted; connection != nil {
		t.Error("a connection is accepted by a closed listener")
	}
	kit.Close(t, next)
}

// What nobody reads takes neither memory without end nor the answers to probes.
func TestProbesAreAnsweredBesideUnreadMetrics(t *testing.T) {
	r, _ := startServing(t)
	f := newFlood(t)
	for range 4 * maxOpsConnections {
		connection, err := net.Dial("tcp", r.options.OpsAddress)
		if err != nil {
			t.Fatal(err)
		}
		f.hold(connection)
		if err := connection.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		// Many are asked for, so that the answers fill what the kernel keeps.
		_, _ = io.WriteString(connection, strings.Repeat("GET /metrics HTTP/1.1\r\nHost: webhook\r\n\r\n", 100)) // it may be closed already
	}
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}} // that of the kubelet
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		// On a busy machine one may be lost, as it may be for a kubelet, which tries again.
		kit.Eventually(t, 30*time.Second, "beside the flood "+path+" is answered", func() error {
			response, err := client.Get("http://" + r.options.OpsAddress + path)
			if err != nil {
				return err
			}
			defer kit.Close(t, response.Body)
			if response.StatusCode != http.StatusOK && path != "/metrics" {
				return errors.New(response.Status)
			}
			return nil
		})
	}
	open := make(chan bool)
	for _, connection := range f.held {
		f.doing.Go(func() {
			_ = connection.SetReadDeadline(time.Now().Add(time.Second)) // which fails if it is closed
			_, err := io.Copy(io.Discard, connection)
			open <- errors.Is(err, os.ErrDeadlineExceeded)
		})
	}
	count := 0
	for range f.held {
		if <-open {
			count++
		}
	}
	if count > maxOpsConnections {
		t.Errorf("%d connections are open, want %d at most", count, maxOpsConnections)
	}
}
