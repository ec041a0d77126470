package perf

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
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
			if v.extender != nil || v.preference == "Score" {
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

// newFakeCluster has nodes and bound volumes, no pods, and no API server but one that
// lists them.
func newFakeCluster(tb testing.TB, nodes, volumes int) *cluster {
	tb.Helper()
	c := &cluster{volumes: volumes, Cluster: &controlplane.Cluster{TB: tb, Storage: openstoragesim.NewCluster(openstoragesim.Options{})}}
	lists := map[string][]any{}
	for i := range nodes {
		node := newNode(i)
		stored, err := c.Storage.AddNode(openstoragesim.Node{SchedulerNodeName: node.Name})
		c.Must(err)
		lists["nodes"] = append(lists["nodes"], node)
		lists["csinodes"] = append(lists["csinodes"], newCSINode(node.Name, stored.ID))
	}
	c.Must(c.Storage.Fill(volumes, map[string]string{"repl": strconv.Itoa(replicas)}))
	for v := range c.Storage.Volumes() {
		volume, claim := newVolume(v.GetLocator().GetName(), kit.Driver, v.GetId())
		lists["persistentvolumes"] = append(lists["persistentvolumes"], volume)
		lists["persistentvolumeclaims"] = append(lists["persistentvolumeclaims"], claim)
	}
	c.Server = openstoragesim.NewServer(c.Storage, openstoragesim.ServerOptions{})
	c.Must(c.Server.Start("127.0.0.1:0"))
	tb.Cleanup(c.Server.Stop)
	api := httptest.NewServer(lister(lists))
	tb.Cleanup(api.Close)
	c.ControlPlane = &controlplane.ControlPlane{Config: &rest.Config{Host: api.URL}}
	return c
}

// lister answers lists of objects by the name of their resource, and watches with
// silence.
type lister map[string][]any

func (l lister) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch query := r.URL.Query(); {
	case strings.Contains(r.URL.Path, "/kubevirt.io/"):
		http.NotFound(w, r) // nobody has installed it
	case query.Has("sendInitialEvents"): // the client lists instead
		http.Error(w, "{}", http.StatusBadRequest)
	case query.Has("watch"):
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	default:
		items := l[path.Base(r.URL.Path)]
		if items == nil {
			items = []any{}
		}
		err := json.NewEncoder(w).Encode(map[string]any{"metadata": map[string]any{"resourceVersion": "1"}, "items": items})
		if err != nil {
			panic(http.ErrAbortHandler) // the scheduler has gone away
		}
	}
}
