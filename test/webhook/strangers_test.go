package webhook

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"github.com/hyperconverge/scheduler/test/kit"
)

// clientCertificate is what API servers show to webhooks.
type clientCertificate struct {
	// authority is the path of its authority.
	authority string
	// admissionConfig is the path of the API server's configuration, as docs/security.md
	// has it.
	admissionConfig string
}

func newClientCertificate(tb testing.TB) clientCertificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	certificate, err := certutil.NewSelfSignedCACert(certutil.Config{CommonName: "api server"}, key)
	if err != nil {
		tb.Fatal(err)
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	write := func(name string, content []byte) (path string) {
		path = filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			tb.Fatal(err)
		}
		return path
	}
	write("webhook-client.key", keyPEM)
	c := clientCertificate{authority: write("webhook-client.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}))}
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		tb.Fatal(err)
	}
	for _, block := range strings.Split(string(page), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		name, rest, found := strings.Cut(strings.TrimPrefix(block, "# /etc/kubernetes/admission/"), "\n")
		if !found || name == block {
			continue
		}
		path := write(name, []byte(strings.ReplaceAll(rest, "/etc/kubernetes/admission", dir)))
		if strings.Contains(rest, "kind: AdmissionConfiguration") {
			c.admissionConfig = path
		}
	}
	if c.admissionConfig == "" {
		tb.Fatal("docs/security.md does not show how an API server shows a certificate")
	}
	return c
}

// testClientCertificate has a replica answer the API server, and nobody else.
func testClientCertificate(t *testing.T, outer *cluster, flags []string) {
	c := outer.in(t)
	r := c.start(1, append(flags, "--client-ca-file="+c.proxy.certificate.authority)...)[0]
	// The connections to other replicas stay; a load needs new ones.
	load := startLoad(c, podIn("db", pvc("data")))
	c.Eventually("the API server calls the new replica", func() error {
		if requests([]*replica{r}) < 10 {
			return fmt.Errorf("%v calls have come", requests([]*replica{r}))
		}
		return nil
	})
	if result := load.stop(); result.failed > 0 {
		t.Errorf("of %d pods %d were not mutated; the first: %v", result.pods, result.failed, result.first)
	}
	answer, err := stranger().Post("https://"+r.address+"/mutate-pods", "application/json", strings.NewReader("{}"))
	if err == nil {
		kit.Close(t, answer.Body)
		t.Errorf("a client without certificate is answered with %s", answer.Status)
	}
	expectCleanLog(c, r)
}

// stranger is a client inside of the cluster's network.
func stranger() *http.Client {
	return &http.Client{
		Timeout:   2 * time.Minute,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
}

// testMemory sends large reviews of every shape at once, and looks at the memory that
// the process has taken at most.
func testMemory(t *testing.T, outer *cluster) {
	const count, size = 300, 800 << 10
	c := outer.in(t)
	limit := c.deployment().Spec.Template.Spec.Containers[0].Resources.Limits[v1.ResourceMemory]
	var bodies [][]byte
	for _, pod := range []string{
		`{"metadata":{"annotations":{"a":"` + strings.Repeat("x", size) + `"}}}`,
		`{"metadata":{"annotations":{` + list(size, `"a%d":"x"`) + `}}}`,
		`{"spec":{"volumes":[` + list(size, `{"name":"v%d","persistentVolumeClaim":{"claimName":"missing-%[1]d"}}`) + `]}}`,
		`{"spec":{"volumes":[` + strings.Repeat("{},", size/3) + `{}]}}`,
		`{"spec":{"containers":[{"env":[` + list(size, `{"name":"A%d","value":"x"}`) + `]}]}}`,
		`{"spec":{"containers":[` + strings.Repeat("{},", size/3) + `{}]}}`,
	} {
		body, err := json.Marshal(admissionv1.AdmissionReview{
			TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
			Request: &admissionv1.AdmissionRequest{
				UID: "1", Operation: admissionv1.Create, Namespace: "db",
				Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
				Object:   runtime.RawExtension{Raw: []byte(pod)},
			},
		})
		c.Must(err)
		bodies = append(bodies, body)
	}
	r := startReplica(t, c.asWebhook(), c.deployment())
	c.Eventually("the webhook is ready", r.ready)
	idle, _ := r.Resident()
	var senders sync.WaitGroup
	var mu sync.Mutex
	answers := map[int]int{} // by status; 0 is none
	for i := range count {
		senders.Go(func() {
			code := 0
			response, err := stranger().Post("https://"+r.address+"/mutate-pods", "application/json", bytes.NewReader(bodies[i%len(bodies)]))
			if err == nil {
				code = response.StatusCode
				_ = response.Body.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			answers[code]++
		})
	}
	senders.Wait()
	_, most := r.Resident()
	t.Logf("%d reviews of %d kB: answers %v; %.0f MB before, %.0f MB at most", count, size>>10, answers, float64(idle)/megabyte, float64(most)/megabyte)
	if most > limit.Value() {
		t.Errorf("%.0f MB are more than the limit of %s", float64(most)/megabyte, limit.String())
	}
	if answers[http.StatusOK] == 0 {
		t.Error("none is answered")
	}
}

// list is the elements of a JSON list or object of about that many bytes.
func list(size int, format string) string {
	var text strings.Builder
	for i := 0; text.Len() < size; i++ {
		if i > 0 {
			text.WriteByte(',')
		}
		fmt.Fprintf(&text, format, i)
	}
	return text.String()
}

// expectCleanLog fails if the API server has denied a replica something, or if it has
// logged what nobody else may know.
func expectCleanLog(c *cluster, r *replica) {
	c.Helper()
	text, err := os.ReadFile(r.Log)
	c.Must(err)
	if strings.Contains(string(text), "forbidden") {
		c.Errorf("something was forbidden:\n%s", text)
	}
	if !strings.Contains(string(text), "wrote response") {
		c.Error("the log is not verbose: it does not prove anything")
	}
	secret, err := c.Client.CoreV1().Secrets(ownNamespace).Get(c.Ctx, secretName, metav1.GetOptions{})
	c.Must(err)
	secrets := map[string]string{
		"its token":            r.token,
		"the key of today":     string(secret.Data[v1.TLSPrivateKeyKey]),
		"the beginning of any": "-----BEGIN RSA PRIVATE KEY-----",
	}
	for _, leaked := range kit.Leaks(string(text), secrets) {
		c.Errorf("the log has %s", leaked)
	}
}
