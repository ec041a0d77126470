// Index measures the volume index and its OpenStorage source against a simulated
// storage cluster in a process of its own, and prints each figure beside its
// limit.
//
//	go run ./test/perf/index
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"text/tabwriter"
	"time"

	"k8s.io/klog/v2"
)

// plan is what is measured.
type plan struct {
	volumes, nodes int
	moves          int           // replica moves that are timed, quiet and under load
	load           int           // unrelated changes per second
	steady         time.Duration // how long calls are counted
	scale          bool          // what depends on the number of volumes alone
}

func main() {
	var p plan
	storage := flag.Bool("serve-storage", false, "be the simulated storage cluster (used by this program itself)")
	flag.IntVar(&p.volumes, "volumes", 100_000, "volumes of three replicas")
	flag.IntVar(&p.nodes, "nodes", 1000, "nodes")
	flag.IntVar(&p.moves, "moves", 500, "replica moves to time, quiet and under load")
	flag.IntVar(&p.load, "load", 1000, "unrelated replica moves per second")
	flag.DurationVar(&p.steady, "steady", time.Minute, "how long the calls of the steady state are counted")
	flag.BoolVar(&p.scale, "scale", false, "measure what depends on the number of volumes alone, by the limits for a million")
	asJSON := flag.Bool("json", false, "print each figure as a line of JSON, for test/perf/report")
	strict := flag.Bool("strict", false, "exit with an error if a figure is over its limit")
	klog.InitFlags(nil)
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *storage {
		exitOn(serveStorage(ctx, p))
		return
	}
	figures, err := measure(ctx, p)
	exitOn(err)
	if *asJSON {
		exitOn(encode(figures, p.volumes))
		return
	}
	if over := show(figures); over > 0 && *strict {
		exitOn(fmt.Errorf("%d figures are over their limits", over))
	}
}

func exitOn(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "index:", err)
		os.Exit(1)
	}
}

// figure is one line of the table.
type figure struct {
	what            string
	unit            string
	limit, measured float64
	note            string
}

// encode prints one line of JSON per figure.
func encode(figures []figure, volumes int) error {
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for _, f := range figures {
		line := struct {
			What, Unit, Note string
			Limit, Measured  float64
			Volumes          int
		}{f.what, f.unit, f.note, f.limit, f.measured, volumes}
		if err := out.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// show prints the table and returns how many figures are over their limits.
func show(figures []figure) (over int) {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "figure\tlimit\tmeasured\t\t")
	for _, f := range figures {
		verdict := "ok"
		if f.measured > f.limit {
			verdict = "OVER"
			over++
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", f.what, quantity(f.limit, f.unit), quantity(f.measured, f.unit), verdict, f.note)
	}
	_ = table.Flush() // standard output: there is nobody left to tell
	return over
}

func quantity(value float64, unit string) string {
	switch {
	case value == 0 || value >= 100:
		return fmt.Sprintf("%.0f %s", value, unit)
	case value >= 10:
		return fmt.Sprintf("%.1f %s", value, unit)
	default:
		return fmt.Sprintf("%.2f %s", value, unit)
	}
}
