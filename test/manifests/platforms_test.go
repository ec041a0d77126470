package manifests

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

// deploymentsOf are the Deployments among the objects.
func deploymentsOf(t *testing.T, objects []*unstructured.Unstructured) []*appsv1.Deployment {
	t.Helper()
	var found []*appsv1.Deployment
	for _, object := range ofKind(objects, "Deployment") {
		found = append(found, deploy.Find[appsv1.Deployment](t, objects, "Deployment", object.GetName()))
	}
	if len(found) == 0 {
		t.Fatal("nothing runs")
	}
	return found
}

// In a cluster with Windows nodes nothing of ours may come onto them.
func TestPodsRunOnLinux(t *testing.T) {
	for _, folder := range overlays(t) {
		for _, deployment := range deploymentsOf(t, build(t, folder)) {
			if got := deployment.Spec.Template.Spec.NodeSelector[v1.LabelOSStable]; got != string(v1.Linux) {
				t.Errorf("%s: pods of %s may come onto nodes of the system %q", folder, deployment.Name, got)
			}
		}
	}
}

// The SCC restricted-v2 refuses pods that choose their ids.
func TestOpenShiftChoosesTheIDs(t *testing.T) {
	for name, components := range map[string]string{
		"alone":               "",
		"with secure storage": "- PATH/manifests/components/secure-storage\n",
		"with cert-manager":   "- PATH/manifests/webhook/cert-manager\n",
	} {
		t.Run(name, func(t *testing.T) {
			objects := compose(t, "resources: [PATH/manifests/base, PATH/manifests/rebalancer]\ncomponents:\n- PATH/manifests/components/openshift\n"+components, nil)
			for _, deployment := range deploymentsOf(t, objects) {
				pod := deployment.Spec.Template.Spec.SecurityContext
				if pod.RunAsUser != nil || pod.RunAsGroup != nil || pod.FSGroup != nil {
					t.Errorf("%s chooses ids: %+v", deployment.Name, pod)
				}
				if !ptr.Deref(pod.RunAsNonRoot, false) {
					t.Errorf("%s may run as root", deployment.Name)
				}
				for _, container := range deployment.Spec.Template.Spec.Containers {
					if container.SecurityContext.RunAsUser != nil || container.SecurityContext.RunAsGroup != nil {
						t.Errorf("%s chooses ids for %s", deployment.Name, container.Name)
					}
				}
			}
		})
	}
}

func TestOpenShiftPortsAreOpen(t *testing.T) {
	objects := compose(t, "resources: [PATH/manifests/base, PATH/manifests/rebalancer]\ncomponents: [PATH/manifests/components/openshift]", nil)
	for policy, want := range map[string][]string{
		schedulerName:  {"UDP 5353", "TCP 5353", "TCP 17017", "TCP 9020", "TCP 6443"},
		rebalancerName: {"UDP 5353", "TCP 5353", "TCP 17017", "TCP 9020", "TCP 6443"},
		webhookName:    {"UDP 5353", "TCP 5353", "TCP 6443"},
	} {
		var open []string
		for _, rule := range deploy.Find[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy", policy).Spec.Egress {
			for _, port := range rule.Ports {
				open = append(open, fmt.Sprint(*port.Protocol, " ", port.Port))
			}
		}
		for _, port := range want {
			if !slices.Contains(open, port) {
				t.Errorf("%s does not open %s, but %v", policy, port, open)
			}
		}
	}
}

// Where the webhook's flags have it listen is where the Service and the probes look.
func TestWebhookListensOnItsPorts(t *testing.T) {
	for _, folder := range overlays(t) {
		t.Run(folder, func(t *testing.T) {
			objects := build(t, folder)
			if !slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetName() == webhookName }) {
				t.Skip("there is no webhook")
			}
			flags := flagsOfWebhook(t, objects)
			spec := deploy.Find[appsv1.Deployment](t, objects, "Deployment", webhookName).Spec.Template.Spec
			got := map[string]string{}
			for _, port := range spec.Containers[0].Ports {
				got[port.Name] = fmt.Sprint(":", port.ContainerPort)
				if spec.HostNetwork && port.HostPort != port.ContainerPort {
					t.Errorf("the port %s is not one of the node's", port.Name)
				}
			}
			if got["admission"] != fmt.Sprint(":", flags.port) || got["ops"] != flags.opsAddress {
				t.Errorf("it listens on :%d and %s, and its ports are %v", flags.port, flags.opsAddress, got)
			}
		})
	}
}

// Two pods of the webhook cannot share a node whose ports they use: an update that
// wants a third node, or a second pod on one, would wait for ever.
func TestWebhookInTheNetworkOfItsNodeIsRolledOutOnTwoNodes(t *testing.T) {
	for name, components := range map[string]string{
		"alone":             "- PATH/manifests/components/webhook-host-network\n",
		"after AKS":         "- PATH/manifests/components/aks\n- PATH/manifests/components/webhook-host-network\n",
		"before AKS":        "- PATH/manifests/components/webhook-host-network\n- PATH/manifests/components/aks\n",
		"with cert-manager": "- PATH/manifests/webhook/cert-manager\n- PATH/manifests/components/webhook-host-network\n",
	} {
		t.Run(name, func(t *testing.T) {
			objects := compose(t, "resources: [PATH/manifests/base]\ncomponents:\n"+components, nil)
			webhook := deploy.Find[appsv1.Deployment](t, objects, "Deployment", webhookName).Spec
			if !webhook.Template.Spec.HostNetwork || webhook.Template.Spec.DNSPolicy != v1.DNSClusterFirstWithHostNet {
				t.Errorf("hostNetwork is %v, dnsPolicy %q", webhook.Template.Spec.HostNetwork, webhook.Template.Spec.DNSPolicy)
			}
			if r := webhook.Strategy.RollingUpdate; r.MaxSurge.IntValue() != 0 || r.MaxUnavailable.IntValue() != 1 {
				t.Errorf("an update takes a surge of %v and makes %v unavailable", r.MaxSurge, r.MaxUnavailable)
			}
			apart := webhook.Template.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
			if len(apart) != 1 || apart[0].TopologyKey != v1.LabelHostname || apart[0].LabelSelector.MatchLabels["app.kubernetes.io/name"] != webhookName {
				t.Errorf("two pods may come onto one node: %+v", apart)
			}
			if deploy.Find[appsv1.Deployment](t, objects, "Deployment", schedulerName).Spec.Template.Spec.HostNetwork {
				t.Error("the scheduler is in the network of its node, too")
			}
		})
	}
}

// Who mirrors images has to know all of them.
func TestAirgappedPageNamesEveryImage(t *testing.T) {
	document := read(t, "docs", "airgapped.md")
	used := map[string]bool{}
	for _, folder := range overlays(t) {
		for _, deployment := range deploymentsOf(t, build(t, folder)) {
			spec := deployment.Spec.Template.Spec
			for _, container := range append(spec.InitContainers, spec.Containers...) {
				image, _, _ := strings.Cut(container.Image, ":")
				used[image] = true
			}
		}
	}
	for image := range used {
		if !strings.Contains(document, "\n| `"+image+"` |") {
			t.Errorf("docs/airgapped.md does not name the image %s", image)
		}
	}
	if rows := strings.Count(document, "\n| `hyperconverge-"); rows != len(used) {
		t.Errorf("docs/airgapped.md names %d images, and %d are used", rows, len(used))
	}
}

// Who goes back from an overlay to the base has what the base alone makes: nothing of the
// overlay stays in objects that both have.
func TestNothingOfAnOverlayStaysInCommonObjects(t *testing.T) {
	plane := sharedPlane(t)
	base := build(t, "manifests/base")
	state := func(t *testing.T) map[string]any {
		t.Helper()
		found := map[string]any{}
		for _, object := range ofKind(base, "Namespace", "Deployment", "NetworkPolicy", "ResourceQuota") {
			resource, err := plane.Resource(object)
			if err != nil {
				t.Fatal(err)
			}
			got, err := resource.Get(t.Context(), object.GetName(), metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			found[got.GetKind()+" "+got.GetName()] = []any{got.GetLabels(), got.Object["spec"]}
		}
		return found
	}
	var want map[string]any
	t.Run("the base alone", func(t *testing.T) {
		plane.apply(t, base)
		want = state(t)
	})
	for _, folder := range overlays(t) {
		t.Run(folder, func(t *testing.T) {
			plane.apply(t, build(t, folder))
			plane.apply(t, base)
			if diff := cmp.Diff(want, state(t)); diff != "" {
				t.Errorf("what is left (-base +after the overlay):\n%s", diff)
			}
		})
	}
}
