package manifests

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/hyperconverge/scheduler/internal/kubectl/command"
	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

// clustersOfStork are those of the golden files.
const clustersOfStork = "internal/kubectl/migrate/testdata"

// runMigrate runs the command, and returns what it says.
func runMigrate(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var said, complaints bytes.Buffer
	code = command.Run(t.Context(), append([]string{"migrate"}, args...), nil, &said, &complaints)
	return code, said.String(), complaints.String()
}

// What is written for a cluster of Stork's is built by kustomize, applied, and taken by
// the scheduler, which serves the names that the webhook gives.
func TestFoldersOfMigrateWork(t *testing.T) {
	plane := sharedPlane(t)
	files, err := filepath.Glob(filepath.Join(root, clustersOfStork, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no clusters: %v", err)
	}
	for _, file := range files {
		for _, step := range []string{"beside", "take-over"} {
			name := strings.TrimSuffix(filepath.Base(file), ".yaml")
			t.Run(name+" "+step, func(t *testing.T) {
				if _, err := os.Stat(filepath.Join(root, "manifests/components", name)); name == "openshift" && err != nil {
					t.Skip("there is no component for it yet")
				}
				folder := filepath.Join(t.TempDir(), "a", "folder") // that is not there yet
				args := []string{"-f", file, "--output", folder, "--manifests", filepath.Join(root, "manifests")}
				if step == "take-over" {
					args = append(args, "--take-over")
				}
				if code, _, errOut := runMigrate(t, args...); code != 0 {
					t.Fatal(errOut)
				}
				objects := buildFolder(t, folder)
				expectMigrated(t, name, step, objects)
				plane.apply(t, objects)
				storage := openstoragesim.ServerOptions{}
				if text := configuration(t, objects); strings.Contains(text, "tokenFile:") {
					storage = plane.secureStorage(t)
					if !strings.Contains(text, "caFile:") {
						storage.TLS = nil
					}
				}
				c := newCluster(t, plane, 2, storage)
				replica := plane.startReplica(t, objects, podOptions{name: "the scheduler", endpoint: c.Server.Endpoint()})
				replica.awaitReady(t)
				for _, profile := range profiles(t, objects) {
					c.Volume("data-"+profile, "n2")
					c.Create(c.pod(profile, profile, "data-"+profile))
					c.ExpectNode(profile, "n2")
				}
				replica.stop(t)
			})
		}
	}
}

// The folder for kustomize and the values for the chart come to the same objects.
func TestBothFormatsOfMigrateComeToTheSame(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, clustersOfStork, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no clusters: %v", err)
	}
	for _, file := range files {
		for _, step := range [][]string{nil, {"--take-over"}} {
			t.Run(filepath.Base(file)+strings.Join(step, ""), func(t *testing.T) {
				written := func(args ...string) (folder string) {
					folder = t.TempDir()
					args = slices.Concat([]string{"-f", file, "--output", folder, "--tag", "v9.9.9"}, step, args)
					if code, _, errOut := runMigrate(t, args...); code != 0 {
						t.Fatal(errOut)
					}
					return folder
				}
				want := meant(t, buildFolder(t, written("--manifests", filepath.Join(root, "manifests"))))
				delete(want, "Namespace/"+systemNamespace) // Helm makes it itself
				values := filepath.Join(written("--format", "helm"), "values.yaml")
				got := meant(t, objectsOf(t, runHelm(t, "template", "hyperconverge", filepath.Join(root, chartFolder), "--namespace", systemNamespace, "--values", values)))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("the chart differs (-kustomize +helm):\n%s", diff)
				}
			})
		}
	}
}

// The values that docs/migrate-from-stork.md shows come to what its kustomizations come to,
// step by step.
func TestHelmMigratesFromStorkAsKustomizeDoes(t *testing.T) {
	const beside, replacing = "resources: [PATH/manifests/overlays/no-webhook]\n", "resources: [PATH/manifests/overlays/stork-replacement]\n"
	page := read(t, "docs", "migrate-from-stork.md")
	_, patches, _ := strings.Cut(page, "- PATH/manifests/overlays/stork-replacement\n      patches:\n")
	patches, _, _ = strings.Cut(patches, "```")
	want := map[string][]string{ // what is applied, one after the other
		"step 1": {beside},
		"step 4": {replacing},
		"step 7": {replacing + "patches:\n" + patches},
		"back":   {replacing, beside},
	}
	blocks := regexp.MustCompile("(?s) *# values.yaml, ([^\n]*)\n(.*?) *```").FindAllStringSubmatch(page, -1)
	if len(blocks) != len(want) {
		t.Fatalf("there are %d files of values, want %d", len(blocks), len(want))
	}
	for _, block := range blocks {
		t.Run(block[1], func(t *testing.T) {
			cluster := map[string]any{}
			for _, kustomization := range want[block[1]] {
				maps.Copy(cluster, meant(t, compose(t, kustomization, nil)))
			}
			delete(cluster, "Namespace/"+systemNamespace) // Helm makes it itself
			values := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(values, []byte(block[2]), 0o600); err != nil {
				t.Fatal(err)
			}
			got := meant(t, objectsOf(t, runHelm(t, "template", "hyperconverge", filepath.Join(root, chartFolder), "--namespace", systemNamespace, "--values", values)))
			if diff := cmp.Diff(cluster, got); diff != "" {
				t.Errorf("the chart differs (-kustomize +helm):\n%s", diff)
			}
		})
	}
}

// meant are objects without what says nothing: the order of profiles and of flags, and a
// flag that another one of its name comes after.
func meant(t *testing.T, objects []*unstructured.Unstructured) map[string]any {
	t.Helper()
	for _, object := range ofKind(objects, "Deployment") {
		containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
		flags := map[string]any{}
		args, _, _ := unstructured.NestedStringSlice(containers[0].(map[string]any), "args")
		for _, arg := range args {
			name, value, _ := strings.Cut(arg, "=")
			flags[name] = value
		}
		containers[0].(map[string]any)["args"] = flags
		if err := unstructured.SetNestedSlice(object.Object, containers, "spec", "template", "spec", "containers"); err != nil {
			t.Fatal(err)
		}
	}
	byName := normalized(t, objects)
	name := func(profile any) string { return profile.(map[string]any)["schedulerName"].(string) }
	config := byName["ConfigMap/hyperconverge-scheduler-config"].(map[string]any)["data"].(map[string]any)["scheduler.yaml"].(map[string]any)
	slices.SortFunc(config["profiles"].([]any), func(a, b any) int { return strings.Compare(name(a), name(b)) })
	return byName
}

// expectMigrated looks at what came of the settings, in the objects.
func expectMigrated(t *testing.T, name, step string, objects []*unstructured.Unstructured) {
	t.Helper()
	want := []string{schedulerName}
	if step == "take-over" {
		want = append(want, "stork")
	}
	if got := profiles(t, objects); !slices.Equal(got, want) {
		t.Errorf("the profiles are %q, want %q", got, want)
	}
	scheduler := deploy.Find[appsv1.Deployment](t, objects, "Deployment", schedulerName).Spec.Template.Spec
	if name == "tuned" && !slices.ContainsFunc(scheduler.Tolerations, func(t v1.Toleration) bool { return t.Key == "infra/node" && t.Effect == v1.TaintEffectNoExecute }) ||
		!slices.ContainsFunc(scheduler.Tolerations, func(t v1.Toleration) bool { return t.Key == "node.portworx.io/px-storage" }) {
		t.Errorf("the tolerations are %+v", scheduler.Tolerations)
	}
	if affinity := scheduler.Affinity; affinity.PodAntiAffinity == nil || name == "deployments" && affinity.NodeAffinity == nil {
		t.Errorf("the affinity is %+v", affinity)
	}
	hasWebhook := slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetName() == webhookName })
	if wanted := step == "take-over" && name != "openshift"; hasWebhook != wanted {
		t.Fatalf("there is a webhook: %t", hasWebhook)
	}
	if hasWebhook {
		want := webhookFlags{schedulerName: "stork", certificates: "self-managed", replaceAny: name != "tuned", port: 9443, opsAddress: ":8080"}
		if got := flagsOfWebhook(t, objects); got != want {
			t.Errorf("the webhook's flags are %+v, want %+v", got, want)
		}
	}
}

// Read from a cluster, with the rights that docs/kubectl.md asks for and no others.
func TestMigrateReadsTheCluster(t *testing.T) {
	plane := sharedPlane(t)
	c := newCluster(t, plane, 1, openstoragesim.ServerOptions{})
	c.account("administrator")
	asAdministrator, asStranger := plane.As(t, c.Namespace, "administrator"), c.account("stranger")
	stranger := rest.AnonymousClientConfig(plane.Config)
	stranger.BearerToken = asStranger
	plane.apply(t, documentedRole(t))
	_, err := plane.Client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: c.Namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "hyperconverge:migrate"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: c.Namespace, Name: "administrator"}},
	}, metav1.CreateOptions{})
	c.Must(err)
	run := func(as *rest.Config, args ...string) (int, string, string) {
		return runMigrate(t, append(args, "--kubeconfig", controlplane.Kubeconfig(t, as))...)
	}
	expect := func(code int, out, says, text string, args ...string) {
		t.Helper()
		if code != 0 || !strings.Contains(strings.Join(strings.Fields(out), " "), says) {
			t.Errorf("%v ends with %d: %s\n%s", args, code, text, out)
		}
	}

	code, out, errOut := run(stranger)
	if code != 1 || out != "" || !strings.Contains(errOut, "you may not list storageclusters.core.libopenstorage.org in all namespaces, name one by -n (docs/kubectl.md has the rights)") {
		t.Errorf("who has no rights gets %d, %q and is told %q", code, out, errOut)
	}
	code, _, errOut = run(asAdministrator)
	if code != 1 || !strings.Contains(errOut, "there is neither a StorageCluster nor a Deployment stork or stork-scheduler in the namespaces [kube-system portworx]: name the namespace by -n, or give files by -f") {
		t.Errorf("where nothing is it ends with %d and says %q", code, errOut)
	}

	plane.apply(t, readObjects(t, filepath.Join(root, clustersOfStork, "deployments.yaml")))
	code, out, errOut = run(asAdministrator)
	expect(code, out, "from the Deployment kube-system/stork.", errOut)
	expect(code, out, "weight: 70", errOut) // which stands in the ConfigMap

	plane.apply(t, []*unstructured.Unstructured{storageClusterDefinition()})
	for _, namespace := range []string{"portworx", "storage"} {
		if _, err := plane.Client.CoreV1().Namespaces().Create(t.Context(), &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	plane.apply(t, readObjects(t, filepath.Join(root, clustersOfStork, "aks-secured.yaml")))
	code, out, errOut = run(asAdministrator)
	expect(code, out, "from StorageCluster portworx/px-aks.", errOut)

	second := readObjects(t, filepath.Join(root, clustersOfStork, "aks-secured.yaml"))
	second[0].SetNamespace("storage")
	plane.apply(t, second)
	if code, _, errOut = run(asAdministrator); code != 1 || !strings.Contains(errOut, "there are 2 StorageClusters: portworx/px-aks, storage/px-aks; name the namespace of one by -n") {
		t.Errorf("with two it ends with %d and says %q", code, errOut)
	}
	code, out, errOut = run(asAdministrator, "-n", "storage")
	expect(code, out, "endpoint: portworx-api.storage.svc:9020", errOut)
}

// documentedRole is the ClusterRole of docs/kubectl.md.
func documentedRole(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	for _, block := range strings.Split(read(t, "docs", "kubectl.md"), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		if strings.Contains(block, "hyperconverge:migrate") {
			role := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(block), &role.Object); err != nil {
				t.Fatal(err)
			}
			return []*unstructured.Unstructured{role}
		}
	}
	t.Fatal("docs/kubectl.md has no role for migrate")
	return nil
}

// storageClusterDefinition is as much of the operator's as is needed to keep an object.
func storageClusterDefinition() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "storageclusters.core.libopenstorage.org"},
		"spec": map[string]any{
			"group": "core.libopenstorage.org", "scope": "Namespaced",
			"names": map[string]any{"kind": "StorageCluster", "plural": "storageclusters", "singular": "storagecluster", "listKind": "StorageClusterList"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true, "schema": map[string]any{
				"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
		},
	}}
}
