package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/client-go/kubernetes/fake"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"github.com/hyperconverge/scheduler/test/kit"
)

// certificate is a source of certificates for tests; nil serves none. It runs
// until an error is put into broken.
type certificate struct {
	atomic.Pointer[tls.Certificate]
	broken chan error
}

func (c *certificate) Start(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-c.broken:
		return err
	}
}

func (c *certificate) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if certificate := c.Load(); certificate != nil {
		return certificate, nil
	}
	return nil, errors.New("no certificate")
}

// newCertificate makes a certificate for localhost.
func newCertificate(t *testing.T) (certificate, key []byte) {
	t.Helper()
	certificate, key, err := certutil.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

// replica is a running server.
type replica struct {
	*testing.T
	options ServerOptions
	cancel  context.CancelFunc
	done    chan error
	want    error // with which it ends
}

func startReplica(t *testing.T, certificates Certificates, delay time.Duration, options ...func(*ServerOptions)) *replica {
	t.Helper()
	client := fake.NewClientset(stored()...)
	r := &replica{T: t, done: make(chan error, 1), options: ServerOptions{
		Rules: defaultRules, Drivers: []string{portworx}, Watch: client, Read: client, LookupQPS: 50, LookupBurst: 100, Certificates: certificates,
		Host: "127.0.0.1", Port: freePort(t), OpsAddress: kit.FreeAddress(t), ShutdownDelay: delay,
	}}
	for _, option := range options {
		option(&r.options)
	}
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), klog.Logger{}))
	r.cancel = cancel
	go func() { r.done <- NewServer(r.options).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-r.done; !errors.Is(err, r.want) {
			t.Errorf("the server ended with %v, want %v", err, r.want)
		}
	})
	return r
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := kit.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// ops gets a path of the port for health and metrics.
func (r *replica) ops(path string) (status int, body string) {
	response, err := http.Get("http://" + r.options.OpsAddress + path)
	if err != nil {
		return 0, err.Error()
	}
	defer kit.Close(r.T, response.Body)
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

func (r *replica) expectReady(words string) {
	r.Helper()
	kit.Eventually(r.T, kit.Soon, "/readyz says "+words, func() error {
		status, body := r.ops("/readyz")
		if (status == http.StatusOK) != (words == "ok") || !strings.Contains(body, words) {
			return fmt.Errorf("it says %d %s", status, body)
		}
		return nil
	})
}

// client trusts the certificate, and opens a connection per request.
func (r *replica) client(trusted []byte) *http.Client {
	r.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(trusted) {
		r.Fatal("no certificate to trust")
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}, DisableKeepAlives: true, ForceAttemptHTTP2: true,
	}}
}

// admitted sends the review of a pod of ours, and returns why it was not mutated.
func (r *replica) admitted(client *http.Client) error { return r.admit(client, review(r.T, unchanged)) }

func (r *replica) admit(client *http.Client, body []byte) error {
	response, err := client.Post(fmt.Sprintf("https://127.0.0.1:%d%s", r.options.Port, Path), "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer kit.Close(r.T, response.Body)
	var answer admissionv1.AdmissionReview
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Response == nil || !answer.Response.Allowed || len(answer.Response.Patch) == 0 {
		return fmt.Errorf("the answer is %+v", answer.Response)
	}
	return nil
}

func TestServer(t *testing.T) {
	pem, key := newCertificate(t)
	pair, err := tls.X509KeyPair(pem, key)
	if err != nil {
		t.Fatal(err)
	}
	certificates := &certificate{}
	r := startReplica(t, certificates, 0)
	r.expectReady("no certificate")
	if status, body := r.ops("/livez"); status != http.StatusOK {
		t.Errorf("/livez without certificate says %d %s: a restart would not help", status, body)
	}
	certificates.Store(&pair)
	r.expectReady("ok")
	if err := r.admitted(r.client(pem)); err != nil {
		t.Error(err)
	}
	metrics := r.metrics()
	for name, want := range map[string]float64{
		`hyperconverge_webhook_pods_total`:                    1,
		`hyperconverge_webhook_caches_synced`:                 1,
		`hyperconverge_webhook_certificate_not_after_seconds`: float64(pair.Leaf.NotAfter.Unix()),
		`hyperconverge_webhook_build_info`:                    1,
	} {
		var got float64 // of all series
		for _, metric := range metrics[name].GetMetric() {
			got += value(metric)
		}
		if math.Abs(got-want) > 0 {
			t.Errorf("metric %s is %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"controller_runtime_webhook_latency_seconds", "process_resident_memory_bytes", "go_gc_heap_live_bytes"} {
		if metrics[name] == nil {
			t.Errorf("there is no metric %s", name)
		}
	}
}

func (r *replica) metrics() map[string]*dto.MetricFamily {
	r.Helper()
	status, body := r.ops("/metrics")
	if status != http.StatusOK {
		r.Fatalf("/metrics says %d %s", status, body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	return families
}

func value(metric *dto.Metric) float64 {
	return metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
}

// A pod whose webhook's certificate has ended is created as it is, so that the replica
// should get no requests, wherever its certificate comes from.
func TestExpiredCertificateIsNotReady(t *testing.T) {
	pem, key, err := certutil.GenerateSelfSignedCertKeyWithOptions(certutil.SelfSignedCertKeyOptions{Host: "localhost", MaxAge: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(pem, key)
	if err != nil {
		t.Fatal(err)
	}
	made := &certificate{}
	made.Store(&pair)
	dir := t.TempDir()
	for name, content := range map[string][]byte{"tls.crt": pem, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := certwatcher.New(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	for from, certificates := range map[string]Certificates{"made": made, "files": files, "nowhere": nothing{&certificate{}}} {
		t.Run(from, func(t *testing.T) {
			r := startReplica(t, certificates, 0)
			if from == "nowhere" {
				r.expectReady("there is no serving certificate")
				return
			}
			r.expectReady("the serving certificate is valid from " + pair.Leaf.NotBefore.Format(time.RFC3339))
		})
	}
}

// nothing has neither a certificate nor an error.
type nothing struct{ *certificate }

func (nothing) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }

func TestStoppingServerStillAnswers(t *testing.T) {
	pem, key := newCertificate(t)
	pair, err := tls.X509KeyPair(pem, key)
	if err != nil {
		t.Fatal(err)
	}
	certificates := &certificate{broken: make(chan error)}
	certificates.Store(&pair)
	r := startReplica(t, certificates, time.Hour)
	r.expectReady("ok")
	r.cancel()
	r.expectReady("stopping")
	if err := r.admitted(r.client(pem)); err != nil {
		t.Error(err)
	}
	r.want = errors.New("broken")
	certificates.broken <- r.want // nobody waits an hour for a server that has lost a part
}

// An API server that keeps a connection may send a request on it in the moment in which
// the server closes it: the server waits until there is none.
func TestStoppingServerWaitsForKeptConnections(t *testing.T) {
	pem, key := newCertificate(t)
	pair, err := tls.X509KeyPair(pem, key)
	if err != nil {
		t.Fatal(err)
	}
	certificates := &certificate{broken: make(chan error)}
	certificates.Store(&pair)
	r := startReplica(t, certificates, 0, func(o *ServerOptions) { o.ShutdownTimeout = time.Hour })
	r.expectReady("ok")
	client := r.client(pem)
	client.Transport.(*http.Transport).DisableKeepAlives = false
	if err := r.admitted(client); err != nil {
		t.Fatal(err)
	}
	r.cancel()
	r.expectReady("stopping")
	if err := r.admitted(client); err != nil {
		t.Errorf("on the connection that was kept: %v", err)
	}
	// It ends when that was the last one, not after an hour.
}

func TestPortInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer kit.Close(t, listener)
	client := fake.NewClientset()
	for name, options := range map[string]ServerOptions{
		"the port of the webhook":        {Port: listener.Addr().(*net.TCPAddr).Port, OpsAddress: "127.0.0.1:0"},
		"the port of health and metrics": {Port: freePort(t), OpsAddress: listener.Addr().String()},
	} {
		t.Run(name+" is taken", func(t *testing.T) {
			options.Host, options.Watch, options.Read, options.Certificates = "127.0.0.1", client, client, &certificate{}
			if err := NewServer(options).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// Certificates from files are those that cert-manager writes: the kubelet swaps
// a link to a directory that has both.
func TestMountedCertificatesAreReplacedUnderLoad(t *testing.T) {
	dir := t.TempDir()
	mount := func(generation string, certificate, key []byte) {
		for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": key} {
			if err := os.MkdirAll(filepath.Join(dir, generation), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, generation, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		link := filepath.Join(dir, "..tmp")
		if err := os.Symlink(generation, link); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	oldPEM, oldKey := newCertificate(t)
	newPEM, newKey := newCertificate(t)
	mount("one", oldPEM, oldKey)
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := certwatcher.New(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	r := startReplica(t, files.WithWatchInterval(50*time.Millisecond), 0)
	r.expectReady("ok")
	// cert-manager's CA bundle has both while it changes.
	client := r.client(append(append([]byte{}, oldPEM...), newPEM...))
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(failed)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := r.admitted(client); err != nil {
				failed <- err
				return
			}
		}
	}()
	mount("two", newPEM, newKey)
	kit.Eventually(t, kit.Soon, "the new certificate is served", func() error { return r.admitted(r.client(newPEM)) })
	close(stop)
	if err := <-failed; err != nil {
		t.Error(err)
	}
}
