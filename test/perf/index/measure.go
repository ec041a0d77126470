package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperconverge/scheduler/pkg/volumes"
	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage"
)

const (
	nodePoll = 10 * time.Second
	resync   = 15 * time.Minute
	patience = 5 * time.Minute
)

// measure runs the whole plan.
func measure(ctx context.Context, p plan) ([]figure, error) {
	fmt.Fprintf(os.Stderr, "index: making %d volumes on %d nodes, which of a million takes minutes\n", p.volumes, p.nodes)
	s, err := startStorage(ctx, p)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	k := newKubernetes(s)
	stop := make(chan struct{})
	defer close(stop)
	k.run(stop)

	index, err := newIndex(k)
	if err != nil {
		return nil, err
	}
	rssBefore, err := resetPeak()
	if err != nil {
		return nil, err
	}
	source, err := openstorage.New(openstorage.Config{Endpoint: s.Endpoint, NodePollInterval: nodePoll, ResyncInterval: resync}, index)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	start := time.Now()
	running.Go(func() { index.Run(ctx) })
	running.Go(func() { source.Run(ctx) })
	lookups, err := awaitSync(index, s.Volumes)
	if err != nil {
		return nil, err
	}
	synced := time.Since(start)
	_, peak, err := memory()
	if err != nil {
		return nil, err
	}
	figures := []figure{
		{"growth of peak RSS during the first sync", "MB", 150, (peak - rssBefore) / 1e6, ""},
		{"first sync", "s", 20, synced.Seconds(), "by the initial list of the watch"},
		{"lookup while that goes on, p99", "µs", 500, micro(percentile(lookups, 99)), fmt.Sprintf("%d lookups, longest %v", len(lookups), percentile(lookups, 100))},
	}
	if !p.scale {
		more, err := changes(ctx, s, index, p)
		if err != nil {
			return nil, err
		}
		figures = append(figures, more...)
	}
	figures = append(figures, benchmarks(index, s)...)

	// What is freed when the index is dropped is what it held.
	whole := liveHeap()
	cancel()
	running.Wait()
	with := liveHeap()
	runtime.KeepAlive(index)
	index, source = nil, nil
	figures = append(figures, figure{"live heap of the index", "MB", 16, (with - liveHeap()) / 1e6,
		fmt.Sprintf("%d volumes of 3 replicas on %d nodes", p.volumes, p.nodes)},
		figure{"what client-go and the watch keep beside it", "MB", 8, (whole - with) / 1e6, "client-go never gives back what it queued of the first list"})
	if p.scale {
		figures = scaled(figures, p.volumes)
	}
	return figures, nil
}

// scaled are the figures for which there are limits at a million volumes.
func scaled(figures []figure, volumes int) (kept []figure) {
	limits := map[string]float64{"first sync": 30, "lookup": 0.2, "lookup, far": 0.5, "update": 1, "update, far": 2, "live heap of the index": 150, "what client-go and the watch keep beside it": 32}
	for _, f := range figures {
		if limit, known := limits[f.what]; known {
			f.limit, f.what = limit, fmt.Sprintf("%s, %d volumes", f.what, volumes)
			kept = append(kept, f)
		}
	}
	return kept
}

// changes measures the time that changes take, and the calls when there are none.
func changes(ctx context.Context, s *storage, index *volumes.Index, p plan) (figures []figure, err error) {
	for _, load := range []int{0, p.load} {
		f, err := moves(s, index, p.moves, load)
		if err != nil {
			return nil, err
		}
		figures = append(figures, f...)
	}
	steady, err := steadyState(ctx, s, p)
	if err != nil {
		return nil, err
	}
	return append(figures, steady...), nil
}

// awaitSync waits until all volumes are fresh, and looks some up meanwhile, as a
// scheduler would.
func awaitSync(index *volumes.Index, handles []string) (lookups []time.Duration, err error) {
	deadline := time.Now().Add(patience)
	missing := 0
	for time.Now().Before(deadline) {
		for ; missing < len(handles); missing++ {
			start := time.Now()
			fresh := index.Lookup(handles[rand.IntN(len(handles))]).Freshness
			if lookups = append(lookups, time.Since(start)); fresh != volumes.Fresh || index.Lookup(handles[missing]).Freshness != volumes.Fresh {
				break
			}
		}
		if missing == len(handles) {
			return lookups, nil
		}
		time.Sleep(time.Millisecond)
	}
	return nil, fmt.Errorf("volume %s is still %v after %v", handles[missing], index.Lookup(handles[missing]).Freshness, patience)
}

// benchmarks times single operations: on volumes that were used a moment ago, and on so many
// that hardly one is in a cache of the processor.
func benchmarks(index *volumes.Index, s *storage) []figure {
	near, far := operations(index, s, 1<<10), operations(index, s, 1<<17)
	return []figure{
		{"lookup", "µs", 0.5, near.lookup, "of 1024 volumes again and again"},
		{"lookup, far", "µs", 0.5, far.lookup, "each of another volume"},
		{"allocations of a lookup", "", 0, near.allocations, ""},
		{"update", "µs", 1, near.update, "of 1024 volumes whose replicas have moved"},
		{"update, far", "µs", 2, far.update, "each of another volume"},
	}
}

// timed are what single operations take, in microseconds.
type timed struct{ lookup, allocations, update float64 }

// operations times single operations on some volumes.
func operations(index *volumes.Index, s *storage, count int) timed {
	some := make([]string, count)
	for i := range some {
		// A copy: whoever asks has read the handle just now.
		some[i] = strings.Clone(s.Volumes[rand.IntN(len(s.Volumes))])
	}
	lookup := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			index.Lookup(some[i%count])
			i++
		}
	})

	updates := make([]volumes.Observation, 2*count)
	labels := map[string]string{"pvc": "data", "namespace": "default"}
	for i := range updates {
		at := rand.IntN(len(s.Nodes) - 2)
		updates[i] = volumes.Observation{ID: some[i%count], Name: "pvc-" + some[i%count], ReplicaSets: [][]string{s.Nodes[at : at+3]}, Labels: labels}
	}
	update := testing.Benchmark(func(b *testing.B) {
		i := 0
		for b.Loop() {
			inspection, _ := index.Begin(updates[i%len(updates)].ID)
			if _, err := inspection.Found(&updates[i%len(updates)]); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
	return timed{float64(lookup.NsPerOp()) / 1e3, float64(lookup.AllocsPerOp()), float64(update.NsPerOp()) / 1e3}
}

// moves times how long replica moves take from storage to the index.
func moves(s *storage, index *volumes.Index, count, load int) ([]figure, error) {
	if _, err := s.do(order{Load: &load}); err != nil {
		return nil, err
	}
	begun := time.Now()
	var took []time.Duration
	lost := 0
	const giveUp = 10 * time.Second
	for range count {
		handle := s.Volumes[rand.IntN(len(s.Volumes)/2)]
		answer, err := s.do(order{Move: handle})
		if err != nil {
			return nil, err
		}
		for !on(index, handle, answer.Replicas) && time.Since(answer.Moved) < giveUp {
			time.Sleep(200 * time.Microsecond)
		}
		d := time.Since(answer.Moved)
		if took = append(took, d); d >= giveUp {
			lost++
		}
		time.Sleep(rand.N(20 * time.Millisecond))
	}
	none := 0
	answer, err := s.do(order{Load: &none})
	if err != nil {
		return nil, err
	}
	what, limit, note := "replica move → visible, quiet, p99", 0.25, ""
	if load > 0 {
		what, limit = fmt.Sprintf("replica move → visible, during %d others per second, p99", load), 1
		note = fmt.Sprintf("%.0f others per second were made; ", float64(answer.Loaded)/time.Since(begun).Seconds())
	}
	return []figure{{what, "s", limit, percentile(took, 99).Seconds(),
		note + fmt.Sprintf("%d moves, median %v, longest %v, %d left to the resync", count, percentile(took, 50).Round(10*time.Microsecond), percentile(took, 100).Round(10*time.Microsecond), lost)}}, nil
}

func on(index *volumes.Index, handle string, nodes []string) bool {
	volume, view := index.Lookup(handle).Volume, index.View()
	if volume == nil || volume.NumSets() != 1 || len(volume.Set(0)) != len(nodes) {
		return false
	}
	for i, ref := range volume.Set(0) {
		if view.StorageNodeID(ref) != nodes[i] {
			return false
		}
	}
	return true
}

// steadyState counts the calls when nothing happens.
func steadyState(ctx context.Context, s *storage, p plan) ([]figure, error) {
	time.Sleep(5 * time.Second) // what the load has left behind is done
	if _, err := s.do(order{Calls: true}); err != nil {
		return nil, err
	}
	start := time.Now()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(p.steady):
	}
	answer, err := s.do(order{Calls: true})
	if err != nil {
		return nil, err
	}
	seconds := time.Since(start).Seconds()
	lists, inspects := answer.Calls["Node.EnumerateWithFilters"], answer.Calls["Volume.Inspect"]
	rest := 0
	for _, n := range answer.Calls {
		rest += n
	}
	// A poll may fall to either side of the window's ends.
	return []figure{
		{"node lists per poll, steady state", "", 1 + 1/(seconds/nodePoll.Seconds()), float64(lists) / (seconds / nodePoll.Seconds()), fmt.Sprintf("%d in %.0f s", lists, seconds)},
		{"inspects per second, steady state", "/s", 1.1 * float64(p.volumes) / resync.Seconds(), float64(inspects) / seconds, fmt.Sprintf("each volume once in %v", resync)},
		{"other calls, steady state", "", 0, float64(rest - lists - inspects), ""},
	}, nil
}

func percentile(sample []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(sample))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func liveHeap() float64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}

// resetPeak makes the present resident memory the peak, and returns it in bytes.
func resetPeak() (float64, error) {
	runtime.GC()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return 0, fmt.Errorf("reset the peak of resident memory: %w", err)
	}
	rss, _, err := memory()
	return rss, err
}

// memory returns resident memory and its peak, in bytes.
func memory() (rss, peak float64, err error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kB float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kB); n == 1 {
			rss = kB * 1024
		}
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kB); n == 1 {
			peak = kB * 1024
		}
	}
	return rss, peak, nil
}
