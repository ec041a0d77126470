package command

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-base/version"

	"github.com/hyperconverge/scheduler/internal/console"
	"github.com/hyperconverge/scheduler/internal/kubectl/connect"
	"github.com/hyperconverge/scheduler/internal/kubectl/doctor"
	"github.com/hyperconverge/scheduler/pkg/debug"
)

// formatJUnit is the format for CI systems.
const formatJUnit = "junit"

func (t *tool) doctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what keeps pods off their data",
		Long: `Find what keeps pods off their data, before the scheduler is used and while it is: the
scheduler and its rights, versions, profiles, the connection to storage, storage nodes
that are no Kubernetes nodes, the webhook, pods that are left to other schedulers, keys
that mean nothing. Each finding says what to do. The exit code is 1 if there are any.`,
		Example: `  kubectl hyperconverge doctor
  kubectl hyperconverge doctor -o junit > doctor.xml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := t.open(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			findings := t.examine(cmd.Context(), s)
			if t.output == formatJUnit {
				err = doctor.WriteJUnit(t.Out, findings)
			} else {
				err = t.print(findings, s.Unknown, func(w io.Writer, _ bool) error { return drawFindings(w, findings) })
			}
			if err == nil && !findings.Healthy() {
				return errFindings
			}
			return err
		},
	}
	t.addOutput(cmd, formatJUnit)
	return cmd
}

func drawFindings(w io.Writer, r *doctor.Report) error {
	p := console.PaletteOf(w)
	marks := map[doctor.Level]string{doctor.Fail: p.Bad("FAIL"), doctor.Warn: p.Bad("WARN"), doctor.Pass: p.Good("ok  "), doctor.Unknown: p.Faint("?   ")}
	for _, f := range r.Findings {
		if _, err := fmt.Fprintf(w, "%s  %-14s  %s\n", marks[f.Level], f.Check, clean(f.Message)); err != nil {
			return err
		}
		if f.Advice != "" {
			if _, err := fmt.Fprintf(w, "%24s%s\n", "-> ", f.Advice); err != nil {
				return err
			}
		}
	}
	return nil
}

// examine gathers the facts. What cannot be read leaves its check open.
func (t *tool) examine(ctx context.Context, s *connect.Session) *doctor.Report {
	namespace := t.connect.SchedulerNamespace
	f := &doctor.Facts{
		Now: time.Now(), Namespace: namespace, PluginVersion: version.Get().String(),
		Configuration: s.Configuration, Assumed: s.Assumed, ClaimsOf: s.Plugin.Claims,
		State: s.State, Batching: map[string]string{}, Unreadable: map[string]string{},
	}
	if s.State != nil {
		f.SchedulerVersion = s.State.Version
	} else if s.Restored == nil {
		f.State = &debug.State{Index: s.Index} // storage has answered to us
	}
	for _, profile := range s.Engine.Profiles() {
		f.Batching[profile] = s.Engine.Unsigned(ctx, profile)
	}
	unread := func(check string, err error) bool {
		if err != nil {
			f.Unreadable[check] = "not checked: " + err.Error()
		}
		return err != nil
	}
	if server, err := s.Client.Discovery().ServerVersion(); !unread("versions", err) {
		f.ServerVersion = server.GitVersion
	}
	if list, err := s.Client.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{}); !unread("scheduler", err) {
		f.Deployments = there(list.Items)
	}
	if list, err := s.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{}); !unread("webhook", err) {
		f.Webhooks = there(list.Items)
	}
	selector := "kubernetes.io/service-name=" + doctor.WebhookName
	if list, err := s.Client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector}); !unread("webhook", err) {
		f.Endpoints = there(list.Items)
	}
	informers := s.Engine.Informers()
	if list, err := informers.Core().V1().Pods().Lister().List(labels.Everything()); !unread("schedulerNames", err) {
		f.Pods = there(list)
	}
	if list, err := informers.Core().V1().PersistentVolumeClaims().Lister().List(labels.Everything()); !unread("keys", err) {
		f.Claims = there(list)
	}
	if list, err := informers.Storage().V1().StorageClasses().Lister().List(labels.Everything()); !unread("keys", err) {
		f.Classes = there(list)
	}
	var err error
	if _, err = s.Client.CoreV1().ServiceAccounts(namespace).Get(ctx, schedulerAccount, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		f.Unreadable["rights"] = "not checked: there is no ServiceAccount " + schedulerAccount + " in the namespace " + namespace
	} else {
		f.Denied, err = deniedRights(ctx, s, namespace)
		unread("rights", err)
	}
	return doctor.Examine(f)
}

// there is a list that was read, and may be empty: nil is one that was not.
func there[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// schedulerAccount is the one of the manifests.
const schedulerAccount = "hyperconverge-scheduler"

// rights are some that the scheduler cannot do without, one of each role.
var rights = []authorizationv1.ResourceAttributes{
	{Verb: "list", Resource: "pods"},
	{Verb: "create", Resource: "pods", Subresource: "binding"},
	{Verb: "list", Group: "storage.k8s.io", Resource: "csinodes"},
	{Verb: "update", Resource: "persistentvolumeclaims"},
	{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Name: "hyperconverge-scheduler"},
	{Verb: "create", Group: "authentication.k8s.io", Resource: "tokenreviews"},
}

// deniedRights asks the API server what the scheduler's account lacks.
func deniedRights(ctx context.Context, s *connect.Session, namespace string) ([]string, error) {
	denied := []string{}
	for _, right := range rights {
		attributes := right
		if right.Resource == "leases" {
			attributes.Namespace = namespace
		}
		review, err := s.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User: "system:serviceaccount:" + namespace + ":" + schedulerAccount, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
				ResourceAttributes: &attributes,
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("asking for the rights of the scheduler's account: %w", err)
		}
		if !review.Status.Allowed {
			what := right.Resource
			if right.Subresource != "" {
				what += "/" + right.Subresource
			}
			denied = append(denied, right.Verb+" "+what)
		}
	}
	return denied, nil
}
