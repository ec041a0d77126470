package chaos

import (
	"context"
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// attempt is something that the holder of an account's token might try. It returns
// what the API server said.
type attempt func(ctx context.Context, r *run, as kubernetes.Interface) error

func rightsRows() []row {
	rewrites := func(change func(*admissionregistrationv1.MutatingWebhook)) attempt {
		return func(ctx context.Context, _ *run, as kubernetes.Interface) error {
			return rewrite(ctx, as, func(c *admissionregistrationv1.MutatingWebhookConfiguration) { change(&c.Webhooks[0]) })
		}
	}
	rows := []row{
		{name: "the webhook's account has every Secret and Role sent to itself", quick: true, do: refused(webhookName, rewrites(func(h *admissionregistrationv1.MutatingWebhook) {
			h.Rules = append(h.Rules, admissionregistrationv1.RuleWithOperations{Operations: []admissionregistrationv1.OperationType{"*"},
				Rule: admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*"}}})
		}))},
		{name: "the webhook's account sends pods to an address of its own", quick: true, do: refused(webhookName, rewrites(func(h *admissionregistrationv1.MutatingWebhook) {
			url := "https://198.51.100.1/"
			h.ClientConfig.Service, h.ClientConfig.URL = nil, &url
		}))},
		{name: "the webhook's account points the webhook at another Service", do: refused(webhookName, rewrites(func(h *admissionregistrationv1.MutatingWebhook) {
			h.ClientConfig.Service.Name = "other"
		}))},
		{name: "the webhook's account makes pods fail without the webhook", do: refused(webhookName, rewrites(func(h *admissionregistrationv1.MutatingWebhook) {
			fail := admissionregistrationv1.Fail
			h.FailurePolicy = &fail
		}))},
		{name: "the webhook's account takes in the namespaces that are left alone", quick: true, do: refused(webhookName, rewrites(func(h *admissionregistrationv1.MutatingWebhook) {
			h.NamespaceSelector = &metav1.LabelSelector{}
		}))},
		{name: "the webhook's account drops the match conditions", do: refused(webhookName, rewrites(func(h *admissionregistrationv1.MutatingWebhook) {
			h.MatchConditions = nil
		}))},
		{name: "the webhook's account adds a second webhook", do: refused(webhookName, func(ctx context.Context, _ *run, as kubernetes.Interface) error {
			return rewrite(ctx, as, func(c *admissionregistrationv1.MutatingWebhookConfiguration) {
				second := c.Webhooks[0].DeepCopy()
				second.Name = "second.hyperconverge.dev"
				c.Webhooks = append(c.Webhooks, *second)
			})
		})},
		{name: "the webhook's account makes a token Secret of the scheduler's account", quick: true, do: refused(webhookName, tokenSecret("stolen-token"))},
		{name: "the webhook's account makes such a Secret under the name of its own", quick: true, do: refused(webhookName, func(ctx context.Context, r *run, as kubernetes.Interface) error {
			secrets := r.client.CoreV1().Secrets(systemNamespace)
			good, err := secrets.Get(ctx, secretName, metav1.GetOptions{})
			r.must(err)
			r.must(secrets.Delete(ctx, secretName, metav1.DeleteOptions{}))
			r.later(func() {
				_ = secrets.Delete(r.background(), secretName, metav1.DeleteOptions{})
				good.ResourceVersion, good.UID = "", ""
				_, err := secrets.Create(r.background(), good, metav1.CreateOptions{})
				if !apierrors.IsAlreadyExists(err) {
					r.must(err)
				}
			})
			return tokenSecret(secretName)(ctx, r, as)
		})},
		{name: "the webhook's account reads other Secrets", do: refused(webhookName, func(ctx context.Context, _ *run, as kubernetes.Interface) error {
			_, err := as.CoreV1().Secrets(systemNamespace).List(ctx, metav1.ListOptions{})
			return err
		})},
		{name: "the webhook's account reads Secrets elsewhere", do: refused(webhookName, func(ctx context.Context, _ *run, as kubernetes.Interface) error {
			_, err := as.CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{})
			return err
		})},
		{name: "the webhook's account writes a claim", do: refused(webhookName, func(ctx context.Context, r *run, as kubernetes.Interface) error {
			r.volume("data", at(node(1)))
			_, err := as.CoreV1().PersistentVolumeClaims(r.namespace).Patch(ctx, "data", types.MergePatchType, []byte(`{"metadata":{"annotations":{"a":"b"}}}`), metav1.PatchOptions{})
			return err
		})},
		{name: "the webhook's account creates a pod", do: refused(webhookName, createPod)},
		{name: "the webhook's account takes the scheduler's lease", do: refused(webhookName, takeLease)},
		{name: "the webhook's account deletes its own configuration", do: refused(webhookName, func(ctx context.Context, _ *run, as kubernetes.Interface) error {
			return as.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(ctx, webhookName, metav1.DeleteOptions{})
		})},
		{name: "the webhook's account makes a webhook of its own", do: refused(webhookName, func(ctx context.Context, _ *run, as kubernetes.Interface) error {
			_, err := as.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.MutatingWebhookConfiguration{
				ObjectMeta: metav1.ObjectMeta{Name: "own"}}, metav1.CreateOptions{})
			return err
		})},
		{name: "the webhook's account still keeps its CA bundle", holds: "it may: that is its work", do: keepsBundle},
		{name: "the scheduler's account reads Secrets", quick: true, do: refused(schedulerName, func(ctx context.Context, _ *run, as kubernetes.Interface) error {
			_, err := as.CoreV1().Secrets(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
			return err
		})},
		{name: "the scheduler's account reads the webhook's Secret", do: refused(schedulerName, func(ctx context.Context, _ *run, as kubernetes.Interface) error {
			_, err := as.CoreV1().Secrets(systemNamespace).Get(ctx, secretName, metav1.GetOptions{})
			return err
		})},
		{name: "the scheduler's account creates a pod", quick: true, do: refused(schedulerName, createPod)},
		{name: "the scheduler's account runs a command in a pod", do: refused(schedulerName, func(ctx context.Context, r *run, as kubernetes.Interface) error {
			return as.CoreV1().RESTClient().Post().Resource("pods").Namespace(r.namespace).Name("x").SubResource("exec").Param("command", "id").Do(ctx).Error()
		})},
		{name: "the scheduler's account deletes a node", do: refused(schedulerName, func(ctx context.Context, _ *run, as kubernetes.Interface) error {
			return as.CoreV1().Nodes().Delete(ctx, node(12), metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		})},
		{name: "the scheduler's account labels a node", do: refused(schedulerName, func(ctx context.Context, _ *run, as kubernetes.Interface) error {
			_, err := as.CoreV1().Nodes().Patch(ctx, node(12), types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
			return err
		})},
		{name: "the scheduler's account makes a token of another account", quick: true, do: refused(schedulerName, makeToken)},
		{name: "the webhook's account makes a token of another account", do: refused(webhookName, makeToken)},
		{name: "the scheduler's account gives itself rights", do: refused(schedulerName, grant)},
		{name: "the webhook's account gives itself rights", do: refused(webhookName, grant)},
		{name: "the webhook's account acts as an administrator", do: refused(webhookName, impersonate)},
		{name: "the scheduler's account acts as an administrator", do: refused(schedulerName, impersonate)},
		{name: "the scheduler's account changes the webhook's configuration", do: refused(schedulerName, rewrites(func(h *admissionregistrationv1.MutatingWebhook) { h.Rules = nil }))},
		{name: "the scheduler's account takes the lease of the cluster's scheduler for a leader of the kubelet's", holds: "leases of nodes are refused", do: refused(schedulerName, func(ctx context.Context, _ *run, as kubernetes.Interface) error {
			_, err := as.CoordinationV1().Leases(v1.NamespaceNodeLease).Patch(ctx, node(1), types.MergePatchType, []byte(`{"spec":{"holderIdentity":"x"}}`), metav1.PatchOptions{})
			return err
		})},
		{name: "a stranger without a token reads the scheduler's profiles", holds: "the port of the manifests refuses it", do: strangerReads},
	}
	for i := range rows {
		rows[i].group, rows[i].within = "rights", later
		if rows[i].holds == "" {
			rows[i].holds = "the API server refuses it"
		}
	}
	return rows
}

// as acts as an account of the manifests.
func (r *run) as(account string) kubernetes.Interface {
	config := rest.CopyConfig(r.config)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + systemNamespace + ":" + account,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + systemNamespace, "system:authenticated"},
	}
	client, err := kubernetes.NewForConfig(config)
	r.must(err)
	return client
}

// refused tries, and puts back what was changed if it was not refused.
func refused(account string, try attempt) func(r *run) {
	return func(r *run) {
		r.later(r.putBack)
		err := try(r.ctx, r, r.as(account))
		switch {
		case err == nil:
			r.Fatalf("the API server let it happen")
		case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsNotFound(err) && strings.Contains(err.Error(), "admission"):
			r.measured("%s", apierrors.ReasonForError(err))
		default:
			r.Fatalf("it was not refused, but failed: %v", err)
		}
	}
}

// putBack applies the configuration and the rights of the manifests again.
func (r *run) putBack() {
	for _, object := range r.manifests {
		if object.GetKind() != "MutatingWebhookConfiguration" {
			continue
		}
		// Applying does not take out what somebody else has added.
		bundle := r.bundle()
		r.must(r.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(r.background(), object.GetName(), metav1.DeleteOptions{}))
		r.must(r.apply(r.background(), object))
		_ = bundle // the webhook puts its own in
	}
}

func (r *run) bundle() []byte {
	c, err := r.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(r.background(), webhookName, metav1.GetOptions{})
	if err != nil || len(c.Webhooks) == 0 {
		return nil
	}
	return c.Webhooks[0].ClientConfig.CABundle
}

// rewrite changes the webhook's configuration. The account cannot get it by name,
// but lists it.
func rewrite(ctx context.Context, as kubernetes.Interface, change func(*admissionregistrationv1.MutatingWebhookConfiguration)) error {
	configurations := as.AdmissionregistrationV1().MutatingWebhookConfigurations()
	list, err := configurations.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + webhookName})
	if err != nil {
		return err
	}
	if len(list.Items) != 1 {
		return fmt.Errorf("%d configurations are listed", len(list.Items))
	}
	changed := list.Items[0].DeepCopy()
	change(changed)
	_, err = configurations.Update(ctx, changed, metav1.UpdateOptions{})
	return err
}

func tokenSecret(name string) attempt {
	return func(ctx context.Context, r *run, as kubernetes.Interface) error {
		_, err := as.CoreV1().Secrets(systemNamespace).Create(ctx, &v1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{v1.ServiceAccountNameKey: schedulerName}},
			Type:       v1.SecretTypeServiceAccountToken,
		}, metav1.CreateOptions{})
		if err == nil {
			r.later(func() {
				_ = r.client.CoreV1().Secrets(systemNamespace).Delete(r.background(), name, metav1.DeleteOptions{})
			})
		}
		return err
	}
}

func createPod(ctx context.Context, r *run, as kubernetes.Interface) error {
	_, err := as.CoreV1().Pods(r.namespace).Create(ctx, r.pod("intruder"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

func takeLease(ctx context.Context, _ *run, as kubernetes.Interface) error {
	_, err := as.CoordinationV1().Leases(systemNamespace).Update(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: schedulerName, Namespace: systemNamespace}}, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

func makeToken(ctx context.Context, _ *run, as kubernetes.Interface) error {
	_, err := as.CoreV1().ServiceAccounts("kube-system").CreateToken(ctx, "namespace-controller", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	return err
}

func grant(ctx context.Context, _ *run, as kubernetes.Interface) error {
	_, err := as.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "intruder"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
	}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// impersonate needs the account's own token: the administrator of the suite, who
// plays it, may impersonate anybody.
func impersonate(ctx context.Context, r *run, as kubernetes.Interface) error {
	account := webhookName
	if review, err := as.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{}); err == nil {
		account = review.Status.UserInfo.Username[strings.LastIndex(review.Status.UserInfo.Username, ":")+1:]
	}
	token, err := r.accountToken(ctx, account)
	r.must(err)
	config := rest.AnonymousClientConfig(r.config)
	config.BearerToken = token
	config.Impersonate = rest.ImpersonationConfig{UserName: "admin", Groups: []string{"system:masters"}}
	client, err := kubernetes.NewForConfig(config)
	r.must(err)
	_, err = client.CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{})
	return err
}

// keepsBundle is what the rights are for.
func keepsBundle(r *run) {
	set := func(client kubernetes.Interface, bundle []byte) error {
		return rewrite(r.background(), client, func(c *admissionregistrationv1.MutatingWebhookConfiguration) {
			c.Webhooks[0].ClientConfig.CABundle = bundle
		})
	}
	r.eventually(soon, "the webhook has put its bundle in", func() error {
		if len(r.bundle()) == 0 {
			return errNotYet
		}
		return nil
	})
	good := r.bundle()
	r.must(set(r.client, nil))
	r.eventually(later, "the webhook puts its bundle in again", func() error {
		if string(r.bundle()) != string(good) {
			return errNotYet
		}
		return nil
	})
}

// strangerReads asks a scheduler that runs with the flags of the manifests.
func strangerReads(r *run) {
	c := r.another(variant{solo: "solo", closed: true})
	for _, path := range []string{"/metrics", "/debug/pprof/heap", "/configz", "/debug/flags/v"} {
		if body, err := c.Get(path); err == nil {
			r.Errorf("%s is answered: %.100s", path, body)
		}
	}
}
