package webhook

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

// TestCertManagerComponent proves that with cert-manager nothing is left of the
// rights that self-managed certificates need, and that the parts fit together.
func TestCertManagerComponent(t *testing.T) {
	objects := buildOverlay(t, "cert-manager")
	configuration := deploy.Object(t, objects, "MutatingWebhookConfiguration", name)
	certificate := deploy.Object(t, objects, "Certificate", name)
	if got, want := configuration.GetAnnotations()["cert-manager.io/inject-ca-from"], certificate.GetNamespace()+"/"+certificate.GetName(); got != want {
		t.Errorf("the CA bundle comes from %q, want %q", got, want)
	}
	for _, object := range objects {
		if strings.HasPrefix(object.GetKind(), "Role") || strings.HasSuffix(object.GetName(), "-certificates") {
			t.Errorf("%s %s is left", object.GetKind(), object.GetName())
		}
	}
	pod := deploy.Find[appsv1.Deployment](t, objects, "Deployment", name).Spec.Template.Spec
	if !slices.Contains(pod.Containers[0].Args, "--certificates=files") {
		t.Errorf("the arguments are %q", pod.Containers[0].Args)
	}
	secret, _, err := unstructured.NestedString(certificate.Object, "spec", "secretName")
	if err != nil || len(pod.Volumes) != 1 || pod.Volumes[0].Secret == nil || pod.Volumes[0].Secret.SecretName != secret {
		t.Errorf("the volumes are %+v, want one of secret %q (%v)", pod.Volumes, secret, err)
	}
	if secret == secretName {
		t.Errorf("the certificate is in secret %q, which self-managed replicas overwrite until they are gone", secret)
	}
	if mounts := pod.Containers[0].VolumeMounts; len(mounts) != 1 || mounts[0].Name != pod.Volumes[0].Name || mounts[0].MountPath != "/etc/hyperconverge-webhook/certificates" {
		t.Errorf("the mounts are %+v", mounts)
	}
	host, _, err := unstructured.NestedStringSlice(certificate.Object, "spec", "dnsNames")
	if err != nil || !slices.Contains(host, name+"."+ownNamespace+".svc") {
		t.Errorf("the certificate is for %q (%v)", host, err)
	}
}
