package story

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/internal/sandbox/clustermap"
	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

const (
	ledgerClass    = "px-csi-ledger"
	ledgerReplicas = 3
	// noticing is how long the scheduler gets to learn of a moved replica. It is
	// told within milliseconds; no metric says when.
	noticing = 2 * time.Second
)

// strictLedger is act c.
func (s *stage) strictLedger(ctx context.Context) error {
	// Two of three nodes always have one in common with two others of them.
	places, err := s.storageNodeIDs(3)
	if err != nil {
		return err
	}
	s.say("A StatefulSet with preferLocalNodeOnly, and two claims per pod on nodes of a chosen three.")
	class := driver.NewClass(ledgerClass, storagev1.VolumeBindingImmediate,
		map[string]string{"repl": "2", "nodes": strings.Join(places, ",")})
	if _, err := s.sandbox.Client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the StorageClass %s: %w", ledgerClass, err)
	}
	s.tags = map[string]string{}
	for i := range ledgerReplicas {
		s.tags[fmt.Sprintf("data-ledger-%d", i)] = fmt.Sprintf("d%d", i)
		s.tags[fmt.Sprintf("wal-ledger-%d", i)] = fmt.Sprintf("w%d", i)
	}
	if err := s.apply(ctx, "ledger.yaml", nil); err != nil {
		return err
	}
	scene, err := s.untilScene(ctx, "the ledger runs", ledgerReplicas, runs)
	if err != nil {
		return err
	}
	s.show(scene)
	for _, pod := range scene.Pods {
		s.expect(runsOnData(scene, pod))
	}
	return s.ledgerApart(ctx, scene)
}

// ledgerApart is the second half of act c: the two volumes of a pod have no node
// in common any more, and then they do again.
func (s *stage) ledgerApart(ctx context.Context, before clustermap.Scene) error {
	const pod, data, wal = "ledger-1", "data-ledger-1", "wal-ledger-1"
	volume, err := s.volumeOf(ctx, wal)
	if err != nil {
		return err
	}
	home := before.Volume(wal).Replicas
	away := nodesWithout(before, before.Volume(data).Replicas)
	if len(away) < len(home) {
		return errors.New("there are not enough nodes with storage to move a volume to")
	}
	away = away[:len(home)]

	s.out.Printf("")
	s.say("The replicas of %s move to %s, where no %s is, and the pod is deleted.", wal, strings.Join(away, " and "), data)
	if err := s.moveReplicas(ctx, volume, away); err != nil {
		return err
	}
	if err := s.deletePods(ctx, "statefulset.kubernetes.io/pod-name="+pod); err != nil {
		return err
	}
	scene, err := s.untilScene(ctx, "its successor is settled", ledgerReplicas, isSettled)
	if err != nil {
		return err
	}
	s.show(scene)
	s.expect(waitsBecause(scene.Pod(pod), placement.ReasonStrictNowhere, "-"+pod))

	s.out.Printf("")
	s.say("The replicas move back. Nobody touches the pod.")
	if err := s.sandbox.Control.SetReplicaSets(ctx, volume, home); err != nil {
		return err
	}
	moved := time.Now()
	scene, err = s.untilScene(ctx, "it runs", ledgerReplicas, runs)
	if err != nil {
		return err
	}
	took := time.Since(moved)
	p := runsOnData(scene, scene.Pod(pod))
	if p.instead == "" {
		p.text += fmt.Sprintf(", %.1f s after the move", took.Seconds())
	}
	s.expect(p)
	return nil
}

// moveReplicas moves a volume and gives the scheduler time to notice.
func (s *stage) moveReplicas(ctx context.Context, volume string, nodes []string) error {
	if err := s.sandbox.Control.SetReplicaSets(ctx, volume, nodes); err != nil {
		return err
	}
	s.out.Status("letting the scheduler notice")
	timer := time.NewTimer(noticing)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// volumeOf is the name of the volume that the claim is bound to.
func (s *stage) volumeOf(ctx context.Context, claim string) (string, error) {
	found, err := s.sandbox.Client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, claim, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("looking at the claim %s: %w", claim, err)
	}
	return found.Spec.VolumeName, nil
}

// storageNodeIDs are the ids of so many storage nodes, far apart.
func (s *stage) storageNodeIDs(count int) ([]string, error) {
	var ids []string
	for _, n := range s.sandbox.Nodes {
		if n.StorageID != "" {
			ids = append(ids, n.StorageID)
		}
	}
	if len(ids) < count {
		return nil, fmt.Errorf("this act needs %d nodes with storage, there are %d", count, len(ids))
	}
	chosen := make([]string, count)
	for i := range chosen {
		chosen[i] = ids[i*len(ids)/count]
	}
	return chosen, nil
}

// nodesWithout are the nodes with storage that are not among those.
func nodesWithout(scene clustermap.Scene, those []string) []string {
	var names []string
	for _, n := range scene.Nodes {
		if n.Storage == clustermap.Online && !slices.Contains(those, n.Name) {
			names = append(names, n.Name)
		}
	}
	return names
}
