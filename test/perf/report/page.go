package main

import (
	_ "embed"
	"os"
	"slices"
	"strings"
	"text/template"
)

//go:embed performance.md.tmpl
var pageText string

var pageTemplate = template.Must(template.New("performance.md").Funcs(template.FuncMap{
	"join": func(cells []string) string { return strings.Join(cells, " | ") },
}).Parse(pageText))

// page is what the template is filled with.
type page struct {
	Hardware   hardware
	Rows       []row
	Missed     []row
	Variants   []string
	Charts     []chart
	Details    []detail
	Parts      []part
	Admissions []admission
	Growth     []growthRow
	Sizes      []int
	Rounds     int
}

// writePage writes the report for people who were not there.
func writePage(r *results, file string) error {
	p := page{Hardware: describe(r), Rows: rows(r), Charts: drawn(r), Growth: growths(r), Details: details(r), Parts: parts(r), Admissions: admissions(r), Sizes: r.sizes()}
	p.Missed = missed(p.Rows)
	for _, v := range variants {
		p.Variants = append(p.Variants, v.title)
	}
	var rounds []string
	for run := range r.scheduling("stock", "pods/s") {
		if !slices.Contains(rounds, run.round) {
			rounds = append(rounds, run.round)
		}
	}
	p.Rounds = len(rounds)
	var text strings.Builder
	if err := pageTemplate.Execute(&text, p); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text.String()), 0o644)
}
