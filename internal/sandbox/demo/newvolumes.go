package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
	"github.com/hyperconverge/scheduler/internal/sandbox/fakenodes"
)

const (
	followers     = 3
	followerClass = "px-csi-follower"
	ssdStrategy   = "ssd-only"
)

// newVolumes is step f: volumes that do not exist when their pods are placed.
func (d *demo) newVolumes(ctx context.Context) error {
	d.say("A placement strategy keeps replicas on nodes with the label %s=ssd. A StatefulSet has three members in", fakenodes.LabelDisk)
	d.say("three zones, whose volumes are made when their pods have nodes (WaitForFirstConsumer).")
	strategy := driver.Strategy(ssdStrategy, map[string]any{"replicaAffinity": []any{map[string]any{
		"matchExpressions": []any{map[string]any{"key": fakenodes.LabelDisk, "operator": "In", "values": []any{"ssd"}}},
	}}})
	if err := driver.CreateStrategy(ctx, d.sandbox.Resources, strategy); err != nil {
		return err
	}
	class := driver.NewClass(followerClass, storagev1.VolumeBindingWaitForFirstConsumer, map[string]string{"repl": "2", "placement_strategy": ssdStrategy})
	if _, err := d.sandbox.Client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the StorageClass %s: %w", followerClass, err)
	}
	d.tags = map[string]string{"copy-data": "c1"}
	for i := range followers {
		d.tags[fmt.Sprintf("data-follower-%d", i)] = fmt.Sprintf("f%d", i)
	}
	if err := d.apply(ctx, "follower.yaml", nil); err != nil {
		return err
	}
	seen, err := d.untilPods(ctx, "the members run", followers, runs)
	if err != nil {
		return err
	}
	d.show(seen, false)
	d.expect(allOnData(seen, fmt.Sprintf("all %d members are local from birth", followers)), d.onSSD(seen))

	d.out.Printf("")
	d.say("A clone of one member's volume, and a pod for it.")
	if err := d.apply(ctx, "copy.yaml", nil); err != nil {
		return err
	}
	if seen, err = d.untilPods(ctx, "the copy runs", followers+1, runs); err != nil {
		return err
	}
	d.show(seen, false)
	d.expect(runsBeside(seen, "copy", "data-follower-1"))
	return nil
}

// onSSD checks that all replicas lie where the strategy lets them lie.
func (d *demo) onSSD(seen Snapshot) check {
	c := check{text: "all replicas are on nodes with " + fakenodes.LabelDisk + "=ssd"}
	for _, v := range seen.Volumes {
		for _, n := range d.sandbox.Nodes {
			if slices.Contains(v.Replicas, n.Name) && n.Disk != "ssd" {
				c.instead = v.Name + " is on " + n.Name
			}
		}
	}
	return c
}

// runsBeside checks that a pod runs on a node that holds another's volume.
func runsBeside(seen Snapshot, pod, volume string) check {
	p, replicas := seen.Pod(pod), seen.Volume(volume).Replicas
	c := check{text: fmt.Sprintf("%s runs on a node that holds its source %s (%s)", pod, volume, strings.Join(replicas, " or "))}
	if !slices.Contains(replicas, p.Node) || !p.Running {
		c.instead = whereabouts(p)
	}
	return c
}
