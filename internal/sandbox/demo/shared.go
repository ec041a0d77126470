package demo

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/sandbox/clustermap"
)

// sharedOff is step d.
func (d *demo) sharedOff(ctx context.Context) error {
	pods := len(d.storageNodeIDs())
	d.tags = map[string]string{"media": "M"}
	d.say("%d web servers share one volume, and the pods say disableHyperconvergence.", pods)
	seen, err := d.webServers(ctx, func(deployment *appsv1.Deployment) {
		deployment.Spec.Replicas = ptr.To(int32(pods))
	})
	if err != nil {
		return err
	}
	d.expect(spreadEvenly(seen))

	d.out.Printf("")
	d.say("The same web servers without the annotation.")
	if err := d.removePods(ctx); err != nil {
		return err
	}
	seen, err = d.webServers(ctx, func(deployment *appsv1.Deployment) {
		deployment.Spec.Replicas = ptr.To(int32(pods))
		deployment.Spec.Template.Annotations = nil
	})
	if err != nil {
		return err
	}
	d.expect(allOnData(seen, "nodes are not equal: all pods are on the two that hold the volume"))
	return nil
}

// webServers creates the web servers and shows where they were put.
func (d *demo) webServers(ctx context.Context, edit func(*appsv1.Deployment)) (seen clustermap.Snapshot, err error) {
	pods := 0
	if err := d.apply(ctx, "shared.yaml", func(object runtime.Object) {
		if deployment, ok := object.(*appsv1.Deployment); ok {
			edit(deployment)
			pods = int(*deployment.Spec.Replicas)
		}
	}); err != nil {
		return seen, err
	}
	if seen, err = d.untilPods(ctx, "the web servers have nodes", pods, hasNode); err == nil {
		d.show(seen, true)
	}
	return seen, err
}
