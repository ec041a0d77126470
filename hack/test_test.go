// Package hack has the tests of the scripts in this folder.
package hack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A run ends with what failed and with the exit code of go test.
func TestTheEndNamesWhatFailed(t *testing.T) {
	for name, row := range map[string]struct {
		test string
		want string // after "What failed:"; empty if all is well
	}{
		"all is well": {test: `func TestA(t *testing.T) {}`},
		"an assertion": {
			test: `func TestA(t *testing.T) { t.Error("got 1, want 2") }` + "\n" + `func TestB(t *testing.T) {}`,
			want: "  --- FAIL: TestA\n      a_test.go:5: got 1, want 2\n",
		},
		"only the first lines of it": {
			test: `func TestA(t *testing.T) { t.Error("1\n2\n3\n4\n5\n6\n7") }`,
			want: "  --- FAIL: TestA\n      a_test.go:5: 1\n          2\n          3\n          4\n          5\n",
		},
		"one case of a table": {
			test: `func TestA(t *testing.T) { t.Run("b c", func(t *testing.T) { t.Error("d") }) }`,
			want: "  --- FAIL: TestA\n      --- FAIL: TestA/b_c\n          a_test.go:5: d\n",
		},
		"what does not compile": {
			test: `func TestA(t *testing.T) { undefined() }`,
			want: "  # example [example.test]\n  ./a_test.go:5:28: undefined: undefined\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			script, err := filepath.Abs("test.sh")
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for file, content := range map[string]string{
				"go.mod":    "module example\n\ngo 1.25\n",
				"a_test.go": "package a\n\nimport \"testing\"\n\n" + row.test + "\n",
			} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			command := exec.Command(script, "-vet=off", ".")
			command.Dir = dir
			output, err := command.CombinedOutput()
			if (err != nil) != (row.want != "") {
				t.Fatalf("it ended with %v:\n%s", err, output)
			}
			_, failed, _ := strings.Cut(string(output), "What failed:\n")
			if _, failed, _ = strings.Cut(failed, "\n"); withoutTimes(failed) != row.want {
				t.Errorf("the end is\n%swant\n%sin\n%s", failed, row.want, output)
			}
		})
	}
}

// withoutTimes takes the "(0.00s)" off.
func withoutTimes(text string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		if before, _, found := strings.Cut(line, " (0."); found {
			lines[i] = before + "\n"
		}
	}
	return strings.Join(lines, "")
}
