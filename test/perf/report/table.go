package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// row is one line of the table of figures.
type row struct {
	Section, What, Bound, Measured, Verdict, Detail string
}

func rows(r *results) []row {
	var all []row
	for _, f := range figures(r) {
		m := f.measure(r)
		line := row{Section: f.section, What: f.what, Bound: f.bound(), Measured: "–", Verdict: f.verdict(m), Detail: m.detail}
		if m.found {
			line.Measured = f.show(m.value)
		}
		all = append(all, line)
	}
	return all
}

// missed are the promises that were not kept.
func missed(all []row) []row {
	var missed []row
	for _, line := range all {
		if line.Verdict == "MISSED" {
			missed = append(missed, line)
		}
	}
	return missed
}

// printTable writes the figures for people at a terminal.
func printTable(w io.Writer, all []row) error {
	lines := [][]string{{"", "limit", "measured", "", ""}}
	section := ""
	for _, line := range all {
		if line.Section != section {
			section = line.Section
			lines = append(lines, []string{strings.ToUpper(section)})
		}
		lines = append(lines, []string{"  " + line.What, line.Bound, line.Measured, line.Verdict, line.Detail})
	}
	widths := make([]int, 5)
	for _, cells := range lines {
		for i, cell := range cells {
			if len(cells) > 1 {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	var text strings.Builder
	for _, cells := range lines {
		var line strings.Builder
		for i, cell := range cells {
			pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell)))
			if i == 1 || i == 2 {
				line.WriteString(pad + cell + "  ") // numbers are flush right
			} else {
				line.WriteString(cell + pad + "  ")
			}
		}
		text.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// detail is a table of one unit by kind of pod, cluster size and variant.
type detail struct {
	Title string
	Rows  []detailRow
}

type detailRow struct {
	Workload string
	Nodes    int
	Cells    []string // in the order of the variants
}

func details(r *results) []detail {
	return []detail{
		newDetail(r, "Throughput, pods per second", "pods/s", func(v float64) string { return fmt.Sprintf("%.0f", v) }, false),
		newDetail(r, "Filter+Score p50, µs, nothing else running", "filter-score-p50-ns", thousands, false),
		newDetail(r, "Filter+Score p50, µs, during the throughput measurement", "loaded-p50-ns", thousands, false),
		newDetail(r, "CPU time of everything together, µs per pod", "cpu-ns/pod", thousands, false),
		newDetail(r, "Pods on their data, %", "on-data-%", func(v float64) string { return fmt.Sprintf("%.1f", v) }, true),
	}
}

func thousands(v float64) string { return fmt.Sprintf("%.0f", v/1e3) }

func newDetail(r *results, title, unit string, show func(float64) string, replicatedOnly bool) detail {
	d := detail{Title: title}
	for _, w := range workloads {
		if replicatedOnly && !w.replicated {
			continue
		}
		for _, nodes := range r.sizes() {
			line := detailRow{Workload: w.title, Nodes: nodes}
			for _, v := range variants {
				cell := "–"
				if value, found := median(pick(r.scheduling(v.name, unit), nodes, w.name)); found {
					cell = show(value)
				}
				line.Cells = append(line.Cells, cell)
			}
			d.Rows = append(d.Rows, line)
		}
	}
	return d
}

// part is how the time of Filter+Score divides up for one kind of pod.
type part struct {
	Workload, Variant   string
	Pass, Filter, Score string
}

func parts(r *results) []part {
	cell := func(variant, unit, workload string) string {
		if value, found := median(pick(r.scheduling(variant, unit), largest, workload)); found {
			return thousands(value)
		}
		return "–"
	}
	var all []part
	for _, w := range workloads {
		if !w.replicated {
			continue
		}
		for _, v := range variants {
			all = append(all, part{
				Workload: w.title, Variant: v.title,
				Pass: cell(v.name, "pass-p50-ns", w.name), Filter: cell(v.name, "filter-p50-ns", w.name), Score: cell(v.name, "score-p50-ns", w.name),
			})
		}
	}
	return all
}

// admission is one line of the table of the webhook.
type admission struct {
	Claims, Median, P99, P999, CPU, Resident, Caches string
}

func admissions(r *results) []admission {
	var all []admission
	for _, claims := range []string{"1", "100000"} {
		cell := func(unit, shown string) string {
			if value, found := median(r.of(webhookPackage, "Webhook/admission/claims="+claims, unit)); found {
				return quantity(shown)(value)
			}
			return "–"
		}
		all = append(all, admission{
			Claims: claims, Median: cell("p50-ms", "ms"), P99: cell("p99-ms", "ms"), P999: cell("p99.9-ms", "ms"),
			CPU: cell("CPU-µs/admission", "µs"), Resident: cell("MB-resident", "MB"), Caches: cell("MB-caches", "MB"),
		})
	}
	return all
}

// growthRow is what one cluster size costs the scheduler beside its scheduling.
type growthRow struct {
	Nodes                                  int
	List, Change, Resident, Volumes, Stock string
}

func growths(r *results) []growthRow {
	var all []growthRow
	for _, nodes := range r.nodesOf(nodeLists[0].benchmark) {
		cell := func(values []float64, factor float64, unit string) string {
			if value, found := median(values); found {
				return quantity(unit)(value * factor)
			}
			return "–"
		}
		list := func(i int) string {
			return cell(r.of(volumesPackage, fmt.Sprint(nodeLists[i].benchmark, "/nodes=", nodes), "ns/op"), 1e-6, "ms")
		}
		whole := func(variant, unit, behind string) string {
			if value, found := median(pick(r.scheduling(variant, unit), nodes, charted)); found {
				return fmt.Sprintf("%.0f%s", value, behind)
			}
			return "–"
		}
		all = append(all, growthRow{
			Nodes: nodes, List: list(0), Change: list(1), Resident: whole("LocalFirst", "own-rss-MB", " MB"), Stock: whole("stock", "own-rss-MB", " MB"),
			Volumes: whole("LocalFirst", "volumes", ""),
		})
	}
	return all
}
