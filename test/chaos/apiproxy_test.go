package chaos

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log" //nolint:depguard // net/http takes no other logger, not even to be silent
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// apiProxy stands between a component and the API server. A row can have it refuse,
// delay, cut and lose.
type apiProxy struct {
	listener *listener
	server   *http.Server
	forward  *httputil.ReverseProxy

	mu      sync.Mutex
	faults  []apiFault
	watches map[int]context.CancelFunc
	next    int
	calls   map[string]int // verb and path -> calls
}

// apiFault is what becomes of some requests.
type apiFault struct {
	match func(*http.Request) bool
	serve func(w http.ResponseWriter, r *http.Request, forward http.Handler)
}

// startAPIProxy serves in front of the API server at the URL. Requests keep their
// bearer token, and have no other proof of who sends them.
func startAPIProxy(target string, roots *tls.Config, certificate *tls.Certificate) (*apiProxy, error) {
	upstream, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	p := &apiProxy{watches: map[int]context.CancelFunc{}, calls: map[string]int{}}
	p.forward = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		FlushInterval: -1, // watches
		Transport:     &http.Transport{TLSClientConfig: roots, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 100},
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // what the client sees is a connection that broke
		},
	}
	if p.listener, err = listen("127.0.0.1:0"); err != nil {
		return nil, err
	}
	p.server = &http.Server{
		Handler: p, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}},
	}
	go func() { _ = p.server.ServeTLS(p.listener, "", "") }() // it ends with stop
	return p, nil
}

func (p *apiProxy) stop() { _ = p.server.Close() }

func (p *apiProxy) url() string { return "https://" + p.listener.Addr().String() }

// fault has requests go wrong until heal; the youngest that matches counts.
func (p *apiProxy) fault(match func(*http.Request) bool, serve func(http.ResponseWriter, *http.Request, http.Handler)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, apiFault{match, serve})
}

func (p *apiProxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = nil
	p.listener.open()
}

// cutWatches ends all watches and returns how many there were.
func (p *apiProxy) cutWatches() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, cut := range p.watches {
		cut()
	}
	return len(p.watches)
}

// ServeHTTP implements http.Handler.
func (p *apiProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isWatch(r) {
		ctx, cut := context.WithCancel(r.Context())
		defer p.enter(cut)()
		r = r.WithContext(ctx)
	}
	if serve := p.faultOf(r); serve != nil {
		serve(w, r, p.forward)
		return
	}
	p.forward.ServeHTTP(w, r)
}

func (p *apiProxy) enter(cut context.CancelFunc) (leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	number := p.next
	p.watches[number] = cut
	return func() {
		cut()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watches, number)
	}
}

func (p *apiProxy) faultOf(r *http.Request) func(http.ResponseWriter, *http.Request, http.Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.faults) - 1; i >= 0; i-- {
		if p.faults[i].match(r) {
			return p.faults[i].serve
		}
	}
	return nil
}

// Which requests.

func isWatch(r *http.Request) bool {
	return r.URL.Query().Get("watch") != "" && r.URL.Query().Get("watch") != "false"
}

func isAny(*http.Request) bool { return true }

func isBinding(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/binding")
}

func isWrite(r *http.Request) bool { return r.Method != http.MethodGet }

func isEvent(r *http.Request) bool { return isWrite(r) && strings.HasSuffix(r.URL.Path, "/events") }

func isLease(r *http.Request) bool { return strings.Contains(r.URL.Path, "/leases/") }

func isStatus(r *http.Request) bool { return isWrite(r) && strings.HasSuffix(r.URL.Path, "/status") }

func ofResource(name string) func(*http.Request) bool {
	return func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/"+name) }
}

// bodyOf reads the body of a request and leaves it in place.
func bodyOf(r *http.Request) []byte {
	body, _ := io.ReadAll(r.Body) // what is cut off matches nothing
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body
}

// What becomes of them.

type apiAnswer = func(http.ResponseWriter, *http.Request, http.Handler)

// answers is an error of the API server.
func answers(code int, reason string) apiAnswer {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"`+reason+
			`","message":"injected fault","code":`+strconv.Itoa(code)+`}`)
	}
}

// expired is what a watch gets whose resource version is too old.
func expired(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","message":"too old resource version","code":410}}`+"\n")
}

// delayed serves late.
func delayed(by time.Duration) apiAnswer {
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		select {
		case <-time.After(by):
		case <-r.Context().Done():
		}
		forward.ServeHTTP(w, r)
	}
}

// stalled never answers.
func stalled(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }

// broken hangs up.
func broken(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// lost does what is asked, and then hangs up in place of an answer.
func lost(_ http.ResponseWriter, r *http.Request, forward http.Handler) {
	forward.ServeHTTP(&nowhere{header: http.Header{}}, r)
	panic(http.ErrAbortHandler)
}

// notJSON answers with what is no object.
func notJSON(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, "<html>a proxy of the company says hello</html>")
}

// nowhere takes an answer that nobody gets.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n *nowhere) WriteHeader(int)             {}

// recorder accepts connections and remembers that somebody came: a proxy that
// should not be asked.
type recorder struct {
	listener net.Listener
	mu       sync.Mutex
	visits   int
}

func startRecorder() (*recorder, error) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &recorder{listener: inner}
	go func() {
		for {
			conn, err := inner.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				r.mu.Lock()
				r.visits++
				r.mu.Unlock()
				_ = conn.Close()
			}
		}
	}()
	return r, nil
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.visits
}
