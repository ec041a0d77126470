package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

const (
	mysqlPod   = "mysql"
	mysqlClaim = "mysql-data"

	ledgerClass    = "px-csi-ledger"
	ledgerReplicas = 3
	// learning is how long the scheduler gets to learn of a moved replica. It is
	// told within milliseconds; no metric says when.
	learning = 2 * time.Second
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
func (d *demo) ledgerApart(ctx context.Context, before Snapshot) error {
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
func nodesWithout(seen Snapshot, those []string) []string {
	var names []string
	for _, n := range seen.Nodes {
		if n.Storage == Online && !slices.Contains(those, n.Name) {
			names = append(names, n.Name)
		}
	}
	return names
}

// sharedOff is step d.
func (d *demo) sharedOff(ctx context.Context) error {
	pods := len(d.storageNodeIDs())
	d.tags = map[string]string{"media": "M"}
	d.say("%d web servers share one volume, and the pods say disableHyperconvergence.", pods)
	seen, err := d.webServers(ctx, pods, func(*appsv1.Deployment) {})
	if err != nil {
		return err
	}
	d.expect(spreadEvenly(seen))

	d.out.Printf("")
	d.say("The same web servers without the annotation.")
	if err := d.removePods(ctx); err != nil {
		return err
	}
	seen, err = d.webServers(ctx, pods, func(deployment *appsv1.Deployment) {
		deployment.Spec.Template.Annotations = nil
	})
	if err != nil {
		return err
	}
	d.expect(allOnData(seen, "nodes are not equal: all pods are on the two that hold the volume"))
	return nil
}

// webServers creates the web servers and shows where they were put.
func (d *demo) webServers(ctx context.Context, pods int, edit func(*appsv1.Deployment)) (seen Snapshot, err error) {
	if err := d.apply(ctx, "shared.yaml", func(object runtime.Object) {
		if deployment, ok := object.(*appsv1.Deployment); ok {
			deployment.Spec.Replicas = ptr.To(int32(pods))
			edit(deployment)
		}
	}); err != nil {
		return seen, err
	}
	if seen, err = d.untilPods(ctx, "the web servers have nodes", pods, hasNode); err == nil {
		d.show(seen, true)
	}
	return seen, err
}

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
		moreOnData(ours.Tally(), stock.Tally(), "with "+stockScheduler),
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
				if scheduler == stockScheduler { // which the webhook would replace
					pod.Annotations = map[string]string{placement.PodDisableAdmission: "true"}
				}
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
	const row = "  %-33s  %17s  %23s\n"
	var table strings.Builder
	fmt.Fprintf(&table, row, "", stockScheduler, ourScheduler)
	for _, line := range []struct {
		what        string
		stock, ours int
	}{
		{"on a node with their data", stock.OnData, ours.OnData},
		{"on another node, over the network", stock.Away, ours.Away},
		{"on a node where they cannot start", stock.NoStorage, ours.NoStorage},
	} {
		fmt.Fprintf(&table, row, line.what, outOf(line.stock), outOf(line.ours))
	}
	return table.String()
}

func outOf(pods int) string { return fmt.Sprintf("%d of %d", pods, databases) }

// moreOnData checks that more pods are on their data than by another way, by which it is
// luck.
func moreOnData(ours, theirs Tally, theirWay string) check {
	c := check{text: "that is more than " + theirWay}
	if ours.OnData <= theirs.OnData {
		c.instead = fmt.Sprintf("%d, and %d %s", ours.OnData, theirs.OnData, theirWay)
	}
	return c
}
