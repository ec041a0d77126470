package demo

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
	// learning is how long the scheduler gets to learn of a moved replica. It is
	// told within milliseconds; no metric says when.
	learning = 2 * time.Second
)

// strictLedger is step c.
func (d *demo) strictLedger(ctx context.Context) error {
	// Two of three nodes always have one in common with two others of them.
	ids := d.storageNodeIDs()
	if len(ids) < 3 {
		return fmt.Errorf("this step needs 3 nodes with storage, there are %d", len(ids))
	}
	farApart := []string{ids[0], ids[len(ids)/3], ids[2*len(ids)/3]}
	d.say("A StatefulSet with preferLocalNodeOnly, and two claims per pod on nodes of a chosen three.")
	class := driver.NewClass(ledgerClass, storagev1.VolumeBindingImmediate,
		map[string]string{"repl": "2", "nodes": strings.Join(farApart, ",")})
	if _, err := d.sandbox.Client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the StorageClass %s: %w", ledgerClass, err)
	}
	d.tags = map[string]string{}
	for i := range ledgerReplicas {
		d.tags[fmt.Sprintf("data-ledger-%d", i)] = fmt.Sprintf("d%d", i)
		d.tags[fmt.Sprintf("wal-ledger-%d", i)] = fmt.Sprintf("w%d", i)
	}
	if err := d.apply(ctx, "ledger.yaml", nil); err != nil {
		return err
	}
	seen, err := d.untilPods(ctx, "the ledger runs", ledgerReplicas, runs)
	if err != nil {
		return err
	}
	d.show(seen, false)
	for _, pod := range seen.Pods {
		d.expect(runsOnData(seen, pod))
	}
	return d.ledgerApart(ctx, seen)
}

// ledgerApart is the second half of step c: the two volumes of a pod have no node
// in common any more, and then they do again.
func (d *demo) ledgerApart(ctx context.Context, before clustermap.Snapshot) error {
	const pod, data, wal = "ledger-1", "data-ledger-1", "wal-ledger-1"
	volume, err := d.volumeOf(ctx, wal)
	if err != nil {
		return err
	}
	home := before.Volume(wal).Replicas
	away := nodesWithout(before, before.Volume(data).Replicas)
	if len(away) < len(home) {
		return errors.New("there are not enough nodes with storage to move a volume to")
	}
	away = away[:len(home)]

	d.out.Printf("")
	d.say("The replicas of %s move to %s, where no %s is, and the pod is deleted.", wal, strings.Join(away, " and "), data)
	if err := d.moveReplicas(ctx, volume, away); err != nil {
		return err
	}
	if err := d.deletePods(ctx, "statefulset.kubernetes.io/pod-name="+pod); err != nil {
		return err
	}
	seen, err := d.untilPods(ctx, "its successor is settled", ledgerReplicas, isSettled)
	if err != nil {
		return err
	}
	d.show(seen, false)
	d.expect(waitsBecause(seen.Pod(pod), placement.ReasonStrictNowhere, "-"+pod))

	d.out.Printf("")
	d.say("The replicas move back. Nobody touches the pod.")
	if err := d.sandbox.Control.SetReplicaSets(ctx, volume, home); err != nil {
		return err
	}
	moved := time.Now()
	seen, err = d.untilPods(ctx, "it runs", ledgerReplicas, runs)
	if err != nil {
		return err
	}
	took := time.Since(moved)
	c := runsOnData(seen, seen.Pod(pod))
	if c.instead == "" {
		c.text += fmt.Sprintf(", %.1f s after the move", took.Seconds())
	}
	d.expect(c)
	return nil
}

// moveReplicas moves a volume and gives the scheduler time to notice.
func (d *demo) moveReplicas(ctx context.Context, volume string, nodes []string) error {
	if err := d.sandbox.Control.SetReplicaSets(ctx, volume, nodes); err != nil {
		return err
	}
	d.out.Status("letting the scheduler notice")
	select {
	case <-time.After(learning):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// volumeOf is the name of the volume that the claim is bound to.
func (d *demo) volumeOf(ctx context.Context, claim string) (string, error) {
	found, err := d.sandbox.Client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, claim, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("looking at the claim %s: %w", claim, err)
	}
	return found.Spec.VolumeName, nil
}

// storageNodeIDs are the ids of the storage nodes, in the order of the nodes.
func (d *demo) storageNodeIDs() []string {
	var ids []string
	for _, n := range d.sandbox.Nodes {
		if n.StorageID != "" {
			ids = append(ids, n.StorageID)
		}
	}
	return ids
}

// nodesWithout are the nodes with storage that are not among those.
func nodesWithout(seen clustermap.Snapshot, those []string) []string {
	var names []string
	for _, n := range seen.Nodes {
		if n.Storage == clustermap.Online && !slices.Contains(those, n.Name) {
			names = append(names, n.Name)
		}
	}
	return names
}
