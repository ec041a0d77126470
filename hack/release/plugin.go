package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"sigs.k8s.io/yaml"

	"github.com/hyperconverge/scheduler/hack/image"
)

const (
	pluginName     = "kubectl-hyperconverge"
	pluginManifest = "cmd/kubectl-hyperconverge/hyperconverge.yaml"
)

// krewManifest is krew.googlecontainertools.github.com/v1alpha2 as far as it is used.
type krewManifest struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Spec       struct {
		Version          string     `json:"version"`
		Homepage         string     `json:"homepage"`
		ShortDescription string     `json:"shortDescription"`
		Description      string     `json:"description"`
		Caveats          string     `json:"caveats"`
		Platforms        []platform `json:"platforms"`
	} `json:"spec"`
}

type platform struct {
	Selector struct {
		MatchLabels struct {
			OS   string `json:"os"`
			Arch string `json:"arch"`
		} `json:"matchLabels"`
	} `json:"selector"`
	URI    string              `json:"uri"`
	SHA256 string              `json:"sha256"`
	Bin    string              `json:"bin"`
	Files  []map[string]string `json:"files"`
}

// uriVersion is the part of an address that names the release.
var uriVersion = regexp.MustCompile(`/releases/download/[^/]+/`)

// plugin packs the plugin for every platform of krew's manifest, and writes the manifest
// with their checksums.
func (r release) plugin(folder string) error {
	content, err := os.ReadFile(filepath.Join(r.source, pluginManifest))
	if err != nil {
		return err
	}
	var manifest krewManifest
	if err := yaml.UnmarshalStrict(content, &manifest); err != nil {
		return fmt.Errorf("%s: %w", pluginManifest, err)
	}
	built, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	if len(built) != len(manifest.Spec.Platforms) {
		return fmt.Errorf("%s has %d platforms, and %s is built for %d", pluginManifest, len(manifest.Spec.Platforms), pluginName, len(built))
	}
	license, err := os.ReadFile(filepath.Join(r.source, "LICENSE"))
	if err != nil {
		return err
	}
	manifest.Spec.Version = r.version
	for i := range manifest.Spec.Platforms {
		p := &manifest.Spec.Platforms[i]
		p.URI = uriVersion.ReplaceAllString(p.URI, "/releases/download/"+r.version+"/")
		system := p.Selector.MatchLabels.OS + "-" + p.Selector.MatchLabels.Arch
		binary, err := os.ReadFile(filepath.Join(folder, system, p.Bin))
		if err != nil {
			return err
		}
		if err := r.bill(pluginName, pluginName+"-"+system, binary); err != nil {
			return err
		}
		archive, err := r.pack([]image.File{
			{Path: p.Bin, Mode: 0o755, Content: binary},
			{Path: "LICENSE", Mode: 0o644, Content: license},
		})
		if err != nil {
			return err
		}
		if err := r.write(path.Base(p.URI), archive); err != nil {
			return err
		}
		p.SHA256 = sum(archive)
	}
	content, err = yaml.Marshal(manifest)
	return errors.Join(err, r.write("hyperconverge.yaml", content))
}

// pack returns a compressed archive whose files are of the age of the commit.
func (r release) pack(files []image.File) ([]byte, error) {
	var archive bytes.Buffer
	compressed := gzip.NewWriter(&archive)
	err := errors.Join(image.Pack(compressed, r.created, files), compressed.Close())
	return archive.Bytes(), err
}

func sum(content []byte) string {
	hash := sha256.Sum256(content)
	return hex.EncodeToString(hash[:])
}
