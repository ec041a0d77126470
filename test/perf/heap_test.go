package perf

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"

	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
)

// BenchmarkHeap measures what a scheduler adds to the live heap of the process in
// a cluster of 5000 nodes and 100 000 replicated volumes, with and without the
// plugin. The API server is a fake, so that its own heap stands still; the storage
// cluster is the usual simulator. Run it with -benchtime=1x.
func BenchmarkHeap(b *testing.B) {
	const nodes, volumes = 5000, 100_000
	c := newFakeCluster(b, nodes, volumes)
	for round := range *rounds {
		for _, v := range variants {
			if v.extender || v.preference == "Score" {
				continue
			}
			b.Run(fmt.Sprintf("round=%d/variant=%s", round+1, v.name), func(b *testing.B) {
				before := liveHeap()
				if _, err := startScheduler(b, c, v); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(0, "ns/op") // of no meaning here
				b.ReportMetric(float64(liveHeap()-before)/(1<<20), "heap-MiB")
			})
		}
	}
}

// liveHeap returns the bytes that are reachable.
func liveHeap() int64 {
	var stats runtime.MemStats
	// What has finalizers or lies in a pool outlives one collection.
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// newFakeCluster has nodes and bound volumes, no pods, and no API server.
func newFakeCluster(tb testing.TB, nodes, volumes int) *cluster {
	tb.Helper()
	storage := openstoragesim.NewCluster(openstoragesim.Options{})
	var objects []k8sruntime.Object
	for i := range nodes {
		node := newNode(i)
		stored, err := storage.AddNode(openstoragesim.Node{SchedulerNodeName: node.Name})
		if err != nil {
			tb.Fatal(err)
		}
		objects = append(objects, node, newCSINode(node.Name, stored.ID))
	}
	if err := storage.Fill(volumes, map[string]string{"repl": strconv.Itoa(replicas)}); err != nil {
		tb.Fatal(err)
	}
	for v := range storage.Volumes() {
		pv, pvc := newVolume(v.GetLocator().GetName(), replicatedDriver, v.GetId())
		objects = append(objects, pv, pvc)
	}
	server := openstoragesim.NewServer(storage, openstoragesim.ServerOptions{})
	if err := server.Start("127.0.0.1:0"); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(server.Stop)
	return &cluster{client: fake.NewClientset(objects...), volumes: volumes, storage: server}
}
