package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const unnamedPod = "shop"

// unnamed is step i: the webhook, and kubectl hyperconverge.
func (d *demo) unnamed(ctx context.Context) error {
	d.say("A pod that names no scheduler. The webhook knows whose its volume is.")
	d.tags = map[string]string{"shop-data": "S"}
	if err := d.apply(ctx, "unnamed.yaml", nil); err != nil {
		return err
	}
	seen, err := d.untilPods(ctx, "it runs", 1, runs)
	if err != nil {
		return err
	}
	d.show(seen, false)
	pod, err := d.sandbox.Client.CoreV1().Pods(namespace).Get(ctx, unnamedPod, metav1.GetOptions{})
	if err != nil {
		return err
	}
	routed := check{text: "the webhook has named " + ourScheduler}
	if pod.Spec.SchedulerName != ourScheduler {
		routed.instead = pod.Spec.SchedulerName
	}
	d.expect(routed, runsOnData(seen, seen.Pod(unnamedPod)))
	return d.explain(ctx)
}

// explain asks kubectl hyperconverge about the pod, and has it write its report into a
// file that stays.
func (d *demo) explain(ctx context.Context) error {
	d.out.Printf("")
	if !d.hasPlugin() {
		return nil
	}
	d.say("Why is it there? %s", d.palette.Strong("kubectl hyperconverge explain pod "+unnamedPod))
	text, err := d.hyperconverge(ctx, "explain", "pod", unnamedPod, "-n", namespace)
	if err != nil {
		return err
	}
	d.out.Printf("\n%s", indent(text))
	report, err := os.CreateTemp("", "hyperconverge-report-*.html")
	if err != nil {
		return fmt.Errorf("making a file for the report: %w", err)
	}
	if err := report.Close(); err != nil {
		return err
	}
	if _, err := d.hyperconverge(ctx, "report", "--html", report.Name(), "--overwrite"); err != nil {
		return errors.Join(err, os.Remove(report.Name()))
	}
	d.out.Printf("")
	d.say("The whole cluster on a page, for a browser: %s", d.palette.Strong(report.Name()))
	return nil
}

// hasPlugin reports whether there is kubectl hyperconverge, and says how to build it if not.
func (d *demo) hasPlugin() bool {
	if _, err := os.Stat(d.sandbox.Plugin()); errors.Is(err, fs.ErrNotExist) {
		d.say("kubectl hyperconverge would say why; build it with: make bin/kubectl-hyperconverge")
		return false
	}
	return true
}

// hyperconverge runs kubectl hyperconverge, and returns what it says.
func (d *demo) hyperconverge(ctx context.Context, args ...string) (string, error) {
	d.out.Status("asking kubectl hyperconverge")
	command := exec.CommandContext(ctx, d.sandbox.Plugin(),
		slices.Concat(args, []string{"--kubeconfig", d.sandbox.Kubeconfig}, d.sandbox.PluginFlags())...)
	said, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl hyperconverge %s: %w: %s", args[0], err, strings.TrimSpace(string(said)))
	}
	return string(said), nil
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight(margin+line, " \n") + "\n")
	}
	return b.String()
}
