// Package demo is the demonstration: nine steps on a sandbox, each of which says
// what the scheduler promises, does it, shows it, and checks it.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/hyperconverge/scheduler/internal/console"
	"github.com/hyperconverge/scheduler/internal/sandbox"
)

const (
	// MinNodes is the smallest sandbox that the demo runs on: it needs five nodes
	// with storage.
	MinNodes = 6

	// namespace is where the demo creates its objects.
	namespace = "default"
	// patience is how long the demo waits for anything. On an idle machine nothing
	// takes longer than a few seconds.
	patience = 60 * time.Second
	// pollInterval is how often the demo looks whether something has come true.
	pollInterval = 100 * time.Millisecond
)

// ErrBroken is returned by Run when a check failed.
var ErrBroken = errors.New("not everything came out as the contract says")

// demo runs the steps.
type demo struct {
	sandbox *sandbox.Sandbox
	out     *console.Console
	palette console.Palette
	// volumesBefore is how many volumes the storage had when the demo began.
	volumesBefore int
	// tags are the short names of volumes on maps.
	tags map[string]string // claim name -> tag
	// step is the letter of the step that runs.
	step string
	// problems are the failures so far, each with its step.
	problems []string
}

var steps = []struct {
	letter, title string
	run           func(*demo, context.Context) error
	// keep leaves the step's objects to the next one.
	keep bool
}{
	{letter: "a", title: "MySQL starts where its data is", run: (*demo).mysqlStarts, keep: true},
	{letter: "b", title: "the storage of that node fails, and MySQL moves to its other replica", run: (*demo).mysqlMoves},
	{letter: "c", title: "a StatefulSet that takes no node without all its data", run: (*demo).strictLedger},
	{letter: "d", title: "a shared volume with hyperconvergence turned off", run: (*demo).sharedOff},
	{letter: "e", title: "60 databases: the stock scheduler and ours", run: (*demo).compare},
	{letter: "f", title: "volumes that do not exist yet come to where their pods are", run: (*demo).newVolumes},
	{letter: "g", title: "how much locality is worth: shared volumes, and a rolling reboot", run: (*demo).degrees},
	{letter: "h", title: "a node comes back, and its databases come home", run: (*demo).backHome},
	{letter: "i", title: "a pod that names no scheduler, and why it is where it is", run: (*demo).unnamed},
}

// Run runs all steps. The error wraps ErrBroken if a check failed, after all steps
// have run and the failures are printed.
func Run(ctx context.Context, box *sandbox.Sandbox, out *console.Console, palette console.Palette) error {
	begun := time.Now()
	d := &demo{sandbox: box, out: out, palette: palette}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	for _, step := range steps {
		out.Printf("\n%s", palette.Strong("Step "+step.letter+": "+step.title))
		before := len(d.problems)
		d.step = step.letter
		if err := step.run(d, ctx); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			d.say("%s %v", palette.Bad("FAILED:"), err)
			d.problems = append(d.problems, fmt.Sprintf("step %s: %v", d.step, err))
		}
		if step.keep && len(d.problems) == before {
			continue
		}
		if err := d.clear(ctx); err != nil {
			return err
		}
	}
	if err := d.untilVolumesAreGone(ctx); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		d.problems = append(d.problems, err.Error())
	}

	took := time.Since(begun).Round(time.Second)
	if len(d.problems) > 0 {
		out.Printf("\n%s", palette.Bad(fmt.Sprintf("After %v, this did not come out as the contract says:", took)))
		for _, problem := range d.problems {
			out.Printf("  %s", problem)
		}
		return ErrBroken
	}
	out.Printf("\n%s", palette.Good(fmt.Sprintf("All %d steps came out as the contract says, in %v.", len(steps), took)))
	return nil
}

// prepare waits for what a controller makes for every namespace, without which
// no pod is let in.
func (d *demo) prepare(ctx context.Context) error {
	storage, err := d.sandbox.Control.State(ctx)
	if err != nil {
		return fmt.Errorf("looking at the storage: %w", err)
	}
	d.volumesBefore = len(storage.Volumes)
	accounts := d.sandbox.Client.CoreV1().ServiceAccounts(namespace)
	return d.until(ctx, "the default service account exists", func(ctx context.Context) (bool, string, error) {
		_, err := accounts.Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, "not yet", nil
		}
		return err == nil, "", err
	})
}

// untilVolumesAreGone waits for the volumes of the deleted claims to go as well.
func (d *demo) untilVolumesAreGone(ctx context.Context) error {
	return d.until(ctx, "the volumes are deleted", func(ctx context.Context) (bool, string, error) {
		storage, err := d.sandbox.Control.State(ctx)
		left := len(storage.Volumes) - d.volumesBefore
		return left <= 0, fmt.Sprintf("%d left", left), err
	})
}

// say prints one sentence.
func (d *demo) say(format string, args ...any) {
	d.out.Printf("  "+format, args...)
}

// show draws the cluster, with a mark for each pod or with its name.
func (d *demo) show(seen Snapshot, marks bool) {
	d.out.Printf("\n%s", seen.Draw(Style{Palette: d.palette, Marks: marks, Width: d.out.Width()}))
}

// expect prints the outcome of checks and remembers those that failed.
func (d *demo) expect(checks ...check) {
	for _, c := range checks {
		if c.instead == "" {
			d.say("%s %s", d.palette.Good("kept:  "), c.text)
			continue
		}
		d.say("%s %s", d.palette.Bad("BROKEN:"), c)
		d.problems = append(d.problems, fmt.Sprintf("step %s: %s", d.step, c))
	}
}

// check is something that the scheduler's contract says about what is seen.
type check struct {
	text string
	// instead is what was seen, if the check failed.
	instead string
}

func (c check) String() string {
	if c.instead == "" {
		return c.text
	}
	return c.text + "; instead: " + c.instead
}

// runsOnData checks that the pod runs on a node with all of its volumes.
func runsOnData(seen Snapshot, pod Pod) check {
	volumes := strings.Join(pod.Volumes, " and ")
	if seen.OnData(pod) && pod.Running {
		return check{text: fmt.Sprintf("%s runs on %s, which holds %s", pod.Name, pod.Node, volumes)}
	}
	nodes := cmp.Or(strings.Join(seen.DataNodes(pod), " or "), "of which there is none")
	return check{
		text:    fmt.Sprintf("%s runs on a node that holds %s (%s)", pod.Name, volumes, nodes),
		instead: whereabouts(pod),
	}
}

// runsOn checks that the pod runs on that very node.
func runsOn(pod Pod, node, because string) check {
	c := check{text: fmt.Sprintf("%s runs on %s, %s", pod.Name, node, because)}
	if pod.Node != node || !pod.Running {
		c.instead = whereabouts(pod)
	}
	return c
}

// waitsBecause checks that the pod is pending, and that the reason has all the
// words in it.
func waitsBecause(pod Pod, words ...string) check {
	c := check{text: pod.Name + " waits, and the reason names the volume that keeps it waiting"}
	if pod.Node != "" {
		c.instead = whereabouts(pod)
		return c
	}
	for _, word := range words {
		if !strings.Contains(pod.Reason, word) {
			c.instead = fmt.Sprintf("the reason does not say %q: %s", word, orNothing(pod.Reason))
			return c
		}
	}
	return c
}

// spreadEvenly checks that all nodes with storage run the same number of pods,
// give or take one, as they do when nothing prefers one to another.
func spreadEvenly(seen Snapshot) check {
	c := check{text: "all nodes are equal: the pods are spread evenly over every node with storage"}
	counts := map[string]int{} // node -> pods
	for _, p := range seen.Pods {
		counts[p.Node]++
	}
	var each []int
	for _, n := range seen.Nodes {
		if n.Storage != "" {
			each = append(each, counts[n.Name])
		} else if counts[n.Name] > 0 {
			c.instead = fmt.Sprintf("%d on %s, which has no storage", counts[n.Name], n.Name)
			return c
		}
	}
	if len(each) > 0 && slices.Max(each)-slices.Min(each) > 1 {
		c.instead = fmt.Sprintf("%d on one node and %d on another", slices.Max(each), slices.Min(each))
	}
	return c
}

// allOnData checks that every pod is on its data.
func allOnData(seen Snapshot, text string) check {
	c := check{text: text}
	if t := seen.Tally(); t.OnData != len(seen.Pods) {
		c.instead = fmt.Sprintf("%d of %d", t.OnData, len(seen.Pods))
	}
	return c
}

// whereabouts is where the pod is, or why it is nowhere.
func whereabouts(pod Pod) string {
	switch {
	case pod.Node == "":
		return "it is pending: " + orNothing(pod.Reason)
	case !pod.Running:
		return "it is on " + pod.Node + " and does not run"
	default:
		return "it runs on " + pod.Node
	}
}

func orNothing(reason string) string {
	return cmp.Or(reason, "no reason is given")
}

// until waits until look says that it is done. Progress is what there is to see
// meanwhile.
func (d *demo) until(ctx context.Context, what string, look func(context.Context) (done bool, progress string, err error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it did not happen within %v", patience))
	defer cancel()
	progress := ""
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		done, now, err := look(ctx)
		if err == nil && !done {
			progress = now
			d.out.Status("until %s: %s", what, progress)
		}
		return done, err
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("waiting until %s: %w; last seen: %s", what, context.Cause(ctx), progress)
	}
	return err
}

// untilPods waits until there are that many pods and come is true of each, and
// returns the cluster as it is then.
func (d *demo) untilPods(ctx context.Context, what string, pods int, come func(Pod) bool) (seen Snapshot, err error) {
	return seen, d.until(ctx, what, func(ctx context.Context) (bool, string, error) {
		var err error
		if seen, err = d.snapshot(ctx); err != nil {
			return false, "", err
		}
		there, waiting := 0, ""
		for _, p := range seen.Pods {
			if come(p) {
				there++
			} else if waiting == "" && p.Reason != "" {
				waiting = "; " + p.Name + ": " + p.Reason
			}
		}
		return there == pods && len(seen.Pods) == pods, fmt.Sprintf("%d of %d pods%s", there, pods, waiting), nil
	})
}

func runs(p Pod) bool      { return p.Running }
func hasNode(p Pod) bool   { return p.Node != "" }
func isSettled(p Pod) bool { return p.Running || p.Node == "" && p.Reason != "" }
