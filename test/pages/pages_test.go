// Package pages runs the commands of the documents in a sandbox.
package pages

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hyperconverge/scheduler/internal/console"
	"github.com/hyperconverge/scheduler/internal/sandbox"
	"github.com/hyperconverge/scheduler/internal/sandbox/controlplane"
	"github.com/hyperconverge/scheduler/internal/sandbox/workdir"
)

// patience is how long a command may take: more than a busy machine needs.
const patience = 2 * time.Minute

// TestCommandsOfThePages runs every command of every page in its order, as its reader
// would, in a sandbox of its own. A command fails the test with its page and line unless
// it ends well, or the table elsewhere has a reason why it cannot run here.
func TestCommandsOfThePages(t *testing.T) {
	pages := readPages(t)
	dependOn(t, "bin", "examples", "manifests")
	used := map[*elsewhereEntry]bool{}
	for _, p := range pages {
		for _, c := range p.commands {
			used[elsewhereOf(c)] = true
		}
	}
	for i := range elsewhere {
		if !used[&elsewhere[i]] {
			t.Errorf("no page has a command any more that begins with %q: take it out of the table", elsewhere[i].begins)
		}
	}
	inSandbox(t, func(ctx context.Context, s *sandbox.Sandbox, tmp string) {
		r := &reader{sandbox: s, tmp: tmp, project: absolute(t, root)}
		for _, p := range pages {
			t.Run(p.path, func(t *testing.T) { r.follow(ctx, t, p) })
		}
	})
}

// elsewhereOf returns why a command does not run here, nil if it does.
func elsewhereOf(c command) *elsewhereEntry {
	for i := range elsewhere {
		if strings.HasPrefix(c.text, elsewhere[i].begins) {
			return &elsewhere[i]
		}
	}
	return nil
}

// dependOn looks at what commands use, so that go test runs them anew when it has changed.
func dependOn(t *testing.T, folders ...string) {
	t.Helper()
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			_, err = os.Stat(path)
			return err
		})
		if err != nil {
			t.Fatalf("what the commands use: %v; make build and make demo bring what is missing in bin", err)
		}
	}
}

// inSandbox runs a sandbox with its files below a folder.
func inSandbox(t *testing.T, use func(context.Context, *sandbox.Sandbox, string)) {
	t.Helper()
	tmp := t.TempDir()
	dir, err := workdir.Create(tmp)
	if err != nil {
		t.Fatal(err)
	}
	logs := t.TempDir()
	silent, err := os.Create(filepath.Join(logs, "console"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, _ := console.New(silent, cancel)
	err = sandbox.Run(ctx, sandbox.Options{Nodes: 6, ControlPlane: controlplane.Options{
		BinDir: absolute(t, filepath.Join(root, "bin")), Dir: dir, LogDir: logs, Console: out,
	}}, func(ctx context.Context, s *sandbox.Sandbox) error {
		use(ctx, s, tmp)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// reader does what the pages say.
type reader struct {
	sandbox *sandbox.Sandbox
	tmp     string // where other programs find the sandbox
	project string
}

// follow goes through a page in a folder of its own, that looks like the project, with the
// product installed.
func (r *reader) follow(ctx context.Context, t *testing.T, p page) {
	folder := t.TempDir()
	entries, err := os.ReadDir(r.project)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if err := os.Symlink(filepath.Join(r.project, entry.Name()), filepath.Join(folder, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	r.write(t, folder, p)
	prepared := false
	for _, c := range p.commands {
		if entry := elsewhereOf(c); entry != nil {
			t.Logf("%s:%d: does not run here, %s: %s", c.page, c.line, entry.why, c.text)
			if entry.check != nil {
				if err := entry.check(c.text); err != nil {
					t.Errorf("%s:%d: %v\n%s", c.page, c.line, err, c.text)
				}
			}
			continue
		}
		if !prepared {
			if said, err := r.shell(ctx, folder, setup); err != nil {
				t.Fatalf("preparing the sandbox: %v\n%s", err, said)
			}
		}
		// What comes behind a deletion on a page is about a cluster that still has it.
		prepared = !strings.HasPrefix(c.text, "kubectl delete ")
		text := r.complete(c.text)
		said, err := r.shell(ctx, folder, text)
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == toleratedExit(c.text) {
			err = nil
		}
		if err != nil {
			t.Errorf("%s:%d: %v\n%s\nran as\n%s\n%s\nMend the page, or, if it cannot run in a sandbox, add it to the tables of test/pages/tables_test.go.",
				c.page, c.line, err, c.text, text, said)
		}
	}
}

// write writes the files that the page takes for given.
func (r *reader) write(t *testing.T, folder string, p page) {
	t.Helper()
	for name, content := range map[string]string{"token": "token", "ca.crt": "certificate", "kustomization.yaml": r.complete(cmp.Or(p.kustomization, plain))} {
		if name == "kustomization.yaml" {
			// kustomize takes no absolute path.
			project, err := filepath.Rel(folder, r.project)
			if err != nil {
				t.Fatal(err)
			}
			content = strings.ReplaceAll(content, r.project, project)
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configuration, err := os.ReadFile(filepath.Join(r.project, "manifests", "base", "scheduler", "scheduler.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "scheduler.yaml"), configuration, 0o600); err != nil {
		t.Fatal(err)
	}
}

var word = regexp.MustCompile(`\b[A-Z][A-Z_]*\b`)

// complete fills a command in as its reader would.
func (r *reader) complete(text string) string {
	for _, rule := range rewritten {
		text = rule.what.ReplaceAllString(text, rule.by)
	}
	text = word.ReplaceAllStringFunc(text, func(word string) string {
		if by, known := placeholders[word]; known {
			return by
		}
		return word
	})
	return strings.NewReplacer("{{project}}", r.project, "{{kubeconfig}}", r.sandbox.Kubeconfig,
		"{{plugin}}", strings.Join(r.sandbox.PluginFlags(), " ")).Replace(text)
}

// shell runs a script as a person with the binaries of the project in the path.
func (r *reader) shell(ctx context.Context, folder, script string) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	run := exec.CommandContext(ctx, "bash", "-o", "errexit", "-o", "pipefail", "-c", script)
	run.Dir = folder
	run.Env = append(os.Environ(), "KUBECONFIG="+r.sandbox.Kubeconfig, "TMPDIR="+r.tmp,
		"PATH="+filepath.Join(r.project, "bin")+string(filepath.ListSeparator)+os.Getenv("PATH"))
	output, err := run.CombinedOutput()
	return string(output), err
}

func toleratedExit(text string) int {
	for begins, code := range tolerated {
		if strings.HasPrefix(text, begins) {
			return code
		}
	}
	return 0
}
