package doctor

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
	schedulerapi "k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/debug"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage"
)

// healthy are the facts of a cluster in which nothing is wrong.
func healthy(t *testing.T) *Facts {
	t.Helper()
	bundle, _, err := cert.GenerateSelfSignedCertKey("hyperconverge-webhook.hyperconverge-system.svc", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "db-0"}, Spec: v1.PodSpec{SchedulerName: "hyperconverge-scheduler"}}
	return &Facts{
		Now: now, Namespace: "hyperconverge-system",
		ServerVersion: "v1.35.4", SchedulerVersion: "v1.35.4+hyperconverge.v1", PluginVersion: "v1.35.4+hyperconverge.v1",
		State: &debug.State{Index: &volumes.Snapshot{
			LastContact:  now.Add(-5 * time.Second),
			Volumes:      []volumes.VolumeSnapshot{{Handle: "1", Freshness: "fresh", Claimed: true}},
			StorageNodes: []volumes.StorageNodeSnapshot{{ID: "s1", Node: "n1", State: "Online", Listed: true}},
			Nodes:        []volumes.NodeSnapshot{{Name: "n1", State: "Online"}, {Name: "n2", State: "NoDriver"}},
		}},
		Configuration: &schedulerapi.KubeSchedulerConfiguration{Profiles: []schedulerapi.KubeSchedulerProfile{profile("hyperconverge-scheduler", "Hyperconverge")}},
		Deployments: []appsv1.Deployment{{
			ObjectMeta: metav1.ObjectMeta{Name: "hyperconverge-scheduler"}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](2)}, Status: appsv1.DeploymentStatus{ReadyReplicas: 2},
		}},
		Webhooks: []admissionregistrationv1.MutatingWebhookConfiguration{{
			ObjectMeta: metav1.ObjectMeta{Name: WebhookName},
			Webhooks:   []admissionregistrationv1.MutatingWebhook{{ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: bundle}}},
		}},
		Endpoints: []discoveryv1.EndpointSlice{{Endpoints: []discoveryv1.Endpoint{{Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}}}}},
		Pods:      []*v1.Pod{pod}, Claims: []*v1.PersistentVolumeClaim{}, Classes: []*storagev1.StorageClass{},
		ClaimsOf: func(*v1.Pod) []claims.Claim { return []claims.Claim{{Driver: "pxd.portworx.com"}} },
		Denied:   []string{}, Batching: map[string]string{"hyperconverge-scheduler": ""},
	}
}

func profile(name string, plugins ...string) schedulerapi.KubeSchedulerProfile {
	p := schedulerapi.KubeSchedulerProfile{SchedulerName: name, Plugins: &schedulerapi.Plugins{}}
	for _, plugin := range plugins {
		p.Plugins.MultiPoint.Enabled = append(p.Plugins.MultiPoint.Enabled, schedulerapi.Plugin{Name: plugin})
	}
	return p
}

func TestExamine(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Facts)
		// want are check, level and the beginning of the message of all that did not pass.
		want []string
	}{
		{name: "a healthy cluster passes", change: func(*Facts) {}},
		{"a scheduler that is not installed fails", func(f *Facts) { f.Deployments = f.Deployments[:0] },
			[]string{"scheduler fail there is no Deployment hyperconverge-scheduler in the namespace hyperconverge-system"}},
		{"a scheduler without a ready pod fails", func(f *Facts) { f.Deployments[0].Status.ReadyReplicas = 0 },
			[]string{"scheduler fail no replica of the Deployment"}},
		{"a replica that is missing warns", func(f *Facts) { f.Deployments[0].Status.ReadyReplicas = 1 }, []string{"scheduler warn 1 of 2 replicas"}},
		{"a right that is missing fails", func(f *Facts) { f.Denied = []string{"list csinodes"} }, []string{"rights fail the scheduler's account may not list csinodes"}},
		{"a scheduler that is newer than the API server fails", func(f *Facts) { f.ServerVersion = "v1.34.9" },
			[]string{"versions fail the scheduler is of Kubernetes 1.35, the API server of 1.34"}},
		{"a scheduler that is one minor older is fine", func(f *Facts) { f.ServerVersion = "v1.36.1" }, nil},
		{"a scheduler that is two minors older warns", func(f *Facts) { f.ServerVersion = "v1.37.1" }, []string{"versions warn the scheduler is of Kubernetes 1.35"}},
		{"a plugin of another release warns", func(f *Facts) { f.PluginVersion = "v1.35.4+hyperconverge.v2" }, []string{"versions warn the scheduler is v1.35.4"}},
		{"a profile without the plugin warns", func(f *Facts) {
			f.Configuration.Profiles = append(f.Configuration.Profiles, profile("stork", "NodeResourcesFit"))
		}, []string{"profiles warn the profile stork places pods without regard"}},
		{"a configuration that was not read is no reason to complain", func(f *Facts) { f.Assumed = true }, []string{"profiles unknown"}},
		{"a version that means nothing is not judged", func(f *Facts) { f.ServerVersion = "master" }, []string{"versions unknown the API server's version cannot be read: master"}},
		{"a plugin that does not sign is no finding", func(f *Facts) { f.Batching["hyperconverge-scheduler"] = "Coscheduling signs no pod" }, nil},
		{"a condition of the storage API fails", func(f *Facts) {
			f.State.Conditions = []openstorage.Condition{{Reason: openstorage.ReasonTokenBlind, Message: "give the token the group *"}}
			f.State.Index.LastContact = time.Time{}
		}, []string{"storage fail StorageShowsNothing: give the token the group *"}},
		{"storage that never answered fails", func(f *Facts) { f.State.Index.LastContact = time.Time{} }, []string{"storage fail storage has not answered since"}},
		{"storage that is silent fails", func(f *Facts) { f.State.Index.LastContact = f.Now.Add(-2 * time.Minute) }, []string{"storage fail storage has not answered for 2m0s"}},
		{"stale volumes warn, those that no PersistentVolume names do not", func(f *Facts) {
			f.State.Index.Volumes = append(f.State.Index.Volumes, volumes.VolumeSnapshot{Handle: "2", Freshness: "stale", Claimed: true}, volumes.VolumeSnapshot{Handle: "3", Freshness: "unknown"})
		}, []string{"volumes warn 1 volumes are stale: 2"}},
		{"a storage node that is no Kubernetes node fails", func(f *Facts) {
			f.State.Index.StorageNodes = append(f.State.Index.StorageNodes, volumes.StorageNodeSnapshot{ID: "s2", Hostname: "h2", Listed: true}, volumes.StorageNodeSnapshot{ID: "old"})
		}, []string{"nodes fail 1 storage nodes are no Kubernetes nodes, and replicas there are near to nothing: s2 (hostname h2, management IP none)"}},
		{"a node whose storage is down warns", func(f *Facts) { f.State.Index.Nodes[0].State = "Offline" }, []string{"nodes warn storage is Offline on 1 nodes: n1"}},
		{"a value on a node warns", func(f *Facts) { f.State.Index.Nodes[0].Problems = []string{"k: v is no boolean"} }, []string{"nodes warn node n1: k: v is no boolean"}},
		{"a scheduler that does not tell leaves its checks open", func(f *Facts) { f.State = nil; f.Unreadable = map[string]string{"storage": "the endpoint is closed"} },
			[]string{"storage unknown the endpoint is closed", "volumes unknown", "nodes unknown"}},
		{"no webhook warns", func(f *Facts) { f.Webhooks = f.Webhooks[:0] }, []string{"webhook warn there is no webhook"}},
		{"a webhook without an authority fails", func(f *Facts) { f.Webhooks[0].Webhooks[0].ClientConfig.CABundle = nil }, []string{"webhook fail the webhook's certificate authority cannot be read"}},
		{"an authority that is about to end fails", func(f *Facts) { f.Now = f.Now.Add(365 * 24 * time.Hour); f.State.Index.LastContact = f.Now },
			[]string{"webhook fail the webhook's certificate authority ends at"}},
		{"a webhook that is not ready fails", func(f *Facts) { f.Endpoints[0].Endpoints[0].Conditions.Ready = ptr.To(false) }, []string{"webhook fail the webhook is registered, and no pod of it is ready"}},
		{"a pod of another scheduler warns, a finished one does not", func(f *Facts) {
			done := f.Pods[0].DeepCopy()
			done.Name, done.Spec.SchedulerName, done.Status.Phase = "done", "default-scheduler", v1.PodSucceeded
			f.Pods[0].Spec.SchedulerName = "default-scheduler"
			f.Pods = append(f.Pods, done)
		}, []string{"schedulerNames warn 1 pods with volumes of the driver are left to the scheduler default-scheduler, which does not know where these are: a/db-0"}},
		{"a key that is nearly one of ours warns", func(f *Facts) {
			f.Pods[0].Annotations = map[string]string{"stork.libopenstorage.org/preferLocalNodesOnly": "true"}
		}, []string{"keys warn pod a/db-0: stork.libopenstorage.org/preferLocalNodesOnly=true has no effect: did you mean"}},
		{"values that cannot be taken as written warn where they stand", func(f *Facts) {
			f.Claims = []*v1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "data", Annotations: map[string]string{placement.VolumeWeight: "500"}}}}
			f.Classes = []*storagev1.StorageClass{{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Parameters: map[string]string{placement.VolumeSkipScoring: "yes"}}}
		}, []string{"keys warn claim a/data: hyperconverge.dev/volume-weight=500", "keys warn StorageClass fast: stork.libopenstorage.org/skipSchedulerScoring=yes"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := healthy(t)
			tc.change(f)
			report := Examine(f)
			var got []string
			seen := map[string]bool{}
			for _, finding := range report.Findings {
				seen[finding.Check] = true
				if finding.Level != Pass {
					got = append(got, fmt.Sprintf("%s %s %s", finding.Check, finding.Level, finding.Message))
				}
				if (finding.Level == Fail || finding.Level == Warn) && finding.Advice == "" {
					t.Errorf("%s says nothing of what to do", finding.Check)
				}
			}
			if len(seen) != len(checks) {
				t.Errorf("%d of %d checks have said something", len(seen), len(checks))
			}
			if len(got) != len(tc.want) {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
			bad := false
			for i := range got {
				if !strings.HasPrefix(got[i], tc.want[i]) {
					t.Errorf("got %s, want %s", got[i], tc.want[i])
				}
				bad = bad || !strings.Contains(tc.want[i], " unknown")
			}
			if report.Healthy() == bad {
				t.Errorf("healthy is %v", report.Healthy())
			}
		})
	}
}

func TestWriteJUnit(t *testing.T) {
	f := healthy(t)
	f.Denied, f.Assumed = []string{"list <csinodes>"}, true
	var written bytes.Buffer
	if err := WriteJUnit(&written, Examine(f)); err != nil {
		t.Fatal(err)
	}
	var s suite
	if err := xml.Unmarshal(written.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if s.Tests != len(checks) || s.Failures != 1 || s.Skipped != 1 {
		t.Errorf("%d tests, %d failures, %d skipped, want %d, 1, 1", s.Tests, s.Failures, s.Skipped, len(checks))
	}
	if !strings.Contains(written.String(), "may not list &lt;csinodes&gt;") {
		t.Errorf("the failure is not in\n%s", written.String())
	}
}

func TestConditionsComeWithTheirAdvice(t *testing.T) {
	for _, tc := range []struct{ name, advice, want string }{
		{"the scheduler's own", "Give it the group.", "Give it the group."},
		{"that of a scheduler that gives none", "", "docs/operate.md has a line for each of these"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := healthy(t)
			f.State.Conditions = []openstorage.Condition{{Reason: openstorage.ReasonTokenBlind, Message: "nothing is shown", Advice: tc.advice}}
			if found := checkStorage(f); len(found) != 1 || found[0].Advice != tc.want {
				t.Errorf("found %+v, want the advice %q", found, tc.want)
			}
		})
	}
}
