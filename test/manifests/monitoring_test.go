package manifests

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// The rules and the dashboard ask for nothing that is not served. So the scheduler
// is brought into every state that a metric tells of.
func TestMonitoringAsksForMetricsThatExist(t *testing.T) {
	plane := sharedPlane(t)
	objects := build(t, "manifests/base")
	plane.apply(t, objects)
	c := newCluster(t, plane, 3, openstoragesim.ServerOptions{})
	replica := plane.startReplica(t, objects, podOptions{
		name: "the scheduler", endpoint: c.Server.Endpoint(),
		change: replace("openStorage:", "unknownVolumeGracePeriod: 1s\n      openStorage:"),
	})
	replica.awaitReady(t)
	token := plane.metricsReader(t)

	c.Volume("data", "n2")
	c.Create(c.pod("local", schedulerName, "data"))
	c.ExpectNode("local", "n2")
	c.VolumeWith("lost", controlplane.VolumeOptions{Hidden: true})
	c.Create(c.pod("held", schedulerName, "lost").Annotation(placement.PodPreferLocalOnly, "true"))
	c.Create(c.pod("regardless", schedulerName, "lost"))
	kit.Eventually(t, kit.Patience, "a pod is scheduled without regard to a volume", func() error {
		if pod := c.Get("regardless"); pod.Spec.NodeName == "" {
			return fmt.Errorf("it waits: %s", kit.Unplaced(pod))
		}
		return nil
	})
	c.Server.Disconnect()

	ofScheduler, ofWebhook, ofAPIServer := askedMetrics(t)
	if len(ofScheduler) < 20 || len(ofWebhook) < 4 || len(ofAPIServer) != 1 {
		t.Fatalf("the rules and the dashboard ask for %v, %v and %v only", ofScheduler, ofWebhook, ofAPIServer)
	}
	expectServed(t, ofScheduler, func() (string, error) { return replica.GetAs(token, "/metrics") })
	running := startWebhook(t, plane, objects, c)
	expectServed(t, ofWebhook, running.metrics)
	expectServed(t, ofAPIServer, func() (string, error) { return plane.metricsOfAPIServer(t, running.provoke) })
}

// expectServed waits until a text has all metrics of these names.
func expectServed(t *testing.T, names []string, read func() (string, error)) {
	t.Helper()
	kit.Eventually(t, kit.Patience, "all metrics are served", func() error {
		text, err := read()
		if err != nil {
			return err
		}
		missing := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
			return regexp.MustCompile(`(?m)^` + name + `[{ ]`).MatchString(text)
		})
		if len(missing) > 0 {
			return fmt.Errorf("not served: %v", missing)
		}
		return nil
	})
}

var (
	quoted = regexp.MustCompile(`"[^"]*"`)
	// name is a metric or the name of a record; label names in selectors and after
	// by, and functions, never begin like this.
	name = regexp.MustCompile(`\b(?:scheduler|leader_election|rest_client|process|go|hyperconverge|controller_runtime|apiserver)[_:][a-zA-Z0-9_:]+`)
)

// askedMetrics are the names in all queries, by whose they are, but for what the
// rules record themselves, and for what Prometheus adds.
func askedMetrics(t *testing.T) (ofScheduler, ofWebhook, ofAPIServer []string) {
	t.Helper()
	recorded := map[string]bool{}
	var queries []string
	rules, err := unstructuredGroups(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		queries = append(queries, rule.Expr)
		recorded[rule.Record] = true
	}
	queries = append(queries, dashboardQueries(t)...)
	asked := map[string]bool{}
	for _, query := range queries {
		names := name.FindAllString(quoted.ReplaceAllString(query, ""), -1)
		if len(names) == 0 && !strings.Contains(query, "up{") {
			t.Errorf("no metric is recognized in %s", query)
		}
		for _, name := range names {
			if !recorded[name] {
				asked[name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		switch {
		case strings.HasPrefix(name, "hyperconverge_webhook_"), strings.HasPrefix(name, "controller_runtime_"):
			ofWebhook = append(ofWebhook, name)
		case strings.HasPrefix(name, "apiserver_"):
			ofAPIServer = append(ofAPIServer, name)
		default:
			ofScheduler = append(ofScheduler, name)
		}
	}
	return ofScheduler, ofWebhook, ofAPIServer
}

type rule struct{ Record, Alert, Expr string }

func unstructuredGroups(t *testing.T) ([]rule, error) {
	t.Helper()
	var found []rule
	for _, object := range ofKind(build(t, "manifests/monitoring"), "PrometheusRule") {
		groups, _, err := unstructured.NestedSlice(object.Object, "spec", "groups")
		if err != nil {
			return nil, err
		}
		content, err := json.Marshal(groups)
		if err != nil {
			return nil, err
		}
		var typed []struct{ Rules []rule }
		if err := json.Unmarshal(content, &typed); err != nil {
			return nil, err
		}
		for _, group := range typed {
			found = append(found, group.Rules...)
		}
	}
	return found, nil
}

func dashboardQueries(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "manifests", "monitoring", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Type, Title string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	var queries []string
	for _, panel := range dashboard.Panels {
		if panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("the panel %q shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			queries = append(queries, target.Expr)
		}
	}
	return queries
}

// The monitors and rules are taken by an API server that knows the definitions of
// the Prometheus Operator.
func TestMonitoringIsValid(t *testing.T) {
	const operator = "github.com/prometheus-operator/prometheus-operator"
	command := exec.Command("go", "-C", filepath.Join(root, "hack"), "mod", "download", "-json", operator)
	output, err := command.Output()
	if err != nil {
		t.Fatalf("finding %s: %v: %s", operator, err, output)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(output, &module); err != nil {
		t.Fatal(err)
	}
	plane := sharedPlane(t)
	var definitions []*unstructured.Unstructured
	for _, kind := range []string{"servicemonitors", "prometheusrules"} {
		file := filepath.Join(module.Dir, "example", "prometheus-operator-crd", "monitoring.coreos.com_"+kind+".yaml")
		definitions = append(definitions, readObjects(t, file)...)
	}
	plane.apply(t, definitions)
	plane.apply(t, ofKind(build(t, "manifests/base"), "Namespace"))
	plane.apply(t, build(t, "manifests/monitoring"))
	expectDiscovery(t, plane)
}

// expectDiscovery has the account of Prometheus find the pods, with no right but
// those that the manifests give it.
func expectDiscovery(t *testing.T, plane *controlPlane) {
	t.Helper()
	binding, err := plane.Client.RbacV1().ClusterRoleBindings().Get(t.Context(), "hyperconverge-metrics-reader", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	account := binding.Subjects[0]
	for _, resource := range []struct{ group, name string }{
		{"", "services"}, {"", "endpoints"}, {"", "pods"}, {"discovery.k8s.io", "endpointslices"},
	} {
		for _, verb := range []string{"get", "list", "watch"} {
			kit.Eventually(t, kit.Patience, "Prometheus may "+verb+" "+resource.name, func() error {
				review, err := plane.Client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
					Spec: authorizationv1.SubjectAccessReviewSpec{
						User: "system:serviceaccount:" + account.Namespace + ":" + account.Name,
						ResourceAttributes: &authorizationv1.ResourceAttributes{
							Namespace: systemNamespace, Verb: verb, Group: resource.group, Resource: resource.name,
						},
					},
				}, metav1.CreateOptions{})
				if err == nil && !review.Status.Allowed {
					err = errors.New("it may not")
				}
				return err
			})
		}
	}
}

// The definition that the gang overlay brings is that of the plugin that is
// compiled in.
func TestPodGroupDefinitionIsThatOfThePlugin(t *testing.T) {
	command := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/scheduler-plugins")
	command.Dir = root
	output, err := command.Output()
	if err != nil {
		t.Fatalf("finding scheduler-plugins: %v: %s", err, output)
	}
	theirs, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(output)), "manifests", "coscheduling", "crd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.ReadFile(filepath.Join(root, "manifests", "components", "gang", "podgroups.crd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if string(ours) != string(theirs) {
		t.Error("manifests/components/gang/podgroups.crd.yaml differs from manifests/coscheduling/crd.yaml of scheduler-plugins: copy it again")
	}
}
