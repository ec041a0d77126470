// Package docs keeps the documents and the code together.
package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// Whoever is woken at night finds every metric, event, reason and problem in
// docs/operate.md.
func TestOperateNamesAllThatTheSchedulerTells(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(root, "docs", "operate.md"))
	if err != nil {
		t.Fatal(err)
	}
	document := string(content)
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

// Every alert is explained, and none that does not exist.
func TestOperateExplainsTheAlerts(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join(root, "manifests", "monitoring", "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile(filepath.Join(root, "docs", "operate.md"))
	if err != nil {
		t.Fatal(err)
	}
	alerts := 0
	for line := range strings.Lines(string(rules)) {
		name, isAlert := strings.CutPrefix(strings.TrimSpace(line), "- alert: ")
		if !isAlert {
			continue
		}
		alerts++
		if !strings.Contains(string(document), "| `"+name+"` |") {
			t.Errorf("docs/operate.md does not explain the alert %s", name)
		}
	}
	if rows := strings.Count(string(document), "\n| `Hyperconverge"); rows != alerts {
		t.Errorf("docs/operate.md explains %d alerts, there are %d", rows, alerts)
	}
}

// search returns what find finds in the files that are no tests.
func search(t *testing.T, pattern string, find func(ast.Node) (string, bool)) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
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
