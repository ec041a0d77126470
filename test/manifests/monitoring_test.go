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

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

// The rules and the dashboard ask for nothing that is not served. So the scheduler
// is brought into every state that a metric tells of.
func TestMonitoringAsksForMetricsThatExist(t *testing.T) {
	plane := sharedPlane(t)
	objects := build(t, "manifests/overlays/rebalancer")
	plane.apply(t, objects)
	c := newCluster(t, plane, 3, openstoragesim.ServerOptions{})
	rebalancer := plane.startRebalancer(t, objects, c.Server.Endpoint())
	expectServed(t, askedMetrics(t).ofRebalancer, func() (string, error) { return rebalancer.Get("/metrics") })
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

	asked := askedMetrics(t)
	if len(asked.ofScheduler) < 20 || len(asked.ofWebhook) < 4 || len(asked.ofRebalancer) < 10 || len(asked.ofAPIServer) != 1 {
		t.Fatalf("the rules and the dashboard ask for %+v only", asked)
	}
	expectServed(t, asked.ofScheduler, func() (string, error) { return replica.GetAs(token, "/metrics") })
	running := startWebhook(t, plane, objects, c)
	expectServed(t, asked.ofWebhook, running.metrics)
	expectServed(t, asked.ofAPIServer, func() (string, error) { return plane.metricsOfAPIServer(t, running.provoke) })
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

// metricNames are those of queries, by whose they are.
type metricNames struct{ ofScheduler, ofWebhook, ofRebalancer, ofAPIServer []string }

// askedMetrics are the names in all queries, but for what the rules record themselves, and
// for what Prometheus adds.
func askedMetrics(t *testing.T) (found metricNames) {
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
			found.ofWebhook = append(found.ofWebhook, name)
		case strings.HasPrefix(name, "hyperconverge_rebalancer_"):
			found.ofRebalancer = append(found.ofRebalancer, name)
		case strings.HasPrefix(name, "apiserver_"):
			found.ofAPIServer = append(found.ofAPIServer, name)
		default:
			found.ofScheduler = append(found.ofScheduler, name)
		}
	}
	return found
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
	content, err := os.ReadFile(filepath.Join(root, "manifests", "monitoring", "base", "dashboard.json"))
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

// definitions are those of the Prometheus Operator, and those of Azure's add-on, which
// by its documents differ from them by their group only.
func definitions(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	folder := filepath.Join(moduleFolder(t, "github.com/prometheus-operator/prometheus-operator"), "example", "prometheus-operator-crd")
	var found []*unstructured.Unstructured
	for _, kind := range []string{"servicemonitors", "prometheusrules"} {
		for _, definition := range readObjects(t, filepath.Join(folder, "monitoring.coreos.com_"+kind+".yaml")) {
			azure := definition.DeepCopy()
			azure.SetName(kind + ".azmonitoring.coreos.com")
			if err := unstructured.SetNestedField(azure.Object, "azmonitoring.coreos.com", "spec", "group"); err != nil {
				t.Fatal(err)
			}
			found = append(found, definition, azure)
		}
	}
	return found
}

// The monitors and rules are taken by an API server that knows the definitions.
func TestMonitoringIsValid(t *testing.T) {
	plane := sharedPlane(t)
	plane.apply(t, definitions(t))
	plane.apply(t, ofKind(build(t, "manifests/base"), "Namespace"))
	for _, folder := range monitoringFolders(t) {
		plane.apply(t, build(t, folder))
	}
	expectDiscovery(t, plane)
}

// monitoringFolders are those that can be applied.
func monitoringFolders(t *testing.T) []string {
	t.Helper()
	folders := []string{"manifests/monitoring"}
	files, err := filepath.Glob(filepath.Join(root, "manifests", "monitoring", "*", "kustomization.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no folders: %v", err)
	}
	for _, file := range files {
		folders = append(folders, "manifests/monitoring/"+filepath.Base(filepath.Dir(file)))
	}
	return folders
}

// Where an operator is missing, applying a folder fails before anything is made, and not
// when half of it is: kubectl goes on with the objects whose kinds are known.
func TestMonitoringIsAppliedAsAWholeOrNotAtAll(t *testing.T) {
	plane := sharedPlane(t)
	plane.withoutDefinitions(t, definitions(t))
	plane.apply(t, ofKind(build(t, "manifests/base"), "Namespace"))
	for _, folder := range monitoringFolders(t) {
		t.Run(folder, func(t *testing.T) {
			known, unknown := 0, 0
			for _, object := range build(t, folder) {
				_, err := plane.Resource(object)
				switch {
				case meta.IsNoMatchError(err):
					unknown++
				case err != nil:
					t.Fatal(err)
				default:
					known++
				}
			}
			if known > 0 && unknown > 0 {
				t.Errorf("%d objects can be made, and %d cannot", known, unknown)
			}
			if wants := folder != "manifests/monitoring/base"; wants != (unknown > 0) {
				t.Errorf("%d objects cannot be made without definitions", unknown)
			}
		})
	}
}

// withoutDefinitions takes definitions away that another test has made.
func (p *controlPlane) withoutDefinitions(t *testing.T, definitions []*unstructured.Unstructured) {
	t.Helper()
	for _, definition := range definitions {
		resource, err := p.Resource(definition)
		if err != nil {
			t.Fatal(err)
		}
		kit.Eventually(t, kit.Patience, definition.GetName()+" is gone", func() error {
			err := resource.Delete(t.Context(), definition.GetName(), metav1.DeleteOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return errors.Join(err, errors.New("it was there"))
		})
		kind, _, err := unstructured.NestedString(definition.Object, "spec", "names", "kind")
		if err != nil {
			t.Fatal(err)
		}
		group, _, err := unstructured.NestedString(definition.Object, "spec", "group")
		if err != nil {
			t.Fatal(err)
		}
		kit.Eventually(t, kit.Patience, "nobody serves "+definition.GetName(), func() error {
			p.Mapper.Reset()
			switch _, err := p.Mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind}, "v1"); {
			case meta.IsNoMatchError(err):
				return nil
			case err == nil:
				return errors.New("it is served")
			default:
				return err
			}
		})
	}
}

// aggregation finds what loses labels, and matching what compares them.
var (
	aggregation = regexp.MustCompile(`\b(?:sum|min|max|avg|count|group|stddev|quantile|topk|bottomk)\b(?: (?:by|without))?\s*\([^()]*`)
	matching    = regexp.MustCompile(`\b(?:on|ignoring|group_left|group_right)\s*\([^()]*`)
)

// In a Prometheus that has the metrics of several clusters none may stand for another.
func TestQueriesKeepTheCluster(t *testing.T) {
	rules, err := unstructuredGroups(t)
	if err != nil {
		t.Fatal(err)
	}
	var queries []string
	for _, rule := range rules {
		queries = append(queries, rule.Expr)
	}
	for _, query := range dashboardQueries(t) {
		for _, selector := range name.FindAllString(quoted.ReplaceAllString(query, ""), -1) {
			if !strings.Contains(query, selector+`{cluster=~"$cluster"`) {
				t.Errorf("the panel shows more clusters than the one that is chosen: %s", query)
			}
		}
		queries = append(queries, query)
	}
	found := 0
	for _, query := range queries {
		bare := quoted.ReplaceAllString(query, "")
		for _, part := range aggregation.FindAllString(bare, -1) {
			found++
			if !strings.Contains(part, " by (cluster") {
				t.Errorf("%q loses the cluster in %s", part, query)
			}
		}
		for _, part := range matching.FindAllString(bare, -1) {
			if !strings.HasPrefix(part, "on (cluster") {
				t.Errorf("%q compares clusters with others in %s", part, query)
			}
		}
	}
	if found < 40 {
		t.Errorf("only %d aggregations are recognized", found)
	}
}

// The monitors for Azure are those for the operator, in another group and with limits.
func TestAzureMonitorsAreThoseOfTheOperator(t *testing.T) {
	theirs := ofKind(build(t, "manifests/monitoring"), "ServiceMonitor")
	ours := build(t, "manifests/monitoring/azure")
	if len(theirs) != len(ours) {
		t.Fatalf("there are %d and %d", len(theirs), len(ours))
	}
	for _, object := range theirs {
		want := object.DeepCopy()
		want.SetAPIVersion("azmonitoring.coreos.com/v1")
		for limit, value := range map[string]int64{"labelLimit": 63, "labelNameLengthLimit": 511, "labelValueLengthLimit": 1023} {
			if err := unstructured.SetNestedField(want.Object, value, "spec", limit); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, deploy.Object(t, ours, object.GetKind(), object.GetName())); diff != "" {
			t.Errorf("%s differs (-operator +azure):\n%s", object.GetName(), diff)
		}
	}
}

// A Prometheus without operator finds each Deployment's pods, at the port of its metrics.
func TestScrapeConfigurationFindsThePods(t *testing.T) {
	var config struct {
		Jobs []struct {
			Name      string `json:"job_name"`
			Discovery []struct {
				Namespaces struct{ Names []string }
			} `json:"kubernetes_sd_configs"`
			Relabeling []struct{ Regex, Action string } `json:"relabel_configs"`
		} `json:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "manifests", "monitoring", "scrape", "scrape.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	deployments := deploymentsOf(t, build(t, "manifests/overlays/rebalancer"))
	if len(config.Jobs) != len(deployments) {
		t.Errorf("there are %d jobs for %d Deployments", len(config.Jobs), len(deployments))
	}
	for _, job := range config.Jobs {
		found := false
		for _, deployment := range deployments {
			for _, port := range deployment.Spec.Template.Spec.Containers[0].Ports {
				kept := job.Relabeling[0]
				label := deployment.Spec.Template.Labels["app.kubernetes.io/name"]
				if kept.Action == "keep" && kept.Regex == label+";"+port.Name {
					found = job.Name == label && slices.Equal(job.Discovery[0].Namespaces.Names, []string{deployment.Namespace})
				}
			}
		}
		if !found {
			t.Errorf("the job %s finds nothing", job.Name)
		}
	}
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
