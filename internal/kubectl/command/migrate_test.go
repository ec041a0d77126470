package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const fixtures = "../migrate/testdata/"

// migrated runs the command, with what it reads from standard input.
func migrated(t *testing.T, in string, args ...string) (code int, out, errOut string) {
	t.Helper()
	var said, complaints bytes.Buffer
	code = Run(t.Context(), append([]string{"migrate"}, args...), strings.NewReader(in), &said, &complaints)
	return code, said.String(), complaints.String()
}

func TestMigratePrintsTheFiles(t *testing.T) {
	for name, row := range map[string]struct {
		args []string
		want []string
	}{
		"a folder":      {[]string{"--registry", "registry.example.com/h/", "--tag", "v9"}, []string{"# kustomization.yaml\n", "---\n# scheduler.yaml\n", `- "PATH/manifests/overlays/no-webhook"`, `newName: "registry.example.com/h/hyperconverge-scheduler", newTag: "v9"`}},
		"values":        {[]string{"--format", "helm", "--take-over"}, []string{"# values.yaml\n", "storkReplacement:\n  enabled: true\n"}},
		"a repository":  {[]string{"--manifests", "https://git.example.com/s//manifests?ref=v1"}, []string{`- "https://git.example.com/s//manifests/overlays/no-webhook?ref=v1"`}},
		"as it is seen": {[]string{"--manifests", "../m"}, []string{`- "../m/overlays/no-webhook"`}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := migrated(t, "", append(row.args, "-f", fixtures+"operator-defaults.yaml")...)
			if code != 0 || !strings.HasPrefix(out, "# kustomization.yaml\n") && !strings.HasPrefix(out, "# values.yaml\n") {
				t.Errorf("it ends with %d, says %s and prints\n%s", code, errOut, out)
			}
			for _, part := range row.want {
				if !strings.Contains(out, part) {
					t.Errorf("%q is not in\n%s", part, out)
				}
			}
			if !strings.Contains(errOut, "Not carried over: The health monitor, which deletes pods") || !strings.Contains(errOut, "Next:\n") {
				t.Errorf("it says %q", errOut)
			}
		})
	}
}

func TestMigrateWritesTheFolder(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "my cluster")
	write := func(args ...string) (int, string) {
		code, _, errOut := migrated(t, "", append(args, "-f", fixtures+"operator-defaults.yaml", "--output", folder, "--manifests", "../../../manifests")...)
		return code, errOut
	}
	if code, errOut := write(); code != 0 || !strings.Contains(errOut, "kubectl apply --server-side -k '"+folder+"'") {
		t.Fatalf("it ends with %d and says %s", code, errOut)
	}
	before, err := os.ReadFile(filepath.Join(folder, "scheduler.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if code, errOut := write("--take-over"); code != 1 || !strings.Contains(errOut, "kustomization.yaml is there already: --overwrite replaces it") {
		t.Errorf("where files are it ends with %d and says %s", code, errOut)
	}
	if code, errOut := write("--take-over", "--overwrite"); code != 0 {
		t.Error(errOut)
	}
	after, err := os.ReadFile(filepath.Join(folder, "scheduler.yaml"))
	if err != nil || bytes.Equal(before, after) || !strings.Contains(string(after), `schedulerName: "stork"`) {
		t.Errorf("the scheduler's configuration is (%v)\n%s", err, after)
	}
}

// Each mistake is told in one line, with the way out, and nothing is printed.
func TestMigrateRefuses(t *testing.T) {
	absolute, err := filepath.Abs("../../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		in   string
		args []string
		want string
	}{
		"a format that does not exist":    {args: []string{"--format", "ksonnet"}, want: "--format ksonnet: want kustomize or helm"},
		"manifests for the chart":         {args: []string{"--format", "helm", "--manifests", "m"}, want: "--manifests is for --format kustomize"},
		"an absolute path":                {args: []string{"--manifests", absolute}, want: "kustomize takes no absolute path: name it as it is seen from the folder, or the folder by --output"},
		"a folder without manifests":      {args: []string{"--manifests", "..", "--output", t.TempDir()}, want: "--manifests ..: there is no base/kustomization.yaml in it"},
		"a repository without its folder": {args: []string{"--manifests", "https://git.example.com/s"}, want: "kustomize wants two slashes between repository and folder"},
		"a file that is not there":        {args: []string{"-f", "/nonexistent"}, want: "-f: open /nonexistent"},
		"a file that is no YAML":          {in: "a: [", args: []string{"-f", "-"}, want: "-f -: error converting YAML to JSON: yaml: line 1:"},
		"a file of something else":        {in: "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n", args: []string{"-f", "-"}, want: "there is neither a StorageCluster nor a Deployment stork or stork-scheduler in -: kubectl get storagecluster -A -o yaml has the first"},
		"an empty file":                   {args: []string{"-f", "-"}, want: "there is neither a StorageCluster"},
		"the namespace of nothing":        {args: []string{"-f", fixtures + "tuned.yaml", "-n", "elsewhere"}, want: "stork-scheduler of the namespace elsewhere in " + fixtures + "tuned.yaml"},
		"a kubeconfig that is not there":  {args: []string{"--kubeconfig", "/nonexistent"}, want: "reading the kubeconfig: "},
		"an argument":                     {args: []string{"stork"}, want: `unknown command "stork" for "kubectl hyperconverge migrate"`},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := migrated(t, row.in, row.args...)
			if code != 1 || out != "" || !strings.HasPrefix(errOut, "Error: ") || !strings.Contains(errOut, row.want) || strings.Count(errOut, "\n") != 1 {
				t.Errorf("it ends with %d, prints %q and says %s", code, out, errOut)
			}
		})
	}
}

func TestTagIsThatOfTheRelease(t *testing.T) {
	for version, want := range map[string]string{
		"v1.35.4+hyperconverge.v1.2.3":                        "v1.2.3",
		"v1.35.4+hyperconverge.v1.2.3-rc.1":                   "v1.2.3-rc.1",
		"v1.35.4+hyperconverge.v1.2.3-dev-0123456789ab":       "VERSION", // which no registry has
		"v1.35.4+hyperconverge.v1.2.3-dev-0123456789ab-dirty": "VERSION",
		"v0.0.0-master+$Format:%H$":                           "VERSION",
	} {
		if got := releaseTag(version); got != want {
			t.Errorf("%s: got %s, want %s", version, got, want)
		}
	}
}
