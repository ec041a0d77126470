package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestLogsNamesEveryMessage holds docs/logs.md against what scheduler, webhook and rebalancer log, both
// ways, level included.
func TestLogsNamesEveryMessage(t *testing.T) {
	logged := map[string]string{}
	for _, file := range textFiles(t) {
		if filepath.Ext(file) == ".go" && !strings.HasSuffix(file, "_test.go") && speaks(file) {
			maps.Copy(logged, messagesOf(t, file))
		}
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (error|[0-9]) \\|").FindAllStringSubmatch(read(t, "docs/logs.md"), -1) {
		documented[row[1]] = row[2]
	}
	for _, message := range slices.Sorted(maps.Keys(logged)) {
		if got := documented[message]; got != logged[message] {
			t.Errorf("%q is logged at level %s, and docs/logs.md has it at %q", message, logged[message], got)
		}
	}
	for _, message := range slices.Sorted(maps.Keys(documented)) {
		if logged[message] == "" {
			t.Errorf("docs/logs.md has %q, which nothing logs", message)
		}
	}
}

// speaks reports whether what stands in a file is logged by one of them.
func speaks(file string) bool {
	for _, folder := range []string{"pkg/", "cmd/scheduler/", "cmd/webhook/", "cmd/rebalancer/", "internal/rebalancer/"} {
		if strings.HasPrefix(filepath.ToSlash(file), folder) {
			return !strings.HasPrefix(filepath.ToSlash(file), "pkg/simulation/")
		}
	}
	return false
}

// messagesOf finds the literal messages of a file with their levels.
func messagesOf(t *testing.T, file string) map[string]string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found, loggers := map[string]string{}, map[string]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if assigned, is := n.(*ast.AssignStmt); is {
			if name, is := assigned.Lhs[0].(*ast.Ident); is {
				loggers[name.Name] = levelOf(assigned.Rhs[0])
			}
		}
		call, is := n.(*ast.CallExpr)
		if !is {
			return true
		}
		method, is := call.Fun.(*ast.SelectorExpr)
		if !is {
			return true
		}
		at, level := 0, levelOf(method.X)
		if name, is := method.X.(*ast.Ident); is && name.Name == "http" {
			return true
		} else if is && loggers[name.Name] != "" {
			level = loggers[name.Name]
		}
		switch method.Sel.Name {
		case "Info":
		case "Error":
			at, level = 1, "error"
		case "log": // of a pass over the volumes, whose first argument is the logger
			at, level = 1, levelOf(call.Args[0])
		default:
			return true
		}
		if len(call.Args) <= at {
			return true
		}
		literal, is := call.Args[at].(*ast.BasicLit)
		if sum, isSum := call.Args[at].(*ast.BinaryExpr); isSum { // what follows depends on the case
			literal, is = sum.X.(*ast.BasicLit)
		}
		if !is || literal.Kind != token.STRING {
			return true
		}
		message, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(message, ": ")] = level
		return true
	})
	return found
}

// levelOf is the verbosity of a logger: that of the call V in it, which may be a constant.
func levelOf(logger ast.Expr) string {
	level := "0"
	ast.Inspect(logger, func(n ast.Node) bool {
		if call, is := n.(*ast.CallExpr); is {
			if method, is := call.Fun.(*ast.SelectorExpr); is && method.Sel.Name == "V" && len(call.Args) == 1 {
				switch argument := call.Args[0].(type) {
				case *ast.BasicLit:
					level = argument.Value
				case *ast.Ident: // a constant of the same file
					level = argument.Obj.Decl.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value
				}
			}
		}
		return true
	})
	return level
}
