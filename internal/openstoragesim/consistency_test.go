package openstoragesim

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/libopenstorage/openstorage/api"
)

// checkConsistent compares what the cluster keeps twice.
func checkConsistent(t testing.TB, c *Cluster) {
	t.Helper()
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.byID) != len(c.volumes) || len(c.byName) != len(c.volumes) {
		t.Fatalf("%d volumes, %d ids, %d names", len(c.volumes), len(c.byID), len(c.byName))
	}
	replicas := map[string]int{}
	pools := map[string]int{}
	for i, r := range c.volumes {
		if r.index != i || c.byID[r.volume.GetId()] != r || c.byName[r.volume.GetLocator().GetName()] != r {
			t.Fatalf("volume %s is not where it should be", r.volume.GetId())
		}
		for _, set := range r.volume.GetReplicaSets() {
			if len(set.GetNodes()) != len(set.GetPoolUuids()) {
				t.Fatalf("volume %s has nodes without pools", r.volume.GetId())
			}
			for j, id := range set.GetNodes() {
				replicas[id]++
				pools[set.GetPoolUuids()[j]]++
			}
		}
	}
	if len(c.nodes) != len(c.nodesByID) {
		t.Fatalf("%d nodes, %d ids", len(c.nodes), len(c.nodesByID))
	}
	for _, n := range c.nodes {
		if n.replicas != replicas[n.ID] {
			t.Errorf("node %s counts %d replicas, has %d", n.SchedulerNodeName, n.replicas, replicas[n.ID])
		}
		for pool, count := range n.poolReplicas {
			if count != pools[pool] {
				t.Errorf("pool %s counts %d replicas, has %d", pool, count, pools[pool])
			}
		}
	}
}

// TestRandomChangesStayConsistent lets several goroutines change everything.
func TestRandomChangesStayConsistent(t *testing.T) {
	c := newZonedCluster(t, 8)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(worker)))
			node := func() string { return nodeName(random.IntN(8) + 1) }
			volume := func() string { return fmt.Sprintf("pvc-%d", random.IntN(20)) }
			for range 500 {
				// Most of these fail now and then; what counts is the state.
				switch random.IntN(10) {
				case 0, 1:
					_, _ = c.CreateVolume(CreateRequest{Name: volume(), Parameters: map[string]string{"repl": strconv.Itoa(random.IntN(3) + 1)}})
				case 2:
					_ = c.DeleteVolume(volume())
				case 3:
					_ = c.MoveReplica(volume(), node(), node())
				case 4:
					_ = c.AddReplica(volume(), node())
				case 5:
					_ = c.RemoveReplica(volume(), node())
				case 6:
					_ = c.SetReplicaSets(volume(), []string{node()}, []string{node()})
				case 7:
					_ = c.SetNodeState(node(), api.Status(random.IntN(int(api.Status_STATUS_MAX))))
				case 8:
					name := node()
					if n, err := c.Node(name); err == nil && c.RemoveNode(name) == nil {
						_, _ = c.AddNode(n)
					}
				case 9:
					for range c.Volumes() {
						_ = c.Nodes()
						break
					}
				}
			}
		})
	}
	wg.Wait()
	checkConsistent(t, c)
	if len(c.volumes) == 0 {
		t.Error("no volume is left, so nothing was tested")
	}
}
