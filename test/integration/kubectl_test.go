package integration

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/kubectl/command"
	"github.com/hyperconverge/scheduler/internal/kubectl/view"
	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/rebalance"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// kubectl runs kubectl hyperconverge, which asks the simulated storage for replicas.
func (c *cluster) kubectl(args ...string) (code int, out, errOut string) {
	c.Helper()
	return c.kubectlReading("", append(args, "--storage-endpoint", c.Server.Endpoint())...)
}

// kubectlReading gives it something to read, and nobody to ask for replicas.
func (c *cluster) kubectlReading(in string, args ...string) (code int, out, errOut string) {
	c.Helper()
	var said, complaints bytes.Buffer
	args = append(args, "--kubeconfig", controlplane.Kubeconfig(c.TB, c.Config))
	if !strings.Contains(strings.Join(args, " "), "-n ") {
		args = append(args, "-n", c.Namespace)
	}
	code = command.Run(c.Ctx, args, strings.NewReader(in), &said, &complaints)
	return code, said.String(), complaints.String()
}

// document runs a command that prints JSON.
func document[T any](c *cluster, args ...string) (doc T) {
	c.Helper()
	code, out, errOut := c.kubectl(append(args, "-o", "json")...)
	if code != 0 {
		c.Fatalf("%v ends with %d: %s", args, code, errOut)
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		c.Fatalf("%v: %v in %s", args, err, out)
	}
	return doc
}

func (c *cluster) podNode(doc view.Pod, name string) view.PodNode {
	c.Helper()
	for _, n := range doc.Nodes {
		if n.Name == name {
			return n
		}
	}
	c.Fatalf("node %s is not in %+v", name, doc.Nodes)
	return view.PodNode{}
}

// A pod that runs beside its data: every volume and every node is explained.
func TestKubectlExplainsAPod(t *testing.T) {
	c := newCluster(t, 4)
	c.Volume("data", "n1", "n2")
	c.runScheduler("")
	c.Create(c.pod("db", "data").NodeSelector(kit.On("n3")))
	c.ExpectNode("db", "n3")

	doc := document[view.Pod](c, "explain", "pod", "db")
	if doc.APIVersion != "hyperconverge.dev/v1" || doc.Pod.Name != "db" || doc.Pod.Namespace != c.Namespace || doc.Pod.Node != "n3" ||
		doc.Pod.Locality != "remote" || doc.Pod.Mode != "LocalFirst" || doc.Pod.WouldRunOn != "n3" {
		t.Errorf("the pod is %+v", doc.Pod)
	}
	if len(doc.Volumes) != 1 {
		t.Fatalf("volumes are %+v", doc.Volumes)
	}
	v := doc.Volumes[0]
	if v.Claim != c.Namespace+"/data" || v.Handle == "" || v.Kind != "near" || v.Freshness != "fresh" || v.Rule != "S2 near a replica" || v.Relation != "remote" {
		t.Errorf("the volume is %+v", v)
	}
	if diff := cmp.Diff([][]string{{"n1", "n2"}}, v.ReplicaSets); diff != "" {
		t.Errorf("replicas (-want +got):\n%s", diff)
	}
	for _, want := range []view.PodNode{
		{Name: "n1", Score: 100, Relation: "local", Volumes: []string{"local"}, Storage: "Online", Reasons: []string{"NodeAffinity: node(s) didn't match Pod's node affinity/selector"}},
		{Name: "n3", Feasible: true, Relation: "remote", Volumes: []string{"remote"}, Storage: "Online", Reasons: []string{}},
	} {
		got := c.podNode(doc, want.Name)
		got.Total = 0
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("node %s (-want +got):\n%s", want.Name, diff)
		}
	}
}

// A strict pod that waits: the reasons of all plugins stand on one node, where the
// scheduler stops at the first.
func TestKubectlExplainsAWaitingPod(t *testing.T) {
	c := newCluster(t, 3)
	c.Volume("data", "n1")
	c.runScheduler("")
	node, err := c.Client.CoreV1().Nodes().Get(c.Ctx, "n1", metav1.GetOptions{})
	c.Must(err)
	node.Spec.Unschedulable = true
	_, err = c.Client.CoreV1().Nodes().Update(c.Ctx, node, metav1.UpdateOptions{})
	c.Must(err)
	c.Create(c.strict("db", "data").Req(kit.CPU("1000")))
	c.expectPending("db", "preferLocalNodeOnly: "+c.Namespace+"/data has its replicas on n1")

	doc := document[view.Pod](c, "explain", "pod", "db")
	if doc.Pod.WouldRunOn != "" || !strings.Contains(doc.Pod.Message, "preferLocalNodeOnly: "+c.Namespace+"/data has its replicas on n1 (") || doc.Pod.Mode != "Strict" {
		t.Errorf("the pod is %+v", doc.Pod)
	}
	if rule := doc.Volumes[0].Rule; rule != "F6 strict pods run on replica nodes only" {
		t.Errorf("the rule is %q", rule)
	}
	want := []string{"NodeUnschedulable: node(s) were unschedulable", "NodeResourcesFit: Insufficient cpu"}
	if diff := cmp.Diff(want, c.podNode(doc, "n1").Reasons); diff != "" {
		t.Errorf("reasons on n1 (-want +got):\n%s", diff)
	}
	if rule := c.podNode(doc, "n2").Rule; !strings.HasPrefix(rule, "F6 ") {
		t.Errorf("n2 is turned down by %q", rule)
	}
	code, out, _ := c.kubectl("explain", "pod", "db")
	if code != 0 || !strings.Contains(out, "would run nowhere") || !strings.Contains(out, "NodeUnschedulable: node(s) were unschedulable; NodeResourcesFit: Insufficient cpu") {
		t.Errorf("the table ends with %d:\n%s", code, out)
	}
	status := document[view.Status](c, "status")
	if len(status.Waiting) != 1 || !strings.Contains(status.Waiting[0].Reason, "preferLocalNodeOnly") {
		t.Errorf("waiting are %+v", status.Waiting)
	}
}

// Pods that have finished, and pods of other schedulers, are explained, too.
func TestKubectlExplainsPodsThatAreNotOurs(t *testing.T) {
	c := newCluster(t, 3)
	c.Volume("data", "n2")
	c.Create(kit.Pod(c.Namespace, "foreign", v1.DefaultSchedulerName, "data").Req(kit.CPU("1m")).Node("n1"))
	done := c.Create(c.pod("done", "data").Node("n2"))
	done.Status.Phase = v1.PodSucceeded
	_, err := c.Client.CoreV1().Pods(c.Namespace).UpdateStatus(c.Ctx, done, metav1.UpdateOptions{})
	c.Must(err)

	doc := document[view.Pod](c, "explain", "pod", "foreign")
	if doc.Pod.WouldRunOn != "n2" || doc.Pod.Locality != "remote" || len(doc.Problems) != 1 || !strings.Contains(doc.Problems[0], "left to the scheduler default-scheduler") {
		t.Errorf("the foreign pod is %+v, problems %v", doc.Pod, doc.Problems)
	}
	if doc := document[view.Pod](c, "explain", "pod", "done"); doc.Pod.Phase != "Succeeded" || doc.Pod.WouldRunOn != "n2" {
		t.Errorf("the finished pod is %+v", doc.Pod)
	}
}

func TestKubectlExplainsAVolume(t *testing.T) {
	c := newCluster(t, 3)
	c.Class(kit.Class(c.Namespace, kit.Driver))
	c.VolumeWith("data", volumeOptions{Annotations: map[string]string{placement.VolumeWeight: "7"}}, "n1", "n3")
	c.Create(c.pod("db", "data").Node("n1"))

	doc := document[view.Volume](c, "explain", "volume", "data")
	if doc.Claim != c.Namespace+"/data" || doc.VolumeKind != "near" || doc.Freshness != "fresh" || doc.Verified.IsZero() {
		t.Errorf("the volume is %+v", doc)
	}
	var holders []string
	for _, r := range doc.Sets[0] {
		holders = append(holders, r.Node+" "+r.State)
	}
	if diff := cmp.Diff([]string{"n1 Online", "n3 Online"}, holders); diff != "" {
		t.Errorf("replicas (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]view.VolumeUser{{Namespace: c.Namespace, Name: "db", Node: "n1", Locality: "local"}}, doc.UsedBy); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
	settings := map[string]string{}
	for _, s := range doc.Settings {
		settings[s.Key] = s.Value + " from " + s.Origin
	}
	if settings[placement.VolumeWeight] != "7 from claim" || settings[placement.VolumeSkipScoring] != "false from default" || settings[placement.VolumePreferRemote] != "true from default" {
		t.Errorf("settings are %v", settings)
	}
	if code, out, _ := c.kubectl("explain", "volume", c.Namespace+"/data"); code != 0 || !strings.Contains(out, "hyperconverge.dev/volume-weight") {
		t.Errorf("the table ends with %d:\n%s", code, out)
	}
}

func TestKubectlStatus(t *testing.T) {
	c := newCluster(t, 4)
	c.Volume("a", "n1")
	c.Volume("b", "n2")
	c.Create(c.pod("local", "a").Node("n1"))
	c.Create(c.pod("partly", "a", "b").Node("n1"))
	c.Create(c.pod("remote", "b").Node("n3").Label("app", "db"))
	c.Create(c.pod("plain").Node("n3"))
	c.storageState("n4", openstoragesim.StatusOffline)

	status := document[view.Status](c, "status")
	if diff := cmp.Diff(view.PodCounts{Local: 1, Partly: 1, Remote: 1}, status.Pods); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	if status.StorageNodes.Offline < 1 || status.StorageNodes.Online < 3 || status.Volumes.Fresh < 2 {
		t.Errorf("%+v %+v", status.StorageNodes, status.Volumes)
	}
	want := []view.Misplaced{
		{Namespace: c.Namespace, Name: "remote", Node: "n3", Locality: "remote", Reasons: []string{"n2: would fit now"}},
		{Namespace: c.Namespace, Name: "partly", Node: "n1", Locality: "partly", Reasons: []string{"n2: would fit now"}},
	}
	if diff := cmp.Diff(want, status.Misplaced); diff != "" {
		t.Errorf("misplaced (-want +got):\n%s", diff)
	}
	if some := document[view.Status](c, "status", "-l", "app=db"); some.Pods != (view.PodCounts{Remote: 1}) {
		t.Errorf("with a selector, pods are %+v", some.Pods)
	}
	code, out, errOut := c.kubectl("status")
	if code != 0 || !strings.Contains(out, "1 local, 1 partly, 1 remote") || strings.Contains(out, "\x1b[") {
		t.Errorf("the table ends with %d:\n%s%s", code, out, errOut)
	}
}

// A simulation says where pods would go, changes nothing, and agrees with the scheduler.
func TestKubectlSimulates(t *testing.T) {
	c := newCluster(t, 4)
	c.Volume("a", "n1", "n2")
	c.Volume("b", "n2")
	c.runScheduler("")
	c.Create(c.pod("db-a", "a"))
	taken := c.ExpectNode("db-a", "n1", "n2")
	one := document[view.Simulation](c, "simulate", "--pod", "db-a").Pods[0]
	if where := append(one.OrOn, one.To); !slices.Contains(where, taken) || one.Locality != "local" {
		t.Errorf("the pod is on %s, the simulation says %v", taken, where)
	}
	c.Create(c.strict("db-b", "b"))
	c.ExpectNode("db-b", "n2")
	before, err := c.Client.CoreV1().Pods("").List(c.Ctx, metav1.ListOptions{})
	c.Must(err)

	drained := document[view.Simulation](c, "simulate", "--drain", "n2")
	got := map[string]string{}
	for _, p := range drained.Pods {
		got[p.Name] = p.To
		if !p.Lost || p.Foreign {
			t.Errorf("a pod that nobody makes anew is %+v", p)
		}
		if p.Name == "db-b" && !strings.Contains(p.Message, "preferLocalNodeOnly") {
			t.Errorf("db-b is told %q", p.Message)
		}
	}
	want := map[string]string{"db-b": ""}
	if taken == "n2" {
		want["db-a"] = "n1"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("drained (-want +got):\n%s", diff)
	}

	offline := document[view.Simulation](c, "simulate", "--storage-offline", taken)
	for _, p := range offline.Pods {
		other := map[string]string{"n1": "n2", "n2": "n1"}[taken]
		if p.From != taken || p.Name == "db-a" && p.To != other {
			t.Errorf("with storage offline on %s: %+v", taken, p)
		}
	}
	if len(offline.Pods) == 0 {
		t.Error("nobody is on the node whose storage is offline")
	}

	manifest := filepath.Join(t.TempDir(), "new.yaml")
	c.Must(os.WriteFile(manifest, []byte(`
apiVersion: v1
kind: Service
metadata: {name: web}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata: {annotations: {stork.libopenstorage.org/preferLocalNodeOnly: "true"}}
    spec:
      schedulerName: hyperconverge-scheduler
      containers: [{name: c, image: i}]
      volumes: [{name: v, persistentVolumeClaim: {claimName: b}}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: new}
spec:
  template:
    spec:
      schedulerName: hyperconverge-scheduler
      containers: [{name: c, image: i}]
  volumeClaimTemplates: [{metadata: {name: data}}]
`), 0o600))
	doc := document[view.Simulation](c, "simulate", "-f", manifest)
	if len(doc.Pods) != 2 || doc.Pods[0].To != "n2" || doc.Pods[0].Locality != "local" || doc.Pods[1].To != "" ||
		!strings.Contains(doc.Pods[1].Message, `persistentvolumeclaim "data-new-0" not found`) {
		t.Errorf("the pods of the file: %+v", doc.Pods)
	}
	if len(doc.Unknown) == 0 || !strings.Contains(doc.Unknown[len(doc.Unknown)-1], "Service web") {
		t.Errorf("what was passed over is not told: %v", doc.Unknown)
	}

	large := filepath.Join(t.TempDir(), "large.yaml")
	c.Must(os.WriteFile(large, []byte(`
kind: Pod
metadata: {name: large}
spec:
  schedulerName: somebody
  containers: [{name: c, image: i, resources: {limits: {cpu: "1000"}}}]
`), 0o600))
	doc = document[view.Simulation](c, "simulate", "-f", large)
	if p := doc.Pods[0]; p.To != "" || !strings.Contains(p.Message, "Insufficient cpu") || !p.Foreign || p.Scheduler != "somebody" {
		t.Errorf("a pod with limits alone requests as much: %+v", p)
	}

	after, err := c.Client.CoreV1().Pods("").List(c.Ctx, metav1.ListOptions{})
	c.Must(err)
	if diff := cmp.Diff(before.Items, after.Items); diff != "" {
		t.Errorf("pods have changed:\n%s", diff)
	}
}

func TestKubectlTellsWhoWouldGoHome(t *testing.T) {
	c := newCluster(t, 3)
	c.Volume("data", "n2")
	pod := c.pod("db", "data").Node("n1").Obj()
	pod.Labels = map[string]string{"app": "db"}
	set, err := c.Client.AppsV1().ReplicaSets(c.Namespace).Create(c.Ctx, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: pod.Labels},
			Template: v1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec}},
	}, metav1.CreateOptions{})
	c.Must(err)
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}
	pod, err = c.Client.CoreV1().Pods(c.Namespace).Create(c.Ctx, pod, metav1.CreateOptions{})
	c.Must(err)
	pod.Status = v1.PodStatus{Phase: v1.PodRunning, Conditions: []v1.PodCondition{
		{Type: v1.PodReady, Status: v1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Now().Add(-time.Hour))},
	}}
	_, err = c.Client.CoreV1().Pods(c.Namespace).UpdateStatus(c.Ctx, pod, metav1.UpdateOptions{})
	c.Must(err)
	c.Volume("strange", "n2")
	c.Create(c.pod("bare", "strange").Node("n1").Annotation(rebalance.ReturnHome, "true"))

	// By default who has not asked stays.
	doc := document[view.Home](c, "home")
	kept := func(name, reason string) bool {
		return slices.ContainsFunc(doc.Kept, func(k view.HomeKept) bool {
			return k.Name == name && k.Reason == reason && k.Locality == "remote" && k.Because != ""
		})
	}
	if doc.APIVersion != "hyperconverge.dev/v1" || doc.Kind != "HomeReport" || doc.Installed || !doc.DryRun || len(doc.Moves) > 0 || !kept("db", "NotOptedIn") || !kept("bare", "NoOwner") {
		t.Errorf("the document is %+v", doc)
	}
	if !slices.ContainsFunc(doc.Unknown, func(s string) bool { return strings.Contains(s, "There is no rebalancer in the namespace") }) {
		t.Errorf("what is unknown is %q", doc.Unknown)
	}

	file := filepath.Join(t.TempDir(), "rebalancer.yaml")
	c.Must(os.WriteFile(file, []byte("apiVersion: hyperconverge.dev/v1\nkind: RebalancerConfiguration\noptIn: all\n"), 0o600))
	doc = document[view.Home](c, "home", "--rebalancer-config", file)
	want := []view.HomeMove{{Namespace: c.Namespace, Name: "db", Owner: "ReplicaSet/db", From: "n1", To: "n2", Locality: "remote", WouldBe: "local", WouldScore: 100, Now: true}}
	if diff := cmp.Diff(want, doc.Moves); diff != "" || !kept("bare", "NoOwner") {
		t.Errorf("the moves (-want +got):\n%s\nand %+v", diff, doc.Kept)
	}
	// What stands in the way at home is said.
	node, err := c.Client.CoreV1().Nodes().Get(c.Ctx, "n2", metav1.GetOptions{})
	c.Must(err)
	node.Spec.Unschedulable = true
	_, err = c.Client.CoreV1().Nodes().Update(c.Ctx, node, metav1.UpdateOptions{})
	c.Must(err)
	doc = document[view.Home](c, "home", "--rebalancer-config", file)
	if !kept("db", "NotNearer") || !strings.Contains(fmt.Sprint(doc.Kept), "n2: node(s) were unschedulable") {
		t.Errorf("with the node closed the pods stay: %+v", doc.Kept)
	}
	if code, out, _ := c.kubectl("home"); code != 0 || !strings.Contains(out, "NotOptedIn: neither the pod nor its namespace has asked for it") {
		t.Errorf("the table ends with %d:\n%s", code, out)
	}
	if pod := c.Get("db"); pod.DeletionTimestamp != nil {
		t.Error("the pod goes")
	}
}

func TestKubectlReportAndDump(t *testing.T) {
	c := newCluster(t, 2)
	c.Volume("a", "n1")
	c.Create(c.pod("db", "a").Node("n2"))
	page, bundle := filepath.Join(t.TempDir(), "report.html"), filepath.Join(t.TempDir(), "bundle.tar.gz")
	for file, args := range map[string][]string{page: {"report", "--html", page}, bundle: {"dump", "--file", bundle}} {
		if code, _, errOut := c.kubectl(args...); code != 0 {
			t.Fatalf("%v ends with %d: %s", args, code, errOut)
		}
		if code, _, errOut := c.kubectl(args...); code != 1 || !strings.Contains(errOut, file+" is there already: --overwrite replaces it") {
			t.Errorf("a second time %v ends with %d: %s", args, code, errOut)
		}
		if code, _, errOut := c.kubectl(append(args, "--overwrite")...); code != 0 {
			t.Errorf("with --overwrite %v ends with %d: %s", args, code, errOut)
		}
	}
	content, err := os.ReadFile(page)
	c.Must(err)
	if !strings.Contains(string(content), c.Namespace+"/db") {
		t.Error("the pod is not in the report")
	}
}

func TestKubectlDoctor(t *testing.T) {
	c := newCluster(t, 2)
	c.Volume("a", "n1")
	c.Create(c.pod("db", "a").Annotation("hyperconverge.dev/preferences", "Off").Node("n1"))
	code, out, _ := c.kubectl("doctor")
	if code != 1 || !strings.Contains(out, "hyperconverge.dev/preferences=Off has no effect") && !strings.Contains(out, "keys") {
		t.Errorf("doctor ends with %d:\n%s", code, out)
	}
	code, out, errOut := c.kubectl("doctor", "-o", "junit")
	var suite struct {
		Failures int `xml:"failures,attr"`
	}
	if err := xml.Unmarshal([]byte(out), &suite); err != nil || code != 1 || suite.Failures == 0 {
		t.Errorf("as JUnit it ends with %d, %d failures: %v %s", code, suite.Failures, err, errOut)
	}
}

func TestKubectlCompletesNames(t *testing.T) {
	c := newCluster(t, 2)
	c.Volume("data", "n1")
	c.Create(c.pod("db", "data").Node("n1"))
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"pods of the namespace", []string{"explain", "pod"}, "db\n"},
		{"claims of the namespace", []string{"explain", "volume"}, "data\n"},
		{"nodes", []string{"simulate", "--drain"}, "n1\nn2\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			args := append([]string{"__complete"}, tc.args[0], "--kubeconfig", controlplane.Kubeconfig(t, c.Config), "-n", c.Namespace)
			args = append(append(args, tc.args[1:]...), "")
			if code := command.Run(t.Context(), args, nil, &out, &bytes.Buffer{}); code != 0 || !strings.HasPrefix(out.String(), tc.want) {
				t.Errorf("it ends with %d and completes %q, want %q", code, out.String(), tc.want)
			}
		})
	}
}

// A mistake is one sentence on standard error and exit code 1.
func TestKubectlBadInput(t *testing.T) {
	c := newCluster(t, 1)
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		c.Must(os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"a pod that does not exist", []string{"explain", "pod", "nobody"}, "there is no pod nobody in the namespace " + c.Namespace + ": name its namespace by -n"},
		{"no pod at all", []string{"explain", "pod"}, `want the name of one pod; see "kubectl hyperconverge explain pod --help"`},
		{"a claim that does not exist", []string{"explain", "volume", "nothing"}, "there is no claim nothing in the namespace"},
		{"a node that does not exist", []string{"simulate", "--drain", "nowhere"}, "there is no node nowhere"},
		{"a node without storage", []string{"simulate", "--storage-offline", "nowhere"}, "node nowhere is no storage node"},
		{"no question", []string{"simulate"}, "want one of -f, --pod, --drain and --storage-offline"},
		{"two questions", []string{"simulate", "--pod", "a", "--drain", "b"}, "want one of -f, --pod, --drain and --storage-offline"},
		{"a file that does not exist", []string{"simulate", "-f", folder + "/none.yaml"}, "no such file or directory"},
		{"a file without pods", []string{"simulate", "-f", write("service.yaml", "kind: Service\nmetadata: {name: a}")}, "there is no pod in it, and nothing that makes pods"},
		{"an empty file", []string{"simulate", "-f", write("empty.yaml", "")}, "there is no pod in it"},
		{"a file that is no YAML", []string{"simulate", "-f", write("broken.yaml", "kind: [")}, "broken.yaml: error"},
		{"a Deployment without a template", []string{"simulate", "-f", write("half.yaml", "kind: Deployment\nmetadata: {name: a}\nspec: {}")}, "Deployment a has no template of a pod"},
		{"a pod that the API server would refuse", []string{"simulate", "-f", write("bad.yaml", "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: i, resources: {requests: {cpu: -5}}}]}")}, `requests[cpu]: Invalid value: "-5": must be greater than or equal to 0`},
		{"a pod without containers", []string{"simulate", "-f", write("pod.yaml", "kind: Pod\nmetadata: {name: a}\nspec: {}")}, "Pod a has no containers"},
		{"a format that does not exist", []string{"status", "-o", "xml"}, "-o xml: want one of table, wide, json, yaml"},
		{"a flag that does not exist", []string{"status", "--all"}, `unknown flag: --all; see "kubectl hyperconverge status --help"`},
		{"a configuration of the rebalancer that is none", []string{"home", "--rebalancer-config", write("config.yaml", "apiVersion: hyperconverge.dev/v1\nkind: RebalancerConfiguration\nbudgets: {maxPerHour: 0}")}, "config.yaml: budgets.maxPerHour: "},
		{"a report without a file", []string{"report"}, "want --html FILE; - is standard output"},
		{"a selector that means nothing", []string{"status", "-l", "a in"}, "-l: "},
		{"storage that does not answer", []string{"status", "--storage-endpoint", "127.0.0.1:1", "--timeout", "2s"}, "storage at 127.0.0.1:1 did not answer within 1s: see --storage-endpoint"},
		{"an endpoint of the scheduler where nobody listens", []string{"status", "--storage-endpoint", "", "--scheduler-endpoint", "https://127.0.0.1:1"}, "asking the scheduler at https://127.0.0.1:1: nobody listens there: is debugPort of the scheduler 0, or another?"},
		{"an endpoint that is none", []string{"status", "--storage-endpoint", "", "--scheduler-endpoint", "127.0.0.1:1"}, `--scheduler-endpoint "127.0.0.1:1": want https://HOST:PORT`},
		{"a configuration of the scheduler that is none", []string{"status", "--scheduler-config", write("pod2.yaml", "kind: Pod")}, "pod2.yaml: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &cluster{c.In(t)}
			args := tc.args
			if !strings.Contains(strings.Join(args, " "), "--storage-endpoint") {
				args = append(args, "--storage-endpoint", c.Server.Endpoint())
			}
			code, out, errOut := c.kubectlReading("", args...)
			if code != 1 || out != "" || !strings.HasPrefix(errOut, "Error: ") || strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, tc.want) {
				t.Errorf("it ends with %d, prints %q, and says %q, want %q", code, out, errOut, tc.want)
			}
		})
	}
}

// Without the scheduler and without storage, Kubernetes alone says what it can.
func TestKubectlSaysWhatItCannotKnow(t *testing.T) {
	c := newCluster(t, 2)
	c.Volume("a", "n1")
	c.Create(c.pod("db", "a").Node("n1"))
	code, out, errOut := c.kubectlReading("", "status")
	if code != 0 || !strings.Contains(out, "1 unknown") {
		t.Errorf("it ends with %d:\n%s", code, out)
	}
	for _, want := range []string{
		"there is no lease hyperconverge-scheduler in the namespace hyperconverge-system", "--scheduler-endpoint", "--storage-endpoint",
		"The scheduler's configuration is not known", "--scheduler-config",
	} {
		if !strings.Contains(errOut, want) {
			t.Errorf("%q is not said in %q", want, errOut)
		}
	}
}
