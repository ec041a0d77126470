package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

var example = release{name: "hyperconverge-example", version: "v1.2.3", revision: "abc", arch: "amd64", created: time.Unix(1700000000, 0).UTC()}

// ownBinary is a Go binary that is at hand.
func ownBinary(t *testing.T) []byte {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestArchivesOfTheSameBinaryAreTheSame(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		image, err := imageOf(example, []byte("binary"))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "image.tar")
		if err := writeArchive(path, example, image); err != nil {
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

func TestImageHoldsTheProgramAndLittleElse(t *testing.T) {
	image, err := imageOf(example, []byte("binary"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := writeArchive(path, example, image); err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(unpack(t, path))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("the archive holds %v, %v", manifest, err)
	}
	read, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := read.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || config.Architecture != "amd64" || config.OS != "linux" {
		t.Errorf("the configuration is %+v", config)
	}
	if got := config.Config.Labels["org.opencontainers.image.version"]; got != "v1.2.3" {
		t.Errorf("the version is %q", got)
	}

	files := map[string]int64{}
	reader := mutate.Extract(read)
	defer reader.Close()
	content := tar.NewReader(reader)
	for {
		header, err := content.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.ModTime.Unix() != 0 {
			t.Errorf("%s belongs to %d and is of %v", header.Name, header.Uid, header.ModTime)
		}
		if header.Typeflag == tar.TypeReg {
			files[header.Name] = header.Mode
		}
		if header.Name == "etc/ssl/certs/ca-certificates.crt" {
			text, err := io.ReadAll(content)
			if err != nil || !x509.NewCertPool().AppendCertsFromPEM(text) {
				t.Errorf("there are no certificates: %v", err)
			}
		}
	}
	want := map[string]int64{
		"etc/group": 0o644, "etc/nsswitch.conf": 0o644, "etc/passwd": 0o644, "etc/ssl/certs/ca-certificates.crt": 0o644,
		"usr/local/bin/hyperconverge-example": 0o755,
	}
	if len(files) != len(want) {
		t.Errorf("it holds %v", files)
	}
	for name, mode := range want {
		if files[name] != mode {
			t.Errorf("%s has the mode %o, want %o", name, files[name], mode)
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
	content, err := billOf(example, ownBinary(t))
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
	for _, name := range []string{example.name, "stdlib", "github.com/google/go-containerregistry"} {
		if names[name] == "" {
			t.Errorf("%s is missing in %v", name, names)
		}
	}
	if len(bill.Relationships) != len(bill.Packages) {
		t.Errorf("%d relationships for %d packages", len(bill.Relationships), len(bill.Packages))
	}
}

func TestBillWantsGoBinary(t *testing.T) {
	if _, err := billOf(example, []byte("#!/bin/sh")); err == nil {
		t.Error("a script has a bill")
	}
}
