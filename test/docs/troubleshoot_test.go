package docs

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

// Whoever reads an advice in the log finds it in docs/troubleshoot.md, with more about it.
func TestTroubleshootHasEveryAdvice(t *testing.T) {
	document := plainText(read(t, "docs/troubleshoot.md"))
	found := search(t, "pkg/volumes/openstorage/advice.go", func(n ast.Node) (string, bool) {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(strings.ToLower(spec.Names[0].Name), "advice") {
			return "", false
		}
		return joined(spec.Values[0])
	})
	if len(found) < 20 {
		t.Fatalf("only these were found: %v", found)
	}
	for _, advice := range found {
		if !strings.Contains(document, plainText(advice)) {
			t.Errorf("docs/troubleshoot.md does not have %q", advice)
		}
	}
}

// plainText is a text without what sets it as code, and without its line breaks.
func plainText(text string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(text, "`", "")), " ")
}

// joined is a literal, or some that are added.
func joined(expression ast.Expr) (string, bool) {
	sum, ok := expression.(*ast.BinaryExpr)
	if !ok || sum.Op != token.ADD {
		return literal(expression)
	}
	left, is := joined(sum.X)
	right, also := joined(sum.Y)
	return left + right, is && also
}
