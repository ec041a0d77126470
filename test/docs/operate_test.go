// Package docs keeps the documents and the code together.
package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// Whoever is on call finds every metric, event, reason and problem in
// docs/operate.md.
func TestOperateNamesAllThatTheSchedulerTells(t *testing.T) {
	document := read(t, "docs/operate.md")
	for _, tc := range []struct {
		what, files string
		find        func(ast.Node) (string, bool)
		// least is how many there are at least, so that the search is not in vain.
		least int
	}{
		{"metric", "pkg/metrics/*.go", metricName, 16},
		{"event", "pkg/plugins/hyperconverge/notices.go", constant("Event"), 3},
		{"reason", "pkg/placement/verdict.go", constant("Reason"), 16},
		{"problem", "pkg/volumes/openstorage/conditions.go", constant("Reason"), 7},
	} {
		t.Run("every "+tc.what+" is explained", func(t *testing.T) {
			found := search(t, tc.files, tc.find)
			if len(found) < tc.least {
				t.Fatalf("only these were found: %v", found)
			}
			for _, text := range found {
				if !strings.Contains(document, text) {
					t.Errorf("docs/operate.md does not mention %q", text)
				}
			}
		})
	}
}

// Every alert is explained under a heading of its own, which its annotation leads to, and
// none that does not exist.
func TestOperateExplainsTheAlerts(t *testing.T) {
	const runbook = "runbook_url: https://github.com/hyperconverge/scheduler/blob/main/docs/operate.md#"
	document := read(t, "docs/operate.md")
	var alerts, runbooks []string
	for line := range strings.Lines(read(t, "manifests/monitoring/rules.yaml")) {
		line = strings.TrimSpace(line)
		if name, isAlert := strings.CutPrefix(line, "- alert: "); isAlert {
			alerts = append(alerts, name)
		}
		if anchor, isRunbook := strings.CutPrefix(line, runbook); isRunbook {
			runbooks = append(runbooks, anchor)
		}
	}
	for i, name := range alerts {
		if !strings.Contains(document, "\n### "+name+"\n\n") {
			t.Errorf("docs/operate.md does not explain the alert %s", name)
		}
		if i >= len(runbooks) || runbooks[i] != strings.ToLower(name) {
			t.Fatalf("the alert %s does not lead to its heading, but the headings are %v", name, runbooks)
		}
	}
	if headings := strings.Count(document, "\n### Hyperconverge"); headings != len(alerts) {
		t.Errorf("docs/operate.md explains %d alerts, there are %d", headings, len(alerts))
	}
}

// search returns what find finds in the files that are no tests.
func search(t *testing.T, pattern string, find func(ast.Node) (string, bool)) []string {
	t.Helper()
	var found []string
	for path, file := range parse(t, pattern) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if text, ok := find(n); ok {
				found = append(found, text)
			}
			return true
		})
	}
	return found
}

// parse returns the Go files of a pattern by their paths, both from the root.
func parse(t *testing.T, pattern string) map[string]*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("there are no files %s: %v", pattern, err)
	}
	files := make(map[string]*ast.File, len(paths))
	for _, path := range paths {
		if files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// metricName finds the names in the options of metrics.
func metricName(n ast.Node) (string, bool) {
	pair, ok := n.(*ast.KeyValueExpr)
	if !ok {
		return "", false
	}
	if key, ok := pair.Key.(*ast.Ident); !ok || key.Name != "Name" {
		return "", false
	}
	name, ok := literal(pair.Value)
	return "`scheduler_hyperconverge_" + name + "`", ok
}

// constant finds the texts of constants whose names begin like that.
func constant(prefix string) func(ast.Node) (string, bool) {
	return func(n ast.Node) (string, bool) {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, prefix) {
			return "", false
		}
		return literal(spec.Values[0])
	}
}

func literal(expression ast.Expr) (string, bool) {
	basic, ok := expression.(*ast.BasicLit)
	if !ok || basic.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(basic.Value)
	return text, err == nil
}
