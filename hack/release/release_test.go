package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// example makes releases of this project into a folder of its own.
func example(t *testing.T) release {
	t.Helper()
	return release{
		source: "../..", dist: t.TempDir(), version: "v7.8.9", revision: "abc", registry: "registry.example.com/folder",
		arches: []string{"amd64", "arm64"}, created: time.Unix(1700000000, 0).UTC(),
	}
}

func read(t *testing.T, elements ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// extract returns the files of a compressed archive, and which of them may be run.
func extract(t *testing.T, archive []byte) (files map[string]string, programs []string) {
	t.Helper()
	decompressed, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for reader := tar.NewReader(decompressed); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files, programs
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		if header.ModTime.Unix() != 1700000000 {
			t.Errorf("%s is of %v", header.Name, header.ModTime)
		}
		files[header.Name] = string(content)
		if header.FileInfo().Mode()&0o111 != 0 {
			programs = append(programs, header.Name)
		}
	}
}

// plugins returns a folder with a small Go binary for each platform.
func plugins(t *testing.T, platforms ...string) string {
	t.Helper()
	small := filepath.Join(t.TempDir(), "small")
	if err := os.WriteFile(small+".go", []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command("go", "build", "-o", small, small+".go").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	folder := t.TempDir()
	for _, platform := range platforms {
		binary := filepath.Join(folder, platform, "kubectl-hyperconverge")
		if strings.HasPrefix(platform, "windows") {
			binary += ".exe"
		}
		if err := errors.Join(os.Mkdir(filepath.Dir(binary), 0o700), os.Symlink(small, binary)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestPluginComesForEveryPlatformOfKrew(t *testing.T) {
	systems := []string{"linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64", "windows-amd64", "windows-arm64"}
	r := example(t)
	folder := plugins(t, systems...)
	if err := r.plugin(folder); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command("../verify-krew.sh", filepath.Join(r.dist, "hyperconverge.yaml")).CombinedOutput(); err != nil {
		t.Errorf("krew would not take it: %s", output)
	}
	var manifest krewManifest
	if err := yaml.UnmarshalStrict(read(t, r.dist, "hyperconverge.yaml"), &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Spec.Version != "v7.8.9" || len(manifest.Spec.Platforms) != len(systems) {
		t.Errorf("it is of %s and has %d platforms", manifest.Spec.Version, len(manifest.Spec.Platforms))
	}
	for i, p := range manifest.Spec.Platforms {
		name := "kubectl-hyperconverge-" + systems[i]
		if want := "https://github.com/hyperconverge/scheduler/releases/download/v7.8.9/" + name + ".tar.gz"; p.URI != want {
			t.Errorf("it is at %s, want %s", p.URI, want)
		}
		archive := read(t, r.dist, path.Base(p.URI))
		if want := fmt.Sprintf("%x", sha256.Sum256(archive)); p.SHA256 != want {
			t.Errorf("%s has the checksum %s, want %s", name, p.SHA256, want)
		}
		files, programs := extract(t, archive)
		if files["LICENSE"] != string(read(t, r.source, "LICENSE")) || files[p.Bin] != string(read(t, folder, systems[i], p.Bin)) || len(files) != 2 {
			t.Errorf("%s has other files than it should", name)
		}
		if len(programs) != 1 || programs[0] != p.Bin {
			t.Errorf("%s has the programs %v", name, programs)
		}
		if bill := read(t, r.dist, name+".spdx.json"); !bytes.Contains(bill, []byte(sum([]byte(files[p.Bin])))) {
			t.Errorf("the bill of %s is of another binary", name)
		}
	}
}

func TestPluginIsBuiltForThePlatformsOfKrewOnly(t *testing.T) {
	for _, platforms := range [][]string{
		{"linux-amd64"},
		{"linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64", "windows-amd64", "plan9-amd64"},
	} {
		if err := example(t).plugin(plugins(t, platforms...)); err == nil {
			t.Errorf("%v are taken", platforms)
		}
	}
}

func TestChartIsThatOfTheRelease(t *testing.T) {
	r := example(t)
	if err := r.chart(); err != nil {
		t.Fatal(err)
	}
	archive := read(t, r.dist, "hyperconverge-7.8.9.tgz")
	files, programs := extract(t, archive)
	for file, line := range map[string]string{"Chart.yaml": "version: 7.8.9\nappVersion: v7.8.9\n", "values.yaml": `  registry: "registry.example.com/folder"` + "\n"} {
		if !strings.Contains(files["hyperconverge/"+file], line) {
			t.Errorf("%s does not say %q", file, line)
		}
	}
	const template = "hyperconverge/templates/webhook.deployment.yaml"
	if files[template] != string(read(t, r.source, "charts", template)) || len(programs) != 0 {
		t.Errorf("other files are changed, or may be run: %v", programs)
	}
	for file := range files {
		if strings.HasPrefix(file, "hyperconverge/ci/") {
			t.Errorf("%s is there, which .helmignore leaves out", file)
		}
	}

	again := example(t)
	if err := again.chart(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(archive, read(t, again.dist, "hyperconverge-7.8.9.tgz")) {
		t.Error("a second one differs")
	}
}

func TestChartLeavesOutWhatHelmDoes(t *testing.T) {
	for file, want := range map[string]bool{
		"ci/aks-values.yaml": true, "templates/a.yaml.orig": true, ".DS_Store": true,
		"templates/ci/a.yaml": false, "ci": false, "values.yaml": false,
	} {
		if got := ignored("*.orig\n.DS_Store\nci/\n", file); got != want {
			t.Errorf("%s: got %v", file, got)
		}
	}
}

func TestManifestsHaveTheImagesOfTheRelease(t *testing.T) {
	overlays, err := filepath.Glob("../../manifests/overlays/*")
	if err != nil || len(overlays) == 0 {
		t.Fatalf("there are no overlays: %v", err)
	}
	want := map[string]int{"install.yaml": 2, "install-cert-manager.yaml": 2, "install-policy.yaml": 1, "install-policy-v1.yaml": 1} // and how many Deployments
	for _, overlay := range overlays {
		want["install-"+filepath.Base(overlay)+".yaml"] = 2
	}
	want["install-no-webhook.yaml"], want["install-rebalancer.yaml"] = 1, 3

	for name, row := range map[string]struct {
		registry string
		arches   []string
		prefix   string
		selector map[string]string
	}{
		"both architectures":    {"registry.example.com:5000/folder", []string{"amd64", "arm64"}, "registry.example.com:5000/folder/", map[string]string{"kubernetes.io/os": "linux"}},
		"one, and bare names":   {"", []string{"arm64"}, "", map[string]string{"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"}},
		"one, from a registry":  {"registry.example.com", []string{"amd64"}, "registry.example.com/", map[string]string{"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}},
		"both, with bare names": {"", []string{"arm64", "amd64"}, "", map[string]string{"kubernetes.io/os": "linux"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := example(t)
			r.registry, r.arches = row.registry, row.arches
			if err := r.install(); err != nil {
				t.Fatal(err)
			}
			files, err := os.ReadDir(r.dist)
			if err != nil || len(files) != len(want) {
				t.Errorf("%d files are written, want %d: %v", len(files), len(want), err)
			}
			for file, count := range want {
				objects := objectsOf(t, string(read(t, r.dist, file)))
				position := func(kind string) int {
					return slices.IndexFunc(objects, func(o object) bool { return o.Kind == kind })
				}
				if position("Namespace") != 0 || max(position("CustomResourceDefinition"), position("ClusterRoleBinding")) > position("Deployment") {
					t.Errorf("%s has Deployments before what they need", file)
				}
				for _, object := range objects {
					if object.Kind != "Deployment" {
						continue
					}
					count--
					pod := object.Spec.Template.Spec
					if image := row.prefix + object.Metadata.Name + ":v7.8.9"; len(pod.Containers) != 1 || pod.Containers[0].Image != image {
						t.Errorf("%s: %s has %v, want the image %s", file, object.Metadata.Name, pod.Containers, image)
					}
					delete(pod.NodeSelector, "node-role.kubernetes.io/control-plane") // of the only scheduler
					if fmt.Sprint(pod.NodeSelector) != fmt.Sprint(row.selector) {
						t.Errorf("%s: %s chooses the nodes %v, want %v", file, object.Metadata.Name, pod.NodeSelector, row.selector)
					}
				}
				if count != 0 {
					t.Errorf("%s lacks %d Deployments", file, count)
				}
			}
		})
	}
}

// object is what is looked at of an object.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Template struct {
			Spec struct {
				NodeSelector map[string]string
				Containers   []struct{ Image string }
			}
		}
	}
}

func objectsOf(t *testing.T, text string) []object {
	t.Helper()
	var objects []object
	for document := range strings.SplitSeq(text, "\n---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatalf("%v: %s", err, document)
		}
		objects = append(objects, o)
	}
	return objects
}

func TestChartOfOneArchitectureChoosesNodesByIt(t *testing.T) {
	r := example(t)
	r.arches = []string{"arm64"}
	if err := r.chart(); err != nil {
		t.Fatal(err)
	}
	files, _ := extract(t, read(t, r.dist, "hyperconverge-7.8.9.tgz"))
	for _, name := range []string{"scheduler", "webhook"} {
		if !strings.Contains(files["hyperconverge/templates/"+name+".deployment.yaml"], "\n        kubernetes.io/arch: arm64\n        kubernetes.io/os: linux\n") {
			t.Errorf("the Deployment of the %s does not", name)
		}
	}
}

func TestImageOfOneArchitectureSaysSo(t *testing.T) {
	binary := filepath.Join(plugins(t, "linux-amd64"), "linux-amd64", "kubectl-hyperconverge")
	for want, binaries := range map[string][]string{
		"example.tar":       {"amd64=" + binary, "arm64=" + binary},
		"example-arm64.tar": {"arm64=" + binary},
	} {
		r := example(t)
		if err := r.image("example", binaries); err != nil {
			t.Fatal(err)
		}
		files, err := os.ReadDir(r.dist)
		if err != nil || len(files) != 1+len(binaries) {
			t.Errorf("there are %v, %v", files, err)
		}
		read(t, r.dist, want)
		read(t, r.dist, "example-linux-arm64.spdx.json")
	}
}
