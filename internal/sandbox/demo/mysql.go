package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
)

const (
	mysqlPod   = "mysql"
	mysqlClaim = "mysql-data"
)

// mysqlStarts is step a.
func (d *demo) mysqlStarts(ctx context.Context) error {
	d.say("A Deployment with one claim, written for Stork: schedulerName stork. Its volume has two replicas.")
	d.tags = map[string]string{mysqlClaim: "A"}
	if err := d.apply(ctx, "mysql.yaml", nil); err != nil {
		return err
	}
	seen, err := d.untilPods(ctx, "MySQL runs", 1, runs)
	if err != nil {
		return err
	}
	d.show(seen, false)
	d.expect(runsOnData(seen, seen.Pod(mysqlPod)))
	return nil
}

// mysqlMoves is step b.
func (d *demo) mysqlMoves(ctx context.Context) (err error) {
	before, err := d.snapshot(ctx)
	if err != nil {
		return err
	}
	failing := before.Pod(mysqlPod).Node
	others := slices.DeleteFunc(before.Volume(mysqlClaim).Replicas, func(node string) bool { return node == failing })
	if failing == "" || len(others) != 1 {
		return errors.New("this step needs MySQL to run on one of two replica nodes, as step a leaves it")
	}

	d.say("The storage of %s goes offline, and its pod is deleted.", failing)
	if err := d.sandbox.Control.SetNodeState(ctx, failing, openstoragesim.StatusOffline); err != nil {
		return err
	}
	defer func() {
		// Also when the step fails: the next ones need the node.
		if restored := d.sandbox.Control.SetNodeState(ctx, failing, openstoragesim.StatusOK); err == nil {
			err = restored
		}
	}()
	if err := d.untilSchedulerSees(ctx, "Offline", 1); err != nil {
		return err
	}
	if err := d.deletePods(ctx, "app=mysql"); err != nil {
		return err
	}
	seen, err := d.untilPods(ctx, "its successor runs", 1, runs)
	if err != nil {
		return err
	}
	d.show(seen, false)
	d.expect(runsOn(seen.Pod(mysqlPod), others[0], "the other node with "+mysqlClaim))
	return nil
}

// untilSchedulerSees waits until the scheduler knows that the storage of so many
// nodes is in this state, as its metrics tell: it asks for the states of nodes
// in intervals, and nothing is promised about the time in between.
func (d *demo) untilSchedulerSees(ctx context.Context, state string, nodes int) error {
	what := fmt.Sprintf("the scheduler has noticed that %d storage node(s) are %s", nodes, state)
	return d.until(ctx, what, func(ctx context.Context) (bool, string, error) {
		seen, err := d.sandbox.SchedulerMetric(ctx, "scheduler_hyperconverge_nodes", map[string]string{"state": state})
		return int(seen) == nodes, fmt.Sprintf("it knows of %.0f", seen), err
	})
}
