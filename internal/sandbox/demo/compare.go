package demo

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	databases      = 60
	stockScheduler = corev1.DefaultSchedulerName
	ourScheduler   = "hyperconverge-scheduler"
)

// compare is step e.
func (d *demo) compare(ctx context.Context) error {
	d.tags = nil
	d.say("%d databases with a volume of two replicas each. The volumes are the same for both schedulers.", databases)
	for i := range databases {
		if err := d.apply(ctx, "database-claim.yaml", func(object runtime.Object) {
			if claim, ok := object.(*corev1.PersistentVolumeClaim); ok {
				claim.Name = claimName(i)
			}
		}); err != nil {
			return err
		}
	}
	if err := d.untilVolumes(ctx, databases); err != nil {
		return err
	}
	stock, err := d.scheduleDatabases(ctx, stockScheduler)
	if err != nil {
		return err
	}
	if err := d.removePods(ctx); err != nil {
		return err
	}
	d.out.Printf("")
	ours, err := d.scheduleDatabases(ctx, ourScheduler)
	if err != nil {
		return err
	}
	d.out.Printf("\n%s", sideBySide(stock.Tally(), ours.Tally()))
	d.expect(
		allOnData(ours, fmt.Sprintf("with %s, %d of %d are on their data", ourScheduler, databases, databases)),
		moreOnData(ours.Tally(), stock.Tally()),
	)
	return nil
}

// scheduleDatabases creates the pods and shows where they were put.
func (d *demo) scheduleDatabases(ctx context.Context, scheduler string) (seen Snapshot, err error) {
	d.say("By %s:", d.palette.Strong(scheduler))
	for i := range databases {
		if err := d.apply(ctx, "database.yaml", func(object runtime.Object) {
			if pod, ok := object.(*corev1.Pod); ok {
				pod.Name, pod.Spec.SchedulerName = fmt.Sprintf("db-%02d", i), scheduler
				pod.Spec.Volumes[0].PersistentVolumeClaim.ClaimName = claimName(i)
			}
		}); err != nil {
			return seen, err
		}
	}
	// Being put somewhere is enough: where there is no storage they never run.
	if seen, err = d.untilPods(ctx, "all have a node", databases, hasNode); err == nil {
		d.show(seen, true)
	}
	return seen, err
}

// untilVolumes waits until so many claims are bound to a volume.
func (d *demo) untilVolumes(ctx context.Context, claims int) error {
	return d.until(ctx, "the volumes are there", func(ctx context.Context) (bool, string, error) {
		seen, err := d.snapshot(ctx)
		bound := 0
		for _, v := range seen.Volumes {
			if len(v.Replicas) > 0 {
				bound++
			}
		}
		return bound == claims, fmt.Sprintf("%d of %d", bound, claims), err
	})
}

func claimName(database int) string { return fmt.Sprintf("data-%02d", database) }

// sideBySide is the table of step e.
func sideBySide(stock, ours Tally) string {
	const row = "  %-40s %18s   %24s\n"
	var table strings.Builder
	fmt.Fprintf(&table, row, "", stockScheduler, ourScheduler)
	for _, line := range []struct {
		what        string
		stock, ours int
	}{
		{"on a node with their data", stock.OnData, ours.OnData},
		{"on another node, data over the network", stock.Away, ours.Away},
		{"on a node where they cannot start", stock.NoStorage, ours.NoStorage},
	} {
		fmt.Fprintf(&table, row, line.what, outOf(line.stock), outOf(line.ours))
	}
	return table.String()
}

func outOf(pods int) string { return fmt.Sprintf("%d of %d", pods, databases) }

// moreOnData checks that ours is better than stock, which is luck if it is good
// at all.
func moreOnData(ours, stock Tally) check {
	c := check{text: "that is more than with " + stockScheduler}
	if ours.OnData <= stock.OnData {
		c.instead = fmt.Sprintf("%d with ours and %d with the stock scheduler", ours.OnData, stock.OnData)
	}
	return c
}
