package manifests

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// The rules and the dashboard ask for nothing that the scheduler does not serve.
// So the scheduler is brought into every state that a metric tells of.
func TestMonitoringAsksForMetricsThatExist(t *testing.T) {
	plane := sharedPlane(t)
	objects := build(t, "manifests/base")
	plane.apply(t, objects)
	c := newCluster(t, plane, 3, openstoragesim.ServerOptions{})
	replica := plane.startReplica(t, objects, podOptions{
		name: "the scheduler", endpoint: c.server.Endpoint(),
		change: replace("openStorage:", "unknownVolumeGracePeriod: 1s\n      openStorage:"),
	})
	replica.awaitReady(t)
	token := plane.metricsReader(t)

	c.volume("data", "n2")
	c.create(c.pod("local", schedulerName, "data"))
	c.expectNode("local", "n2")
	c.claim("lost", "")
	c.bind("lost", "1234567890")
	c.create(c.pod("held", schedulerName, "lost").Annotation(placement.PodPreferLocalOnly, "true"))
	c.create(c.pod("regardless", schedulerName, "lost"))
	eventually(t, "a pod is scheduled without regard to a volume", func() error {
		if pod := c.get("regardless"); pod.Spec.NodeName == "" {
			return fmt.Errorf("it waits: %s", message(pod))
		}
		return nil
	})
	c.server.Disconnect()

	asked := askedMetrics(t)
	if len(asked) < 20 {
		t.Fatalf("the rules and the dashboard ask for %v only", asked)
	}
	eventually(t, "all metrics are served", func() error {
		text, err := replica.read("/metrics", token)
		if err != nil {
			return err
		}
		missing := slices.DeleteFunc(slices.Clone(asked), func(name string) bool {
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
	name = regexp.MustCompile(`\b(?:scheduler|leader_election|rest_client|process|go|hyperconverge)[_:][a-zA-Z0-9_:]+`)
)

// askedMetrics are the names in all queries, but for what the rules record
// themselves, and for what Prometheus adds.
func askedMetrics(t *testing.T) []string {
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
	var list []string
	for name := range asked {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
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
	command := exec.Command("go", "-C", filepath.Join(root, "hack", "crds"), "mod", "download", "-json", operator)
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
