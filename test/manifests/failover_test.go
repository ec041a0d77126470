package manifests

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/test/kit"
)

// The leader dies in the middle of its work, without a word.
func TestStandbyTakesOverFromKilledLeader(t *testing.T) {
	const pending, bound = 500, 20
	plane := sharedPlane(t)
	objects := build(t, "manifests/base")
	plane.apply(t, objects)
	c := newCluster(t, plane, 3, openstoragesim.ServerOptions{})
	c.Volume("data", "n2")
	mark := plane.auditMark(t)

	leader := plane.startReplica(t, objects, podOptions{
		name: "the leader", endpoint: c.Server.Endpoint(),
		// Slow enough to be caught at work, and with a lease that lasts while the pods
		// are made on a busy machine.
		change: func(config string) string {
			return strings.NewReplacer("qps: 200", "qps: 10", "burst: 400", "burst: 10",
				"leaderElect: true", "leaderElect: true\n  leaseDuration: 40s\n  renewDeadline: 35s").Replace(config)
		},
	})
	leader.awaitReady(t)
	first := ""
	kit.Eventually(t, kit.Patience, "the first replica leads", func() (err error) {
		first, err = plane.holder(t.Context(), systemNamespace, schedulerName)
		return err
	})
	standby := plane.startReplica(t, objects, podOptions{name: "the standby", endpoint: c.Server.Endpoint()})
	standby.awaitReady(t)

	// The leader is stopped while the pods come, so that they pile up.
	leader.Signal(syscall.SIGSTOP)
	const pods = pending + 5*bound
	c.createMany(pods)
	leader.Signal(syscall.SIGCONT)
	waiting := pods
	kit.Eventually(t, kit.Patience, "the leader binds pods", func() error {
		if waiting = c.pendingPods(); waiting > pods-bound {
			return fmt.Errorf("%d of %d are pending", waiting, pods)
		}
		return nil
	})
	if waiting < pending {
		t.Fatalf("only %d pods were pending when the leader was about to die, want %d", waiting, pending)
	}
	leader.Kill()
	last, err := plane.Client.CoordinationV1().Leases(systemNamespace).Get(t.Context(), schedulerName, metav1.GetOptions{})
	c.Must(err)
	if *last.Spec.HolderIdentity != first {
		t.Fatal("the leader had lost its lease before it died")
	}

	kit.Eventually(t, kit.Patience, "all pods are bound", func() error {
		if waiting := c.pendingPods(); waiting > 0 {
			return fmt.Errorf("%d are pending", waiting)
		}
		return nil
	})
	lease, err := plane.Client.CoordinationV1().Leases(systemNamespace).Get(t.Context(), schedulerName, metav1.GetOptions{})
	c.Must(err)
	took := lease.Spec.AcquireTime.Sub(last.Spec.RenewTime.Time)
	duration := time.Duration(*last.Spec.LeaseDurationSeconds) * time.Second
	t.Logf("%d pods were pending; the lease changed hands %v after its last renewal, it lasts %v", waiting, took, duration)
	// The standby counts from when it saw the last renewal, and looks again every
	// 2 s, or a little more: two looks at most above the lease.
	if most := duration + 2*5*time.Second; took > most {
		t.Errorf("the lease changed hands %v after its last renewal, want at most %v", took, most)
	}

	bindings := map[string]int{}
	for _, request := range plane.requests(t, schedulerUser, mark) {
		if object := request.ObjectRef; object != nil && object.Resource == "pods" && object.Subresource == "binding" &&
			request.ResponseStatus != nil && request.ResponseStatus.Code == http.StatusCreated {
			bindings[object.Name]++
		}
	}
	for i := range pods {
		if n := bindings[manyName(i)]; n != 1 {
			t.Errorf("pod %s was bound %d times", manyName(i), n)
		}
	}
}

func manyName(i int) string { return fmt.Sprintf("many-%d", i) }

// createMany makes pods of which every tenth uses a volume.
func (c *cluster) createMany(count int) {
	c.Helper()
	var workers errgroup.Group
	workers.SetLimit(16)
	for i := range count {
		pod := c.pod(manyName(i), schedulerName)
		if i%10 == 0 {
			pod = pod.PVC("data")
		}
		workers.Go(func() error {
			_, err := c.Client.CoreV1().Pods(c.Namespace).Create(c.Ctx, pod.Obj(), metav1.CreateOptions{})
			return err
		})
	}
	c.Must(workers.Wait())
}

// pendingPods is the number of pods without a node.
func (c *cluster) pendingPods() int {
	c.Helper()
	pods, err := c.Client.CoreV1().Pods(c.Namespace).List(c.Ctx, metav1.ListOptions{FieldSelector: "spec.nodeName="})
	c.Must(err)
	return len(pods.Items)
}
