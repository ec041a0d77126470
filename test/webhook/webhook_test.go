package webhook

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/test/kit"
)

// TestWebhook goes through the life of a webhook in one cluster. The order of
// the subtests counts: the last ones kill it.
func TestWebhook(t *testing.T) {
	c := newCluster(t)
	c.namespace("db", nil)
	c.Class(kit.Class("px", kit.Driver))
	c.Class(kit.Class("disk", "disk.example.com"))
	c.claim("before-default", nil) // no class is the default one yet
	standard := kit.Class("standard", kit.Driver)
	standard.Annotations = map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}
	c.Class(standard)
	c.volume("data", kit.Driver)
	c.volume("other", "disk.example.com")
	c.claim("coming", ptr.To("px"))
	c.claim("other-coming", ptr.To("disk"))

	t.Run("until it runs, pods are created as they are", func(t *testing.T) {
		c := c.in(t)
		if pod := c.try(podIn("db", pvc("data"))); pod.Spec.SchedulerName != v1.DefaultSchedulerName {
			t.Errorf("the scheduler is %s", pod.Spec.SchedulerName)
		}
	})

	// Certificates of less than a minute, so that tests see many of them, and a busy
	// machine has time to replace them. Everything is logged that can be.
	flags := []string{"--shutdown-delay=500ms", "--certificate-settle=1s", "--certificate-validity=45s", "--log-level=10", "--enable-fsgroup-optimization"}
	replicas := c.start(2, flags...)
	c.Eventually("the API server trusts the webhook", func() error { return isOurs(c.try(podIn("db", pvc("data")))) })

	t.Run("pods", func(t *testing.T) { testPods(t, c) })
	t.Run("groups of files", func(t *testing.T) { testGroups(t, c) })
	t.Run("late claims", func(t *testing.T) { testLateClaims(t, c, replicas) })
	t.Run("pods without volumes do not come to the webhook", func(t *testing.T) {
		c := c.in(t)
		before := requests(replicas)
		c.try(podIn("db"))
		c.try(podIn("db", source(v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}})))
		if after := requests(replicas); after != before {
			t.Errorf("%v requests came", after-before)
		}
		c.try(podIn("db", pvc("other")))
		if after := requests(replicas); after != before+1 {
			t.Errorf("%v requests came for a pod with a claim, want 1", after-before)
		}
	})
	t.Run("a second call after another webhook changes nothing twice", func(t *testing.T) { testReinvocation(t, c, replicas) })
	t.Run("certificates rotate under load", func(t *testing.T) {
		result := rotateUnderLoad(c.in(t))
		if result.failed > 0 || result.certificates < 4 {
			t.Errorf("of %d pods %d were not mutated while %d certificates were served; the first: %v",
				result.pods, result.failed, result.certificates, result.first)
		}
	})
	t.Run("a reset CA bundle is put back", func(t *testing.T) {
		c := c.in(t)
		configurations := c.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
		_, err := configurations.Patch(c.Ctx, name, "application/json-patch+json",
			[]byte(`[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]`), metav1.PatchOptions{})
		c.Must(err)
		c.Eventually("the API server trusts the webhook", func() error { return isOurs(c.try(podIn("db", pvc("data")))) })
	})
	t.Run("only who has a certificate is answered", func(t *testing.T) { testClientCertificate(t, c, flags) })
	c.route(replicas...)
	t.Run("what strangers send takes no more memory than there is", func(t *testing.T) { testMemory(t, c) })
	all := replicas
	t.Run("replicas are replaced under load", func(t *testing.T) {
		replicas = testRollout(t, c, replicas, append(flags, "--log-format=text"))
		all = append(all, replicas...)
	})
	t.Run("no right was missing, and nothing secret is in the logs", func(t *testing.T) {
		for _, replica := range all {
			expectCleanLog(c.in(t), replica)
		}
	})
	t.Run("killed, pods are created and scheduled", func(t *testing.T) { testKilled(t, c, replicas) })
}

func testPods(t *testing.T, c *cluster) {
	c.namespace("opted-out", map[string]string{"hyperconverge.dev/webhook": "disabled"})
	const left = v1.DefaultSchedulerName
	for what, test := range map[string]choice{
		"a bound claim of the driver":                {pod: []podOption{pvc("data")}, want: ourScheduler},
		"an unbound claim of the driver":             {pod: []podOption{pvc("coming")}, want: ourScheduler},
		"a claim that will get the default class":    {pod: []podOption{pvc("before-default")}, want: ourScheduler},
		"an ephemeral volume of the driver":          {pod: []podOption{ephemeral(ptr.To("px"))}, want: ourScheduler},
		"an ephemeral volume of the default class":   {pod: []podOption{ephemeral(nil)}, want: ourScheduler},
		"an in-tree volume":                          {pod: []podOption{inTree}, want: ourScheduler},
		"a CSI inline volume of the driver":          {pod: []podOption{inline(kit.Driver)}, want: ourScheduler},
		"a claim of the driver among others":         {pod: []podOption{pvc("other"), pvc("data")}, want: ourScheduler},
		"a bound claim of another driver":            {pod: []podOption{pvc("other")}, want: left},
		"an unbound claim of another driver":         {pod: []podOption{pvc("other-coming")}, want: left},
		"an ephemeral volume of another driver":      {pod: []podOption{ephemeral(ptr.To("disk"))}, want: left},
		"a CSI inline volume of another driver":      {pod: []podOption{inline("secrets.example.com")}, want: left},
		"a pod of another scheduler":                 {pod: []podOption{pvc("data"), askingFor("gang")}, want: "gang"},
		"a pod of Stork":                             {pod: []podOption{pvc("data"), askingFor("stork")}, want: "stork"},
		"a pod that opts out":                        {pod: []podOption{pvc("data"), annotation("stork.libopenstorage.org/disable-admission-controller", "true")}, want: left},
		"a pod that has its node":                    {pod: []podOption{pvc("data"), func(pod *v1.Pod) { pod.Spec.NodeName = "n1" }}, want: left},
		"a mirror pod":                               {pod: []podOption{inTree, annotation(v1.MirrorPodAnnotationKey, "1"), func(pod *v1.Pod) { pod.Spec.NodeName = "n1" }}, want: left},
		"a pod of a DaemonSet":                       {pod: []podOption{pvc("data"), ofDaemonSet}, want: left},
		"a pod in kube-system":                       {namespace: "kube-system", pod: []podOption{inTree}, want: left},
		"a pod in the webhook's namespace":           {namespace: ownNamespace, pod: []podOption{inTree}, want: left},
		"a pod in a namespace that opts out":         {namespace: "opted-out", pod: []podOption{inTree}, want: left},
		"a pod in a namespace that does not opt out": {namespace: "default", pod: []podOption{inTree}, want: ourScheduler},
	} {
		t.Run(what, func(t *testing.T) {
			c := c.in(t)
			c.takeWarnings()
			c.expectScheduler(test)
			for _, warning := range c.takeWarnings() {
				if strings.Contains(warning, "hyperconverge") {
					t.Errorf("warning %q", warning)
				}
			}
		})
	}
}

// testGroups has the API server take, or leave, the policy by which the kubelet changes
// the group of files.
func testGroups(t *testing.T, c *cluster) {
	one := kit.Claim("db", "of-one-node", ptr.To("px"))
	one.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}
	c.Claim(one)
	group := func(policy *v1.PodFSGroupChangePolicy) podOption {
		return func(pod *v1.Pod) {
			pod.Spec.SecurityContext = &v1.PodSecurityContext{FSGroup: ptr.To[int64](1000), FSGroupChangePolicy: policy}
		}
	}
	for what, test := range map[string]struct {
		pod  []podOption
		want *v1.PodFSGroupChangePolicy
	}{
		"a shared volume":                   {pod: []podOption{group(nil), pvc("data")}, want: ptr.To(v1.FSGroupChangeOnRootMismatch)},
		"a shared ephemeral volume":         {pod: []podOption{group(nil), ephemeral(ptr.To("px"))}, want: ptr.To(v1.FSGroupChangeOnRootMismatch)},
		"a volume of one node":              {pod: []podOption{group(nil), pvc("of-one-node")}},
		"both, and a pod of ours by name":   {pod: []podOption{group(nil), pvc("of-one-node"), pvc("data"), askingFor(ourScheduler)}, want: ptr.To(v1.FSGroupChangeOnRootMismatch)},
		"a pod that has decided":            {pod: []podOption{group(ptr.To(v1.FSGroupChangeAlways)), pvc("data")}, want: ptr.To(v1.FSGroupChangeAlways)},
		"a shared volume without a group":   {pod: []podOption{pvc("data")}},
		"a shared volume of another driver": {pod: []podOption{group(nil), pvc("other")}},
	} {
		t.Run(what, func(t *testing.T) {
			security := c.in(t).try(podIn("db", test.pod...)).Spec.SecurityContext
			if !ptr.Equal(security.FSGroupChangePolicy, test.want) {
				t.Errorf("the policy is %q, want %q", ptr.Deref(security.FSGroupChangePolicy, ""), ptr.Deref(test.want, ""))
			}
		})
	}
}

// choice is a pod, and the scheduler that it has to get.
type choice struct {
	namespace string // db by default
	pod       []podOption
	want      string // schedulerName
}

func (c *cluster) expectScheduler(test choice) {
	c.Helper()
	pod := c.try(podIn(cmp.Or(test.namespace, c.Namespace), test.pod...))
	if pod.Spec.SchedulerName != test.want {
		c.Errorf("the scheduler is %s, want %s", pod.Spec.SchedulerName, test.want)
	}
	if test.want == ourScheduler {
		if err := isOurs(pod); err != nil {
			c.Error(err)
		}
	}
}

func ofDaemonSet(pod *v1.Pod) {
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "d", UID: "1", Controller: ptr.To(true)}}
}

func testLateClaims(t *testing.T, c *cluster, replicas []*replica) {
	t.Run("a pod right behind its claim is never missed", func(t *testing.T) {
		c := c.in(t)
		for i := range 100 {
			claim := fmt.Sprintf("late-%d", i)
			c.claim(claim, ptr.To("px"))
			if err := isOurs(c.try(podIn("db", pvc(claim)))); err != nil {
				t.Fatalf("pod %d: %v", i, err)
			}
		}
	})
	t.Run("a pod before its claim is created as it is, with a warning", func(t *testing.T) {
		c := c.in(t)
		count := func() (undecided, absent float64) {
			for _, replica := range replicas {
				undecided += replica.metric("hyperconverge_webhook_pods_total", "outcome", "undecided")
				absent += replica.metric("hyperconverge_webhook_lookups_total", "resource", "persistentvolumeclaims", "result", "absent")
			}
			return undecided, absent
		}
		undecided, absent := count()
		c.takeWarnings()
		if pod := c.try(podIn("db", pvc("never"))); pod.Spec.SchedulerName != v1.DefaultSchedulerName {
			t.Errorf("the scheduler is %s", pod.Spec.SchedulerName)
		}
		if got := strings.Join(c.takeWarnings(), "\n"); !strings.Contains(got, `claim "never" cannot be found`) {
			t.Errorf("the warnings are %q", got)
		}
		if u, a := count(); u != undecided+1 || a != absent+1 {
			t.Errorf("%v pods are counted as undecided, %v claims as absent; want 1 and 1", u-undecided, a-absent)
		}
	})
}

// requests is how many pods the replicas have answered for.
func requests(replicas []*replica) float64 {
	sum := 0.0
	for _, replica := range replicas {
		sum += replica.metric("hyperconverge_webhook_pods_total")
	}
	return sum
}

// testReinvocation registers a webhook that comes after ours and changes the pod,
// so that the API server calls ours again.
func testReinvocation(t *testing.T, outer *cluster, replicas []*replica) {
	c := outer.in(t)
	var calls atomic.Int32
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		var review admissionv1.AdmissionReview
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &review)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{
			UID: review.Request.UID, Allowed: true, PatchType: ptr.To(admissionv1.PatchTypeJSONPatch),
			Patch: []byte(`[{"op":"add","path":"/metadata/labels","value":{"changed":"yes"}}]`),
		}
		review.Request = nil
		answer, err := json.Marshal(review)
		if err != nil {
			t.Error(err)
		}
		if _, err := w.Write(answer); err != nil {
			t.Error(err)
		}
	}))
	defer other.Close()
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "z-comes-later"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "later.example.com", AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &other.URL, CABundle: certificateOf(other)},
			SideEffects:  ptr.To(admissionregistrationv1.SideEffectClassNone),
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}},
	}
	configurations := c.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	_, err := configurations.Create(c.Ctx, configuration, metav1.CreateOptions{})
	c.Must(err)
	defer func() {
		c.Must(configurations.Delete(c.Ctx, configuration.Name, metav1.DeleteOptions{}))
		c.Eventually("the other webhook is not called any more", func() error {
			if c.try(podIn("db")).Labels["changed"] != "" {
				return errors.New("it is")
			}
			return nil
		})
	}()
	c.Eventually("the other webhook is called", func() error {
		c.try(podIn("db", pvc("data")))
		if calls.Load() == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	before := requests(replicas)
	pod := c.try(podIn("db", pvc("data")))
	if err := isOurs(pod); err != nil {
		t.Error(err)
	}
	if after := requests(replicas); after != before+2 || pod.Labels["changed"] != "yes" {
		t.Errorf("our webhook was called %v times, want 2; the labels are %v", after-before, pod.Labels)
	}
}

// testRollout replaces one replica after the other as a Deployment does, while
// pods are created, and returns the new ones.
func testRollout(t *testing.T, outer *cluster, old []*replica, flags []string) []*replica {
	c := outer.in(t)
	load := startLoad(c, podIn("db", pvc("data")))
	// The new replicas outlive this subtest.
	added := []*replica{}
	for _, leaving := range old {
		config := outer.asWebhook()
		joining := startReplica(outer.TB, config, c.deployment(), flags...)
		added = append(added, joining)
		c.Eventually("the new replica is ready", joining.ready)
		leaving.Signal(syscall.SIGTERM)
		c.Eventually("the old replica says that it is not ready", func() error {
			if leaving.ready() == nil {
				return errors.New("it says it is")
			}
			return nil
		})
		addresses := []string{joining.address}
		for _, replica := range append(old[len(added):], added[:len(added)-1]...) {
			addresses = append(addresses, replica.address)
		}
		c.proxy.route(addresses...)
		// The old one closes each connection after an answer, and others take over.
		c.Eventually("the new replica is called", func() error {
			if requests([]*replica{joining}) == 0 {
				return errors.New("it is not")
			}
			return nil
		})
	}
	if result := load.stop(); result.failed > 0 || result.pods == 0 {
		t.Errorf("of %d pods %d were not mutated; the first: %v", result.pods, result.failed, result.first)
	}
	for _, leaving := range old {
		leaving.Kill() // it would wait until the API server closes what it does not use
	}
	return added
}

// testKilled kills all replicas. Whatever is left of the webhook, pods are
// created, and the default scheduler schedules them.
func testKilled(t *testing.T, outer *cluster, replicas []*replica) {
	c := outer.in(t)
	startDefaultScheduler(c)
	for _, replica := range replicas {
		replica.Signal(syscall.SIGKILL)
		<-replica.Done()
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connections are made, and nobody answers
	c.Must(err)
	defer kit.Close(t, silent)
	for what, addresses := range map[string][]string{
		"the Service still leads to the dead replicas": {replicas[0].address, replicas[1].address},
		"the Service leads nowhere":                    {},
		"the Service leads to a webhook that hangs":    {silent.Addr().String()},
	} {
		t.Run(what, func(t *testing.T) {
			c := c.in(t)
			c.proxy.route(addresses...)
			start := time.Now()
			pod := c.create(podIn("db", pvc("data")))
			t.Logf("created after %v", time.Since(start).Round(time.Millisecond))
			if pod.Spec.SchedulerName != v1.DefaultSchedulerName {
				t.Errorf("the scheduler is %s", pod.Spec.SchedulerName)
			}
			c.expectScheduled(pod.Name)
		})
	}
}
