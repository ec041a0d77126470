package docs

import (
	"go/ast"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/sets"
)

// columns is how wide a screen is taken to be.
const columns = 120

var (
	testName     = regexp.MustCompile("`(\\w+\\.(?:Test|Fuzz)\\w+)`")
	scenarioName = regexp.MustCompile(`“([^”]+)”`)
	// oneCase is a line that names one test or one scenario, and nothing else.
	oneCase = regexp.MustCompile("^- (?:`\\w+\\.(?:Test|Fuzz)\\w+`|“[^”]+”)$")
	rule    = regexp.MustCompile(`^[FS]\d+$`)
)

// TestMatrixOfTests keeps TESTS.md true: every test and scenario that it names
// exists, and every rule of the contract has a heading with a test under it.
func TestMatrixOfTests(t *testing.T) {
	matrix := read(t, "pkg/plugins/hyperconverge/TESTS.md")

	functions := testFunctions(t, "placement", "volumes", "volumes/openstorage", "localfirst", "spelling", "plugins/hyperconverge")
	for _, match := range testName.FindAllStringSubmatch(matrix, -1) {
		if !functions.Has(match[1]) {
			t.Errorf("TESTS.md: there is no test %s", match[1])
		}
	}
	scenarios := scenarioNames(t)
	for _, match := range scenarioName.FindAllStringSubmatch(matrix, -1) {
		if name := match[1]; name != " " && !scenarios.Has(name) {
			t.Errorf("TESTS.md: there is no scenario %q", name)
		}
	}

	cases := casesByHeading(t, matrix)
	rules := rulesOfTheContract(t)
	for name := range rules {
		if !strings.Contains(strings.Join(cases[name], "\n"), ".Test") {
			t.Errorf("TESTS.md: rule %s has no heading with a test under it", name)
		}
	}
	for heading, lines := range cases {
		if len(lines) == 0 {
			t.Errorf("TESTS.md: nothing proves %q", heading)
		}
		if rule.MatchString(heading) && !rules.Has(heading) {
			t.Errorf("TESTS.md: docs/behaviour.md has no rule %s", heading)
		}
	}
}

// casesByHeading returns the lines under each heading of the third level, by the
// words in front of its colon, and fails the test for a line that is not one case.
func casesByHeading(t *testing.T, matrix string) map[string][]string {
	t.Helper()
	cases := map[string][]string{}
	area, heading := "", ""
	for line := range strings.Lines(matrix) {
		line = strings.TrimSuffix(line, "\n")
		if utf8.RuneCountInString(line) > columns {
			t.Errorf("TESTS.md: a line has more than %d columns: %s", columns, line)
		}
		if title, ok := strings.CutPrefix(line, "## "); ok {
			area, heading = title, ""
		}
		if title, ok := strings.CutPrefix(line, "### "); ok {
			heading, _, _ = strings.Cut(title, ":")
			if _, known := cases[heading]; known {
				t.Errorf("TESTS.md: two headings begin with %q", heading)
			}
			cases[heading] = nil
			continue
		}
		switch {
		case area == "" || line == "" || strings.HasPrefix(line, "#"):
		case heading == "" || !oneCase.MatchString(line):
			t.Errorf("TESTS.md: this line is not one test or one scenario under a heading: %s", line)
		default:
			cases[heading] = append(cases[heading], line)
		}
	}
	return cases
}

// testFunctions are the functions in the tests of these packages, as
// package.Function.
func testFunctions(t *testing.T, packages ...string) sets.Set[string] {
	t.Helper()
	functions := sets.New[string]()
	for _, dir := range packages {
		for _, file := range parse(t, filepath.Join("pkg", dir, "*_test.go")) {
			for _, declaration := range file.Decls {
				if function, ok := declaration.(*ast.FuncDecl); ok {
					functions.Insert(filepath.Base(dir) + "." + function.Name.Name)
				}
			}
		}
	}
	return functions
}

// scenarioNames are the names in the tables of the integration tests.
func scenarioNames(t *testing.T) sets.Set[string] {
	t.Helper()
	names := sets.New[string]()
	for _, file := range parse(t, "test/integration/*_test.go") {
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
