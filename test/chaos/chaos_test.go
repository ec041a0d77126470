// Package chaos attacks the real binaries on a real control plane: storage that
// lies, an API server that fails, processes that die, tenants, callers of the
// webhook, and holders of our own accounts' rights. One table has all kinds of
// faults; each is over when the cluster is as it was before.
//
//	CHAOS=all     all rows, not only the quick ones
//	ROWS=regexp   the rows whose "group: name" matches
//	SOAK=10m      rows at random for that long
//	SEED=number   of the random choices; printed if it is not given
//	REPORT=file   where the table goes as a page of the documentation
package chaos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/klog/v2"
)

// table is every kind of fault.
func table() []row {
	return slices.Concat(storageRows(), verdictRows(), apiServerRows(), processRows(), loadRows(), tenantRows(), webhookRows(), rightsRows())
}

func TestMain(m *testing.M) {
	klog.SetOutput(discard{}) // the fake kubelets of this process
	klog.LogToStderr(false)
	os.Exit(m.Run())
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func TestTable(t *testing.T) {
	names := map[string]bool{}
	for _, x := range table() {
		if names[x.name] {
			t.Errorf("two rows are called %q", x.name)
		}
		names[x.name] = true
		if x.group == "" || x.name == "" || x.holds == "" || x.within == 0 || x.do == nil {
			t.Errorf("row %q is not complete", x.name)
		}
		if strings.ContainsAny(x.name+x.holds, "|\n") {
			t.Errorf("row %q cannot stand in a table", x.name)
		}
	}
	if len(names) < 100 {
		t.Errorf("there are %d kinds of faults, and should be at least 100", len(names))
	}
}

// The page of the documentation has a line for every row of the table.
func TestPage(t *testing.T) {
	written, err := os.ReadFile(filepath.Join(root, "docs/reliability.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range table() {
		if line := fmt.Sprintf("| %s | %s |", x.name, x.holds); !strings.Contains(string(written), line) {
			t.Errorf("docs/reliability.md lacks the line %q; write it anew with make chaos", line)
		}
	}
}

func TestChaos(t *testing.T) {
	if os.Getenv("SOAK") != "" {
		t.Skip("a soak runs in place of the table")
	}
	rows := chosen(t)
	w, seed := start(t)
	var outcomes []outcome
	begun := time.Now()
	for i, x := range rows {
		o := w.play(t, x, seed)
		outcomes = append(outcomes, o)
		say("%3d/%d  %s", i+1, len(rows), o.line())
	}
	say("%s in %.0f s", total(outcomes), time.Since(begun).Seconds())
	if path := os.Getenv("REPORT"); path != "" && os.Getenv("ROWS") == "" {
		if err := os.WriteFile(filepath.Join(root, path), page(outcomes), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// TestSoak plays rows at random.
func TestSoak(t *testing.T) {
	duration, err := time.ParseDuration(os.Getenv("SOAK"))
	if err != nil {
		t.Skip("SOAK gives no duration")
	}
	rows := chosen(t)
	w, seed := start(t)
	random := rand.New(rand.NewPCG(seed, 0))
	played := map[string]bool{}
	for end, n := time.Now().Add(duration), 1; time.Now().Before(end); n++ {
		x := rows[random.IntN(len(rows))]
		played[x.name] = true
		say("%3d  %s", n, w.play(t, x, random.Uint64()).line())
	}
	say("%d kinds of faults at random, seed %d", len(played), seed)
}

// chosen are the rows to play.
func chosen(t *testing.T) []row {
	pattern, err := regexp.Compile(os.Getenv("ROWS"))
	if err != nil {
		t.Fatalf("ROWS: %v", err)
	}
	all := os.Getenv("CHAOS") == "all" || os.Getenv("ROWS") != "" || os.Getenv("SOAK") != ""
	rows := slices.DeleteFunc(table(), func(x row) bool {
		return !all && !x.quick || !pattern.MatchString(x.group+": "+x.name)
	})
	if len(rows) == 0 {
		t.Fatalf("no row matches ROWS=%q", pattern)
	}
	return rows
}

// start makes the world, and warms it up.
func start(t *testing.T) (*world, uint64) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SEED: %v", err)
		}
	}
	// The logs outlive a test that has failed.
	logs, err := os.MkdirTemp("", "hyperconverge-chaos-logs-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	say("Starting a control plane and our components; seed %d, logs in %s", seed, logs)
	w, err := startWorld(t.Context(), logs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.stop()
		if !t.Failed() {
			_ = os.RemoveAll(logs)
		}
	})
	if err := w.awaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.scheduler.goroutines, w.scheduler.heap = 1e9, 1e12 // whatever it is, while it warms up
	w.webhook.goroutines, w.webhook.heap = 1e9, 1e12
	warm := w.play(t, row{group: "rest", name: "nothing is wrong", within: longer, do: func(*run) {}}, seed)
	if warm.failure != "" {
		t.Fatalf("even without a fault: %s", warm.failure)
	}
	w.scheduler.goroutines, w.scheduler.heap, w.webhook.goroutines, w.webhook.heap = 0, 0, 0, 0
	w.rest()
	say("Ready after %.0f s; the scheduler at rest: %.0f goroutines, %.0f MiB of heap",
		time.Since(w.scheduler.started).Seconds(), w.scheduler.goroutines, w.scheduler.heap/(1<<20))
	return w, seed
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// line is the row in the output of the suite.
func (o outcome) line() string {
	result := fmt.Sprintf("ok      %5.1f s, recovered in %.1f s", o.took.Seconds(), o.recovered.Seconds())
	switch {
	case o.skipped != "":
		result = fmt.Sprintf("left out %4.1f s", o.took.Seconds())
	case o.failure != "":
		result = fmt.Sprintf("FAILED  %5.1f s", o.took.Seconds())
	}
	text := fmt.Sprintf("%-38s %s: %s", result, o.group, o.name)
	var textSb183 strings.Builder
	for _, note := range slices.Concat(o.notes, nonEmpty(o.failure), nonEmpty(o.skipped)) {
		textSb183.WriteString("\n           " + strings.ReplaceAll(fmt.Sprintf("%.600s", note), "\n", "\n           "))
	}
	text += textSb183.String()
	return text
}

func nonEmpty(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

func total(outcomes []outcome) string {
	failed, skipped, open := 0, 0, 0
	for _, o := range outcomes {
		switch {
		case o.took == 0:
			open++
		case o.skipped != "":
			skipped++
		case o.failure != "":
			failed++
		}
	}
	text := fmt.Sprintf("%d kinds of faults, %d failed", len(outcomes), failed)
	if skipped > 0 {
		text += fmt.Sprintf(", %d left out", skipped)
	}
	if open > 0 {
		text += fmt.Sprintf(", %d not measured yet", open)
	}
	return text
}

// page is the report as a page of the documentation.
func page(outcomes []outcome) []byte {
	var b strings.Builder
	b.WriteString(`# Reliability: what happens when something goes wrong

` + "`make chaos`" + ` has written this page. It runs the real binaries on a real etcd, API
server and controller manager, does what the first column says, and expects what the
second one says. After every row all of this holds, too:

- no pod is lost, and none was made anew;
- no strict pod is off the replicas of its volumes;
- every soft pod that has a feasible node is bound, and so are two pods that come when
  the fault is over;
- no component crashed, was restarted, or wrote a token into its log;
- memory stayed below the limits of the manifests;
- goroutines and heap came back to where they were.

"Back in" is the time from the end of the fault until all pods of the row and the two
that came afterwards were bound, on the machine that wrote the page; the limit of the
row stands behind it.

`)
	fmt.Fprintf(&b, "%s.\n", total(outcomes))
	group := ""
	for _, o := range outcomes {
		if o.group != group {
			group = o.group
			fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| what goes wrong | what holds | back in | |\n|---|---|---|---|\n", title(group), groups[group])
		}
		back := fmt.Sprintf("%.1f s (%.0f s)", o.recovered.Seconds(), o.within.Seconds())
		result := strings.Join(o.notes, "; ")
		switch {
		case o.skipped != "":
			back, result = "", "left out: "+o.skipped
		case o.failure != "":
			back, result = "", "**does not hold**"
		case o.took == 0:
			back, result = "", "not measured yet"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", o.name, o.holds, back, strings.ReplaceAll(result, "|", "/"))
	}
	b.WriteString(`
## Run it

` + "```" + `
make chaos                            # all of it
make chaos ROWS='webhook: .*review'   # rows whose "group: name" matches
make chaos SOAK=10m SEED=7            # at random, for ten minutes
` + "```" + `

A quick selection is part of ` + "`make test`" + `. A row that fails prints why, and where the
logs of all components are.
`)
	return []byte(b.String())
}

func title(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// groups say what the rows of a group have in common.
var groups = map[string]string{
	"storage":   "The storage system answers wrongly, late, too much or not at all.",
	"verdicts":  "What storage and Kubernetes say contradicts itself, or is of a new kind.",
	"apiserver": "A proxy in front of the API server refuses, delays, cuts and loses.",
	"process":   "Our own processes are killed, stopped and doubled, and their files change.",
	"load":      "There is more of everything than usual.",
	"tenants":   "Pods that nobody should create, and everybody may.",
	"webhook":   "The admission webhook's port, certificate and log.",
	"rights":    "Somebody holds the token of one of our accounts.",
}

var errNotYet = errors.New("not yet")
