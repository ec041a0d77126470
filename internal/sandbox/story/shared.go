package story

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

// sharedOff is act d.
func (s *stage) sharedOff(ctx context.Context) error {
	pods := 0
	for _, n := range s.sandbox.Nodes {
		if n.StorageID != "" {
			pods++
		}
	}
	s.tags = map[string]string{"media": "M"}
	s.say("%d web servers share one volume, and the pods say disableHyperconvergence.", pods)
	if err := s.apply(ctx, "shared.yaml", func(object runtime.Object) bool {
		if deployment, ok := object.(*appsv1.Deployment); ok {
			deployment.Spec.Replicas = ptr.To(int32(pods))
		}
		return true
	}); err != nil {
		return err
	}
	scene, err := s.untilScene(ctx, "the web servers have nodes", pods, hasNode)
	if err != nil {
		return err
	}
	s.showCrowd(scene)
	s.expect(spreadEvenly(scene))

	s.out.Printf("")
	s.say("The same web servers without the annotation.")
	if err := s.removePods(ctx); err != nil {
		return err
	}
	if err := s.apply(ctx, "shared.yaml", func(object runtime.Object) bool {
		deployment, ok := object.(*appsv1.Deployment)
		if ok {
			deployment.Spec.Replicas = ptr.To(int32(pods))
			deployment.Spec.Template.Annotations = nil
		}
		return ok
	}); err != nil {
		return err
	}
	scene, err = s.untilScene(ctx, "the web servers have nodes", pods, hasNode)
	if err != nil {
		return err
	}
	s.showCrowd(scene)
	s.expect(allOnData(scene, "nodes are not equal: all pods are on the two that hold the volume"))
	return nil
}
