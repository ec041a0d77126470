// Command report turns the output of the benchmarks into the table of figures and,
// if asked to, into docs/performance.md with its charts. It reads Go's benchmark
// format and what test/perf/index prints with -json. test/perf/bench.sh feeds it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	docs := flag.String("docs", "", "folder to write performance.md and charts/ into; empty writes nothing")
	kubernetes := flag.String("kubernetes", "1.35", "minor of Kubernetes that was measured, of which some limits depend")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: report [-docs FOLDER] [-kubernetes MINOR] RESULTS...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := report(*docs, *kubernetes, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func report(docs, kubernetes string, files []string) error {
	r := &results{kubernetes: kubernetes}
	for _, name := range files {
		if err := readFile(r, name); err != nil {
			return err
		}
	}
	if len(r.samples) == 0 {
		return errors.New("no benchmark has left a result in the files given")
	}
	if err := printTable(os.Stdout, rows(r)); err != nil {
		return err
	}
	if docs == "" {
		return nil
	}
	folder := filepath.Join(docs, "charts")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return errors.Join(drawAll(r, folder), writePage(r, filepath.Join(docs, "performance.md")))
}

func readFile(r *results, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := r.read(file); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
