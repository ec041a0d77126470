package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	schedulerapi "k8s.io/kubernetes/pkg/scheduler/apis/config"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/debug"
)

var update = flag.Bool("update", false, "write what comes out as what is wanted")

// objectsIn reads a file of objects.
func objectsIn(t *testing.T, content []byte) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		if !object.IsList() {
			objects = append(objects, object)
			continue
		}
		if err := object.EachListItem(func(item runtime.Object) error {
			objects = append(objects, item.(*unstructured.Unstructured))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// What comes of five clusters, in both formats and both steps.
func TestClusters(t *testing.T) {
	fixtures, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(fixtures) != 5 {
		t.Fatalf("there are %d clusters: %v", len(fixtures), err)
	}
	for _, fixture := range fixtures {
		content, err := os.ReadFile(fixture)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []Options{{Format: Kustomize}, {Format: Kustomize, TakeOver: true}, {Format: Helm}, {Format: Helm, TakeOver: true}} {
			o.Manifests, o.Tag, o.Folder = "../manifests", "v0.1.0", "cluster"
			step := "beside"
			if o.TakeOver {
				step = "take-over"
			}
			golden := strings.TrimSuffix(fixture, ".yaml") + "." + o.Format + "." + step + ".golden"
			t.Run(filepath.Base(golden), func(t *testing.T) {
				source, err := Select(objectsIn(t, content), "")
				if err != nil {
					t.Fatal(err)
				}
				plan, err := Plan(source, o)
				if err != nil {
					t.Fatal(err)
				}
				var got strings.Builder
				for _, file := range plan.Files {
					got.WriteString("# " + file.Name + "\n" + file.Content + "---\n")
				}
				got.WriteString("# What is run next:\n" + strings.Join(plan.Next, "\n") + "\n")
				if strings.Contains(got.String()+strings.Join(plan.Lost, "\n"), "do-not-print-me") {
					t.Error("a value of the environment is printed")
				}
				if *update {
					if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got.String()); diff != "" {
					t.Errorf("(-want +got; -update writes it):\n%s", diff)
				}
			})
		}
	}
}

// planOf plans for a StorageCluster of which a test says a part.
func planOf(t *testing.T, spec string, o Options) (*Result, error) {
	t.Helper()
	source, err := Select(objectsIn(t, []byte("apiVersion: core.libopenstorage.org/v1\nkind: StorageCluster\nmetadata: {name: px, namespace: portworx}\nspec:\n  "+spec)), "")
	if err != nil {
		t.Fatal(err)
	}
	return Plan(source, o)
}

// A node gets the points that kube-scheduler adds up with Stork's extender: 10 times weight
// times score.
func TestScores(t *testing.T) {
	none := [5]int{}
	for name, row := range map[string]struct {
		stork  string
		points [5]int // local to remote, weight included; none are the defaults
		soft   bool   // whether load may decide
	}{
		"nothing is said":                       {"{}", none, false},
		"normalized by the word, with defaults": {"{args: {normalize-stork-scores: 'true'}}", [5]int{40, 30, 20, 10, 0}, true},
		"a weight alone":                        {"{scheduler: {kubeSchedulerExtenderWeight: 5}}", [5]int{200, 150, 100, 50, 0}, true},
		"one score alone":                       {"{args: {replica-score: '10'}}", [5]int{100, 30, 20, 10, 0}, true},
		"scores beyond the scale of extenders":  {"{args: {replica-score: '90', rack-score: '45'}, scheduler: {kubeSchedulerExtenderWeight: 2}}", [5]int{1800, 900, 40, 20, 0}, true},
		"normalization is off":                  {"{args: {normalize-stork-scores: 'false'}}", [5]int{1000, 500, 250, 100, 50}, false},
		"normalization is off, and weight is 5": {"{args: {normalize-stork-scores: 'false'}, scheduler: {kubeSchedulerExtenderWeight: 5}}", [5]int{5000, 2500, 1250, 500, 250}, false},
		"scores that Stork does not read":       {"{args: {normalize-stork-scores: 'false', replica-score: '7'}}", [5]int{1000, 500, 250, 100, 50}, false},
		"a release that does not normalize":     {"{image: 'openstorage/stork:26.4.1', scheduler: {kubeSchedulerExtenderWeight: 5}}", [5]int{5000, 2500, 1250, 500, 250}, false},
		"a build of a release that does":        {"{image: 'registry:5000/stork:26.4.2-dev', scheduler: {kubeSchedulerExtenderWeight: 1}}", [5]int{40, 30, 20, 10, 0}, true},
		"an image whose tag is no release":      {"{image: 'openstorage/stork:master', scheduler: {kubeSchedulerExtenderWeight: 1}}", [5]int{40, 30, 20, 10, 0}, true},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := planOf(t, "stork: "+row.stork, Options{Manifests: "m", Tag: "v"})
			if err != nil {
				t.Fatal(err)
			}
			configuration, err := debug.DecodeConfiguration([]byte(plan.Files[1].Content))
			if err != nil {
				t.Fatal(err)
			}
			profile := configuration.Profiles[0]
			args := profile.PluginConfig[slices.IndexFunc(profile.PluginConfig, func(c schedulerapi.PluginConfig) bool { return c.Name == "Hyperconverge" })].Args.(*config.HyperconvergeArgs)
			weight := int(profile.Plugins.MultiPoint.Enabled[slices.IndexFunc(profile.Plugins.MultiPoint.Enabled, func(p schedulerapi.Plugin) bool { return p.Name == "Hyperconverge" })].Weight)
			points, tiers := [5]int{}, args.TierScores
			for i, tier := range []int64{tiers.Local, tiers.Rack, tiers.Zone, tiers.Region, tiers.Remote} {
				points[i] = weight * int(tier)
			}
			if row.points == none {
				row.points = [5]int{1500, 750, 375, 150, 0} // those of the manifests
			}
			if soft := args.Preference == "Score"; points != row.points || soft != row.soft {
				t.Errorf("the points are %v, and load may decide: %t", points, soft)
			}
		})
	}
}

// What is wrong is named, with the way out.
func TestWhatCannotBeRead(t *testing.T) {
	for name, row := range map[string]struct{ spec, want string }{
		"a score that is no number":      {"stork: {args: {replica-score: high}}", `StorageCluster portworx/px: spec.stork.args.replica-score is "high": want a whole number from 0 to 100`},
		"a score without quotes":         {"stork: {args: {replica-score: 4}}", "StorageCluster portworx/px: spec.stork.args: a number does not belong there (arguments of Stork stand in quotes)"},
		"a score that is too large":      {"stork: {args: {zone-score: '101'}}", `spec.stork.args.zone-score is "101": want a whole number from 0 to 100`},
		"a score that does not exist":    {"stork: {args: {rak-score: '3'}}", "spec.stork.args.rak-score: Stork has no such score: it has replica-score, rack-score, zone-score, region-score, remote-score; correct it, or take it out"},
		"scores in another order":        {"stork: {args: {rack-score: '5'}}", "spec.stork.args.rack-score (5) is more than spec.stork.args.replica-score (4)"},
		"a weight that weighs nothing":   {"stork: {scheduler: {kubeSchedulerExtenderWeight: 0}}", "kubeSchedulerExtenderWeight is 0: want a weight from 1"},
		"requests without end":           {"stork: {scheduler: {kubeSchedulerClientQPS: 20000}}", "spec.stork.scheduler.kubeSchedulerClientQPS is 20000: want a number from 1 to 10000"},
		"an argument that is no boolean": {"stork: {args: {webhook-controller: 'yes'}}", `spec.stork.args.webhook-controller is "yes": want true or false`},
		"a start port that is no port":   {"startPort: 70000", "spec.startPort is 70000: want a port"},
		"tolerations that are no list":   {"placement: {tolerations: all}", "StorageCluster portworx/px: spec.placement.tolerations: a string does not belong there"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := planOf(t, row.spec, Options{}); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("the error is %v, want %q in it", err, row.want)
			}
		})
	}
}

func TestSelection(t *testing.T) {
	cluster := func(namespace, name string) string {
		return "---\napiVersion: core.libopenstorage.org/v1\nkind: StorageCluster\nmetadata: {name: " + name + ", namespace: " + namespace + "}\n"
	}
	deployment := func(namespace, name string) string {
		return "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + ", namespace: " + namespace + "}\n"
	}
	for name, row := range map[string]struct{ objects, namespace, want, err string }{
		"one StorageCluster":                   {objects: cluster("a", "px"), want: "StorageCluster a/px"},
		"two StorageClusters":                  {objects: cluster("a", "px") + cluster("b", "px"), err: "there are 2 StorageClusters: a/px, b/px; name the namespace of one by -n"},
		"two, and the namespace of one":        {objects: cluster("a", "px") + cluster("b", "px"), namespace: "b", want: "StorageCluster b/px"},
		"none in the namespace":                {objects: cluster("a", "px"), namespace: "b", err: ErrNothing.Error()},
		"nothing of Stork":                     {objects: deployment("a", "other"), err: ErrNothing.Error()},
		"Deployments without a StorageCluster": {objects: deployment("a", "stork") + deployment("a", "stork-scheduler"), want: "the Deployment a/stork"},
		"the scheduler's Deployment alone":     {objects: deployment("a", "stork-scheduler"), want: "the Deployment a/stork-scheduler"},
		"a StorageCluster counts before them":  {objects: deployment("a", "stork") + cluster("a", "px"), want: "StorageCluster a/px"},
		"two Deployments of one name":          {objects: deployment("a", "stork") + deployment("b", "stork"), err: "Deployment b/stork: there is another Deployment of that name; name the namespace of one by -n"},
		"a StorageCluster without a namespace": {objects: cluster("''", "px"), err: "put metadata.namespace into the file"},
		"a namespace that would be a command":  {objects: cluster("'$(reboot)'", "px"), err: "is not the name of a namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			source, err := Select(objectsIn(t, []byte(row.objects)), row.namespace)
			var plan *Result
			if err == nil {
				plan, err = Plan(source, Options{})
			}
			if row.err != "" {
				if err == nil || !strings.Contains(err.Error(), row.err) {
					t.Errorf("the error is %v, want %q in it", err, row.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if head := strings.Join(strings.Fields(plan.Files[0].Content), " "); !strings.Contains(head, "from "+row.want+".") {
				t.Errorf("it is made from something else than %s: %s", row.want, head)
			}
		})
	}
}

// Without an operator, a part of what matters stands in places of its own.
func TestDeployments(t *testing.T) {
	const (
		scheduler = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: stork-scheduler, namespace: px}\nspec: {template: {spec: {containers: [{name: stork-scheduler, command: [kube-scheduler, %s]}]}}}\n"
		stork     = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: stork, namespace: px}\nspec: {template: {spec: {containers: [{name: stork, image: 'stork:%s', command: [/stork, %s], env: [%s]}]}}}\n"
		config    = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: px}\ndata: {%s: '%s'}\n"
	)
	for name, row := range map[string]struct {
		objects string
		o       Options
		want    []string // parts of the files and commands
		err     string
	}{
		"flags in two words, and the policy of old schedulers": {
			objects: fmt.Sprintf(scheduler, "--policy-configmap=policy, --scheduler-name=px-sched") + fmt.Sprintf(stork, "2.12.0", "--webhook-controller, 'true', --retain-external-schedulers", "") +
				fmt.Sprintf(config, "policy", "policy.cfg", `{"kind":"Policy","extenders":[{"urlPrefix":"http://stork-service:8099","weight":3}]}`),
			o: Options{TakeOver: true}, want: []string{"weight: 30", `schedulerName: "px-sched"`, "--scheduler-name=px-sched", "- \"/base\""},
		},
		"a name of its own, for all pods": {
			objects: fmt.Sprintf(scheduler, "--scheduler-name=px-sched") + fmt.Sprintf(stork, "2.12.0", "--webhook-controller", ""),
			o:       Options{TakeOver: true}, want: []string{"--replace-any-scheduler", "there is no ConfigMap stork-config"},
		},
		"the weight that old releases come with is nobody's choice": {
			objects: fmt.Sprintf(scheduler, "") + fmt.Sprintf(stork, "25.6.1", "", "") + fmt.Sprintf(config, "stork-config", "stork-config.yaml", `{"extenders":[{"weight":5}]}`),
			want:    []string{"weight: 15"},
		},
		"the same weight with a new release is": {
			objects: fmt.Sprintf(scheduler, "") + fmt.Sprintf(stork, "26.4.2", "", "") + fmt.Sprintf(config, "stork-config", "stork-config.yaml", `{"extenders":[{"weight":5}]}`),
			want:    []string{"weight: 5", "preference: Score"},
		},
		"the weight of the new release is not": {
			objects: fmt.Sprintf(scheduler, "") + fmt.Sprintf(stork, "26.4.2", "", "") + fmt.Sprintf(config, "stork-config", "stork-config.yaml", `{"extenders":[{"weight":1}]}`),
			want:    []string{"weight: 15"},
		},
		"without the flag there is no webhook": {
			objects: fmt.Sprintf(stork, "26.4.2", "", ""), o: Options{TakeOver: true}, want: []string{"overlays/no-webhook", `schedulerName: "stork"`},
		},
		"storage may be in another namespace": {
			objects: fmt.Sprintf(stork, "26.4.2", "", "{name: PX_NAMESPACE, value: storage}"), o: Options{TakeOver: true},
			want: []string{"endpoint: portworx-api.storage.svc:9020", "kubectl -n px scale deploy stork-scheduler"},
		},
		"its Service may have another name": {
			objects: fmt.Sprintf(stork, "26.4.2", "", "{name: PX_SERVICE_NAME, value: px-sdk}, {name: PX_NAMESPACE, value: storage}"), o: Options{Format: Helm},
			want: []string{"endpoint: px-sdk.storage.svc:9020", "and PX_SERVICE_NAME px-sdk"},
		},
		"a Service whose name would be a command": {
			objects: fmt.Sprintf(stork, "26.4.2", "", "{name: PX_SERVICE_NAME, value: $(reboot)}"), err: `the Deployment px/stork: PX_SERVICE_NAME is "$(reboot)": want the name of a Service`,
		},
		"TLS without a token": {
			objects: fmt.Sprintf(stork, "26.4.2", "", "{name: PX_ENABLE_TLS, value: 'true'}, {name: PX_CA_CERT_SECRET, value: ca}, {name: PX_CA_CERT_SECRET_KEY, value: ca.pem}"),
			want:    []string{"caFile: /etc/openstorage/ca.crt", "components/storage-tls", "kubectl -n px get secret ca -o go-template='{{index .data \"ca.pem\" | base64decode}}' >ca.crt"},
		},
		"the chart has each of them by itself": {
			objects: fmt.Sprintf(stork, "26.4.2", "", "{name: PX_ENABLE_TLS, value: 'true'}"), o: Options{Format: Helm}, want: []string{"  endpoint: portworx-api.px.svc:9020\n  tls:\n    enabled: true\n"},
		},
		"a TLS that is neither on nor off": {objects: fmt.Sprintf(stork, "26.4.2", "", "{name: PX_ENABLE_TLS, value: maybe}"), err: `PX_ENABLE_TLS is "maybe": want true or false`},
		"a name that YAML would read as a number": {
			objects: fmt.Sprintf(scheduler, "--scheduler-name=0x10"), o: Options{TakeOver: true}, want: []string{`schedulerName: "0x10"`},
		},
		"a limit that is no number":        {objects: fmt.Sprintf(scheduler, "--kube-api-burst=many"), err: `--kube-api-burst is "many": want a number`},
		"requests that are less than one":  {objects: fmt.Sprintf(scheduler, "--kube-api-qps=0.5"), err: "the Deployment px/stork-scheduler: --kube-api-qps or clientConnection.qps is 0.5: want a number from 1 to 10000"},
		"requests that are no number":      {objects: fmt.Sprintf(scheduler, "--kube-api-qps=NaN"), err: "clientConnection.qps is NaN: want a number from 1 to 10000"},
		"a name that cannot be taken over": {objects: fmt.Sprintf(scheduler, "--scheduler-name=default-scheduler"), err: `serves the name "default-scheduler", which this scheduler cannot take over`},
		"a ConfigMap of something else":    {objects: fmt.Sprintf(scheduler, "") + fmt.Sprintf(config, "stork-config", "other", ""), err: "ConfigMap px/stork-config has no stork-config.yaml and no policy.cfg, but other"},
		"a configuration that is no YAML":  {objects: fmt.Sprintf(scheduler, "") + fmt.Sprintf(config, "stork-config", "policy.cfg", "{"), err: "ConfigMap px/stork-config: error converting YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			source, err := Select(objectsIn(t, []byte(row.objects)), "")
			if err != nil {
				t.Fatal(err)
			}
			plan, err := Plan(source, row.o)
			if row.err != "" {
				if err == nil || !strings.Contains(err.Error(), row.err) {
					t.Errorf("the error is %v, want %q in it", err, row.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			parts := slices.Concat(plan.Next, plan.Lost)
			for _, file := range plan.Files {
				parts = append(parts, file.Content)
			}
			text := strings.Join(parts, "\n")
			for _, part := range row.want {
				if !strings.Contains(text, part) {
					t.Errorf("%q is not in\n%s", part, text)
				}
			}
		})
	}
}

// What a file says is YAML again, whatever characters are in it.
func TestTolerationsMayHoldAnything(t *testing.T) {
	const key = "a\x01\x7f\u0085\u009f\u2028\ufeff\U0001f600 \"b\": {{ # "
	quoted, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	spec := strings.NewReplacer("\x7f", `\x7f`, "\u0085", `\N`, "\u009f", `\x9f`, "\ufeff", `\ufeff`).Replace(string(quoted))
	for _, format := range []string{Kustomize, Helm} {
		plan, err := planOf(t, "placement: {tolerations: [{key: "+spec+"}]}", Options{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Patches   []struct{ Patch string }
			Scheduler struct{ Tolerations []v1.Toleration }
		}
		if err := yaml.Unmarshal([]byte(plan.Files[0].Content), &file); err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		tolerations := file.Scheduler.Tolerations
		if format == Kustomize {
			var patch []struct{ Value v1.Toleration }
			if err := yaml.Unmarshal([]byte(file.Patches[0].Patch), &patch); err != nil {
				t.Fatal(err)
			}
			tolerations = []v1.Toleration{patch[0].Value}
		}
		if len(tolerations) != 1 || tolerations[0].Key != key {
			t.Errorf("%s has %+v, want %q", format, tolerations, key)
		}
	}
}

func TestManifestsOfARepository(t *testing.T) {
	for manifests, want := range map[string]string{
		"../manifests":  "../manifests/base",
		"../manifests/": "../manifests/base",
		"https://git.example.com/scheduler//manifests?ref=v1": "https://git.example.com/scheduler//manifests/base?ref=v1",
		"git@example.com:scheduler//manifests":                "git@example.com:scheduler//manifests/base",
	} {
		if got := at(manifests, "base"); got != want {
			t.Errorf("in %s the base is %s, want %s", manifests, got, want)
		}
	}
}

// The chart refuses a value that it does not know.
func TestChartKnowsTheValues(t *testing.T) {
	content, err := os.ReadFile("../../../charts/hyperconverge/values.yaml")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("there is no chart")
	}
	if err != nil {
		t.Fatal(err)
	}
	var chart map[string]any
	if err := yaml.Unmarshal(content, &chart); err != nil {
		t.Fatal(err)
	}
	var compare func(path string, known, used map[string]any)
	compare = func(path string, known, used map[string]any) {
		for key, value := range used {
			if _, found := known[key]; !found {
				t.Errorf("%s%s is no value of the chart", path, key)
			}
			inner, _ := known[key].(map[string]any)
			if used, is := value.(map[string]any); is && len(inner) > 0 { // an empty one takes anything
				compare(path+key+".", inner, used)
			}
		}
	}
	files, err := filepath.Glob("testdata/*.helm.*.golden")
	if err != nil || len(files) != 10 {
		t.Fatalf("there are %d files: %v", len(files), err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(string(content), "\n---\n")
		var values map[string]any
		if err := yaml.Unmarshal([]byte(text), &values); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		compare(filepath.Base(file)+": ", chart, values)
	}
}
