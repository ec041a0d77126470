package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// variant is one of the schedulers that are compared.
type variant struct {
	name, title string
}

var variants = []variant{
	{"stock", "stock"},
	{"Score", "Hyperconverge, Score"},
	{"LocalFirst", "Hyperconverge, LocalFirst"},
	{"extender", "HTTP extender, whole nodes"},
	{"extender-names", "HTTP extender, names"},
}

// workload is one kind of pod, in the words of the report.
type workload struct {
	name, title string
	replicated  bool
}

var workloads = []workload{
	{"plain", "no volumes", false},
	{"csi", "1 volume of another driver", false},
	{"soft1", "1 replicated volume", true},
	{"soft3", "3 replicated volumes", true},
	{"strict1", "1 replicated volume, strict", true},
	{"strict3", "3 replicated volumes, strict", true},
}

const largest = 5000 // nodes

// figure is one promise, and what became of it.
type figure struct {
	section, what string
	limit         float64
	atLeast       bool // or at most
	show          func(float64) string
	measure       func(*results) measured
}

// measured is the value that is held against the limit, and what else is worth
// knowing about it. Without a value, nothing was measured.
type measured struct {
	value  float64
	found  bool
	detail string
}

// verdict says in a word how a value stands to the limit.
func (f *figure) verdict(m measured) string {
	switch {
	case !m.found:
		return "not measured"
	case f.atLeast && m.value < f.limit, !f.atLeast && m.value > f.limit:
		return "MISSED"
	default:
		return "kept"
	}
}

func (f *figure) bound() string {
	if f.atLeast {
		return "≥ " + f.show(f.limit)
	}
	return "≤ " + f.show(f.limit)
}

func percent(v float64) string      { return fmt.Sprintf("%.1f %%", v) }
func exactPercent(v float64) string { return fmt.Sprintf("%.4g %%", v) }
func times(v float64) string        { return digits(v) + " ×" }
func hundredths(v float64) string   { return fmt.Sprintf("%.2f ×", v) }
func nanoseconds(v float64) string  { return fmt.Sprintf("%.0f ns", v) }
func microseconds(v float64) string { return digits(v/1e3) + " µs" }
func mebibytes(v float64) string    { return digits(v) + " MiB" }
func quantity(unit string) func(float64) string {
	return func(v float64) string { return strings.TrimSpace(digits(v) + " " + unit) }
}

// digits shows three that count, and all of a number from 1000 on.
func digits(v float64) string {
	if math.Abs(v) >= 999.5 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func count(v float64) string { return fmt.Sprintf("%g", v) }

const (
	schedulingSection = "Scheduling"
	pluginSection     = "The plugin by itself"
	webhookSection    = "The webhook"
	indexSection      = "The volume index"
	newVolumesSection = "Volumes that do not exist yet"
	homeSection       = "The rebalancer, 1000 nodes, 10 000 pods and volumes"
	kubectlSection    = "kubectl hyperconverge, 1000 nodes, 10 000 pods and volumes"
)

// Packages of benchmarks, as samples name them.
const (
	pluginPackage  = "hyperconverge"
	webhookPackage = "webhook"
	volumesPackage = "volumes"
	perfPackage    = "perf"
)

// nodeLists are the benchmarks of lists of storage nodes.
var nodeLists = [...]struct{ benchmark, title, look string }{
	{"NodeList", "nothing is new", "LocalFirst"},
	{"RollingStateChange", "one node went down, one came back", "stock"},
}

// figures are the promises of this project, in the order of the table.
func figures(r *results) []figure {
	var all []figure
	// Stock is 2 to 2.5 times faster since 1.37, by the thresholds of Kubernetes itself.
	least := func(limit, since137 float64) float64 {
		if r.kubernetes == "1.35" || r.kubernetes == "1.36" {
			return limit
		}
		return since137
	}
	for _, nodes := range r.sizes() {
		all = append(all, figure{
			section: schedulingSection, what: fmt.Sprintf("pods on their data, LocalFirst, %d nodes", nodes),
			limit: 100, atLeast: true, show: exactPercent,
			measure: func(r *results) measured { return onData(r, nodes) },
		})
	}
	all = append(all,
		figure{
			section: schedulingSection, what: "throughput, plain pods, with the plugin ÷ stock",
			limit: 0.98, atLeast: true, show: hundredths, measure: plainRatio,
		},
		figure{
			section: schedulingSection, what: "throughput, replicated volumes, 5000 nodes, LocalFirst ÷ stock",
			limit: least(2.6, 1.5), atLeast: true, show: times,
			measure: func(r *results) measured { return leastRatio(r, "pods/s", "LocalFirst", "stock") },
		},
		figure{
			section: schedulingSection, what: "Filter+Score p50, replicated volumes, 5000 nodes, stock ÷ LocalFirst",
			limit: least(30, 15), atLeast: true, show: times,
			measure: func(r *results) measured { return leastRatio(r, "filter-score-p50-ns", "stock", "LocalFirst") },
		},
		figure{
			section: schedulingSection, what: "throughput, replicated volumes, 5000 nodes, LocalFirst ÷ extender, whole nodes",
			limit: 5, atLeast: true, show: times,
			measure: func(r *results) measured { return leastRatio(r, "pods/s", "LocalFirst", "extender") },
		},
		figure{
			section: schedulingSection, what: "throughput, replicated volumes, 5000 nodes, LocalFirst ÷ extender, names",
			limit: 10, atLeast: true, show: times,
			measure: func(r *results) measured { return leastRatio(r, "pods/s", "LocalFirst", "extender-names") },
		},
		figure{
			section: schedulingSection, what: "Filter+Score p50, replicated volumes, 5000 nodes, extender, names ÷ LocalFirst",
			limit: 10, atLeast: true, show: times,
			measure: func(r *results) measured { return leastRatio(r, "filter-score-p50-ns", "extender-names", "LocalFirst") },
		},
		figure{
			section: schedulingSection, what: "Filter+Score p50, LocalFirst, 30 000 ÷ 500 nodes",
			limit: 1.2, show: times, measure: growth,
		},
		figure{
			section: schedulingSection, what: "the scheduler's own CPU per pod, replicated volumes, 5000 nodes, stock ÷ LocalFirst",
			limit: 3, atLeast: true, show: times,
			measure: func(r *results) measured { return leastRatio(r, ownCPU, "stock", "LocalFirst") },
		},
		figure{
			section: schedulingSection, what: "the scheduler's own CPU per pod, plain pods, 5000 nodes, stock ÷ with the plugin",
			limit: 0.98, atLeast: true, show: hundredths, measure: ownPlainRatio,
		},
		figure{
			section: schedulingSection, what: "scheduler's live heap, 5000 nodes, 100 000 volumes, over stock",
			limit: 64, show: mebibytes, measure: heap,
		},
	)
	all = append(all, figure{
		section: schedulingSection, what: "throughput, 2000 readers of one volume, a node each, LocalFirst ÷ stock with batching",
		limit: 1, atLeast: true, show: hundredths, measure: readersRatio,
	})
	direct := func(section, what, pkg, benchmark, unit string, limit float64, show func(float64) string) {
		all = append(all, figure{
			section: section, what: what, limit: limit, show: show,
			measure: func(r *results) measured { return middle(r, pkg, benchmark, unit, show) },
		})
	}
	direct(pluginSection, "Filter, per node", pluginPackage, "Filter/volumes=1", "ns/op", 60, nanoseconds)
	direct(pluginSection, "Filter, allocations", pluginPackage, "Filter/volumes=1", "allocs/op", 0, count)
	direct(pluginSection, "Score, per node", pluginPackage, "Score/volumes=1", "ns/op", 60, nanoseconds)
	direct(pluginSection, "Score, allocations", pluginPackage, "Score/volumes=1", "allocs/op", 0, count)
	direct(pluginSection, "PreFilter, 1 volume", pluginPackage, "PreFilter/soft/volumes=1", "ns/op", 1500, microseconds)
	direct(pluginSection, "PreFilter, 1 volume, strict", pluginPackage, "PreFilter/strict/volumes=1", "ns/op", 1500, microseconds)
	direct(pluginSection, "PreFilter, 8 volumes", pluginPackage, "PreFilter/soft/volumes=8", "ns/op", 8000, microseconds)
	milliseconds, megabytes := quantity("ms"), quantity("MB")
	all = append(all, figure{
		section: pluginSection, what: "a cycle of a shared volume, with limits and spread ÷ at defaults", limit: 1.5, show: hundredths,
		measure: func(r *results) (m measured) {
			with, found := median(r.of(pluginPackage, "Cycle/knobs=all", "ns/op"))
			without, both := median(r.of(pluginPackage, "Cycle/knobs=none", "ns/op"))
			if m.found = found && both; m.found {
				m.value, m.detail = with/without, microseconds(with)+" ÷ "+microseconds(without)
			}
			return m
		},
	})
	direct(pluginSection, "PreFilter, 8 volumes, strict", pluginPackage, "PreFilter/strict/volumes=8", "ns/op", 8000, microseconds)
	direct(pluginSection, "PreFilter, 10 000 volumes in one pod", pluginPackage, "PreFilterOfTenThousandVolumes", "ns/op", 10e6, microseconds)
	direct(pluginSection, "PreFilter, p99, 100 000 pods wait, 1000 changes of volumes per second", pluginPackage,
		"PreFilterBesideWaitingPods/waiting=100000/changes=1000", "p99-µs", 50, quantity("µs"))
	direct(pluginSection, "a waiting pod, 5000 nodes", pluginPackage, "HeapOfWaitingPods/nodes=5000", "B/pod", 2048, quantity("B"))
	direct(pluginSection, "a running pod", pluginPackage, "RunningPodHeap", "B/pod", 200, quantity("B"))
	direct(pluginSection, "a change of a running pod, 1 % of a core at 1000 per second", pluginPackage, "RunningPodChange/pod", "ns/op", 10_000, microseconds)
	direct(webhookSection, "admission at 500 per second, p99, 1 claim", webhookPackage, "Webhook/admission/claims=1", "p99-ms", 5, milliseconds)
	direct(webhookSection, "admission at 500 per second, p99, 100 000 claims", webhookPackage, "Webhook/admission/claims=100000", "p99-ms", 5, milliseconds)
	direct(webhookSection, "resident memory without the caches, 100 000 claims", webhookPackage, "Webhook/admission/claims=100000", "MB-without-caches", 64, megabytes)
	direct(webhookSection, "pods not mutated while certificates change under load", webhookPackage, "Webhook/rotation", "pods-not-mutated", 0, count)
	command := func(name, what, unit string, limit float64, show func(float64) string) {
		all = append(all, figure{
			section: kubectlSection, what: what, limit: limit, show: show,
			measure: func(r *results) measured { return spread(r.where("Kubectl", unit, "command="+name), show) },
		})
	}
	for _, rules := range []struct{ key, title string }{{"none", "without a strategy"}, {"strategy", "with a strategy for a sixth of the nodes"}} {
		all = append(all, figure{
			section: newVolumesSection, what: "pods local from birth, " + rules.title,
			limit: 100, atLeast: true, show: exactPercent,
			measure: func(r *results) measured {
				m := spread(r.where("LocalFromBirth", "local-%", "rules="+rules.key, "scheduler=LocalFirst"), percent)
				if stock, found := median(r.where("LocalFromBirth", "local-%", "rules="+rules.key, "scheduler=stock")); found {
					m.detail = strings.TrimPrefix(m.detail+", stock "+percent(stock), ", ")
				}
				return m
			},
		})
	}
	direct(newVolumesSection, "PreFilter, 1 new volume, a strategy of 4 rules, 1000 nodes", pluginPackage, "PreFilterOfNewVolume/nodes=1000/known=true", "ns/op", 20_000, microseconds)
	direct(newVolumesSection, "memory, 200 strategies, 5000 nodes", pluginPackage, "HeapOfStrategies", "MB", 10, megabytes)
	seconds := quantity("s")
	command("status", "status, likewise", "s", 5, seconds)
	command("status", "status, resident memory", "rss-MB", 500, megabytes)
	command("explain", "explain of a pod, from its start, all reading included", "s", 2, seconds)
	command("simulate", "simulate of a pod, likewise", "s", 2, seconds)
	home := func(what, benchmark, unit string, limit float64, atLeast bool, show func(float64) string, beside func(*results) string) {
		all = append(all, figure{
			section: homeSection, what: what, limit: limit, atLeast: atLeast, show: show,
			measure: func(r *results) measured {
				m := middle(r, perfPackage, benchmark, unit, show)
				if beside != nil && m.found {
					m.detail = beside(r)
				}
				return m
			},
		})
	}
	home("a full look, CPU", "Rebalancer/look", "cpu-s/look", 2, false, seconds, func(r *results) string {
		first, _ := median(r.of(perfPackage, "Rebalancer/program", "first-cpu-s"))
		return seconds(first) + " from the start to the first, all reading included"
	})
	home("a simulated landing", "Rebalancer/landing", "ms/landing", 5, false, milliseconds, nil)
	home("the program, resident memory", "Rebalancer/program", "rss-MB", 300, false, megabytes, nil)
	home("databases at home after a rolling drain of 50 of 500 nodes", "Homecoming", "home-%", 99, true, percent, func(r *results) string {
		of := func(unit string) float64 { value, _ := median(r.of(perfPackage, "Homecoming", unit)); return value }
		return fmt.Sprintf("%s before; %.0f evictions in %.0f s", percent(of("before-home-%")), of("evictions"), of("s"))
	})
	for _, f := range r.index {
		all = append(all, figure{
			section: indexSection, what: f.What, limit: f.Limit, show: quantity(f.Unit),
			measure: func(*results) measured { return measured{value: f.Measured, found: true, detail: f.Note} },
		})
	}
	return all
}

// onData is the least share of any kind of pod in any round.
func onData(r *results, nodes int) measured {
	share := func(variant string, strict bool) (least float64, found bool) {
		least = 100
		for run, value := range r.scheduling(variant, "on-data-%") {
			if run.nodes == nodes && (strict || !strings.HasPrefix(run.workload, "strict")) {
				least, found = min(least, value), true
			}
		}
		return least, found
	}
	m := measured{}
	m.value, m.found = share("LocalFirst", true)
	if score, found := share("Score", false); found {
		m.detail = "with Score " + percent(score)
	}
	return m
}

// plainRatio is the middle over all cluster sizes, rounds and preferences: to a
// pod without volumes, both preferences are the same plugin.
func plainRatio(r *results) measured {
	var ratios []float64
	stock := r.scheduling("stock", "pods/s")
	for _, variant := range []string{"Score", "LocalFirst"} {
		for run, ratio := range quotients(r.scheduling(variant, "pods/s"), stock) {
			if run.workload == "plain" {
				ratios = append(ratios, ratio)
			}
		}
	}
	m := measured{}
	m.value, m.found = median(ratios)
	if m.found {
		slices.Sort(ratios)
		m.detail = fmt.Sprintf("half of %d pairs within %.2f–%.2f", len(ratios), ratios[len(ratios)/4], ratios[len(ratios)*3/4])
	}
	return m
}

// growth is how much longer the kind of replicated pods takes, for which that is most, on 30 000
// nodes than on 500.
func growth(r *results) measured {
	m := measured{}
	var each []string
	times := r.scheduling("LocalFirst", "filter-score-p50-ns")
	for _, w := range workloads {
		few, found := median(pick(times, 500, w.name))
		many, foundToo := median(pick(times, 30_000, w.name))
		if !w.replicated || !found || !foundToo {
			continue
		}
		each = append(each, fmt.Sprintf("%s %.3g", w.name, many/few))
		m.value, m.found = max(m.value, many/few), true
	}
	m.detail = strings.Join(each, ", ")
	return m
}

// ownCPU is the unit of BenchmarkOwnProcess.
const ownCPU = "own-cpu-µs/pod"

// ownPlainRatio has what both cost beside it, and the share of our code.
func ownPlainRatio(r *results) measured {
	of := func(variant, unit string) float64 {
		value, _ := median(pick(r.scheduling(variant, unit), largest, "plain"))
		return value
	}
	m := measured{}
	m.value, m.found = median(pick(quotients(r.scheduling("stock", ownCPU), r.scheduling("LocalFirst", ownCPU)), largest, "plain"))
	m.detail = fmt.Sprintf("%.0f µs and %.0f allocations with it, %.0f µs and %.0f without; %.1f %% of the time is in our code",
		of("LocalFirst", ownCPU), of("LocalFirst", "own-allocs/pod"), of("stock", ownCPU), of("stock", "own-allocs/pod"), of("LocalFirst", "own-share-%"))
	return m
}

// readersRatio has how many of stock's pods took over the search of another beside it.
func readersRatio(r *results) measured {
	var ratios []float64
	for round := 1; ; round++ {
		of := func(variant string) []float64 {
			return r.where("Readers", "pods/s", fmt.Sprint("round=", round), "variant="+variant)
		}
		stock, found := median(of("stock"))
		ours, both := median(of("LocalFirst"))
		if !found || !both {
			break
		}
		ratios = append(ratios, ours/stock)
	}
	m := spread(ratios, hundredths)
	batched := func(variant string) string {
		value, _ := median(r.where("Readers", "batched-%", "variant="+variant))
		return percent(value)
	}
	m.detail = strings.TrimPrefix(m.detail+"; ", "; ") + batched("stock") + " of stock's are batched, " + batched("LocalFirst") + " of ours"
	return m
}

// leastRatio is that of the kind of replicated pods for which it is least.
func leastRatio(r *results, unit, dividend, divisor string) measured {
	m := measured{}
	var each []string
	ratios := quotients(r.scheduling(dividend, unit), r.scheduling(divisor, unit))
	for _, w := range workloads {
		ratio, found := median(pick(ratios, largest, w.name))
		if !w.replicated || !found {
			continue
		}
		each = append(each, fmt.Sprintf("%s %.3g", w.name, ratio))
		if !m.found || ratio < m.value {
			m.value, m.found = ratio, true
		}
	}
	m.detail = strings.Join(each, ", ")
	return m
}

// heap is the most that any round has shown.
func heap(r *results) measured {
	byVariant := map[string][]float64{}
	for _, s := range r.samples {
		if value, found := s.values["heap-MiB"]; found {
			byVariant[s.keys["variant"]] = append(byVariant[s.keys["variant"]], value)
		}
	}
	stock, ours := byVariant["stock"], byVariant["LocalFirst"]
	if len(stock) == 0 || len(ours) == 0 {
		return measured{}
	}
	return measured{
		value: slices.Max(ours) - slices.Min(stock), found: true,
		detail: "stock " + mebibytes(slices.Min(stock)),
	}
}

// middle is the median of a benchmark's runs.
func middle(r *results, pkg, benchmark, unit string, show func(float64) string) measured {
	return spread(r.of(pkg, benchmark, unit), show)
}

// spread is the median of some values, with the least and the greatest.
func spread(values []float64, show func(float64) string) measured {
	m := measured{}
	if m.value, m.found = median(values); m.found && slices.Min(values) != slices.Max(values) {
		m.detail = show(slices.Min(values)) + " to " + show(slices.Max(values))
	}
	return m
}
