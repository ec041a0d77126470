package manifests

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/pkg/webhook"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

// runningWebhook is the webhook in this process, and another of the same name that
// nobody answers for.
type runningWebhook struct {
	ops string // address of its metrics
	// provoke creates a pod that has to be looked up, and fails open once.
	provoke func() error
}

// startWebhook has the API server call a webhook, as the objects say but for where
// it listens.
func startWebhook(t *testing.T, plane *controlPlane, objects []*unstructured.Unstructured, c *cluster) *runningWebhook {
	t.Helper()
	pair, certificate := selfSigned(t)
	address, ops := kit.FreeAddress(t), kit.FreeAddress(t)
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	server := webhook.NewServer(webhook.ServerOptions{
		Rules:   webhook.Rules{SchedulerName: schedulerName},
		Drivers: []string{kit.Driver},
		Watch:   plane.Client, Read: plane.Client, LookupQPS: 50, LookupBurst: 100,
		Certificates: onlyCertificate{&pair},
		Host:         host, Port: port, OpsAddress: ops,
	})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the webhook: %v", err)
		}
	})
	configurations := plane.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	for name, at := range map[string]string{"alive": address, "dead": kit.FreeAddress(t)} {
		configuration := deploy.Find[admissionregistrationv1.MutatingWebhookConfiguration](t, objects, "MutatingWebhookConfiguration", webhookName).DeepCopy()
		configuration.Name = name
		configuration.Webhooks[0].ClientConfig = admissionregistrationv1.WebhookClientConfig{
			URL: ptr.To("https://" + at + webhook.Path), CABundle: certificate,
		}
		if _, err := configurations.Create(t.Context(), configuration, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := configurations.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	pod := c.pod("looked-up", schedulerName, "nobody-knows-this-claim").Obj()
	return &runningWebhook{ops: ops, provoke: func() error {
		_, err := plane.Client.CoreV1().Pods(c.Namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}}
}

// metrics are those of the webhook itself.
func (w *runningWebhook) metrics() (string, error) {
	if err := w.provoke(); err != nil {
		return "", err
	}
	response, err := http.Get("http://" + w.ops + "/metrics")
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// metricsOfAPIServer are those of who calls the webhook.
func (p *controlPlane) metricsOfAPIServer(t *testing.T, provoke func() error) (string, error) {
	if err := provoke(); err != nil {
		return "", err
	}
	body, err := p.Client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	return string(body), err
}

// onlyCertificate never changes.
type onlyCertificate struct{ certificate *tls.Certificate }

func (c onlyCertificate) Start(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (c onlyCertificate) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.certificate, nil
}
