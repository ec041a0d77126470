package manifests

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

const webhookName = "hyperconverge-webhook" // of the Deployment and of the configuration

// compose builds a folder of the administrator's own, in which PATH stands for the
// project.
func compose(t *testing.T, kustomization string, files map[string]string) []*unstructured.Unstructured {
	t.Helper()
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	project, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	path, err := filepath.Rel(folder, project)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("kustomization.yaml", strings.ReplaceAll(kustomization, "PATH", path))
	for name, content := range files {
		write(name, content)
	}
	return buildFolder(t, folder)
}

// webhookFlags are what the arguments of the webhook's Deployment come to.
type webhookFlags struct {
	schedulerName, certificates string
	replaceAny                  bool
	port                        int
	opsAddress                  string
}

func flagsOfWebhook(t *testing.T, objects []*unstructured.Unstructured) webhookFlags {
	t.Helper()
	var got webhookFlags
	flags := pflag.NewFlagSet(webhookName, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.StringVar(&got.schedulerName, "scheduler-name", "", "")
	flags.StringVar(&got.certificates, "certificates", "self-managed", "")
	flags.BoolVar(&got.replaceAny, "replace-any-scheduler", false, "")
	flags.IntVar(&got.port, "port", 9443, "")
	flags.StringVar(&got.opsAddress, "ops-address", ":8080", "")
	deployment := deploy.Find[appsv1.Deployment](t, objects, "Deployment", webhookName)
	if err := flags.Parse(deployment.Spec.Template.Spec.Containers[0].Args); err != nil {
		t.Fatal(err)
	}
	return got
}

// A pod with a name that nobody serves stays pending for ever. Where the lease is
// that of kube-scheduler, the name has to be one that kube-scheduler serves, too:
// it may be the one that holds the lease.
func TestWebhookGivesANameThatIsServed(t *testing.T) {
	for _, folder := range overlays(t) {
		t.Run(folder, func(t *testing.T) {
			objects := build(t, folder)
			if !slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetName() == webhookName }) {
				t.Skip("there is no webhook")
			}
			given := flagsOfWebhook(t, objects).schedulerName
			if served := profiles(t, objects); !slices.Contains(served, given) {
				t.Errorf("pods get the name %q, and the profiles are %q", given, served)
			}
			if strings.Contains(configuration(t, objects), "resourceName: kube-scheduler") && given != v1.DefaultSchedulerName {
				t.Errorf("pods get the name %q, which kube-scheduler does not serve", given)
			}
		})
	}
}

// On a cluster all of whose nodes the storage operator has tainted, nothing of ours
// may be pending: neither who places pods nor who names them.
func TestPodsRunWhereEveryNodeIsKeptForStorage(t *testing.T) {
	taints := []v1.Taint{
		{Key: "node.portworx.io/px-storage", Value: "true", Effect: v1.TaintEffectNoSchedule},
		{Key: "node.portworx.io/px-storageless", Value: "true", Effect: v1.TaintEffectPreferNoSchedule},
	}
	for _, folder := range overlays(t) {
		t.Run(folder, func(t *testing.T) {
			objects := build(t, folder)
			for _, object := range ofKind(objects, "Deployment") {
				spec := deploy.Find[appsv1.Deployment](t, objects, "Deployment", object.GetName()).Spec.Template.Spec
				for _, taint := range taints {
					if !slices.ContainsFunc(spec.Tolerations, func(toleration v1.Toleration) bool {
						return toleration.ToleratesTaint(logr.Discard(), &taint, false)
					}) {
						t.Errorf("%s does not tolerate %s", object.GetName(), taint.ToString())
					}
				}
			}
		})
	}
}

// Components change the same lists, and stand in any order.
func TestComponentsKeepWhatOthersAdd(t *testing.T) {
	const (
		aks         = "- PATH/manifests/components/aks\n"
		stork       = "- PATH/manifests/components/stork-replacement\n"
		certManager = "- PATH/manifests/webhook/cert-manager\n"
		hostNetwork = "- PATH/manifests/components/webhook-host-network\n"
	)
	want := webhookFlags{schedulerName: "stork", certificates: "files", replaceAny: true, port: 19443, opsAddress: ":19080"}
	for name, components := range map[string]string{
		"cert-manager first": certManager + stork + aks + hostNetwork,
		"cert-manager last":  hostNetwork + aks + stork + certManager,
	} {
		t.Run(name, func(t *testing.T) {
			objects := compose(t, "resources: [PATH/manifests/base]\ncomponents:\n"+components, nil)
			if got := flagsOfWebhook(t, objects); got != want {
				t.Errorf("the flags are %+v, want %+v", got, want)
			}
		})
	}
}

// What is left in the cluster when somebody changes the overlay is named in the
// documents, because applying does not take it away.
func TestWhatStaysBehindIsDocumented(t *testing.T) {
	document := read(t, "docs", "install.md")
	for _, folder := range []string{"webhook", "rebalancer"} {
		if !strings.Contains(document, "kubectl delete -k PATH/manifests/"+folder+" ") {
			t.Errorf("docs/install.md does not say how to take the %s away", folder)
		}
	}
	withWebhook, withRebalancer := map[string]bool{}, map[string]bool{}
	for _, object := range build(t, "manifests/webhook") {
		withWebhook[object.GetKind()+object.GetName()] = true
	}
	for _, object := range build(t, "manifests/rebalancer") {
		withRebalancer[object.GetKind()+object.GetName()] = true
	}
	for name, change := range map[string]struct{ from, to string }{
		"a webhook with certificates of its own, then cert-manager": {
			"resources: [PATH/manifests/base]",
			"resources: [PATH/manifests/base]\ncomponents: [PATH/manifests/webhook/cert-manager]",
		},
		"cert-manager, then certificates of its own": {
			"resources: [PATH/manifests/base]\ncomponents: [PATH/manifests/webhook/cert-manager]",
			"resources: [PATH/manifests/base]",
		},
		"a second scheduler, then the only one": {
			"resources: [PATH/manifests/base]", "resources: [PATH/manifests/overlays/default-scheduler]",
		},
		"the only scheduler, then a second one": {
			"resources: [PATH/manifests/overlays/default-scheduler]", "resources: [PATH/manifests/base]",
		},
		"a webhook, then none": {
			"resources: [PATH/manifests/base]", "resources: [PATH/manifests/overlays/no-webhook]",
		},
		"a rebalancer, then none": {
			"resources: [PATH/manifests/overlays/rebalancer]\ncomponents: [PATH/manifests/components/rebalancer-force-delete]", "resources: [PATH/manifests/base]",
		},
		"gangs, then none": {
			"resources: [PATH/manifests/overlays/gang]", "resources: [PATH/manifests/base]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			stays := map[string]bool{}
			for _, object := range compose(t, change.to, nil) {
				stays[object.GetKind()+object.GetName()] = true
			}
			for _, object := range compose(t, change.from, nil) {
				kind, name := object.GetKind(), object.GetName()
				switch {
				case stays[kind+name] || kind == "ConfigMap":
				case withRebalancer[kind+name] && !stays["Deployment"+rebalancerName]:
				case withWebhook[kind+name] && !stays["Deployment"+webhookName]:
				case !strings.Contains(document, name):
					t.Errorf("%s %s is left, and docs/install.md does not mention it", kind, name)
				}
			}
		})
	}
}

// Folders of one's own that the documents show can be built as they are.
func TestDocumentedFoldersAreBuilt(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	built := 0
	for _, file := range files {
		for i, block := range strings.Split(read(t, "docs", filepath.Base(file)), "```yaml")[1:] {
			block, _, _ = strings.Cut(block, "```")
			if !strings.Contains(block, "PATH/") {
				continue
			}
			built++
			t.Run(filepath.Base(file), func(t *testing.T) {
				config := read(t, "manifests", "overlays", "stork-replacement", "scheduler.yaml")
				objects := compose(t, dedent(block), map[string]string{
					"scheduler.yaml": config + "# mine\n", "rebalancer.yaml": read(t, "manifests", "rebalancer", "rebalancer.yaml"),
				})
				if slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetName() == webhookName }) {
					if given, served := flagsOfWebhook(t, objects).schedulerName, profiles(t, objects); !slices.Contains(served, given) {
						t.Errorf("in block %d pods get the name %q, and the profiles are %q", i, given, served)
					}
				}
				if strings.Contains(block, "scheduler.yaml") && !strings.Contains(configuration(t, objects), "# mine") {
					t.Errorf("block %d does not use the configuration of the folder", i)
				}
			})
		}
	}
	if built == 0 {
		t.Error("no document shows a folder")
	}
}

// dedent takes the indentation of its first line from every line.
func dedent(block string) string {
	block = strings.TrimLeft(block, "\n")
	indentation := block[:len(block)-len(strings.TrimLeft(block, " "))]
	return strings.TrimPrefix(strings.ReplaceAll(block, "\n"+indentation, "\n"), indentation)
}

// read returns a file of the project.
func read(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
