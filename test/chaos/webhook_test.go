package chaos

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func webhookRows() []row {
	const answers = "honest reviews are answered, and memory stays below the limit"
	rows := []row{
		{name: "300 reviews of 800 KiB at once", quick: true, holds: answers, do: heavyReviews(300, 800<<10)},
		{name: "40 reviews of 6 MiB at once", holds: answers, do: heavyReviews(40, 6<<20)},
		{name: "100 reviews of 100 MiB at once", holds: answers, do: heavyReviews(100, 100<<20)},
		{name: "300 small reviews at once", holds: answers, do: heavyReviews(300, 1<<10)},
		{name: "four bodies never end, and say that they are large", quick: true,
			holds: "another large review is answered within 15 s", do: endlessBodies(4, 6<<20)},
		{name: "300 bodies never end, and say that they are small", holds: "another review is answered within 15 s", do: endlessBodies(300, 800<<10)},
		{name: "100 bodies never end, and do not say how large they are", holds: "another large review is answered within 15 s", do: endlessBodies(100, -1)},
		{name: "500 connections say nothing", holds: answers, do: silentConnections},
		{name: "reviews that are no reviews", quick: true, holds: answers, do: garbageReviews},
		{name: "a review with objects nested 100 000 deep", holds: answers, do: deepReview},
		{name: "a review whose pod has 100 000 volumes", holds: answers, do: wideReview},
		{name: "reviews of pods with 1000 claims that do not exist", holds: answers, do: hungryReviews},
		{name: "a stranger asks about a claim of a foreign namespace", quick: true, holds: "the answer names no object that the review does not name", do: curious},
		{name: "the certificate has expired", quick: true, holds: "/readyz is not 200, and is again with a good certificate", do: expiredCertificate},
		{name: "the certificate expires while it runs", holds: "/readyz is not 200 any more", do: expiringCertificate},
		{name: "the certificate file is broken while it runs", holds: "the last good certificate is served", do: brokenCertificate},
		{name: "the Secret with the certificate is deleted", holds: "reviews are answered, the log says what to do, and a Secret that comes back empty gets the same certificate", do: secretDeleted},
		{name: "the Secret with the certificate holds garbage", holds: "reviews are answered, and it is repaired within 30 s", within: longer, do: secretSpoiled},
		{name: "at the highest log level of the webhook", quick: true, holds: "no private key and no token is in its log", do: loudWebhook},
		{name: "at the highest log level of the scheduler", holds: "no token is in its log", do: loudScheduler},
		{name: "requests for other paths, methods and protocols", holds: answers, do: otherRequests},
		{name: "TLS 1.0, and a hello that is none", holds: answers, do: oldTLS},
	}
	for i := range rows {
		rows[i].group = "webhook"
		if rows[i].within == 0 {
			rows[i].within = later
		}
	}
	return rows
}

// review is an answer of the webhook.
type review struct {
	err     error
	status  int
	body    string
	allowed bool
	patch   string
}

func (a review) mutated() error {
	switch {
	case a.err != nil:
		return a.err
	case !a.allowed || !strings.Contains(a.patch, schedulerName):
		return fmt.Errorf("the answer is %.300s", a.body)
	}
	return nil
}

// caller has no keep-alive and trusts everybody.
var caller = &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{
	TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}

func (r *run) review(pod *v1.Pod) review { return r.reviewAt(r.hookPort, pod) }

func (r *run) reviewAt(port int, pod *v1.Pod) review {
	return postReview(r.ctx, port, reviewOf(pod, ""))
}

// reviewOf asks about a new pod of the default scheduler. padding makes it larger.
func reviewOf(pod *v1.Pod, padding string) []byte {
	pod = pod.DeepCopy()
	pod.Spec.SchedulerName = v1.DefaultSchedulerName
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	if padding != "" {
		annotated(pod, "a.test/padding", padding)
	}
	object, err := json.Marshal(pod)
	if err != nil {
		panic(err) // a pod can be written
	}
	return fmt.Appendf(nil, `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u","kind":{"version":"v1","kind":"Pod"},`+
		`"resource":{"version":"v1","resource":"pods"},"namespace":%q,"operation":"CREATE","object":%s}}`, pod.Namespace, object)
}

func postReview(ctx context.Context, port int, body []byte) review {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("https://127.0.0.1:%d/mutate-pods", port), bytes.NewReader(body))
	if err != nil {
		return review{err: err}
	}
	request.Header.Set("Content-Type", "application/json")
	return send(request)
}

func send(request *http.Request) review {
	response, err := caller.Do(request)
	if err != nil {
		return review{err: err}
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	a := review{err: err, status: response.StatusCode, body: string(content)}
	var answer struct {
		Response struct {
			Allowed bool
			Patch   []byte
		}
	}
	if json.Unmarshal(content, &answer) == nil {
		a.allowed, a.patch = answer.Response.Allowed, string(answer.Response.Patch)
	}
	return a
}

// honestReview has a review answered that has nothing to do with the attack.
func (r *run) honestReview(within time.Duration) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.ctx, within)
	defer cancel()
	begun := time.Now()
	if a := postReview(ctx, r.hookPort, reviewOf(inline(r.pod("honest"), "1"), "")); a.mutated() != nil {
		r.Errorf("an honest review: %v", a.mutated())
		return
	}
	r.measured("an honest review took %.2f s", time.Since(begun).Seconds())
}

// peak notes the memory of the webhook.
func (r *run) peak() {
	_, peak := r.webhook.Resident()
	r.measured("the webhook took %d MiB at most", peak>>20)
}

func heavyReviews(count, size int) func(r *run) {
	return func(r *run) {
		body := reviewOf(inline(r.pod("heavy"), "1"), strings.Repeat("x", size))
		var wait sync.WaitGroup
		var refused, lost atomic.Int32
		for range count {
			wait.Go(func() {
				ctx, cancel := context.WithTimeout(r.ctx, 40*time.Second)
				defer cancel()
				switch a := postReview(ctx, r.hookPort, body); {
				case a.err != nil:
					lost.Add(1)
				case !a.allowed:
					refused.Add(1)
				}
			})
		}
		time.Sleep(300 * time.Millisecond)
		r.honestReview(later)
		wait.Wait()
		r.peak()
		r.measured("%d of %d were refused, %d got no answer", refused.Load(), count, lost.Load())
	}
}

// endlessBodies sends a byte a second, and never the last one.
func endlessBodies(count, length int) func(r *run) {
	return func(r *run) {
		ctx, cancel := context.WithCancel(r.ctx)
		var wait sync.WaitGroup
		r.later(func() { cancel(); wait.Wait() })
		for range count {
			wait.Go(func() {
				request, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("https://127.0.0.1:%d/mutate-pods", r.hookPort), &drip{ctx: ctx})
				if err != nil {
					return
				}
				request.ContentLength = int64(length)
				request.Header.Set("Content-Type", "application/json")
				endless := &http.Client{Transport: caller.Transport}
				if response, err := endless.Do(request); err == nil {
					_ = response.Body.Close()
				}
			})
		}
		time.Sleep(time.Second)
		begun := time.Now()
		patient, stop := context.WithTimeout(r.ctx, 15*time.Second)
		defer stop()
		a := postReview(patient, r.hookPort, reviewOf(inline(r.pod("large"), "1"), strings.Repeat("x", 2<<20)))
		if err := a.mutated(); err != nil {
			r.Fatalf("a large review: %v", err)
		}
		r.measured("a large review took %.1f s", time.Since(begun).Seconds())
	}
}

// drip is a body without an end.
type drip struct {
	ctx   context.Context
	begun bool
}

func (d *drip) Read(p []byte) (int, error) {
	if !d.begun {
		d.begun = true
		return copy(p, `{"kind":"AdmissionReview"`), nil
	}
	select {
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	case <-time.After(time.Second):
		return copy(p, " "), nil
	}
}

func silentConnections(r *run) {
	var open []net.Conn
	r.later(func() {
		for _, c := range open {
			_ = c.Close()
		}
	})
	for range 500 {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.hookPort))
		r.must(err)
		open = append(open, c)
	}
	r.honestReview(5 * time.Second)
}

func garbageReviews(r *run) {
	good := string(reviewOf(inline(r.pod("p"), "1"), ""))
	for i, body := range []string{
		"", "{}", "null", "[]", "\x00\xff\xfe", strings.Repeat("{", 10_000), good[:len(good)/2], strings.Repeat(" ", 1<<20) + good,
		`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`,
		`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":null}`,
		`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v2","request":{}}`,
		`{"kind":"Pod","apiVersion":"v1"}`,
		strings.Replace(good, `"operation":"CREATE"`, `"operation":"DELETE"`, 1),
		strings.Replace(good, `"resource":"pods"`, `"resource":"secrets"`, 1),
		strings.Replace(good, `"spec":{`, `"spec":{"volumes":null,"volumes":[null,{}],`, 1),
		strings.Replace(good, `"object":{`, `"object":{"metadata":[],`, 1),
		strings.Replace(good, `"uid":"u"`, `"uid":"`+strings.Repeat("u", 100_000)+`"`, 1),
		strings.Replace(good, `"volumeID":"1"`, `"volumeID":"\ud800"`, 1),
	} {
		for range 20 {
			a := postReview(r.ctx, r.hookPort, []byte(body))
			if a.err != nil {
				r.Errorf("body %d got no answer: %v", i, a.err)
				break
			}
		}
	}
	r.honestReview(5 * time.Second)
}

func deepReview(r *run) {
	good := string(reviewOf(inline(r.pod("p"), "1"), ""))
	deep := strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	_ = postReview(r.ctx, r.hookPort, []byte(strings.Replace(good, `"spec":{`, `"spec":{"deep":`+deep+`,`, 1)))
	_ = postReview(r.ctx, r.hookPort, []byte(deep))
	r.honestReview(5 * time.Second)
	r.peak()
}

func wideReview(r *run) {
	pod := r.pod("wide")
	for i := range 100_000 {
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: strconv.Itoa(i), VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}})
	}
	_ = postReview(r.ctx, r.hookPort, reviewOf(pod, ""))
	r.honestReview(5 * time.Second)
	r.peak()
}

// hungryReviews want things looked up that are not there.
func hungryReviews(r *run) {
	pod := r.pod("hungry")
	for i := range 1000 {
		name := fmt.Sprintf("missing-%d", i)
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: name, VolumeSource: v1.VolumeSource{
			PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name}}})
	}
	body := reviewOf(pod, "")
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() { _ = postReview(r.ctx, r.hookPort, body) })
	}
	r.honestReview(5 * time.Second)
	wait.Wait()
}

func curious(r *run) {
	handle := r.volume("theirs", at(node(1)))
	pv := r.namespace + "-theirs"
	r.eventually(soon, "the webhook knows the claim", func() error { return r.review(r.pod("p", "theirs")).mutated() })
	lost := "secret-pv-" + r.namespace
	_, err := r.client.CoreV1().PersistentVolumeClaims(r.namespace).Create(r.ctx, &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "lost"},
		Spec: v1.PersistentVolumeClaimSpec{AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}, StorageClassName: new(string),
			VolumeName: lost, Resources: v1.VolumeResourceRequirements{Requests: oneGiB}},
	}, metav1.CreateOptions{})
	r.must(err)
	class := "secret-class-" + r.namespace
	r.waitingClaim("classy", class)
	time.Sleep(500 * time.Millisecond)
	for _, claim := range []string{"theirs", "lost", "classy", "missing"} {
		a := r.review(r.pod("p", claim))
		r.must(a.err)
		for _, secret := range []string{pv, handle, lost, class} {
			if strings.Contains(a.body, secret) {
				r.Errorf("asked about claim %s it tells of %s: %.400s", claim, secret, a.body)
			}
		}
	}
}

// withFiles runs a webhook whose certificate is in files.
func (r *run) withFiles(end time.Time) (c *component, dir string, port int) {
	r.Helper()
	dir = r.dir.Join(fmt.Sprintf("certificates-%d", r.runs))
	r.must(os.MkdirAll(dir, 0o700))
	r.must(r.authority.writePair(dir, webhookName, end))
	c, port, err := r.beginWebhook(fmt.Sprintf("webhook-%d", r.runs), "--certificates=files", "--certificate-dir="+dir)
	r.must(err)
	r.later(func() { c.Kill() })
	return c, dir, port
}

func expiredCertificate(r *run) {
	c, dir, _ := r.withFiles(time.Now().Add(-time.Minute))
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if !c.Alive() {
			r.Fatalf("it ended: %s", c.Tail(0, 2))
		}
		if _, err := c.Get("/readyz"); err == nil {
			r.Fatalf("/readyz is 200 with an expired certificate")
		}
	}
	r.must(r.authority.writePair(dir, webhookName, time.Now().Add(time.Hour)))
	r.eventually(later, "it is ready with a good certificate", func() error { _, err := c.Get("/readyz"); return err })
}

func expiringCertificate(r *run) {
	end := time.Now().Add(5 * time.Second)
	c, _, _ := r.withFiles(end)
	r.eventually(4*time.Second, "it is ready while the certificate is good", func() error { _, err := c.Get("/readyz"); return err })
	time.Sleep(time.Until(end) + 1500*time.Millisecond)
	if _, err := c.Get("/readyz"); err == nil {
		r.Fatalf("/readyz is 200 with a certificate that has expired")
	}
}

func brokenCertificate(r *run) {
	c, dir, port := r.withFiles(time.Now().Add(time.Hour))
	r.eventually(later, "it is ready", func() error { _, err := c.Get("/readyz"); return err })
	r.must(writeFile(dir+"/tls.crt", []byte("broken")))
	r.must(writeFile(dir+"/tls.key", nil))
	time.Sleep(2 * time.Second)
	r.must(r.reviewAt(port, inline(r.pod("p"), "1")).mutated())
}

// secretDeleted brings the Secret back empty, as the manifests do: the webhook may not
// create one.
func secretDeleted(r *run) {
	secrets := r.client.CoreV1().Secrets(systemNamespace)
	before, err := secrets.Get(r.ctx, secretName, metav1.GetOptions{})
	r.must(err)
	empty := &v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secretName}}
	r.must(secrets.Delete(r.ctx, secretName, metav1.DeleteOptions{}))
	again := func() { _, _ = secrets.Create(r.background(), empty, metav1.CreateOptions{}) }
	r.later(again)
	r.honestReview(5 * time.Second)
	r.eventually(later, "the log says what to do", func() error {
		if !strings.Contains(r.webhook.Said(r.started[r.webhook]), "apply the manifests again") {
			return errNotYet
		}
		return nil
	})
	again()
	r.eventually(later, "the Secret has the certificate that is served", func() error {
		now, err := secrets.Get(r.ctx, secretName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !bytes.Equal(now.Data["tls.crt"], before.Data["tls.crt"]) {
			return errNotYet
		}
		return nil
	})
	r.honestReview(5 * time.Second)
}

func secretSpoiled(r *run) {
	secrets := r.client.CoreV1().Secrets(systemNamespace)
	secret, err := secrets.Get(r.ctx, secretName, metav1.GetOptions{})
	r.must(err)
	for key := range secret.Data {
		secret.Data[key] = []byte("garbage")
	}
	_, err = secrets.Update(r.ctx, secret, metav1.UpdateOptions{})
	r.must(err)
	r.honestReview(5 * time.Second)
	r.eventually(30*time.Second, "the Secret is repaired", func() error {
		now, err := secrets.Get(r.ctx, secretName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if _, err := tls.X509KeyPair(now.Data["tls.crt"], now.Data["tls.key"]); err != nil {
			return err
		}
		return nil
	})
	r.honestReview(5 * time.Second)
}

// hexDump matches the bytes of one line of a hex dump, as client-go logs bodies
// that are no text.
var hexDump = regexp.MustCompile(`[0-9a-f]{8}  ((?:[0-9a-f]{2}  ?){1,16}) *\|`)

// decoded is a log, and all that it holds as hex dumps or base64.
func decoded(log string) []byte {
	all := []byte(log)
	for _, match := range hexDump.FindAllStringSubmatch(log, -1) {
		if line, err := hex.DecodeString(strings.Join(strings.Fields(match[1]), "")); err == nil {
			all = append(all, line...)
		}
	}
	return all
}

func TestDecoded(t *testing.T) {
	secret := "-----BEGIN EC PRIVATE KEY-----\nabcdefghijklmnopqrstuvwxyz"
	for name, log := range map[string]string{
		"as text":                   secret,
		"as a hex dump":             hex.Dump([]byte(secret)),
		"as a hex dump within JSON": strings.ReplaceAll(hex.Dump([]byte(secret)), "\n", `\n`),
	} {
		if !bytes.Contains(decoded(log), []byte(secret)) {
			t.Errorf("a secret %s is not found", name)
		}
	}
}

func loudWebhook(r *run) {
	secrets := r.client.CoreV1().Secrets(systemNamespace)
	before, err := secrets.Get(r.ctx, secretName, metav1.GetOptions{})
	r.must(err)
	// A certificate that has to be made is written and read.
	for key := range before.Data {
		before.Data[key] = []byte("garbage")
	}
	_, err = secrets.Update(r.ctx, before, metav1.UpdateOptions{})
	r.must(err)
	c, _, err := r.startWebhook(r.ctx, fmt.Sprintf("webhook-%d", r.runs), "--log-level=10")
	r.must(err)
	r.later(func() { c.Kill() })
	r.eventually(soon, "it is ready", func() error { _, err := c.Get("/readyz"); return err })
	time.Sleep(3 * time.Second)
	now, err := secrets.Get(r.ctx, secretName, metav1.GetOptions{})
	r.must(err)
	log := c.Said(0)
	text := decoded(log)
	r.measured("%d KiB of log", len(log)>>10)
	for key, content := range now.Data {
		if bytes.Contains(content, []byte("PRIVATE KEY")) && (leaks(text, secretPart(content)) || leaks(text, []byte(base64.StdEncoding.EncodeToString(content)[:200]))) {
			r.Errorf("%s is in the log", key)
		}
	}
	if bytes.Contains(text, []byte("PRIVATE KEY")) {
		r.Errorf("a private key is in the log")
	}
	for _, token := range r.secrets {
		if strings.Contains(log, token) {
			r.Errorf("a token is in the log")
		}
	}
}

// secretPart is some of the text of a private key.
func secretPart(content []byte) []byte {
	block, _ := pem.Decode(content)
	if block == nil {
		return content
	}
	return []byte(base64.StdEncoding.EncodeToString(block.Bytes)[40:100])
}

func loudScheduler(r *run) {
	r.volume("data", at(node(1)))
	c := r.another(variant{solo: "solo", flags: []string{"--v=10"}})
	r.arrives(r.create(by("solo", r.pod("p", "data"))).on(node(1)), soon)
	// A server that quotes what it was sent.
	r.server.lie(inspect, "", says(nil))
	time.Sleep(time.Second)
	log := c.Said(0)
	r.measured("%d KiB of log", len(log)>>10)
	text := decoded(log)
	for _, token := range r.secrets {
		if leaks(text, []byte(token)) {
			r.Errorf("a token is in the log")
		}
	}
}

func otherRequests(r *run) {
	base := fmt.Sprintf("https://127.0.0.1:%d", r.hookPort)
	for _, what := range []struct{ method, path string }{
		{"GET", "/mutate-pods"}, {"PUT", "/mutate-pods"}, {"TRACE", "/mutate-pods"}, {"POST", "/"}, {"GET", "/metrics"},
		{"GET", "/../../etc/passwd"}, {"GET", "/debug/pprof/"}, {"CONNECT", "/"}, {"POST", "/" + strings.Repeat("x", 100_000)},
	} {
		request, err := http.NewRequestWithContext(r.ctx, what.method, base+what.path, strings.NewReader("x"))
		r.must(err)
		if a := send(request); a.status == http.StatusOK && what.path != "/mutate-pods" {
			r.Errorf("%s %.40s is answered: %.200s", what.method, what.path, a.body)
		}
	}
	r.honestReview(5 * time.Second)
}

func oldTLS(r *run) {
	address := fmt.Sprintf("127.0.0.1:%d", r.hookPort)
	if c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		_ = c.Close()
		r.Errorf("it speaks TLS 1.1")
	}
	for _, hello := range []string{"GET / HTTP/1.0\r\n\r\n", "\x16\x03\x01\xff\xff" + strings.Repeat("x", 70_000), "\x00"} {
		c, err := net.Dial("tcp", address)
		r.must(err)
		_, _ = c.Write([]byte(hello))
		_ = c.Close()
	}
	r.honestReview(5 * time.Second)
}
