package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// output is what the benchmarks print in one round and another, with LocalFirst
// twice and then four times as fast as stock, and 40 and 30 times as short.
func output() string {
	var text strings.Builder
	text.WriteString("goos: linux\npkg: example.com/test/perf\ncpu: some CPU\n")
	line := func(nodes, round int, variant, workload string, rate, nanos, onData float64) {
		fmt.Fprintf(&text, "BenchmarkScheduling/nodes=%d/round=%d/variant=%s/workload=%s-2 \t1\t90000 prefilter-p50-ns\t%g filter-score-p50-ns\t%g loaded-p50-ns\t%g on-data-%%\t%g pods/s\n",
			nodes, round, variant, workload, nanos, nanos, onData, rate)
	}
	for _, w := range workloads {
		for round, speed := range []float64{1, 2} {
			line(5000, round+1, "stock", w.name, 100, 4e6, 0)
			line(5000, round+1, "Score", w.name, 99*speed, 4e6, 27)
			line(5000, round+1, "LocalFirst", w.name, 200*speed, 1e5*(1+float64(round)/3), 100)
			line(5000, round+1, "extender", w.name, 10, 6e7, 27)
			line(5000, round+1, "extender-names", w.name, 20, 2e7, 27)
		}
	}
	text.WriteString("--- FAIL: of another kind\npkg: example.com/pkg/plugins/hyperconverge\n")
	text.WriteString("BenchmarkFilter/volumes=1-2\t1000\t55.5 ns/op\t0 B/op\t0 allocs/op\n")
	text.WriteString("BenchmarkFilter/volumes=1-2\t1000\t70.5 ns/op\t0 B/op\t0 allocs/op\n")
	text.WriteString("BenchmarkFilter/volumes=1-2\t1000\t65.5 ns/op\t0 B/op\t0 allocs/op\n")
	text.WriteString("pkg: example.com/test/webhook\n")
	text.WriteString("BenchmarkWebhook/admission/claims=100000-2\t1\t505 CPU-µs/admission\t39.4 MB-caches\t98.5 MB-resident\t59.1 MB-without-caches\t1.02 p50-ms\t3.7 p99-ms\t7.6 p99.9-ms\n")
	text.WriteString("pkg: example.com/test/perf\n")
	text.WriteString("BenchmarkHomecoming-2\t1\t90.2 before-home-%\t147 evictions\t99.9 home-%\t61.2 s\n")
	text.WriteString(`{"What":"first sync","Unit":"s","Limit":20,"Measured":21.5,"Note":"by the dump","Volumes":100000}` + "\n")
	text.WriteString(`{"What":"live heap of the index, 1000000 volumes","Unit":"MB","Limit":150,"Measured":140,"Volumes":1000000}` + "\n")
	text.WriteString(`{"What":"update, far, 1000000 volumes","Unit":"µs","Limit":2,"Measured":1.5,"Volumes":1000000}` + "\n")
	text.WriteString(`{"What":"first sync, 1000000 volumes","Unit":"s","Limit":30,"Measured":25,"Volumes":1000000}` + "\n")
	text.WriteString("pkg: example.com/pkg/volumes\nBenchmarkNodeList/nodes=5000-2\t100\t1500000 ns/op\nBenchmarkRollingStateChange/nodes=5000-2\t100\t8000000 ns/op\n")
	text.WriteString("pkg: example.com/test/perf\nBenchmarkOwnProcess/nodes=5000/round=1/variant=stock/workload=soft1-2\t1\t200 own-rss-MB\t5000 volumes\n")
	return text.String()
}

func sampled(t *testing.T) *results {
	t.Helper()
	r := &results{kubernetes: "1.35"}
	if err := r.read(strings.NewReader(output())); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFigures(t *testing.T) {
	r := sampled(t)
	want := map[string]row{
		"pods on their data, LocalFirst, 5000 nodes":                               {Measured: "100 %", Verdict: "kept"},
		"throughput, replicated volumes, 5000 nodes, LocalFirst ÷ stock":           {Measured: "3 ×", Verdict: "kept"},
		"throughput, replicated volumes, 5000 nodes, LocalFirst ÷ extender, names": {Measured: "15 ×", Verdict: "kept"},
		"Filter+Score p50, replicated volumes, 5000 nodes, stock ÷ LocalFirst":     {Measured: "35 ×", Verdict: "kept"},
		"databases at home after a rolling drain of 50 of 500 nodes":               {Measured: "99.9 %", Verdict: "kept", Detail: "90.2 % before; 147 evictions in 61 s"},
		"Filter, per node":    {Measured: "66 ns", Verdict: "MISSED"},
		"Filter, allocations": {Measured: "0", Verdict: "kept"},
		"Score, per node":     {Measured: "–", Verdict: "not measured"},
		"admission at 500 per second, p99, 100 000 claims": {Measured: "3.7 ms", Verdict: "kept"},
		"first sync": {Measured: "21.5 s", Verdict: "MISSED"},
	}
	for _, got := range rows(r) {
		if w, listed := want[got.What]; listed {
			if got.Measured != w.Measured || got.Verdict != w.Verdict {
				t.Errorf("%s: %s, %s; want %s, %s", got.What, got.Measured, got.Verdict, w.Measured, w.Verdict)
			}
			delete(want, got.What)
		}
	}
	if len(want) > 0 {
		t.Errorf("not in the table: %v", want)
	}
	if missed := missed(rows(r)); len(missed) != 2 {
		t.Errorf("missed are %v, want two", missed)
	}
}

func TestOneRoundIsComparedWithItselfOnly(t *testing.T) {
	r := sampled(t)
	ratios := quotients(r.scheduling("LocalFirst", "pods/s"), r.scheduling("stock", "pods/s"))
	got := slices.Sorted(slices.Values(pick(ratios, 5000, "soft1")))
	if !slices.Equal(got, []float64{2, 4}) {
		t.Errorf("ratios of the rounds are %v, want 2 and 4", got)
	}
}

func TestBenchmarkLinesThatAreNone(t *testing.T) {
	for _, line := range []string{"BenchmarkX", "BenchmarkX 1 2", "BenchmarkX 1 a ns/op", "{"} {
		r := &results{}
		if err := r.read(strings.NewReader(line)); err == nil {
			t.Errorf("%q was taken for a result: %+v", line, r.samples)
		}
	}
}

func TestStep(t *testing.T) {
	for _, c := range []struct {
		value, down, up float64
	}{{1, 1, 1}, {1.5, 1, 2}, {3, 2, 5}, {7, 5, 10}, {0.03, 0.02, 0.05}, {1200, 1000, 2000}} {
		if down, up := step(c.value, false), step(c.value, true); !near(down, c.down) || !near(up, c.up) {
			t.Errorf("around %g are %g and %g, want %g and %g", c.value, down, up, c.down, c.up)
		}
	}
}

func near(a, b float64) bool { return a > b*0.999 && a < b*1.001 }

func TestReportWritesPageAndCharts(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "results.txt")
	if err := os.WriteFile(file, []byte(output()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := report(folder, "1.35", []string{file}); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(folder, "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"some CPU", "| 1 replicated volume | 5000 | 100 | 148 | 300 | 10 |",
		"| 100000 | 1.02 ms | 3.7 ms | 7.6 ms | 505 µs | 98.5 MB | 39.4 MB |", "not measured",
		"| 5000 | 1.5 ms | 8 ms | – | 200 MB |"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
	for _, c := range charts {
		svg, err := os.Open(filepath.Join(folder, "charts", c.File))
		if err != nil {
			t.Fatal(err)
		}
		defer svg.Close()
		decoder := xml.NewDecoder(svg)
		for {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", c.File, err)
			}
		}
	}
}

func TestDigits(t *testing.T) {
	for value, want := range map[float64]string{0: "0", 0.01234: "0.0123", 3: "3", 99.96: "100", 999.4: "999", 999.7: "1000", 10_000: "10000", -328.4: "-328"} {
		if got := digits(value); got != want {
			t.Errorf("%v is shown as %s, want %s", value, got, want)
		}
	}
}

func TestLimitsThatDependOnTheMinor(t *testing.T) {
	limit := func(kubernetes string) float64 {
		for _, f := range figures(&results{kubernetes: kubernetes}) {
			if f.what == "throughput, replicated volumes, 5000 nodes, LocalFirst ÷ stock" {
				return f.limit
			}
		}
		return 0
	}
	if limit("1.35") != 2.6 || limit("1.37") != 1.5 {
		t.Errorf("limits are %v and %v", limit("1.35"), limit("1.37"))
	}
}
