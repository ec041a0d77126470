package volumes

import (
	"fmt"
	"strconv"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

const (
	benchVolumes = 100_000
	benchNodes   = 1000
	// mostNodes is the largest cluster that Kubernetes supports.
	mostNodes = 5000
)

// benchHandle is an id as storage systems make them: 18 or 19 digits.
func benchHandle(i int) string {
	return strconv.FormatUint(100_000_000_000_000_007+uint64(i)*9_000_000_000_037, 10)
}

func benchObservation(i, shift int) *Observation {
	node := func(k int) string {
		return fmt.Sprintf("5b8e1c52-7d0a-4f3e-9d6b-%012d", (i*7+k+shift)%benchNodes)
	}
	return &Observation{ID: benchHandle(i), Name: "pvc-" + benchHandle(i), ReplicaSets: [][]string{{node(0), node(1), node(2)}},
		Labels: map[string]string{"pvc": "data", "namespace": "default", "repl": "3"}}
}

func filledIndex(b *testing.B) *Index {
	b.Helper()
	ix := indexOfNodes(benchNodes)
	for i := range benchVolumes {
		ix.follow(benchHandle(i), false)
		ix.Notice(benchObservation(i, 0))
	}
	ix.step()
	return ix
}

func indexOfNodes(n int) *Index {
	ix, _ := indexAndList(n)
	return ix
}

func indexAndList(n int) (*Index, []StorageNode) {
	ix := NewIndex(Options{Drivers: []string{testDriver}, TopologyKeys: LabelKeys{Zone: []string{"zone"}}})
	var records []StorageNode
	for i := range n {
		name, id := fmt.Sprintf("node-%04d", i), fmt.Sprintf("5b8e1c52-7d0a-4f3e-9d6b-%012d", i)
		node := testNode(name, internalIP(fmt.Sprintf("10.1.%d.%d", i/250, i%250+1)))
		node.Labels = map[string]string{"zone": strconv.Itoa(i % 3)}
		ix.feedNodes([]*v1.Node{node}, []*storagev1.CSINode{testCSINode(name, id)})
		records = append(records, StorageNode{ID: id, Hostname: name, State: placement.Online})
	}
	ix.SetStorageNodes(records)
	ix.step()
	return ix, records
}

// BenchmarkLookup: at most 0.5 µs, without an allocation.
func BenchmarkLookup(b *testing.B) {
	ix := filledIndex(b)
	handles := make([]string, 1024)
	for i := range handles {
		handles[i] = benchHandle(i * 97 % benchVolumes)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if ix.Lookup(handles[i&1023]).Volume == nil {
			b.Fatal("not found")
		}
		i++
	}
}

// BenchmarkHolders is what a scheduling cycle does with a volume it looked up.
func BenchmarkHolders(b *testing.B) {
	ix := filledIndex(b)
	volume := ix.Lookup(benchHandle(5)).Volume
	b.ReportAllocs()
	for b.Loop() {
		view := ix.View()
		for set := range volume.NumSets() {
			for _, ref := range volume.Set(set) {
				if node, _ := view.Holder(ref); node == nil || view.Node(node.Name) != node {
					b.Fatal("no holder")
				}
			}
		}
	}
}

// BenchmarkUpdate: at most 1 µs, for a volume whose replicas have moved.
func BenchmarkUpdate(b *testing.B) {
	benchmarkUpdate(b, 1)
}

// BenchmarkUnchanged is an update that brings nothing new.
func BenchmarkUnchanged(b *testing.B) {
	benchmarkUpdate(b, 0)
}

func benchmarkUpdate(b *testing.B, shift int) {
	ix := filledIndex(b)
	var observations [2][1024]*Observation
	for i := range 1024 {
		observations[0][i], observations[1][i] = benchObservation(i*97, 0), benchObservation(i*97, shift)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		o := observations[1-i>>10&1][i&1023]
		inspection, _ := ix.Begin(o.ID)
		if _, err := inspection.Found(o); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkView builds the picture of all nodes, as after any change of a node.
func BenchmarkView(b *testing.B) {
	ix := indexOfNodes(mostNodes)
	b.ReportAllocs()
	on := false
	for b.Loop() {
		node := testNode("node-0000")
		if on = !on; on {
			node.Annotations = map[string]string{placement.NodeUnschedulable: "true"}
		}
		ix.nodeHandler().OnUpdate(node, node)
		ix.step()
	}
}

// BenchmarkNodeList is one list of all storage nodes in which nothing is new.
func BenchmarkNodeList(b *testing.B) {
	benchmarkNodeLists(b, func([]StorageNode, int) {})
}

// BenchmarkRollingStateChange is one list of all storage nodes in a rolling upgrade of
// storage: in each, one node is down that was up, and the one before is up again.
func BenchmarkRollingStateChange(b *testing.B) {
	benchmarkNodeLists(b, func(list []StorageNode, i int) {
		list[(i+len(list)-1)%len(list)].State = placement.Online
		list[i%len(list)].State = placement.Offline
	})
}

func benchmarkNodeLists(b *testing.B, change func(list []StorageNode, i int)) {
	for _, nodes := range []int{500, 1000, mostNodes, 15_000, 30_000} {
		b.Run(fmt.Sprint("nodes=", nodes), func(b *testing.B) {
			ix, list := indexAndList(nodes)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				change(list, i)
				ix.SetStorageNodes(list)
				ix.step()
				i++
			}
		})
	}
}

func BenchmarkSummary(b *testing.B) {
	ix := filledIndex(b)
	for b.Loop() {
		Summarize(ix, 20)
	}
}
