package demo

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

const (
	webServers    = 60
	rollingPods   = 18
	rollingClass  = "px-csi-rolling"
	rollingReboot = 3 // nodes
)

// degrees is step g: how much locality is worth.
func (d *demo) degrees(ctx context.Context) error {
	for _, spread := range placement.Spreads {
		if err := d.spread(ctx, spread); err != nil {
			return err
		}
		if err := d.clear(ctx); err != nil {
			return err
		}
		d.out.Printf("")
	}
	d.say("%d databases whose volumes have one replica each, and a rolling reboot of %d nodes.", rollingPods, rollingReboot)
	class := driver.NewClass(rollingClass, storagev1.VolumeBindingImmediate, map[string]string{"repl": "1"})
	if _, err := d.sandbox.Client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the StorageClass %s: %w", rollingClass, err)
	}
	plain, err := d.reboot(ctx, "")
	if err != nil {
		return err
	}
	if err := d.clear(ctx); err != nil {
		return err
	}
	patient, err := d.reboot(ctx, "5m")
	if err != nil {
		return err
	}
	d.expect(moreOnData(patient.Tally(), plain.Tally(), "without it"),
		allOnData(patient, fmt.Sprintf("with wait-for-local, %d of %d are on their data afterwards", rollingPods, rollingPods)))
	return nil
}

// spread shows where the pods of a shared volume go.
func (d *demo) spread(ctx context.Context, spread placement.Spread) error {
	d.say("%d web servers share one volume, and would rather not share a node. Its claim says spread: %s.", webServers, d.palette.Strong(string(spread)))
	d.tags = map[string]string{"media": "M"}
	if err := d.apply(ctx, "shared.yaml", func(object runtime.Object) {
		switch object := object.(type) {
		case *corev1.PersistentVolumeClaim:
			metav1.SetMetaDataAnnotation(&object.ObjectMeta, placement.VolumeSpread, string(spread))
		case *appsv1.Deployment:
			object.Spec.Replicas, object.Spec.Template.Annotations = ptr.To[int32](webServers), nil
			object.Spec.Template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
				MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: object.Spec.Selector,
			}}
		}
	}); err != nil {
		return err
	}
	seen, err := d.untilPods(ctx, "the web servers have nodes", webServers, hasNode)
	if err != nil {
		return err
	}
	d.show(seen, true)
	switch spread {
	case placement.SpreadNone:
		d.expect(allOnData(seen, "all are on the nodes that hold the volume"))
	case placement.SpreadReplicas:
		d.expect(allOnData(seen, "all are on the nodes that hold the volume"), evenOver(seen, seen.Volume("media").Replicas))
	case placement.SpreadZone:
		d.expect(evenOver(seen, zoneMates(seen, seen.Volume("media").Replicas)))
	}
	return nil
}

// zoneMates are the nodes with storage in the zones of those.
func zoneMates(seen Snapshot, those []string) (names []string) {
	zones := map[[2]string]bool{}
	for _, n := range seen.Nodes {
		if slices.Contains(those, n.Name) {
			zones[[2]string{n.Region, n.Zone}] = true
		}
	}
	for _, n := range seen.Nodes {
		if n.Storage == Online && zones[[2]string{n.Region, n.Zone}] {
			names = append(names, n.Name)
		}
	}
	return names
}

// evenOver checks that every one of the nodes has as many pods as the others, give or take
// one, and no other node has any.
func evenOver(seen Snapshot, nodes []string) check {
	c := check{text: fmt.Sprintf("they are spread evenly over %d nodes", len(nodes))}
	counts := map[string]int{}
	for _, p := range seen.Pods {
		if counts[p.Node]++; !slices.Contains(nodes, p.Node) {
			c.instead = whereabouts(p)
			return c
		}
	}
	least, most := len(seen.Pods), 0
	for _, n := range nodes {
		least, most = min(least, counts[n]), max(most, counts[n])
	}
	if most-least > 1 {
		c.instead = fmt.Sprintf("%d on one node and %d on another", most, least)
	}
	return c
}

// reboot runs the databases through a rolling reboot, and returns where they are then.
func (d *demo) reboot(ctx context.Context, wait string) (seen Snapshot, err error) {
	d.out.Printf("")
	if wait == "" {
		d.say("They wait for nothing:")
	} else {
		d.say("They say %s:", d.palette.Strong(placement.PodWaitForLocal+": "+wait))
	}
	if err := d.apply(ctx, "rolling.yaml", func(object runtime.Object) {
		if set, ok := object.(*appsv1.StatefulSet); ok && wait != "" {
			metav1.SetMetaDataAnnotation(&set.Spec.Template.ObjectMeta, placement.PodWaitForLocal, wait)
		}
	}); err != nil {
		return seen, err
	}
	if seen, err = d.untilPods(ctx, "the databases run", rollingPods, runs); err != nil {
		return seen, err
	}
	nodes := nodesWithout(seen, nil)
	for _, node := range nodes[:min(rollingReboot, len(nodes))] {
		if err := d.rebootNode(ctx, node); err != nil {
			return seen, err
		}
	}
	if seen, err = d.untilPods(ctx, "the databases run again", rollingPods, runs); err == nil {
		d.show(seen, true)
	}
	return seen, err
}

// rebootNode closes a node, deletes the pods on it, and opens it when their successors have
// been looked at.
func (d *demo) rebootNode(ctx context.Context, node string) error {
	if err := d.cordon(ctx, node, true); err != nil {
		return err
	}
	pods, err := d.sandbox.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return err
	}
	for i := range pods.Items {
		if err := d.sandbox.Client.CoreV1().Pods(namespace).Delete(ctx, pods.Items[i].Name, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	if _, err := d.untilPods(ctx, "the pods of "+node+" have successors", rollingPods, func(p Pod) bool { return p.Node != node && isSettled(p) }); err != nil {
		return err
	}
	return d.cordon(ctx, node, false)
}

func (d *demo) cordon(ctx context.Context, node string, closed bool) error {
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, closed)
	if _, err := d.sandbox.Client.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("closing or opening node %s: %w", node, err)
	}
	return nil
}
