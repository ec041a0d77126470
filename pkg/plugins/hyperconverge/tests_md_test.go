package hyperconverge

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
)

const repository = "../../.."

// TestMatrixOfTests keeps TESTS.md true: every test that it names exists, and
// every rule of the contract has a row with a test in it.
func TestMatrixOfTests(t *testing.T) {
	matrix := read(t, "TESTS.md")

	functions := sets.New[string]()
	for _, dir := range []string{"placement", "volumes", "volumes/openstorage", "localfirst", "plugins/hyperconverge"} {
		for _, file := range testFiles(t, filepath.Join(repository, "pkg", dir)) {
			for _, declaration := range file.Decls {
				if function, ok := declaration.(*ast.FuncDecl); ok {
					functions.Insert(filepath.Base(dir) + "." + function.Name.Name)
				}
			}
		}
	}
	for _, match := range regexp.MustCompile("`(\\w+\\.(?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(matrix, -1) {
		if !functions.Has(match[1]) {
			t.Errorf("TESTS.md: there is no test %s", match[1])
		}
	}

	scenarios := scenarioNames(t)
	for _, match := range regexp.MustCompile("“([^”]+)”").FindAllStringSubmatch(matrix, -1) {
		if name := match[1]; name != " " && !scenarios.Has(name) {
			t.Errorf("TESTS.md: there is no scenario %q", name)
		}
	}

	rules := regexp.MustCompile(`(?m)^\| ([FS]\d+) \|`).FindAllStringSubmatch(read(t, filepath.Join(repository, "docs/behaviour.md")), -1)
	if len(rules) < 19 {
		t.Fatalf("docs/behaviour.md has %d rules, want F1 to F11 and S1 to S8", len(rules))
	}
	for _, rule := range rules {
		if !regexp.MustCompile("(?m)^\\| " + rule[1] + " \\|.*`\\w+\\.Test").MatchString(matrix) {
			t.Errorf("TESTS.md: rule %s has no row with a test", rule[1])
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func testFiles(t *testing.T, dir string) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no tests in %s: %v", dir, err)
	}
	files := make([]*ast.File, len(paths))
	for i, path := range paths {
		if files[i], err = parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// scenarioNames are the names in the tables of the integration tests.
func scenarioNames(t *testing.T) sets.Set[string] {
	t.Helper()
	names := sets.New[string]()
	for _, file := range testFiles(t, filepath.Join(repository, "test/integration")) {
		ast.Inspect(file, func(node ast.Node) bool {
			field, ok := node.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			key, isName := field.Key.(*ast.Ident)
			value, isText := field.Value.(*ast.BasicLit)
			if isName && isText && strings.EqualFold(key.Name, "name") {
				if name, err := strconv.Unquote(value.Value); err == nil {
					names.Insert(name)
				}
			}
			return true
		})
	}
	return names
}
