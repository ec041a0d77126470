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
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/yaml"

	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// chartFolder is the Helm chart. The values in its folder ci are examples of everything
// that can be chosen.
const chartFolder = "charts/hyperconverge"

// helm is the path of Helm's own binary.
var helm = sync.OnceValues(func() (string, error) {
	path, err := filepath.Abs(filepath.Join(root, "bin", "tools", "helm"))
	if err != nil {
		return "", err
	}
	if output, err := goTool("helm", "build", "-o", path, "helm.sh/helm/v4/cmd/helm").CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling helm: %w: %s", err, output)
	}
	return path, nil
})

// goTool is a go command in a folder of hack that has a go.mod of its own. The flags of a minor
// of Kubernetes are for the main one.
func goTool(folder string, args ...string) *exec.Cmd {
	command := exec.Command("go", append([]string{"-C", filepath.Join(root, "hack", folder)}, args...)...)
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	return command
}

// runHelm returns what Helm prints, and fails if it fails.
func runHelm(t *testing.T, args ...string) string {
	t.Helper()
	output, err := tryHelm(t, args...)
	if err != nil {
		t.Fatalf("helm %s: %v: %s", strings.Join(args, " "), err, output)
	}
	return output
}

func tryHelm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	binary, err := helm()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), binary, args...)
	// Nothing of whoever runs the tests.
	command.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_DATA_HOME="+t.TempDir())
	output, err := command.CombinedOutput()
	return string(output), err
}

// chosenValues are the files of the chart's folder ci.
func chosenValues(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, chartFolder, "ci", "*-values.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no values: %v", err)
	}
	for i := range files {
		files[i] = strings.TrimSuffix(filepath.Base(files[i]), "-values.yaml")
	}
	return files
}

func valuesFile(choice string) string {
	return filepath.Join(root, chartFolder, "ci", choice+"-values.yaml")
}

// render is what Helm makes of the chart with the values of a choice.
func render(t *testing.T, choice string, args ...string) []*unstructured.Unstructured {
	t.Helper()
	text := runHelm(t, append([]string{
		"template", "hyperconverge", filepath.Join(root, chartFolder), "--namespace", systemNamespace, "--values", valuesFile(choice),
	}, args...)...)
	return objectsOf(t, text)
}

func objectsOf(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq("\n"+text, "\n---\n") {
		document += "\n" // which ends a text block
		object := &unstructured.Unstructured{}
		content, err := yaml.YAMLToJSON([]byte(document))
		if err != nil {
			t.Fatalf("%v: %s", err, document)
		}
		if string(content) == "null" {
			continue
		}
		if err := object.UnmarshalJSON(content); err != nil {
			t.Fatalf("%v: %s", err, document)
		}
		objects = append(objects, object)
	}
	return objects
}

// TestChartIsWhatTheKustomizationsAre compares both, object by object.
func TestChartIsWhatTheKustomizationsAre(t *testing.T) {
	const withoutWebhook = "resources: [PATH/manifests/overlays/no-webhook"
	kustomizations := map[string]string{
		"defaults":             "resources: [PATH/manifests/base]",
		"aks":                  "resources: [PATH/manifests/overlays/aks]",
		"default-scheduler":    "resources: [PATH/manifests/overlays/default-scheduler]",
		"gang":                 "resources: [PATH/manifests/overlays/gang]",
		"no-webhook":           withoutWebhook + "]",
		"secure-storage":       "resources: [PATH/manifests/overlays/secure-storage]",
		"storage-token":        storageComponent("storage-token"),
		"storage-tls":          storageComponent("storage-tls"),
		"azure":                "resources: [PATH/manifests/base, PATH/manifests/monitoring/azure]",
		"scrape":               "resources: [PATH/manifests/base, PATH/manifests/monitoring/base]",
		"stork-replacement":    "resources: [PATH/manifests/overlays/stork-replacement]",
		"cert-manager":         "resources: [PATH/manifests/base]\ncomponents: [PATH/manifests/webhook/cert-manager]",
		"policy":               withoutWebhook + ", PATH/manifests/webhook/policy]",
		"monitoring":           "resources: [PATH/manifests/base, PATH/manifests/monitoring, PATH/manifests/monitoring/base]",
		"openshift":            "resources: [PATH/manifests/overlays/openshift]",
		"rebalancer":           "resources: [PATH/manifests/overlays/rebalancer]",
		"webhook-host-network": "resources: [PATH/manifests/overlays/webhook-host-network]",
		"everything":           everything,
		"pinned":               pinned,
	}
	for _, choice := range chosenValues(t) {
		t.Run(choice, func(t *testing.T) {
			kustomization, found := kustomizations[choice]
			if !found {
				t.Fatal("nobody says which kustomization comes to the same")
			}
			files := map[string]string{}
			switch choice {
			case "everything":
				files["scheduler.yaml"], files["rebalancer.yaml"] = everythingConfiguration, everythingRebalanced
			case "storage-token":
				files["scheduler.yaml"] = baseWith(t, "tokenFile: /var/run/secrets/openstorage/auth-token", "allowPlaintextToken: true")
			case "storage-tls":
				files["scheduler.yaml"] = baseWith(t, "tls: {enabled: true, caFile: /etc/openstorage/ca.crt}")
			}
			want := normalized(t, compose(t, kustomization, files))
			delete(want, "Namespace/"+systemNamespace) // Helm makes it itself
			got := render(t, choice)
			// The hashes in their names are not compared.
			for _, deployment := range deploymentsOf(t, got) {
				for _, volume := range deployment.Spec.Template.Spec.Volumes {
					if volume.ConfigMap != nil && configName.MatchString(volume.ConfigMap.Name) && !slices.ContainsFunc(got, func(o *unstructured.Unstructured) bool {
						return o.GetKind() == "ConfigMap" && o.GetName() == volume.ConfigMap.Name
					}) {
						t.Errorf("%s mounts the configuration %s, which is not there", deployment.Name, volume.ConfigMap.Name)
					}
				}
			}
			if diff := cmp.Diff(want, normalized(t, got)); diff != "" {
				t.Errorf("the chart differs (-kustomize +helm):\n%s", diff)
			}
		})
	}
}

// From Kubernetes 1.36 on the policies have the version v1, which the API server of these
// tests does not know.
func TestPoliciesHaveTheVersionOfTheCluster(t *testing.T) {
	const v1 = "admissionregistration.k8s.io/v1"
	want := compose(t, "resources: [PATH/manifests/webhook/policy]", nil)
	for _, object := range want {
		object.SetAPIVersion(v1)
	}
	if diff := cmp.Diff(normalized(t, want), normalized(t, compose(t, "resources: [PATH/manifests/webhook/policy-v1]", nil))); diff != "" {
		t.Errorf("the folder v1 differs (-want +got):\n%s", diff)
	}
	// A cluster says which versions it serves; without one, there is only its own.
	for _, flags := range [][]string{{"--api-versions", v1 + "/MutatingAdmissionPolicy"}, {"--kube-version", "1.36"}, {"--kube-version", "v1.36.2-gke.100"}} {
		got := ofKind(render(t, "policy", flags...), "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")
		if diff := cmp.Diff(normalized(t, want), normalized(t, got)); diff != "" {
			t.Errorf("with %q the chart differs (-want +got):\n%s", flags, diff)
		}
	}
}

// storageComponent is the base with one of the components of a secured storage API, and a
// configuration of its own.
func storageComponent(name string) string {
	return "resources: [PATH/manifests/base]\ncomponents: [PATH/manifests/components/" + name + "]" + `
configMapGenerator:
- {name: hyperconverge-scheduler-config, namespace: hyperconverge-system, behavior: replace, files: [scheduler.yaml]}
`
}

// baseWith is the configuration of the base with more fields of openStorage.
func baseWith(t *testing.T, fields ...string) string {
	t.Helper()
	const endpoint = "endpoint: portworx-api.portworx.svc:9020\n"
	before, after, found := strings.Cut(read(t, "manifests/base/scheduler", "scheduler.yaml"), endpoint)
	if !found {
		t.Fatalf("the base does not say %s", endpoint)
	}
	return before + endpoint + "        " + strings.Join(fields, "\n        ") + "\n" + after
}

// everything is what the values of that name come to.
const everything = `
resources: [PATH/manifests/base, PATH/manifests/rebalancer, PATH/manifests/monitoring, PATH/manifests/monitoring/base]
components:
- PATH/manifests/components/rebalancer-force-delete
- PATH/manifests/components/secure-storage
- PATH/manifests/components/gang
- PATH/manifests/components/stork-replacement
- PATH/manifests/webhook/cert-manager
- PATH/manifests/components/aks
images:
- {name: hyperconverge-scheduler, newName: REGISTRY/hyperconverge/hyperconverge-scheduler, newTag: v9.9.9}
- {name: hyperconverge-webhook, newName: REGISTRY/hyperconverge/hyperconverge-webhook, newTag: v9.9.9}
- {name: hyperconverge-rebalancer, newName: REGISTRY/hyperconverge/hyperconverge-rebalancer, newTag: v9.9.9}
replicas:
- {name: hyperconverge-scheduler, count: 3}
- {name: hyperconverge-webhook, count: 4}
- {name: hyperconverge-rebalancer, count: 1}
configMapGenerator:
- name: hyperconverge-scheduler-config
  namespace: hyperconverge-system
  behavior: replace
  files: [scheduler.yaml]
- name: hyperconverge-rebalancer-config
  namespace: hyperconverge-system
  behavior: replace
  files: [rebalancer.yaml]
patches:
- target: {kind: Deployment}
  patch: |-
    - {op: replace, path: /spec/template/spec/containers/0/imagePullPolicy, value: Always}
    - {op: add, path: /spec/template/spec/imagePullSecrets, value: [{name: pull}]}
    - {op: add, path: /spec/template/spec/tolerations/-, value: {key: mine, operator: Exists, effect: NoSchedule}}
    - op: replace
      path: /spec/template/spec/affinity/nodeAffinity
      value: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: mine, operator: Exists}]}]}}
- target: {kind: Deployment, name: hyperconverge-scheduler}
  patch: |-
    - {op: replace, path: /spec/template/spec/containers/0/args/2, value: --v=4}
    - {op: add, path: /spec/template/spec/containers/0/args/-, value: --kube-api-content-type=application/json}
    - op: replace
      path: /spec/template/spec/containers/0/resources
      value: {requests: {cpu: "1", memory: 1Gi}, limits: {cpu: "2", memory: 4Gi}}
- target: {kind: Deployment, name: hyperconverge-webhook}
  patch: |-
    - {op: replace, path: /spec/template/spec/containers/0/args/0, value: --scheduler-name=near}
    - {op: add, path: /spec/template/spec/containers/0/args/1, value: --own-scheduler-names=hyperconverge-scheduler}
    - {op: add, path: /spec/template/spec/containers/0/args/-, value: --enable-fsgroup-optimization}
    - op: replace
      path: /spec/template/spec/containers/0/resources
      value: {requests: {cpu: 100m, memory: 128Mi}, limits: {cpu: "1", memory: 512Mi}}
- target: {kind: Deployment, name: hyperconverge-rebalancer}
  patch: |-
    - {op: add, path: /spec/template/spec/containers/0/args/-, value: --v=4}
    - op: replace
      path: /spec/template/spec/containers/0/resources
      value: {requests: {cpu: 200m, memory: 512Mi}, limits: {cpu: "1", memory: 2Gi}}
- target: {kind: NetworkPolicy}
  patch: |-
    - {op: add, path: /spec/egress/1/ports/-, value: {protocol: TCP, port: 16443}}
- target: {kind: NetworkPolicy, name: hyperconverge-(scheduler|rebalancer)}
  patch: |-
    - {op: add, path: /spec/egress/1/ports/-, value: {protocol: TCP, port: 17017}}
- target: {kind: ClusterRoleBinding|RoleBinding, name: hyperconverge-metrics-reader}
  patch: |-
    - {op: replace, path: /subjects/0/name, value: prometheus}
    - {op: replace, path: /subjects/0/namespace, value: watch}
`

// pinned is what the values of that name come to.
const pinned = `
resources: [PATH/manifests/base, PATH/manifests/rebalancer]
components: [PATH/manifests/components/webhook-host-network]
images:
- {name: hyperconverge-scheduler, digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}
- {name: hyperconverge-webhook, digest: sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210}
- {name: hyperconverge-rebalancer, digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}
patches:
- patch: |-
    $patch: delete
    apiVersion: v1
    kind: ResourceQuota
    metadata: {name: hyperconverge-priority, namespace: hyperconverge-system}
- target: {kind: Deployment, name: hyperconverge-webhook}
  patch: |-
    - {op: replace, path: /spec/template/spec/containers/0/args/1, value: --port=29443}
    - {op: replace, path: /spec/template/spec/containers/0/args/2, value: "--ops-address=:29080"}
    - op: replace
      path: /spec/template/spec/containers/0/ports
      value:
      - {name: admission, containerPort: 29443, hostPort: 29443}
      - {name: ops, containerPort: 29080, hostPort: 29080}
`

const everythingRebalanced = `
apiVersion: hyperconverge.dev/v1
kind: RebalancerConfiguration
dryRun: false
optIn: all
minAge: 1h
budgets: {maxPerHour: 5}
rescue: {enabled: true, forceDelete: true, after: 5m}
`

const everythingConfiguration = `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: true, resourceName: hyperconverge-scheduler, resourceNamespace: hyperconverge-system}
clientConnection: {qps: 50, burst: 100}
enableProfiling: false
enableContentionProfiling: false
profiles:
- &profile
  schedulerName: near
  plugins:
    multiPoint: {enabled: [{name: Hyperconverge, weight: 5}, {name: Coscheduling}]}
    queueSort: {enabled: [{name: Coscheduling}], disabled: [{name: "*"}]}
  pluginConfig:
  - {name: Coscheduling, args: {permitWaitingTimeSeconds: 60}}
  - name: Hyperconverge
    args:
      preference: Score
      openStorage:
        endpoint: storage.example.svc:9020
        nodePollInterval: 30s
        tokenFile: /var/run/secrets/openstorage/auth-token
        tls: {enabled: true, caFile: /etc/openstorage/ca.crt, serverName: storage.example}
      topologyKeys:
        region: [topology.kubernetes.io/region]
        zone: [topology.kubernetes.io/zone]
        rack: [px/rack]
- {<<: *profile, schedulerName: hyperconverge-scheduler}
- {<<: *profile, schedulerName: stork}
`

// configName are the names of configurations, which end in a hash.
var configName = regexp.MustCompile(`(hyperconverge-(?:scheduler|rebalancer)-config)-[0-9a-z]+`)

// normalized are the objects by kind and name, without what may differ: the hash in the
// name of the configuration, its comments, and the labels of Helm.
func normalized(t *testing.T, objects []*unstructured.Unstructured) map[string]any {
	t.Helper()
	byName := map[string]any{}
	for _, object := range objects {
		object := object.DeepCopy()
		labels := object.GetLabels()
		delete(labels, "app.kubernetes.io/managed-by")
		delete(labels, "helm.sh/chart")
		object.SetLabels(labels)
		content, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		content = configName.ReplaceAll(content, []byte("$1"))
		var fields map[string]any
		if err := json.Unmarshal(content, &fields); err != nil {
			t.Fatal(err)
		}
		data, _ := fields["data"].(map[string]any)
		for _, file := range []string{"scheduler.yaml", "rebalancer.yaml"} {
			if text, is := data[file].(string); is {
				var parsed any
				if err := yaml.Unmarshal([]byte(text), &parsed); err != nil {
					t.Fatal(err)
				}
				data[file] = parsed
			}
		}
		name, _, _ := unstructured.NestedString(fields, "metadata", "name")
		byName[object.GetKind()+"/"+name] = fields
	}
	return byName
}

// A release in another namespace is the same, there.
func TestChartGoesIntoAnyNamespace(t *testing.T) {
	for _, choice := range chosenValues(t) {
		t.Run(choice, func(t *testing.T) {
			there := func(namespace string) string {
				return runHelm(t, "template", "hyperconverge", filepath.Join(root, chartFolder), "--namespace", namespace, "--values", valuesFile(choice))
			}
			const other = "other-place"
			text := there(other)
			if strings.Contains(text, systemNamespace) {
				t.Errorf("%s is named in it", systemNamespace)
			}
			for _, quota := range ofKind(objectsOf(t, text), "ResourceQuota") {
				if !strings.Contains(read(t, "docs", "install.md"), "`"+quota.GetName()+"`") {
					t.Errorf("docs/install.md does not know the quota %s", quota.GetName())
				}
			}
			want, got := normalized(t, objectsOf(t, there(systemNamespace))), normalized(t, objectsOf(t, strings.ReplaceAll(text, other, systemNamespace)))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if text := there("123"); regexp.MustCompile(`(?m)[:-] 123$`).MatchString(text) {
				t.Error("a namespace of digits is a number")
			}
		})
	}
}

// What is wrong with values is said with their path.
func TestWrongValuesAreRefused(t *testing.T) {
	for values, want := range map[string]string{
		"webhok.mode=off":          "additional properties 'webhok' not allowed",
		"storage.tls.on=true":      "at '/storage/tls': additional properties 'on' not allowed",
		"webhook.mode=on":          "at '/webhook/mode'",
		"aks.enabled=1":            "at '/aks/enabled': got number, want boolean",
		"scheduler.replicas=0":     "at '/scheduler/replicas'",
		"weight=101":               "at '/weight'",
		"storagePorts={99999}":     "at '/storagePorts/0'",
		"webhook.extraArgs={-v}":   "at '/webhook/extraArgs/0'",
		"rebalancer.dryrun=false":  "at '/rebalancer': additional properties 'dryrun' not allowed",
		"rebalancer.optIn=some":    "at '/rebalancer/optIn'",
		"monitoring.by=prometheus": "at '/monitoring/by'",
		"webhook.mode=policy,defaultScheduler.enabled=true":           "webhook.mode: ",
		"openshift.enabled=true,webhook.hostNetwork=true":             "webhook.hostNetwork: ",
		"openshift.enabled=true,aks.enabled=true":                     "openshift.enabled: ",
		"rebalancer.settings.dryRun=false":                            "rebalancer.settings.dryRun: set rebalancer.dryRun instead",
		"rebalancer.settings.optIn=all":                               "rebalancer.settings.optIn: set rebalancer.optIn instead",
		"rebalancer.settings.rescue.enabled=true":                     "rebalancer.settings.rescue.enabled: set rebalancer.rescue.enabled instead",
		"rebalancer.settings.rescue.forceDelete=true":                 "rebalancer.settings.rescue.forceDelete: set rebalancer.rescue.forceDelete instead",
		"rebalancer.settings.rescue=true":                             "at '/rebalancer/settings/rescue': got boolean, want object",
		"rebalancer.rescue.forceDelete=true":                          "rebalancer.rescue.forceDelete: needs rebalancer.rescue.enabled",
		"rebalancer.rescue.enabled=true":                              "rebalancer.rescue.enabled: needs rebalancer.enabled",
		"storage.tls.serverName=storage.example":                      "storage.tls.serverName: needs storage.tls.enabled",
		"image.registry=https://registry.example":                     "at '/image/registry': 'https://registry.example' does not match",
		"webhook.hostNetwork=true,webhook.hostPorts.ops=19443":        "webhook.hostPorts.ops: ",
		"webhook.hostPorts.ops=80":                                    "at '/webhook/hostPorts/ops'",
		"image.digests.webhook=v1":                                    "at '/image/digests/webhook'",
		"profiles=null":                                               "at '': missing property 'profiles'",
		"storage.tls.enabled=null":                                    "at '/storage/tls': missing property 'enabled'",
		"storage.endpoint=":                                           "at '/storage/endpoint': '' does not match",
		"profiles={default-scheduler}":                                "profiles: default-scheduler is served by kube-scheduler",
		"defaultScheduler.enabled=true,aks.enabled=true":              "aks.enabled: ",
		"gang.enabled=true,image.tag=v1.2.3-kubernetes1.37":           "gang.enabled: the build for Kubernetes 1.37 has no Coscheduling",
		"defaultScheduler.enabled=true,openshift.enabled=true":        "openshift.enabled: OpenShift keeps its own scheduler",
		"webhook.mode=policy,storkReplacement.enabled=true":           "webhook.mode: the policies would give pods another name than stork",
		"webhook.mode=policy,webhook.hostNetwork=true":                "webhook.hostNetwork: there is no webhook",
		"defaultScheduler.enabled=true,storkReplacement.enabled=true": "storkReplacement.enabled: ",
	} {
		t.Run(values, func(t *testing.T) {
			output, err := tryHelm(t, "template", filepath.Join(root, chartFolder), "--set", values)
			if err == nil || !strings.Contains(output, want) {
				t.Errorf("helm says %q (%v), want %q", output, err, want)
			}
		})
	}
}

func TestChartHasNoLint(t *testing.T) {
	for _, choice := range chosenValues(t) {
		runHelm(t, "lint", "--strict", filepath.Join(root, chartFolder), "--values", valuesFile(choice))
	}
}

// Who forgets --namespace gets default, whose pods our webhook has to leave out.
func TestNotesWarnOfTheNamespaceDefault(t *testing.T) {
	for namespace, want := range map[string]bool{"default": true, systemNamespace: false} {
		notes := runHelm(t, "install", "hyperconverge", filepath.Join(root, chartFolder), "--namespace", namespace, "--dry-run=client")
		if got := strings.Contains(notes, "helm uninstall hyperconverge -n default"); got != want {
			t.Errorf("in %s it warns: %t; it says %s", namespace, got, notes[strings.Index(notes, "NOTES:"):])
		}
	}
}

// TestReleaseLeavesNothingBehind has Helm install, upgrade, roll back and uninstall.
func TestReleaseLeavesNothingBehind(t *testing.T) {
	plane := sharedPlane(t)
	plane.apply(t, foreignDefinitions(t))
	plane.apply(t, ofKind(build(t, "manifests/base"), "Namespace"))
	kubeconfig := controlplane.Kubeconfig(t, plane.Config)
	release := func(t *testing.T, args ...string) string {
		t.Helper()
		return runHelm(t, append(args, "--kubeconfig", kubeconfig, "--namespace", systemNamespace)...)
	}
	chart := anyVersion(t)
	leases := plane.Client.CoordinationV1().Leases(systemNamespace)
	forget := func(t *testing.T) {
		t.Helper()
		if err := leases.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	forget(t)
	before := inventory(t, plane)
	_, documented, _ := strings.Cut(read(t, "docs", "install.md"), "\n## Take everything away\n")
	documented, _, _ = strings.Cut(documented, "\n## ")
	for _, choice := range chosenValues(t) {
		t.Run(choice, func(t *testing.T) {
			installed := release(t, "install", "hc", chart, "--values", valuesFile(choice))
			plane.disarm(t) // nothing of ours runs here
			if !strings.Contains(installed, "See that it works") {
				t.Errorf("Helm prints no notes: %s", installed)
			}
			remains := slices.Clone(before)
			for _, object := range madeLater(t, render(t, choice)) {
				_, name, _ := strings.Cut(object, "/")
				if !strings.Contains(documented, "`"+name+"`") {
					t.Errorf("docs/install.md does not say that %s is left", object)
				}
				if strings.HasPrefix(object, "leases/") { // cert-manager does not run here
					_, err := leases.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
					if err != nil {
						t.Fatal(err)
					}
					remains = append(remains, "leases/"+systemNamespace+"/"+name)
				}
			}
			slices.Sort(remains)
			first := inventory(t, plane)
			if slices.Equal(before, first) {
				t.Error("the installation changed nothing")
			}
			release(t, "upgrade", "hc", chart, "--values", valuesFile("everything"), "--set", "monitoring.enabled=false")
			plane.disarm(t)
			if second := inventory(t, plane); slices.Equal(first, second) {
				t.Error("the upgrade changed nothing")
			}
			release(t, "rollback", "hc", "1")
			plane.disarm(t)
			expectInventory(t, plane, "the rollback brings back what was", first)
			release(t, "uninstall", "hc")
			expectInventory(t, plane, "left is what docs/install.md says, all of it and nothing else", remains)
			forget(t)
			secrets, err := plane.Client.CoreV1().Secrets(systemNamespace).List(t.Context(), metav1.ListOptions{})
			if err != nil || len(secrets.Items) > 0 {
				t.Errorf("%d secrets are left (%v)", len(secrets.Items), err)
			}
		})
	}
}

// madeLater are the leases that our programs make, and the secrets that cert-manager does.
func madeLater(t *testing.T, objects []*unstructured.Unstructured) []string {
	t.Helper()
	var made []string
	for _, object := range ofKind(objects, "Role") {
		var role rbacv1.Role
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role); err != nil {
			t.Fatal(err)
		}
		for _, rule := range role.Rules {
			if role.Namespace == systemNamespace && slices.Contains(rule.Resources, "leases") && slices.Contains(rule.Verbs, "update") {
				for _, name := range rule.ResourceNames {
					made = append(made, "leases/"+name)
				}
			}
		}
	}
	for _, certificate := range ofKind(objects, "Certificate") {
		name, _, _ := unstructured.NestedString(certificate.Object, "spec", "secretName")
		made = append(made, "secrets/"+name)
	}
	return made
}

// anyVersion is the chart for the API server of the tests, which was compiled without a
// version.
func anyVersion(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(root, chartFolder))); err != nil {
		t.Fatal(err)
	}
	const condition = "kubeVersion: \">=1.35.0-0\"\n"
	before, after, found := strings.Cut(read(t, chartFolder, "Chart.yaml"), condition)
	if !found {
		t.Fatalf("the chart does not say %s", condition)
	}
	if err := os.WriteFile(filepath.Join(folder, "Chart.yaml"), []byte(before+after), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// expectInventory waits, because definitions go some time after they have been deleted.
func expectInventory(t *testing.T, plane *controlPlane, what string, want []string) {
	t.Helper()
	kit.Eventually(t, kit.Patience, what, func() error {
		if diff := cmp.Diff(want, inventory(t, plane)); diff != "" {
			return fmt.Errorf("it differs (-want +got):\n%s", diff)
		}
		return nil
	})
}

// foreignDefinitions are those of monitoring and of cert-manager.
func foreignDefinitions(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	found := definitions(t)
	folder := filepath.Join(moduleFolder(t, "github.com/cert-manager/cert-manager"), "deploy", "crds")
	for _, kind := range []string{"certificates", "issuers"} {
		found = append(found, readObjects(t, filepath.Join(folder, "cert-manager.io_"+kind+".yaml"))...)
	}
	return found
}

// moduleFolder is where a module is that hack/go.mod pins.
func moduleFolder(t *testing.T, module string) string {
	t.Helper()
	output, err := goTool("", "mod", "download", "-json", module).Output()
	if err != nil {
		t.Fatalf("finding %s: %v: %s", module, err, output)
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(output, &found); err != nil {
		t.Fatal(err)
	}
	return found.Dir
}

// inventory is everything in the cluster but what changes by itself.
func inventory(t *testing.T, plane *controlPlane) []string {
	t.Helper()
	client, err := discovery.NewDiscoveryClientForConfig(plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	lists, err := client.ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	var objects []string
	for _, list := range lists {
		for _, resource := range list.APIResources {
			if !slices.Contains(resource.Verbs, "list") || slices.Contains([]string{"events", "apiservices", "flowschemas", "prioritylevelconfigurations"}, resource.Name) {
				continue
			}
			kind := &unstructured.Unstructured{}
			kind.SetAPIVersion(list.GroupVersion)
			kind.SetKind(resource.Kind)
			kind.SetNamespace(metav1.NamespaceAll)
			mapping, err := plane.Mapper.RESTMapping(kind.GroupVersionKind().GroupKind(), kind.GroupVersionKind().Version)
			if err != nil {
				continue // a definition that has just gone
			}
			found, err := plane.Dynamic.Resource(mapping.Resource).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				continue
			}
			for _, object := range found.Items {
				if strings.HasPrefix(object.GetName(), "sh.helm.release.") || resource.Name == "leases" && object.GetNamespace() != systemNamespace {
					continue // what Helm itself remembers, until the end, and what API servers renew
				}
				objects = append(objects, resource.Name+"/"+object.GetNamespace()+"/"+object.GetName())
			}
		}
	}
	slices.Sort(objects)
	return objects
}
