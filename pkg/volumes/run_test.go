package volumes

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

func testPV(name, handle string) *v1.PersistentVolume {
	pv := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
	pv.Spec.CSI = &v1.CSIPersistentVolumeSource{Driver: testDriver, VolumeHandle: handle}
	return pv
}

func TestIndexFollowsTheInformers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		client := fake.NewClientset(testNode("a"), testCSINode("a", "s1"), testPV("pv1", "1"))
		factory := informers.NewSharedInformerFactory(client, 0)
		ix := NewIndex(Options{Drivers: []string{testDriver}})
		var handles []string // that are requested
		defer ix.Subscribe(func(c Change) { handles = append(handles, c.Requested...) })()
		core, storage := factory.Core().V1(), factory.Storage().V1()
		if err := ix.AddEventHandlers(core.Nodes(), storage.CSINodes(), core.PersistentVolumes()); err != nil {
			t.Fatal(err)
		}
		if err := ix.AddEventHandlers(core.Nodes(), storage.CSINodes(), core.PersistentVolumes()); err == nil {
			t.Error("event handlers are added twice, and PVs counted twice")
		}
		if ix.HasSynced() {
			t.Error("synced before the informers have started")
		}
		factory.Start(ctx.Done())
		factory.WaitForCacheSync(ctx.Done())
		synctest.Wait()
		if ix.HasSynced() {
			t.Error("synced before a view was built")
		}
		var running sync.WaitGroup
		running.Go(func() { ix.Run(ctx) })
		synctest.Wait()
		if !ix.HasSynced() {
			t.Error("not synced although all lists are in and the storage API is not needed")
		}
		if node := ix.View().Node("a"); node == nil || node.State != placement.Online {
			t.Errorf("node is %+v, want Online by its driver", node)
		}
		if len(handles) != 0 {
			t.Errorf("%v of the initial list are requested; the watch will bring them", handles)
		}

		_, err := client.CoreV1().PersistentVolumes().Create(ctx, testPV("pv2", "2"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(handles) != 1 || handles[0] != "2" {
			t.Errorf("%v are requested, want the new PV's", handles)
		}
		if err := client.CoreV1().PersistentVolumes().Delete(ctx, "pv1", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if ix.Lookup("1") != (Entry{}) {
			t.Error("the volume of a deleted PV is not forgotten")
		}
		cancel()
		running.Wait()
		factory.Shutdown()
	})
}

// TestTimeAloneIsNoticed has nobody but the clock wake the index.
func TestTimeAloneIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ix := NewIndex(Options{Drivers: []string{testDriver}, MaxStaleness: time.Minute})
		var mu sync.Mutex
		transitions := map[time.Duration]Change{}
		start := time.Now()
		ix.Subscribe(func(c Change) {
			mu.Lock()
			defer mu.Unlock()
			transitions[time.Since(start)] = c
		})
		var running sync.WaitGroup
		running.Go(func() { ix.Run(ctx) })
		ix.follow("1", false)
		ix.Notice(observe("1", "a"))
		synctest.Wait()
		if entry := ix.Lookup("1"); entry.Freshness != Fresh {
			t.Errorf("entry is %v, want fresh", entry.Freshness)
		}

		time.Sleep(20 * time.Second)
		ix.Notice(observe("1", "b")) // dirty from now on
		time.Sleep(30 * time.Second)
		ix.markContact(ix.now())
		time.Sleep(50 * time.Second)
		synctest.Wait()
		mu.Lock()
		if c, told := transitions[80*time.Second+1]; !told || len(c.Volumes) != 1 {
			t.Errorf("the volume that is dirty since 20s was not told as stale at 80s: %v", transitions)
		}
		mu.Unlock()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		mu.Lock()
		if c, told := transitions[110*time.Second+1]; !told || !c.Cluster {
			t.Errorf("the outage since 50s was not told at 110s: %v", transitions)
		}
		mu.Unlock()
		if ix.View().Fresh() || !ix.View().Reached() {
			t.Errorf("fresh %v, reached %v; want reached and not fresh", ix.View().Fresh(), ix.View().Reached())
		}
		ix.markContact(ix.now())
		synctest.Wait()
		if !ix.View().Fresh() {
			t.Error("not fresh although the storage API is back")
		}

		ix.nodeHandler().OnAdd(testNode("a"), false)
		list := []StorageNode{{ID: "s1", Hostname: "a", State: placement.Offline}}
		ix.SetStorageNodes(list)
		listed := time.Since(start)
		time.Sleep(30 * time.Second)
		ix.markContact(ix.now())
		time.Sleep(30*time.Second + 1)
		synctest.Wait()
		mu.Lock()
		if c, told := transitions[listed+time.Minute+1]; !told || len(c.Nodes) != 1 || c.Cluster {
			t.Errorf("the node list of %v was not told as too old a minute later: %v", listed, transitions)
		}
		mu.Unlock()
		ix.SetStorageNodes(list)
		synctest.Wait()
		if got := ix.View().Node("a").State; got != placement.Offline {
			t.Errorf("node is %v although the same list came again, want Offline", got)
		}
		cancel()
		running.Wait()
	})
}

// TestManyFeedsAtOnceEndWhereOneWould races all writers and readers, and compares
// the outcome with that of the same events one after the other.
func TestManyFeedsAtOnceEndWhereOneWould(t *testing.T) {
	defer goleak.VerifyNone(t)
	const volumes, nodes, rounds = 200, 20, 30
	feeds := []func(ix *Index){
		func(ix *Index) {
			for round := range rounds {
				for i := range nodes {
					node := testNode(fmt.Sprint("n", i))
					node.Labels = map[string]string{"zone": strconv.Itoa((round + i) % 3)}
					ix.nodeHandler().OnAdd(node, false)
				}
			}
		},
		func(ix *Index) {
			for round := range rounds {
				for i := range nodes {
					ix.csiNodeHandler().OnAdd(testCSINode(fmt.Sprint("n", i), fmt.Sprint("s", (i+rounds-1-round)%nodes)), false)
				}
			}
		},
		func(ix *Index) {
			for range rounds {
				var list []StorageNode
				for i := range nodes {
					list = append(list, StorageNode{ID: fmt.Sprint("s", i), State: placement.Online + placement.StorageState(i%4)})
				}
				ix.SetStorageNodes(list)
			}
		},
		func(ix *Index) {
			for round := range rounds {
				for i := range volumes {
					handle := strconv.Itoa(i + 1)
					ix.follow(handle, true)
					o := observe(handle, fmt.Sprint("s", (i+round)%nodes), fmt.Sprint("s", (i+round+1)%nodes))
					mustResolve(ix, handle, o)
					if round+1 < rounds {
						ix.forget(handle)
					}
				}
			}
		},
	}
	one, _ := newTestIndex()
	for _, feed := range feeds {
		feed(one)
	}
	one.step()

	many, _ := newTestIndex()
	ctx, cancel := context.WithCancel(t.Context())
	var readers, writers, running sync.WaitGroup
	running.Go(func() { many.Run(ctx) })
	many.Subscribe(func(c Change) {
		for _, handle := range c.Volumes {
			many.Lookup(handle)
		}
	})
	for range 2 {
		readers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				view := many.View()
				if entry := many.Lookup(strconv.Itoa(i%volumes + 1)); entry.Volume != nil {
					for _, ref := range entry.Volume.Set(0) {
						if node, _ := view.Holder(ref); node != nil && view.Node(node.Name) != node {
							t.Errorf("holder %s is not in its view", node.Name)
						}
					}
				}
				many.HasSynced()
			}
		})
	}
	for _, feed := range feeds {
		writers.Go(func() { feed(many) })
	}
	writers.Wait()
	cancel()
	readers.Wait()
	running.Wait()
	many.step()

	for i := range volumes {
		handle := strconv.Itoa(i + 1)
		a, b := one.Lookup(handle).Volume, many.Lookup(handle).Volume
		for k, ref := range a.Set(0) {
			if want, got := one.ids.id(ref), many.ids.id(b.Set(0)[k]); want != got {
				t.Errorf("volume %s: replica %d is on %s, want %s", handle, k, got, want)
			}
		}
	}
	for i := range nodes {
		name := fmt.Sprint("n", i)
		a, b := one.View().Node(name), many.View().Node(name)
		if a.State != b.State {
			t.Errorf("node %s is %v, want %v", name, b.State, a.State)
		}
		id := fmt.Sprint("s", i)
		nodeA, _ := one.View().Holder(one.ids.ref(id))
		nodeB, _ := many.View().Holder(many.ids.ref(id))
		if nameOf(nodeA) != nameOf(nodeB) {
			t.Errorf("storage node %s is %s, want %s", id, nameOf(nodeB), nameOf(nodeA))
		}
	}
}
