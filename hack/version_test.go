package hack

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// versioned are the files that say the version.
var versioned = []string{
	"charts/hyperconverge/Chart.yaml", "cmd/kubectl-hyperconverge/hyperconverge.yaml",
	"manifests/base/scheduler/kustomization.yaml", "manifests/webhook/kustomization.yaml",
	"manifests/rebalancer/kustomization.yaml",
}

// project returns a folder with the files that have to do with the version.
func project(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, file := range append([]string{"VERSION", "hack/version.sh", "hack/update-version.sh", "hack/release.sh", "hack/kubernetes/minors", "hack/kubernetes/1.36/go.mod"}, versioned...) {
		content, err := os.ReadFile(filepath.Join("..", file))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(folder, file), string(content))
	}
	return folder
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
}

// run returns what a command prints in a folder, with nothing of whoever runs the tests.
func run(t *testing.T, folder, name string, args ...string) (string, error) {
	t.Helper()
	command := exec.Command(name, args...)
	command.Dir = folder
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + folder, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CEILING_DIRECTORIES=" + filepath.Dir(folder)}
	output, err := command.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

func TestVersionSaysWhatIsBuilt(t *testing.T) {
	const (
		commit = "git init -q . && git add . && git -c user.name=a -c user.email=a@example.com commit -qm a && "
		tag    = "git tag v1.2.3 && git tag other && "
	)
	for name, row := range map[string]struct{ before, number, want string }{
		"a release":                        {commit + tag, "1.2.3", `v1\.2\.3`},
		"a release of which a file is new": {commit + tag + "touch new && ", "1.2.3", `v1\.2\.3-dev-[0-9a-f]{12}-dirty`},
		"a release that was changed":       {commit + tag + "echo '#' >>hack/version.sh && ", "1.2.3", `v1\.2\.3-dev-[0-9a-f]{12}-dirty`},
		"a commit without a tag":           {commit, "1.2.3", `v1\.2\.3-dev-[0-9a-f]{12}`},
		"a tag of another version":         {commit + tag, "1.2.4", `v1\.2\.4-dev-[0-9a-f]{12}`},
		"a pre-release":                    {commit + "git tag v1.2.3-rc.1 && ", "1.2.3-rc.1", `v1\.2\.3-rc\.1`},
		"no clone":                         {"", "1.2.3", `v1\.2\.3-dev-unknown`},
		"sources in another repository":    {"mkdir inner && mv VERSION hack inner && " + commit + tag + "cd inner && ", "1.2.3", `v1\.2\.3-dev-unknown`},
		"a version that is given":          {"VERSION=v9 ", "1.2.3", `v9`},
		"another minor":                    {"KUBERNETES=1.36 ", "1.2.3", `v1\.2\.3-dev-unknown-kubernetes1\.36`},
		"the default minor by its name":    {"KUBERNETES=1.35 ", "1.2.3", `v1\.2\.3-dev-unknown`},
		"no minor":                         {"KUBERNETES=1.360 ", "1.2.3", `KUBERNETES says '1\.360', which is none of the minors in hack/kubernetes/minors\.`},
		"no tag of an image":               {"", "1.2.3+a", `VERSION says '1\.2\.3\+a', which is no semantic version as 1\.2\.3 or 1\.2\.3-rc\.1\.`},
		"no version":                       {"", "1.2", `VERSION says '1\.2', which .*`},
		"a pre-release that begins with 0": {"", "1.2.3-rc.01", `VERSION says '1\.2\.3-rc\.01', which .*`},
	} {
		t.Run(name, func(t *testing.T) {
			folder := project(t)
			write(t, filepath.Join(folder, "VERSION"), row.number+"\n")
			got, err := run(t, folder, "sh", "-c", row.before+"hack/version.sh")
			if !regexp.MustCompile("^" + row.want + "$").MatchString(got) {
				t.Errorf("it says %q, want %s", got, row.want)
			}
			if refused := strings.Contains(row.want, " says '"); (err != nil) != refused {
				t.Errorf("it ends with %v", err)
			}
		})
	}
}

// What is released has to say what it asks of users.
func TestReleaseNeedsSectionOfChangelog(t *testing.T) {
	for changelog, want := range map[string]string{
		"## Unreleased\n\n## v1.2.2 (2026-01-31)\n": "CHANGELOG.md has no section v1.2.3",
		"## Unreleased\n\n## v1.2.3 (2026-01-31)\n": "no such compiler",
	} {
		folder := project(t)
		write(t, filepath.Join(folder, "VERSION"), "1.2.3\n")
		write(t, filepath.Join(folder, "CHANGELOG.md"), changelog)
		write(t, filepath.Join(folder, "bin", "go"), "#!/bin/sh\necho no such compiler\nexit 1\n")
		output, err := run(t, folder, "sh", "-c", "git init -q . && git add . && "+
			"git -c user.name=a -c user.email=a@example.com commit -qm a && git tag v1.2.3 && PATH=bin:$PATH hack/release.sh")
		if err == nil || !strings.HasPrefix(output, want) {
			t.Errorf("with %q it says %q, %v", changelog, output, err)
		}
	}
}

func TestEveryFileSaysTheVersion(t *testing.T) {
	folder := project(t)
	write(t, filepath.Join(folder, "VERSION"), "1.2/3\n")
	if output, err := run(t, folder, "hack/update-version.sh"); err == nil || output != "VERSION says '1.2/3', which is no semantic version as 1.2.3 or 1.2.3-rc.1." {
		t.Errorf("of no version it says %q, %v", output, err)
	}
	folder = project(t)
	check := func() (string, error) { return run(t, folder, "hack/update-version.sh", "--check") }
	if output, err := check(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}

	write(t, filepath.Join(folder, "VERSION"), "7.8.9-rc.1\n")
	output, err := check()
	for _, file := range versioned {
		if err == nil || !strings.Contains(output, file+" does not say v7.8.9-rc.1: run hack/update-version.sh") {
			t.Errorf("%s: nobody notices: %s", file, output)
		}
	}
	if output, err := run(t, folder, "hack/update-version.sh"); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	if output, err := check(); err != nil {
		t.Errorf("after an update: %v: %s", err, output)
	}

	for _, file := range versioned {
		content, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "0.1.0") {
			t.Errorf("%s says the former version, too", file)
		}
		write(t, filepath.Join(folder, file), regexp.MustCompile(`(?m)^.*7\.8\.9.*\n`).ReplaceAllString(string(content), ""))
		if output, err := check(); err == nil || !strings.Contains(output, file) {
			t.Errorf("%s says no version, and nobody notices: %s", file, output)
		}
		write(t, filepath.Join(folder, file), string(content))
	}
}
