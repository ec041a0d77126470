package demo

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
	"github.com/hyperconverge/scheduler/pkg/rebalance"
)

const (
	homingClass    = "px-csi-homing"
	homingReplicas = 4
	archivePod     = "archive"
)

// backHome is step h: a drained node comes back, and the rebalancer brings its pods home.
func (d *demo) backHome(ctx context.Context) error {
	ids := d.storageNodeIDs()
	if len(ids) < 3 {
		return fmt.Errorf("this step needs 3 nodes with storage, there are %d", len(ids))
	}
	d.say("%d databases and an archive, all with their data on one node. They ask to be brought home: %s.",
		homingReplicas, d.palette.Strong(rebalance.ReturnHome+`: "true"`))
	class := driver.NewClass(homingClass, storagev1.VolumeBindingImmediate, map[string]string{"repl": "1", "nodes": ids[0]})
	if _, err := d.sandbox.Client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the StorageClass %s: %w", homingClass, err)
	}
	d.tags = map[string]string{archivePod: "A"}
	for i := range homingReplicas {
		d.tags[fmt.Sprintf("data-homing-%d", i)] = fmt.Sprintf("h%d", i)
	}
	if err := d.apply(ctx, "homing.yaml", nil); err != nil {
		return err
	}
	seen, err := d.untilPods(ctx, "they run", homingReplicas+1, runs)
	if err != nil {
		return err
	}
	home := seen.Pod(archivePod).Node
	d.expect(allOnData(seen, "all are on their data, on "+home))

	d.out.Printf("")
	d.say("%s is drained. Meanwhile a newcomer takes the room of the archive there.", home)
	if err := d.cordon(ctx, home, true); err != nil {
		return err
	}
	for _, selector := range []string{"app=homing", "app=archive"} {
		if err := d.deletePods(ctx, selector); err != nil {
			return err
		}
	}
	if _, err := d.untilPods(ctx, "they run elsewhere", homingReplicas+1, func(p Pod) bool { return p.Running && p.Node != home }); err != nil {
		return err
	}
	if err := d.apply(ctx, "newcomer.yaml", func(object runtime.Object) {
		if pod, ok := object.(*corev1.Pod); ok {
			pod.Spec.NodeName = home
		}
	}); err != nil {
		return err
	}
	if seen, err = d.untilPods(ctx, "the newcomer runs", homingReplicas+2, runs); err != nil {
		return err
	}
	d.show(seen, false)

	d.out.Printf("")
	d.say("The node comes back. A PodDisruptionBudget lets one database go at a time.")
	if err := d.cordon(ctx, home, false); err != nil {
		return err
	}
	most, err := d.watchHomecoming(ctx, home)
	if err != nil {
		return err
	}
	if seen, err = d.snapshot(ctx); err != nil {
		return err
	}
	d.show(seen, false)
	oneByOne := check{text: fmt.Sprintf("all %d databases are home, and never more than one was away", homingReplicas)}
	if most > 1 {
		oneByOne.instead = fmt.Sprintf("%d at once", most)
	}
	d.expect(oneByOne, d.archiveStays(seen, home))
	return d.reportHome(ctx, home)
}

// watchHomecoming waits until the databases are home, and returns how many of them were
// not running at once at most.
func (d *demo) watchHomecoming(ctx context.Context, home string) (most int, err error) {
	return most, d.until(ctx, "the databases are home", func(ctx context.Context) (bool, string, error) {
		seen, err := d.snapshot(ctx)
		if err != nil {
			return false, "", err
		}
		running, there := 0, 0
		for _, p := range seen.Pods {
			if strings.HasPrefix(p.Name, "homing-") && p.Running {
				if running++; p.Node == home {
					there++
				}
			}
		}
		most = max(most, homingReplicas-running)
		return there == homingReplicas, fmt.Sprintf("%d of %d", there, homingReplicas), nil
	})
}

// archiveStays checks that the archive, for which there is no room at home, is not touched.
func (d *demo) archiveStays(seen Snapshot, home string) check {
	c := check{text: fmt.Sprintf("the archive stays where it is, because %s has no room for it any more", home)}
	if p := seen.Pod(archivePod); p.Node == home || !p.Running {
		c.instead = whereabouts(p)
	}
	return c
}

// reportHome asks kubectl hyperconverge why the archive stays.
func (d *demo) reportHome(ctx context.Context, home string) error {
	if !d.hasPlugin() {
		return nil
	}
	d.out.Printf("")
	d.say("Why does it stay? %s", d.palette.Strong("kubectl hyperconverge home -o wide"))
	text, err := d.hyperconverge(ctx, "home", "-n", namespace, "-o", "wide")
	if err != nil {
		return err
	}
	d.out.Printf("\n%s", indent(text))
	said := check{text: "the report says what " + home + " lacks"}
	if !strings.Contains(text, home+": Insufficient cpu") {
		said.instead = "it does not"
	}
	d.expect(said)
	return nil
}
