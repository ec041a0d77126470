package webhook

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperconverge/scheduler/test/kit"
)

// What is judged at the same time stays within the budget, and a small review need
// not wait for large ones that are coming.
func TestReviewsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var judged atomic.Int32
		leave := make(chan struct{})
		hook := newIntake(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			stay := leave
			judged.Add(1)
			<-stay
		}))
		small := review(t, unchanged)
		large := append(bytes.Repeat([]byte(" "), 3<<20), small...)
		var senders sync.WaitGroup
		send := func(body []byte) *httptest.ResponseRecorder {
			recorder := httptest.NewRecorder()
			senders.Go(func() {
				request := httptest.NewRequest(http.MethodPost, Path, bytes.NewReader(body))
				request.Header.Set("Content-Type", "application/json")
				hook.ServeHTTP(recorder, request)
			})
			synctest.Wait()
			return recorder
		}
		send(large)
		send(large)
		late := send(large)
		if got := judged.Load(); got != 2 {
			t.Errorf("%d reviews of 3 MiB are judged at the same time, want 2", got)
		}
		send(small)
		if got := judged.Load(); got != 3 {
			t.Error("the small review waits")
		}
		time.Sleep(longestWait)
		synctest.Wait()
		// A verdict would refuse the pod.
		if late.Code != http.StatusServiceUnavailable || strings.Contains(late.Body.String(), "AdmissionReview") {
			t.Errorf("the review that gets no turn is answered with %d %s", late.Code, late.Body)
		}
		close(leave)
		senders.Wait()
		if send(large); judged.Load() != 4 {
			t.Error("a place is not given back")
		}
		senders.Wait()

		leave = make(chan struct{})
		judged.Store(0)
		ordinary := append(bytes.Repeat([]byte(" "), smallReview-1-len(small)), small...)
		for range 2 * reviewBudget / smallReview {
			send(ordinary)
		}
		if got, most := int(judged.Load()), reviewBudget/len(ordinary); got != most {
			t.Errorf("%d reviews of %d bytes are judged at the same time, want %d", got, len(ordinary), most)
		}
		close(leave)
		senders.Wait()
	})
}

// dial opens a connection to a replica and sends a text.
func (r *replica) dial(text string) net.Conn {
	r.Helper()
	connection, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.options.Port), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = connection.Close() })
	if _, err := connection.Write([]byte(text)); err != nil {
		r.Fatal(err)
	}
	return connection
}

func startServing(t *testing.T, options ...func(*ServerOptions)) (r *replica, trusted []byte) {
	t.Helper()
	trusted, key := newCertificate(t)
	pair, err := tls.X509KeyPair(trusted, key)
	if err != nil {
		t.Fatal(err)
	}
	certificates := &certificate{}
	certificates.Store(&pair)
	r = startReplica(t, certificates, 0, options...)
	r.expectReady("ok")
	return r, trusted
}

// Bodies that do not end are cut off, and nobody waits for them meanwhile but other
// large reviews, and these not for ever.
func TestBodiesThatDoNotEndAreCutOff(t *testing.T) {
	r, trusted := startServing(t)
	const post = "POST " + Path + " HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\n"
	some := strings.Repeat(" ", 2*smallReview)
	var slow []net.Conn
	for range 3 {
		slow = append(slow,
			r.dial(post+"Content-Length: 7000000\r\n\r\n"),
			r.dial(post+"Content-Length: 7000000\r\n\r\n"+some),
			r.dial(post+fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(some), some)),
			r.dial(post+"Content-Length: 2\r\n\r\n{"),
		)
	}
	client := r.client(trusted)
	if err := r.admitted(client); err != nil {
		t.Errorf("a small review: %v", err)
	}
	large := append(bytes.Repeat([]byte(" "), 1<<20), review(t, unchanged)...)
	if err := r.admit(client, large); err != nil {
		t.Errorf("a large review: %v", err)
	}
	for _, connection := range slow {
		if err := connection.SetReadDeadline(time.Now().Add(kit.Soon)); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
		if err != nil {
			t.Errorf("a body that does not end: %v", err)
			continue
		}
		if answer.StatusCode != http.StatusRequestTimeout || !answer.Close {
			t.Errorf("a body that does not end is answered with %s", answer.Status)
		}
	}
}

// Whatever comes in from the network, the next review is answered.
func TestGarbageFromTheNetwork(t *testing.T) {
	r, trusted := startServing(t)
	client := r.client(trusted)
	for what, text := range map[string]string{
		"nothing":                    "",
		"no HTTP":                    "\x00\x01\x02\r\n\r\n",
		"HTTP/2":                     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"half a header":              "POST " + Path + " HTTP/1.1\r\nHost: w",
		"a header of a megabyte":     "POST " + Path + " HTTP/1.1\r\nHost: webhook\r\nX: " + strings.Repeat("x", 1<<20),
		"a length that is no number": "POST " + Path + " HTTP/1.1\r\nHost: webhook\r\nContent-Length: many\r\n\r\n",
		"chunks that are none":       "POST " + Path + " HTTP/1.1\r\nHost: webhook\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"another path":               "GET /metrics HTTP/1.1\r\nHost: webhook\r\n\r\n",
	} {
		t.Run(what, func(t *testing.T) {
			connection, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.options.Port), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
			if err != nil {
				t.Fatal(err)
			}
			defer kit.Close(t, connection)
			_, _ = connection.Write([]byte(text)) // it may be told to stop
			if protocol := connection.ConnectionState().NegotiatedProtocol; protocol == "h2" {
				t.Error("HTTP/2 is spoken, where bodies wait in our memory")
			}
			if err := r.admitted(client); err != nil {
				t.Error(err)
			}
		})
	}
	// Series of strangers' making would grow for ever.
	codes := map[string]bool{}
	for _, metric := range r.metrics()["controller_runtime_webhook_requests_total"].GetMetric() {
		for _, label := range metric.GetLabel() {
			if label.GetName() == "code" {
				codes[label.GetValue()] = true
			}
		}
	}
	for code := range codes {
		if !strings.Contains(" 200 400 408 500 503 ", " "+code+" ") {
			t.Errorf("there is a series of code %q", code)
		}
	}
}

// newClientCertificate is a certificate for clients that is its own authority.
func newClientCertificate(t *testing.T, name string) (pair tls.Certificate, authority []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	template.Subject.CommonName = name
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}

func TestOnlyKnownClientsAreAnswered(t *testing.T) {
	ours, authority := newClientCertificate(t, "api server")
	next, nextAuthority := newClientCertificate(t, "api server")
	foreign, _ := newClientCertificate(t, "api server")
	file := filepath.Join(t.TempDir(), "ca.crt")
	write := func(content []byte) {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(authority)
	r, trusted := startServing(t, func(o *ServerOptions) { o.ClientCAFile = file })
	as := func(certificates ...tls.Certificate) error {
		client := r.client(trusted)
		client.Transport.(*http.Transport).TLSClientConfig.Certificates = certificates
		return r.admitted(client)
	}
	if err := as(ours); err != nil {
		t.Errorf("with a certificate of the authority: %v", err)
	}
	if as() == nil {
		t.Error("a client without certificate is answered")
	}
	if as(foreign) == nil {
		t.Error("a client with a certificate of another authority is answered")
	}
	write(nextAuthority)
	if err := as(next); err != nil {
		t.Errorf("after the file has changed: %v", err)
	}
	if as(ours) == nil {
		t.Error("a client of the authority before is answered")
	}
	write(nil)
	if as(next) == nil {
		t.Error("without authorities everybody is answered")
	}
	options := r.options
	options.Port, options.OpsAddress = freePort(t), "127.0.0.1:0"
	if err := NewServer(options).Run(t.Context()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a server without authorities starts, or ends with %v", err)
	}
}
