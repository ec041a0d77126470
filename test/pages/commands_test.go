package pages

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the folder of the project.
const root = "../.."

// command is what a page tells its reader to type: one statement of the shell, which may
// have several lines.
type command struct {
	page string // path from the root
	line int    // of its first line
	text string
}

// page is a document with blocks of code.
type page struct {
	path     string
	commands []command
	// kustomization is the kustomization.yaml that it shows first, empty if none.
	kustomization string
}

// readPages returns the pages with commands: README.md, CONTRIBUTING.md, and docs/*.md.
func readPages(t *testing.T) []page {
	t.Helper()
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(docs) < 10 {
		t.Fatalf("only %d pages were found: %v", len(docs), err)
	}
	var pages []page
	for _, path := range append([]string{filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")}, docs...) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		if p := parsePage(t, name, string(content)); len(p.commands) > 0 {
			pages = append(pages, p)
		}
	}
	return pages
}

// parsePage finds the commands of a page: the statements in its fenced blocks that name
// no language, or a shell's. A block that is something else says what: text, yaml.
func parsePage(t *testing.T, name, content string) page {
	t.Helper()
	p := page{path: name}
	inside, indent, language, start := false, "", "", 0
	var block []string
	for i, line := range strings.Split(content, "\n") {
		fence, isFence := strings.CutPrefix(strings.TrimLeft(line, " "), "```")
		switch {
		case isFence && !inside:
			inside, indent, language, start = true, line[:len(line)-len(fence)-len("```")], fence, i+2
			block = nil
		case isFence:
			inside = false
			switch {
			case slices.Contains([]string{"", "sh", "bash", "console"}, language):
				p.commands = append(p.commands, statements(t, name, start, block)...)
			case language == "yaml" && p.kustomization == "" && len(block) > 0 && block[0] == "# kustomization.yaml":
				p.kustomization = strings.Join(block, "\n") + "\n"
			}
		case inside:
			block = append(block, strings.TrimPrefix(line, indent))
		}
	}
	if inside {
		t.Errorf("%s:%d: the block does not end", name, start-1)
	}
	return p
}

// statements cuts a block into statements: lines belong together until the shell can
// parse them.
func statements(t *testing.T, page string, first int, block []string) []command {
	t.Helper()
	var found []command
	open, start := "", 0
	for i, line := range block {
		if open == "" {
			if trimmed := strings.TrimSpace(line); trimmed == "" || strings.HasPrefix(trimmed, "#") {
				continue
			}
			start = first + i
		}
		open += strings.TrimPrefix(line, "$ ") + "\n"
		if strings.HasSuffix(line, `\`) {
			continue
		}
		check := exec.Command("bash", "-n")
		check.Stdin = strings.NewReader(open)
		said, err := check.CombinedOutput()
		if err != nil || len(said) > 0 { // a here-document without its end is a warning only
			continue
		}
		found = append(found, command{page: page, line: start, text: strings.TrimSuffix(open, "\n")})
		open = ""
	}
	if open != "" {
		t.Errorf("%s:%d: this is no command; a block that has none names what it is, as ```text:\n%s", page, start, open)
	}
	return found
}

func TestCommandsOfAPage(t *testing.T) {
	const text = "```\n# a comment\nmake build   # another\n\nkubectl get \\\n  pods\ncat <<'END'\na: b\nEND\n```\n" +
		"```text\nno command\n```\n   ```yaml\n   # kustomization.yaml\n   resources: [a]\n   ```\n   ```sh\n   kubectl patch x -p '{\n     \"a\": 1}'\n   ```\n"
	p := parsePage(t, "page", text)
	want := []command{
		{"page", 3, "make build   # another"},
		{"page", 5, "kubectl get \\\n  pods"},
		{"page", 7, "cat <<'END'\na: b\nEND"},
		{"page", 19, "kubectl patch x -p '{\n  \"a\": 1}'"},
	}
	if !slices.Equal(p.commands, want) {
		t.Errorf("the commands are %+v, want %+v", p.commands, want)
	}
	if p.kustomization != "# kustomization.yaml\nresources: [a]\n" {
		t.Errorf("the kustomization is %q", p.kustomization)
	}
}
