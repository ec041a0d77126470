package perf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/kubernetes/pkg/controller/statefulset"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/internal/sandbox/fakenodes"
	"github.com/hyperconverge/scheduler/test/kit"
)

const (
	databaseNodes  = 500
	databases      = 1500 // StatefulSets of one pod
	drained        = 50   // nodes, one after the other
	homePatience   = 20 * time.Minute
	databasePrefix = "db-"
)

// BenchmarkHomecoming drains 50 of 500 nodes, one after the other, and counts the databases
// that run on the only node with their data: afterwards, and when the rebalancer has brought
// home whom it could. Each has room there. Its budgets are raised, so that it takes minutes
// and not hours: 20 are away at once, and as many go in an hour as there are. Run it with
// -benchtime=1x.
func BenchmarkHomecoming(b *testing.B) {
	c := newCluster(b, databaseNodes, 0)
	c.runKubeletsAndStatefulSets(b)
	homes := c.addDatabases()
	v := variant{name: "LocalFirst", preference: "LocalFirst"}
	c.volumes = databases
	s, err := startScheduler(b, c, v)
	c.Must(err)
	defer s.Stop()
	c.settle("all databases run")
	for i := range drained {
		c.drain(fmt.Sprintf("node-%04d", i*databaseNodes/drained))
	}
	before := c.atHome(homes)

	scheduler, err := v.configuration(b, c)
	c.Must(err)
	p := c.startRebalancer(b, scheduler, "dryRun: false\noptIn: all\ninterval: 1s\nminAge: 0s\nbudgets: {maxPerHour: 1000, maxConcurrent: 20}\n")
	began := time.Now()
	c.Must(kit.Wait(c.Ctx, homePatience, "nobody goes any more", func() error {
		families, err := p.Metrics()
		if err != nil {
			return err
		}
		looked, _ := families.Sum("hyperconverge_rebalancer_last_look_timestamp_seconds")
		moves, _ := families.Sum("hyperconverge_rebalancer_moves")
		away, _ := families.Sum("hyperconverge_rebalancer_evictions_under_way")
		if looked == 0 || moves > 0 || away > 0 {
			return fmt.Errorf("%v go, and %v are away", moves, away)
		}
		return nil
	}))
	took := time.Since(began)
	families, err := p.Metrics()
	c.Must(err)
	evictions, _ := families.Sum("hyperconverge_rebalancer_evictions_total")
	b.ReportMetric(0, "ns/op") // of no meaning here
	b.ReportMetric(before, "before-home-%")
	b.ReportMetric(c.atHome(homes), "home-%")
	b.ReportMetric(took.Seconds(), "s")
	b.ReportMetric(evictions, "evictions")
	p.Kill()
}

// runKubeletsAndStatefulSets has pods of the nodes run, and of StatefulSets be made anew.
func (c *cluster) runKubeletsAndStatefulSets(b *testing.B) {
	ctx, stop := context.WithCancel(context.WithoutCancel(c.Ctx))
	var running sync.WaitGroup
	factory := informers.NewSharedInformerFactory(c.Client, 0)
	core, apps := factory.Core().V1(), factory.Apps().V1()
	sets := statefulset.NewStatefulSetController(ctx, core.Pods(), apps.StatefulSets(), core.PersistentVolumeClaims(), apps.ControllerRevisions(), c.Client)
	factory.Start(ctx.Done())
	running.Go(func() { sets.Run(ctx, writers) })
	nodes := make([]fakenodes.Node, c.nodes)
	for i := range nodes {
		nodes[i] = fakenodes.Node{Name: fmt.Sprintf("node-%04d", i), StorageID: "some", IP: netip.AddrFrom4([4]byte{172, 16, byte(i / 250), byte(i % 250)})}
	}
	c.Must(parallel(ctx, len(nodes), func(i int) error { // which the kubelets renew
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: nodes[i].Name}}
		_, err := c.Client.CoordinationV1().Leases(v1.NamespaceNodeLease).Create(ctx, lease, metav1.CreateOptions{})
		return err
	}))
	running.Go(func() {
		if err := fakenodes.Run(ctx, c.Client, nodes); err != nil && ctx.Err() == nil {
			b.Errorf("the kubelets: %v", err)
		}
	})
	b.Cleanup(func() {
		stop()
		factory.Shutdown()
		running.Wait()
	})
}

// addDatabases makes them, and returns the node with the data of each.
func (c *cluster) addDatabases() (homes []string) {
	names := map[string]string{} // storage node id -> node name
	for _, n := range c.Storage.Nodes() {
		names[n.ID] = n.SchedulerNodeName
	}
	homes = make([]string, databases)
	handles := make([]string, databases)
	for i := range homes {
		made, err := c.Storage.CreateVolume(openstoragesim.CreateRequest{Name: databasePrefix + strconv.Itoa(i), Parameters: map[string]string{"repl": "1"}})
		c.Must(err)
		handles[i], homes[i] = made.GetId(), names[made.GetReplicaSets()[0].GetNodes()[0]]
	}
	c.Must(parallel(c.Ctx, databases, func(i int) error {
		name := databasePrefix + strconv.Itoa(i)
		volumeErr := c.addVolume(c.Ctx, name, kit.Driver, handles[i])
		pod := kit.Pod(c.Namespace, name, v1.DefaultSchedulerName, name).Req(ofEveryPod).Label("set", name).Obj()
		_, setErr := c.Client.AppsV1().StatefulSets(c.Namespace).Create(c.Ctx, &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: appsv1.StatefulSetSpec{
				Selector: &metav1.LabelSelector{MatchLabels: pod.Labels},
				Template: v1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec},
			},
		}, metav1.CreateOptions{})
		return errors.Join(volumeErr, setErr)
	}))
	return homes
}

// running are the databases that run, with their nodes.
func (c *cluster) running() map[string]string {
	list, err := c.Client.CoreV1().Pods(c.Namespace).List(c.Ctx, metav1.ListOptions{LabelSelector: "set", ResourceVersion: "0"})
	c.Must(err)
	nodes := map[string]string{}
	for i := range list.Items {
		if pod := &list.Items[i]; pod.DeletionTimestamp == nil && pod.Status.Phase == v1.PodRunning {
			nodes[pod.Labels["set"]] = pod.Spec.NodeName
		}
	}
	return nodes
}

// settle waits until all databases run.
func (c *cluster) settle(what string) {
	c.Must(kit.Wait(c.Ctx, patience, what, func() error {
		if n := len(c.running()); n < databases {
			return fmt.Errorf("%d of %d", n, databases)
		}
		return nil
	}))
}

// atHome is the share of the databases that run where their data is, in percent.
func (c *cluster) atHome(homes []string) float64 {
	c.settle("all databases run")
	at, nodes := 0, c.running()
	for i, home := range homes {
		if nodes[databasePrefix+strconv.Itoa(i)] == home {
			at++
		}
	}
	return 100 * float64(at) / float64(len(homes))
}

// drain empties a node and opens it again when its databases run elsewhere.
func (c *cluster) drain(node string) {
	cordon := func(closed bool) {
		_, err := c.Client.CoreV1().Nodes().Patch(c.Ctx, node, types.StrategicMergePatchType, fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, closed), metav1.PatchOptions{})
		c.Must(err)
	}
	cordon(true)
	for name, at := range c.running() {
		if at == node {
			c.Must(c.Client.CoreV1().Pods(c.Namespace).Delete(c.Ctx, name+"-0", metav1.DeleteOptions{}))
		}
	}
	c.Must(kit.Wait(c.Ctx, patience, node+" is empty", func() error {
		nodes := c.running()
		for name, at := range nodes {
			if at == node {
				return fmt.Errorf("%s runs there", name)
			}
		}
		if len(nodes) < databases {
			return fmt.Errorf("%d of %d run", len(nodes), databases)
		}
		return nil
	}))
	cordon(false)
}
