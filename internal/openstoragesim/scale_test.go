package openstoragesim

import (
	"runtime"
	"strconv"
	"testing"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

const manyVolumes = 100_000

// BenchmarkFill measures how long 100 000 volumes with three replicas take to
// make, and what they weigh.
func BenchmarkFill(b *testing.B) {
	for _, nodes := range []int{12, 1000} {
		b.Run(strconv.Itoa(nodes)+"nodes", func(b *testing.B) {
			for b.Loop() {
				c := newZonedCluster(b, nodes)
				before := liveHeap()
				if err := c.Fill(manyVolumes, map[string]string{"repl": "3"}); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(liveHeap()-before)/(1<<20), "MiB-live")
				size := 0
				for v := range c.Volumes() {
					size += proto.Size(v)
				}
				b.ReportMetric(float64(size)/manyVolumes, "wire-B/volume")
			}
		})
	}
}

// BenchmarkList measures the list of 100 000 volumes as one message, client
// included.
func BenchmarkList(b *testing.B) {
	cl := fullServer(b, grpc.WithDefaultCallOptions(maxReceive))
	for b.Loop() {
		response, err := cl.volumes.InspectWithFilters(b.Context(), &api.SdkVolumeInspectWithFiltersRequest{})
		if err != nil || len(response.GetVolumes()) != manyVolumes {
			b.Fatal(len(response.GetVolumes()), err)
		}
		b.ReportMetric(float64(proto.Size(response))/(1<<20), "MiB/message")
	}
}

// BenchmarkDump measures the dump of a watch on 100 000 volumes.
func BenchmarkDump(b *testing.B) {
	cl := fullServer(b)
	for b.Loop() {
		stream := openWatch(b, cl)
		for range manyVolumes {
			if _, err := stream.Recv(); err != nil {
				b.Fatal(err)
			}
		}
		if err := stream.CloseSend(); err != nil {
			b.Fatal(err)
		}
	}
}

func fullServer(b *testing.B, options ...grpc.DialOption) client {
	c := newZonedCluster(b, 100)
	if err := c.Fill(manyVolumes, map[string]string{"repl": "3"}); err != nil {
		b.Fatal(err)
	}
	s := start(b, c, ServerOptions{})
	return dial(b, s.Endpoint(), append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

func liveHeap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
