package manifests

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/test/kit"
)

// grantQuota does the quota controller's part: a quota limits from when its status has
// its limits.
func (p *controlPlane) grantQuota(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	quotas := p.Client.CoreV1().ResourceQuotas(systemNamespace)
	for _, object := range ofKind(objects, "ResourceQuota") {
		quota, err := quotas.Get(t.Context(), object.GetName(), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		quota.Status.Hard, quota.Status.Used = quota.Spec.Hard, v1.ResourceList{v1.ResourcePods: {}}
		if _, err := quotas.UpdateStatus(t.Context(), quota, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// mostPods is how many pods of a Deployment there are at once while it is rolled out: a
// pod that ends counts until it is gone, and is replaced at once.
func mostPods(t *testing.T, deployment *appsv1.Deployment) int {
	t.Helper()
	surge, err := intstr.GetScaledValueFromIntOrPercent(deployment.Spec.Strategy.RollingUpdate.MaxSurge, int(*deployment.Spec.Replicas), true)
	if err != nil {
		t.Fatal(err)
	}
	return 2*int(*deployment.Spec.Replicas) + surge
}

// podOf is a pod of a Deployment.
func podOf(deployment *appsv1.Deployment, name string) *v1.Pod {
	pod := &v1.Pod{ObjectMeta: *deployment.Spec.Template.ObjectMeta.DeepCopy(), Spec: deployment.Spec.Template.Spec}
	pod.Name, pod.Namespace = name, deployment.Namespace
	return pod
}

// Where pods of system priority need a quota, ours have one, and it is large enough.
func TestQuotaAdmitsEveryRollout(t *testing.T) {
	plane := sharedPlane(t)
	pods := plane.Client.CoreV1().Pods(systemNamespace)
	for _, folder := range overlays(t) {
		t.Run(folder, func(t *testing.T) {
			objects := build(t, folder)
			plane.apply(t, slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool { return o.GetKind() == "ResourceQuota" }))
			t.Cleanup(func() {
				err := pods.DeleteCollection(context.WithoutCancel(t.Context()), metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}, metav1.ListOptions{})
				if err != nil {
					t.Error(err)
				}
			})
			deployments := slices.DeleteFunc(deploymentsOf(t, objects), func(d *appsv1.Deployment) bool { return d.Spec.Template.Spec.PriorityClassName == "" })
			for _, deployment := range deployments {
				// The API server may remember a quota of before for half a minute.
				kit.Eventually(t, kit.Patience, deployment.Name+" is refused without a quota", func() error {
					_, err := pods.Create(t.Context(), podOf(deployment, deployment.Name), tryCreate)
					switch {
					case err == nil:
						return errors.New("it is admitted")
					case strings.Contains(err.Error(), "insufficient quota to match these scopes"):
						return nil
					default:
						return err
					}
				})
			}
			plane.apply(t, ofKind(objects, "ResourceQuota"))
			plane.grantQuota(t, objects)
			for _, deployment := range deployments {
				for i := range mostPods(t, deployment) {
					name := fmt.Sprintf("%s-%d", deployment.Name, i)
					kit.Eventually(t, kit.Patience, name+" is admitted", func() error {
						_, err := pods.Create(t.Context(), podOf(deployment, name), metav1.CreateOptions{})
						if err != nil && strings.Contains(err.Error(), "exceeded quota") {
							t.Fatal(err)
						}
						return err
					})
				}
			}
		})
	}
}
