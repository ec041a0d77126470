package image

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

var (
	example  = Release{Name: "hyperconverge-example", Version: "v1.2.3", Revision: "abc", Created: time.Unix(1700000000, 0).UTC()}
	programs = []Program{{"amd64", []byte("binary")}, {"arm64", []byte("the same for others")}}
)

func TestArchivesOfTheSameBinaryAreTheSame(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		path := filepath.Join(t.TempDir(), "image.tar")
		_, err := Write(path, example, programs)
		if err != nil {
			t.Fatal(err)
		}
		if archives[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("they differ")
	}
}

// index returns the index of the image in an archive.
func index(t *testing.T, r Release, programs []Program) v1.ImageIndex {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	digest, err := Write(path, r, programs)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := layout.ImageIndexFromPath(unpack(t, path))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(archive); err != nil {
		t.Error(err)
	}
	manifest, err := archive.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("the archive holds %v, %v", manifest, err)
	}
	entry := manifest.Manifests[0]
	if entry.Digest != digest || entry.MediaType != types.OCIImageIndex || entry.Annotations["org.opencontainers.image.ref.name"] != "v1.2.3" {
		t.Errorf("the archive holds %+v, want the index %s of v1.2.3", entry, digest)
	}
	nested, err := archive.ImageIndex(digest)
	if err != nil {
		t.Fatal(err)
	}
	return nested
}

func TestIndexHasEveryArchitecture(t *testing.T) {
	for _, programs := range [][]Program{programs, programs[1:]} {
		index := index(t, example, programs)
		manifest, err := index.IndexManifest()
		if err != nil || len(manifest.Manifests) != len(programs) {
			t.Fatalf("the image has %v, %v", manifest, err)
		}
		for i, program := range programs {
			entry := manifest.Manifests[i]
			if entry.Platform == nil || entry.Platform.String() != "linux/"+program.Arch {
				t.Errorf("manifest %d is for %v, want %s", i, entry.Platform, program.Arch)
			}
			image, err := index.Image(entry.Digest)
			if err != nil {
				t.Fatal(err)
			}
			config, err := image.ConfigFile()
			if err != nil || config.Architecture != program.Arch || config.OS != "linux" {
				t.Errorf("the configuration is %+v, %v", config, err)
			}
			if found := entries(t, image)["usr/local/bin/hyperconverge-example"]; string(found.Content) != string(program.Binary) {
				t.Errorf("the program for %s is %q", program.Arch, found.Content)
			}
		}
	}
}

// entries returns what the files of an image come to, by their paths.
func entries(t *testing.T, image v1.Image) map[string]File {
	t.Helper()
	found := map[string]File{}
	reader := mutate.Extract(image)
	defer reader.Close()
	archive := tar.NewReader(reader)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.ModTime.Unix() != 0 {
			t.Errorf("%s belongs to %d and is of %v", header.Name, header.Uid, header.ModTime)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag != tar.TypeDir {
			found[header.Name] = File{Mode: header.Mode, Content: content, Link: header.Linkname}
		}
		if isLink := header.Typeflag == tar.TypeSymlink; isLink != (header.Linkname != "") {
			t.Errorf("%s is of type %c and leads to %q", header.Name, header.Typeflag, header.Linkname)
		}
	}
}

func TestImageHoldsTheProgramAndLittleElse(t *testing.T) {
	for name, more := range map[string]map[string]File{
		"hyperconverge-example":   nil,
		"hyperconverge-scheduler": {"bin/kube-scheduler": {Mode: 0o777, Link: "/usr/local/bin/hyperconverge-scheduler"}},
	} {
		r := example
		r.Name = name
		image, err := imageOf(r, programs[0])
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Config.User != "65532:65532" || config.Config.Labels["org.opencontainers.image.version"] != "v1.2.3" {
			t.Errorf("the configuration is %+v", config)
		}
		found := entries(t, image)
		if !x509.NewCertPool().AppendCertsFromPEM(found["etc/ssl/certs/ca-certificates.crt"].Content) {
			t.Error("there are no certificates")
		}
		want := map[string]File{
			"etc/group": {Mode: 0o644}, "etc/nsswitch.conf": {Mode: 0o644}, "etc/passwd": {Mode: 0o644},
			"etc/ssl/certs/ca-certificates.crt": {Mode: 0o644}, "usr/local/bin/" + name: {Mode: 0o755},
		}
		maps.Copy(want, more)
		if diff := cmp.Diff(want, found, cmpopts.IgnoreFields(File{}, "Content")); diff != "" {
			t.Errorf("%s holds (-want +got)\n%s", name, diff)
		}
	}
}

// unpack returns a folder with the archive's files.
func unpack(t *testing.T, path string) string {
	t.Helper()
	archive, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	folder := t.TempDir()
	reader := tar.NewReader(archive)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return folder
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(folder, header.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(target), 0o700), os.WriteFile(target, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBillListsModulesAndGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "binary")
	// A command of this module. Of a test, Go does not say what it was built from.
	if output, err := exec.Command("go", "build", "-o", path, "../chart").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content, err := Bill(example, binary)
	if err != nil {
		t.Fatal(err)
	}
	var bill document
	if err := json.Unmarshal(content, &bill); err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, p := range bill.Packages {
		names[p.Name] = p.Version
	}
	for _, name := range []string{example.Name, "stdlib", "sigs.k8s.io/kustomize/api"} {
		if names[name] == "" {
			t.Errorf("%s is missing in %v", name, names)
		}
	}
	if len(bill.Relationships) != len(bill.Packages) {
		t.Errorf("%d relationships for %d packages", len(bill.Relationships), len(bill.Packages))
	}
}

func TestBillWantsGoBinary(t *testing.T) {
	if _, err := Bill(example, []byte("#!/bin/sh")); err == nil {
		t.Error("a script has a bill")
	}
}
