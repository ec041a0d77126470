package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hyperconverge/scheduler/internal/console"
	"github.com/hyperconverge/scheduler/internal/sandbox"
)

// said is what step i prints with a plugin that is this shell script, and its error. An
// empty script is no plugin at all.
func said(t *testing.T, script string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	if script != "" {
		if err := os.WriteFile(filepath.Join(dir, "kubectl-hyperconverge"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	terminal, palette := console.New(out, func() {})
	d := &demo{
		sandbox: &sandbox.Sandbox{BinDir: dir, Kubeconfig: "/k", DebugAddress: "127.0.0.1:7"},
		out:     terminal, palette: palette,
	}
	failed := d.explain(t.Context())
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text), failed
}

func TestThePluginExplainsAndItsReportStays(t *testing.T) {
	got, err := said(t, `[ "$1" = report ] && echo page >"$3"; echo "$@"`)
	if err != nil {
		t.Fatal(err)
	}
	const flags = "--kubeconfig /k --scheduler-endpoint https://127.0.0.1:7"
	if want := "\n  explain pod shop -n default " + flags + "\n"; !strings.Contains(got, want) {
		t.Errorf("it says %q, want %q in it", got, want)
	}
	words := strings.Fields(got)
	report := words[len(words)-1]
	if content, err := os.ReadFile(report); err != nil || string(content) != "page\n" {
		t.Errorf("the report that is named last, %s, is %q, %v", report, content, err)
	}
}

func TestAPluginThatFailsBreaksTheDemo(t *testing.T) {
	for name, script := range map[string]string{
		"at explaining":         "echo no such pod >&2; exit 1",
		"at writing its report": "[ $1 = explain ] || { echo no such pod >&2; exit 1; }",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := said(t, script); err == nil || !strings.Contains(err.Error(), "no such pod") {
				t.Errorf("error is %v, want what the plugin says", err)
			}
			if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*.html")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestWithoutThePluginTheDemoSaysHowToBuildIt(t *testing.T) {
	got, err := said(t, "")
	if err != nil || !strings.Contains(got, "make bin/kubectl-hyperconverge") {
		t.Errorf("it says %q, %v", got, err)
	}
}
