package command

import (
	"bytes"
	"strings"
	"testing"

	"k8s.io/component-base/version"
)

// What is said before any cluster is read.
func TestWithoutACluster(t *testing.T) {
	for _, tc := range []struct {
		name              string
		args              []string
		code              int
		says, errorSaying string
	}{
		{"help speaks of kubectl's plugin", []string{"--help"}, 0, "kubectl hyperconverge [command]", ""},
		{"help of a command has examples", []string{"simulate", "--help"}, 0, "kubectl hyperconverge simulate --drain node-3", ""},
		{"nothing is a request for help", nil, 0, "kubectl hyperconverge explain pod db-0 -n shop", ""},
		{"the version is that of the release", []string{"--version"}, 0, version.Get().String() + "\n", ""},
		{"shells are completed", []string{"completion", "zsh"}, 0, "#compdef", ""},
		{"kubectl completes, too", []string{"__complete", "exp"}, 0, "explain", "Completion ended"},
		{"a command that does not exist", []string{"statsu"}, 1, "", "Error: unknown command \"statsu\" for \"kubectl hyperconverge\" Did you mean this? status\n"},
		{"a kubeconfig that does not exist", []string{"status", "--kubeconfig", "/nonexistent"}, 1, "", "Error: reading the kubeconfig: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			code := Run(t.Context(), tc.args, nil, &out, &errOut)
			if code != tc.code || !strings.Contains(out.String(), tc.says) || !strings.Contains(errOut.String(), tc.errorSaying) || tc.errorSaying == "" && errOut.Len() > 0 {
				t.Errorf("it ends with %d, prints\n%s\nand says\n%s", code, out.String(), errOut.String())
			}
		})
	}
}
