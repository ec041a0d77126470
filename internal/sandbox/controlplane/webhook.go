package controlplane

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/sandbox/ports"
)

const (
	webhookBinary = "webhook"
	// webhookName is that of its role and of its configuration.
	webhookName = "hyperconverge-webhook"
	// webhookOps is the port for its health, beside that of its executable's name.
	webhookOps = "webhook-ops"
	// webhookCertificates is the folder of its certificate, in the sandbox folder.
	webhookCertificates = "webhook-certificates"
)

// webhook is the admission webhook, with the certificate that all components have.
func (cp *ControlPlane) webhook() component {
	for _, port := range []string{webhookBinary, webhookOps} {
		cp.ports[port].Release() // the webhook shares no port
	}
	return component{
		name: webhookBinary,
		args: []string{
			"--kubeconfig=" + cp.credentials.kubeconfigPath(webhookUser),
			"--namespace=" + metav1.NamespaceSystem,
			"--own-scheduler-names=stork",
			"--certificates=files",
			"--certificate-dir=" + cp.credentials.dir.Join(webhookCertificates),
			"--bind-address=" + ports.Loopback,
			"--port=" + strconv.Itoa(cp.ports[webhookBinary].Port()),
			"--ops-address=" + cp.ports[webhookOps].Address(),
			"--shutdown-delay=0s",
			"--shutdown-timeout=0s",
		},
		ready:  client(&http.Transport{}),
		health: "http://" + cp.ports[webhookOps].Address() + "/readyz",
	}
}

// writeWebhookCertificates puts the certificate under the names that the webhook wants.
func (c *credentials) writeWebhookCertificates(certificate, key []byte) error {
	folder := c.dir.Join(webhookCertificates)
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// grantWebhookRights gives the webhook's user what its installation gives it: to read
// claims and volumes.
func grantWebhookRights(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: webhookName},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"persistentvolumeclaims", "persistentvolumes"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{"storage.k8s.io"}, Resources: []string{"storageclasses"}, Verbs: []string{"get", "list", "watch"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("making the role %s: %w", webhookName, err)
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: webhookName},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: webhookUser.name}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: webhookName},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("binding %s: %w", webhookName, err)
	}
	return nil
}

// registerWebhook has the API server ask the webhook about pods, as the manifests do.
func (cp *ControlPlane) registerWebhook(ctx context.Context) error {
	url := "https://" + cp.ports[webhookBinary].Address() + "/mutate-pods"
	_, err := cp.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: webhookName},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:                    "pods.hyperconverge.dev",
			AdmissionReviewVersions: []string{"v1"},
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: cp.credentials.ca},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
			FailurePolicy:  ptr.To(admissionregistrationv1.Ignore),
			TimeoutSeconds: ptr.To[int32](3),
			SideEffects:    ptr.To(admissionregistrationv1.SideEffectClassNone),
			NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpNotIn, Values: []string{metav1.NamespaceSystem}},
				{Key: "hyperconverge.dev/webhook", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"disabled"}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("registering the webhook: %w", err)
	}
	return nil
}
