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
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admission/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/hyperconverge/scheduler/test/kit"
)

const (
	manyClaims = 100_000
	rate       = 500 // admissions per second
	warmUp     = 3 * time.Second
	measured   = 20 * time.Second
	megabyte   = 1e6
)

// BenchmarkWebhook prints the figures of the webhook:
//
//	make bench-webhook
//
// It needs about two minutes, and sends its load to 127.0.0.1 only.
func BenchmarkWebhook(b *testing.B) {
	c := newCluster(b)
	c.namespace("db", nil)
	c.volume("data", kit.Driver)

	var empty usage
	b.Run("admission/claims=1", func(b *testing.B) { empty = benchmarkAdmission(c.in(b), 1) })
	c.fill()
	b.Run(fmt.Sprintf("admission/claims=%d", manyClaims), func(b *testing.B) {
		full := benchmarkAdmission(c.in(b), manyClaims)
		// The caches are what the live heap grows by; all the rest was there before.
		caches := full.live - empty.live
		b.ReportMetric(caches/megabyte, "MB-caches")
		b.ReportMetric((full.resident-caches)/megabyte, "MB-without-caches")
	})
	b.Run("rotation", func(b *testing.B) {
		c := c.in(b)
		// The certificate of the replicas before lasts for months.
		_, err := c.Client.CoreV1().Secrets(ownNamespace).Patch(c.Ctx, secretName, types.MergePatchType, []byte(`{"data":null}`), metav1.PatchOptions{})
		c.Must(err)
		c.start(2, "--certificate-settle=1s", "--certificate-validity=30s")
		c.Eventually("the API server trusts the webhook", func() error { return isOurs(c.try(podIn("db", pvc("data")))) })
		result := rotateUnderLoad(c)
		b.ReportMetric(float64(result.pods), "pods")
		b.ReportMetric(float64(result.failed), "pods-not-mutated")
		b.ReportMetric(float64(result.certificates), "certificates")
		b.ReportMetric(0, "ns/op")
	})
	b.Run("killed", func(b *testing.B) { benchmarkKilled(c.in(b)) })
}

// usage is the memory of a process in bytes.
type usage struct{ resident, peak, live float64 }

// benchmarkAdmission sends reviews of pods to one replica at the rate, whether
// it has answered the ones before or not, and measures from the time at which
// each was due.
func benchmarkAdmission(c *cluster, claims int) usage {
	b := c.TB.(*testing.B)
	r := c.start(1)[0]
	client, url := c.admissionClient(), "https://"+r.address+"/mutate-pods"
	bodies := reviewBodies(b, claims)
	send := func() error { return postReview(client, url, bodies[rand.IntN(len(bodies))]) }
	if _, err := sendAtRate(b.Context(), warmUp, send); err != nil {
		b.Fatal(err)
	}
	cpu := r.metric("process_cpu_seconds_total")
	latencies, err := sendAtRate(b.Context(), measured, send)
	if err != nil {
		b.Fatal(err)
	}
	cpu = r.metric("process_cpu_seconds_total") - cpu
	// What the webhook itself needs, however busy the machine is.
	b.ReportMetric(cpu*1e6/float64(len(latencies)), "CPU-µs/admission")
	slices.Sort(latencies)
	for name, quantile := range map[string]float64{"p50-ms": 0.5, "p99-ms": 0.99, "p99.9-ms": 0.999} {
		at := int(quantile * float64(len(latencies)))
		b.ReportMetric(float64(latencies[at].Microseconds())/1000, name)
	}
	b.ReportMetric(float64(len(latencies))/measured.Seconds(), "admissions/s")
	b.ReportMetric(0, "ns/op")
	var used usage
	resident, peak := r.Resident()
	used.resident, used.peak = float64(resident), float64(peak)
	used.live = r.metric("go_gc_heap_live_bytes")
	b.ReportMetric(used.resident/megabyte, "MB-resident")
	b.ReportMetric(used.peak/megabyte, "MB-peak")
	r.Signal(syscall.SIGKILL)
	<-r.Done()
	return used
}

// sendAtRate calls send at the rate for a while, and returns how long after it
// was due each call had its answer.
func sendAtRate(ctx context.Context, duration time.Duration, send func() error) ([]time.Duration, error) {
	const interval = time.Second / rate
	due := make(chan time.Time, int(duration/interval)) // a slow replica does not slow the clock down
	var mu sync.Mutex
	var latencies []time.Duration
	workers, ctx := errgroup.WithContext(ctx)
	for range 32 {
		workers.Go(func() error {
			for at := range due {
				if err := send(); err != nil {
					return err
				}
				took := time.Since(at)
				mu.Lock()
				latencies = append(latencies, took)
				mu.Unlock()
			}
			return nil
		})
	}
	start := time.Now()
	for i := range int(duration / interval) {
		at := start.Add(time.Duration(i) * interval)
		if wait := time.Until(at); wait > 0 {
			time.Sleep(wait)
		}
		if ctx.Err() != nil {
			break
		}
		due <- at
	}
	close(due)
	return latencies, workers.Wait()
}

// admissionClient calls replicas as an API server does: HTTP/1.1, connections
// that stay, and the CA bundle of the webhook configuration.
func (c *cluster) admissionClient() *http.Client {
	c.Helper()
	roots := x509.NewCertPool()
	c.Eventually("the CA bundle is published", func() error {
		configuration, err := c.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(c.Ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !roots.AppendCertsFromPEM(configuration.Webhooks[0].ClientConfig.CABundle) {
			return errors.New("it is not")
		}
		return nil
	})
	transport := &http.Transport{MaxIdleConnsPerHost: 64, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name + "." + ownNamespace + ".svc"}}
	c.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 5 * time.Second}
}

// reviewBodies are reviews of pods as they are in clusters, some kilobytes each,
// that use different claims.
func reviewBodies(tb testing.TB, claims int) [][]byte {
	tb.Helper()
	bodies := make([][]byte, 2000)
	for i := range bodies {
		namespace, claim := "db", "data"
		if claims > 1 {
			namespace, claim = nameOf(rand.IntN(claims))
		}
		pod := podIn(namespace, pvc(claim), source(v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}))
		pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
		pod.Spec.SchedulerName = v1.DefaultSchedulerName
		pod.Labels = map[string]string{"app.kubernetes.io/name": "db", "app.kubernetes.io/instance": claim}
		for j := range 20 {
			pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, v1.EnvVar{Name: fmt.Sprintf("SETTING_%d", j), Value: strings.Repeat("v", 60)})
		}
		pod.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse("1"), v1.ResourceMemory: resource.MustParse("4Gi")}
		raw, err := json.Marshal(pod)
		if err != nil {
			tb.Fatal(err)
		}
		body, err := json.Marshal(admissionv1.AdmissionReview{
			TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
			Request: &admissionv1.AdmissionRequest{
				UID: "1", Operation: admissionv1.Create, Namespace: namespace,
				Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
				Object:   runtime.RawExtension{Raw: raw},
			},
		})
		if err != nil {
			tb.Fatal(err)
		}
		bodies[i] = body
	}
	return bodies
}

// postReview fails unless the pod is mutated.
func postReview(client *http.Client, url string, body []byte) error {
	response, err := client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if !bytes.Contains(answer, []byte(`"patch":`)) {
		return fmt.Errorf("the answer is %s", answer)
	}
	return nil
}

// nameOf is the namespace and the name of one of many claims.
func nameOf(i int) (namespace, claim string) {
	return fmt.Sprintf("many-%d", i%20), fmt.Sprintf("data-postgres-%d", i)
}

// fill stores many bound claims and their volumes, with what storage systems
// write into them. They go past the API server into etcd, a hundred at a time:
// one by one through the API they would take many minutes.
func (c *cluster) fill() {
	c.Helper()
	encoder := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	var batch []clientv3.Op
	flush := func() {
		_, err := c.Etcd.Txn(c.Ctx).Then(batch...).Commit()
		c.Must(err)
		batch = batch[:0]
	}
	store := func(key string, object runtime.Object) {
		var encoded bytes.Buffer
		c.Must(encoder.Encode(object, &encoded))
		if batch = append(batch, clientv3.OpPut("/registry/"+key, encoded.String())); len(batch) == 100 {
			flush()
		}
	}
	for i := range manyClaims {
		claim, volume := storedClaim(i)
		store("persistentvolumeclaims/"+claim.Namespace+"/"+claim.Name, claim)
		store("persistentvolumes/"+volume.Name, volume)
	}
	if len(batch) > 0 {
		flush()
	}
}

// storedClaim is one of many claims and its volume, as they are stored.
func storedClaim(i int) (*v1.PersistentVolumeClaim, *v1.PersistentVolume) {
	namespace, claimName := nameOf(i)
	class, mode := "px-csi-db", v1.PersistentVolumeFilesystem
	claim := kit.Claim(namespace, claimName, &class)
	claim.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}
	claim.UID, claim.CreationTimestamp = types.UID(fmt.Sprintf("7f0b6f0a-8f0e-4b57-9d53-%012d", i)), metav1.Now()
	claim.Labels = map[string]string{"app.kubernetes.io/name": "postgres", "app.kubernetes.io/instance": claimName}
	claim.Annotations = map[string]string{
		"pv.kubernetes.io/bind-completed":               "yes",
		"pv.kubernetes.io/bound-by-controller":          "yes",
		"volume.beta.kubernetes.io/storage-provisioner": kit.Driver,
		"volume.kubernetes.io/storage-provisioner":      kit.Driver,
	}
	claim.Spec.VolumeName, claim.Spec.VolumeMode = "pvc-"+string(claim.UID), &mode
	claim.Status.Phase = v1.ClaimBound

	volume := kit.Volume(claim.Spec.VolumeName, claim, kit.CSI(kit.Driver, fmt.Sprintf("%018d", i)))
	volume.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"}
	volume.UID, volume.CreationTimestamp = types.UID(fmt.Sprintf("0a7f0b6f-8f0e-4b57-9d53-%012d", i)), claim.CreationTimestamp
	volume.Annotations = map[string]string{"pv.kubernetes.io/provisioned-by": kit.Driver}
	volume.Spec.CSI.VolumeAttributes = map[string]string{
		"attached": "ATTACH_STATE_INTERNAL_SWITCH", "parent": "", "readonly": "false", "secure": "false",
		"shared": "false", "sharedv4": "false", "state": "VOLUME_STATE_DETACHED",
	}
	volume.Spec.VolumeMode = &mode
	volume.Spec.PersistentVolumeReclaimPolicy = v1.PersistentVolumeReclaimDelete
	volume.Status.Phase = v1.VolumeBound
	return claim, volume
}

// benchmarkKilled kills the webhook and creates pods.
func benchmarkKilled(c *cluster) {
	b := c.TB.(*testing.B)
	startDefaultScheduler(c)
	replicas := c.start(2)
	for _, replica := range replicas {
		replica.Signal(syscall.SIGKILL)
		<-replica.Done()
	}
	const pods = 20
	start := time.Now()
	var created []string
	for range pods {
		created = append(created, c.create(podIn("db", pvc("data"))).Name)
	}
	b.ReportMetric(float64(time.Since(start).Milliseconds())/pods, "ms-to-create")
	for _, pod := range created {
		c.expectScheduled(pod)
	}
	b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms-until-all-are-scheduled")
	b.ReportMetric(pods, "pods")
	b.ReportMetric(0, "ns/op")
}
