package story

import (
	"context"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
)

const (
	mysqlPod   = "mysql"
	mysqlClaim = "mysql-data"
)

// mysqlStarts is act a.
func (s *stage) mysqlStarts(ctx context.Context) error {
	s.say("A Deployment with one claim, written for Stork: schedulerName stork. Its volume has two replicas.")
	s.tags = map[string]string{mysqlClaim: "A"}
	if err := s.apply(ctx, "mysql.yaml", nil); err != nil {
		return err
	}
	scene, err := s.untilScene(ctx, "MySQL runs", 1, runs)
	if err != nil {
		return err
	}
	s.show(scene)
	s.expect(runsOnData(scene, scene.Pod(mysqlPod)))
	return nil
}

// mysqlMoves is act b.
func (s *stage) mysqlMoves(ctx context.Context) (err error) {
	before, err := s.scene(ctx)
	if err != nil {
		return err
	}
	failing := before.Pod(mysqlPod).Node
	others := slices.DeleteFunc(before.Volume(mysqlClaim).Replicas, func(node string) bool { return node == failing })
	if failing == "" || len(others) != 1 {
		return errors.New("this act needs MySQL to run on one of two replica nodes, as act a leaves it")
	}

	s.say("The storage of %s goes offline, and its pod is deleted.", failing)
	if err := s.setStorage(ctx, failing, "OFFLINE"); err != nil {
		return err
	}
	defer func() {
		// Also when the act fails: the next ones need the node.
		if restored := s.setStorage(ctx, failing, "OK"); err == nil {
			err = restored
		}
	}()
	if err := s.untilSchedulerSees(ctx, "Offline", 1); err != nil {
		return err
	}
	if err := s.deletePods(ctx, "app=mysql"); err != nil {
		return err
	}
	scene, err := s.untilScene(ctx, "its successor runs", 1, runs)
	if err != nil {
		return err
	}
	s.show(scene)
	s.expect(runsOn(scene.Pod(mysqlPod), others[0], "the other node with "+mysqlClaim))
	return nil
}

// setStorage sets the state of a node's storage.
func (s *stage) setStorage(ctx context.Context, node, state string) error {
	status, err := openstoragesim.ParseStatus(state)
	if err != nil {
		return err
	}
	return s.sandbox.Control.SetNodeState(ctx, node, status)
}

// untilSchedulerSees waits until the scheduler knows that the storage of so many
// nodes is in this state, as its metrics tell: it asks for the states of nodes
// in intervals, and nothing is promised about the time in between.
func (s *stage) untilSchedulerSees(ctx context.Context, state string, nodes int) error {
	what := fmt.Sprintf("the scheduler has noticed that %d storage node(s) are %s", nodes, state)
	return s.until(ctx, what, func(ctx context.Context) (bool, string, error) {
		seen, err := s.sandbox.SchedulerMetric(ctx, "scheduler_hyperconverge_nodes", map[string]string{"state": state})
		return int(seen) == nodes, fmt.Sprintf("it knows of %.0f", seen), err
	})
}

// deletePods deletes pods as kubectl does: they are given time to end, and what
// owns them makes new ones.
func (s *stage) deletePods(ctx context.Context, selector string) error {
	err := s.sandbox.Client.CoreV1().Pods(namespace).
		DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return fmt.Errorf("deleting pods with %s: %w", selector, err)
	}
	return nil
}
