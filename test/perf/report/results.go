package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// sample is one line of Go's benchmark format.
type sample struct {
	pkg  string // last element of the package's path
	name string // without "Benchmark" and the number of processors
	// keys are the elements key=value of the name.
	keys   map[string]string
	values map[string]float64 // unit -> value
}

// results are the samples of all benchmarks, in the order in which they ran.
type results struct {
	samples []sample
	index   []indexFigure
	cpu     string
	// kubernetes is the minor that was measured.
	kubernetes string
}

// indexFigure is a line of JSON, as test/perf/index prints it with -json.
type indexFigure struct {
	What, Unit, Note string
	Limit, Measured  float64
	Volumes          int
}

var processors = regexp.MustCompile(`-\d+$`)

// read takes all results of a stream, and passes over everything else.
func (r *results) read(from io.Reader) error {
	pkg := ""
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "pkg: "):
			pkg = line[strings.LastIndexByte(line, '/')+1:]
		case strings.HasPrefix(line, "cpu: "):
			r.cpu = strings.TrimPrefix(line, "cpu: ")
		case strings.HasPrefix(line, "Benchmark"):
			s, err := parse(line)
			if err != nil {
				return err
			}
			s.pkg = pkg
			r.samples = append(r.samples, s)
		case strings.HasPrefix(line, "{"):
			var f indexFigure
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				return fmt.Errorf("figure of the index %q: %w", line, err)
			}
			r.index = append(r.index, f)
		}
	}
	return lines.Err()
}

// parse reads "BenchmarkName/key=value-2  1  12 pods/s  34 ns".
func parse(line string) (sample, error) {
	fields := strings.Fields(line)
	if len(fields) < 4 || len(fields)%2 != 0 {
		return sample{}, fmt.Errorf("not a benchmark's result: %q", line)
	}
	name := strings.TrimPrefix(processors.ReplaceAllString(fields[0], ""), "Benchmark")
	s := sample{name: name, keys: map[string]string{}, values: map[string]float64{}}
	for element := range strings.SplitSeq(name, "/") {
		if key, value, found := strings.Cut(element, "="); found {
			s.keys[key] = value
		}
	}
	for i := 2; i < len(fields); i += 2 {
		value, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return sample{}, fmt.Errorf("value %d of %q: %w", i/2, line, err)
		}
		s.values[fields[i+1]] = value
	}
	return s, nil
}

// of returns what a benchmark gave in all its runs, in one unit.
func (r *results) of(pkg, name, unit string) []float64 {
	var values []float64
	for _, s := range r.samples {
		if value, found := s.values[unit]; found && s.pkg == pkg && s.name == name {
			values = append(values, value)
		}
	}
	return values
}

// where returns what a benchmark gave in all its runs of which the name has these elements
// key=value.
func (r *results) where(benchmark, unit string, elements ...string) []float64 {
	var values []float64
	for _, s := range r.samples {
		value, found := s.values[unit]
		for _, element := range elements {
			key, want, _ := strings.Cut(element, "=")
			found = found && s.keys[key] == want
		}
		if found && strings.HasPrefix(s.name, benchmark+"/") {
			values = append(values, value)
		}
	}
	return values
}

// run is one measurement of BenchmarkScheduling or BenchmarkOwnProcess, apart from its scheduler.
type run struct {
	nodes    int
	round    string
	workload string
}

// scheduling returns what one variant gave in one unit, by run.
func (r *results) scheduling(variant, unit string) map[run]float64 {
	values := map[run]float64{}
	for _, s := range r.samples {
		value, found := s.values[unit]
		if !found || !strings.HasPrefix(s.name, "Scheduling/") && !strings.HasPrefix(s.name, "OwnProcess/") || s.keys["variant"] != variant {
			continue
		}
		nodes, err := strconv.Atoi(s.keys["nodes"])
		if err != nil {
			continue // not a name of ours
		}
		values[run{nodes, s.keys["round"], s.keys["workload"]}] = value
	}
	return values
}

// nodesOf returns the cluster sizes of a benchmark of the index, in ascending order.
func (r *results) nodesOf(benchmark string) []int {
	var sizes []int
	for _, s := range r.samples {
		if nodes, err := strconv.Atoi(s.keys["nodes"]); err == nil && strings.HasPrefix(s.name, benchmark+"/") && !slices.Contains(sizes, nodes) {
			sizes = append(sizes, nodes)
		}
	}
	slices.Sort(sizes)
	return sizes
}

// sizes returns the cluster sizes of BenchmarkScheduling, in ascending order.
func (r *results) sizes() []int {
	var sizes []int
	for _, variant := range variants {
		for run := range r.scheduling(variant.name, "pods/s") {
			if !slices.Contains(sizes, run.nodes) {
				sizes = append(sizes, run.nodes)
			}
		}
	}
	slices.Sort(sizes)
	return sizes
}

// pick returns the values of the runs of one size and workload.
func pick(values map[run]float64, nodes int, workload string) []float64 {
	var picked []float64
	for run, value := range values {
		if run.nodes == nodes && run.workload == workload {
			picked = append(picked, value)
		}
	}
	return picked
}

// quotients divides what two variants gave in the same round. What drifts from
// round to round is the same for both.
func quotients(dividend, divisor map[run]float64) map[run]float64 {
	ratios := map[run]float64{}
	for run, value := range dividend {
		if by := divisor[run]; by > 0 {
			ratios[run] = value / by
		}
	}
	return ratios
}

// median returns the middle of the values, and false if there are none.
func median(values []float64) (middle float64, found bool) {
	if len(values) == 0 {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2, true
}
