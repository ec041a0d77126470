package manifests

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, folder := range overlays(t) {
		t.Run(folder, func(t *testing.T) {
			objects := build(t, folder)
			want := map[string]string{
				api.EnforceLevelLabel: levelOf(t, objects), api.AuditLevelLabel: string(api.LevelRestricted), api.WarnLevelLabel: string(api.LevelRestricted),
			}
			namespace := deploy.Find[v1.Namespace](t, objects, "Namespace", systemNamespace)
			for label, level := range want {
				if got := namespace.Labels[label]; got != level {
					t.Errorf("the namespace has %s: %q, want %q", label, got, level)
				}
			}
			deployments := ofKind(objects, "Deployment")
			if len(deployments) == 0 {
				t.Fatal("nothing runs")
			}
			for _, object := range deployments {
				template := &deploy.Find[appsv1.Deployment](t, objects, "Deployment", object.GetName()).Spec.Template
				intoPodNetwork(&template.Spec)
				result := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &template.ObjectMeta, &template.Spec))
				if !result.Allowed {
					t.Errorf("%s: %s: %s", object.GetName(), result.ForbiddenReason(), result.ForbiddenDetail())
				}
				for _, container := range template.Spec.Containers {
					if root := container.SecurityContext.ReadOnlyRootFilesystem; root == nil || !*root {
						t.Errorf("%s can write to its root file system", container.Name)
					}
				}
			}
		})
	}
}

// levelOf is the level that the namespace has to enforce: the strictest that its pods
// keep to.
func levelOf(t *testing.T, objects []*unstructured.Unstructured) string {
	t.Helper()
	for _, object := range ofKind(objects, "Deployment") {
		if deploy.Find[appsv1.Deployment](t, objects, "Deployment", object.GetName()).Spec.Template.Spec.HostNetwork {
			return string(api.LevelPrivileged)
		}
	}
	return string(api.LevelRestricted)
}

// intoPodNetwork takes a pod out of its node's network, which is all that any of our
// pods may have beyond the restricted level.
func intoPodNetwork(spec *v1.PodSpec) {
	spec.HostNetwork = false
	for i := range spec.Containers {
		for j := range spec.Containers[i].Ports {
			spec.Containers[i].Ports[j].HostPort = 0
		}
	}
}

// The API server itself takes the pods, with their priority class and into their
// namespace, which turns away what is not restricted.
func TestPodsAreAdmitted(t *testing.T) {
	plane := sharedPlane(t)
	for _, folder := range overlays(t) {
		t.Run(folder, func(t *testing.T) {
			objects := build(t, folder)
			plane.apply(t, objects)
			plane.grantQuota(t, objects)
			restricted := levelOf(t, objects) == string(api.LevelRestricted)
			for _, object := range ofKind(objects, "Deployment") {
				template := &deploy.Find[appsv1.Deployment](t, objects, "Deployment", object.GetName()).Spec.Template
				pod := &v1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
				pod.Name, pod.Namespace = object.GetName(), object.GetNamespace()
				create := func() error {
					_, err := plane.Client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod,
						metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
					return err
				}
				kit.Eventually(t, kit.Patience, object.GetName()+" is admitted", create)
				privileged := true
				pod.Spec.Containers[0].SecurityContext.Privileged = &privileged
				if restricted && create() == nil {
					t.Error("the namespace takes privileged pods")
				}
			}
		})
	}
}
