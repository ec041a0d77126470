// Package image puts static binaries into a container image of several architectures, as
// an OCI archive, and writes bills of materials. It needs neither a daemon nor a
// registry, and makes the same bytes from the same binaries.
//
// The image is made from nothing: the binary, an account nonroot, and the
// certificates of the authorities that Mozilla trusts, at a version that go.mod
// pins. These of the machine would make every machine's image another one.
package image

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// account is the user and the group of the process, the one of distroless images.
const account = "65532"

// operatorPath is where OpenShift's Secondary Scheduler Operator looks for the program of
// the scheduler's image.
const operatorPath = "bin/kube-scheduler"

// Release is what an image or a bill is told about its content.
type Release struct {
	// Name is that of the binary in the image, and of the image.
	Name, Version, Revision string
	// Created is the time of the commit.
	Created time.Time
}

// Program is a binary for Linux.
type Program struct {
	Arch   string // amd64 or arm64
	Binary []byte
}

// imageOf puts the binary on top of what every program expects to find.
func imageOf(r Release, program Program) (v1.Image, error) {
	base := []File{
		{Path: "etc/", Mode: 0o755},
		{Path: "etc/group", Mode: 0o644, Content: []byte("root:x:0:\nnonroot:x:" + account + ":\n")},
		{Path: "etc/nsswitch.conf", Mode: 0o644, Content: []byte("hosts: files dns\n")},
		{Path: "etc/passwd", Mode: 0o644, Content: []byte("root:x:0:0:root:/root:/sbin/nologin\n" +
			"nonroot:x:" + account + ":" + account + ":nonroot:/nonexistent:/sbin/nologin\n")},
		{Path: "etc/ssl/", Mode: 0o755},
		{Path: "etc/ssl/certs/", Mode: 0o755},
		{Path: "etc/ssl/certs/ca-certificates.crt", Mode: 0o644, Content: authorities()},
	}
	own := []File{
		{Path: "usr/", Mode: 0o755},
		{Path: "usr/local/", Mode: 0o755},
		{Path: "usr/local/bin/", Mode: 0o755},
		{Path: "usr/local/bin/" + r.Name, Mode: 0o755, Content: program.Binary},
	}
	if r.Name == "hyperconverge-scheduler" {
		own = append(own, File{Path: "bin/", Mode: 0o755}, File{Path: operatorPath, Mode: 0o777, Link: "/usr/local/bin/" + r.Name})
	}
	var layers []v1.Layer
	for _, files := range [][]File{base, own} {
		layer, err := layerOf(files)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(image, layers...)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", program.Arch
	config.Created = v1.Time{Time: r.Created}
	for i := range config.History {
		config.History[i].Created = v1.Time{Time: r.Created}
	}
	config.Config = v1.Config{
		User:       account + ":" + account,
		Env:        []string{"PATH=/usr/local/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
		Entrypoint: []string{"/usr/local/bin/" + r.Name},
		WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title":    r.Name,
			"org.opencontainers.image.version":  r.Version,
			"org.opencontainers.image.revision": r.Revision,
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return mutate.ConfigFile(image, config)
}

// authorities is a PEM file. Authorities that are trusted for some certificates
// only are left out: a file cannot say so.
func authorities() []byte {
	var text bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a buffer does not fail
		}
	}
	return text.Bytes()
}

func layerOf(files []File) (v1.Layer, error) {
	var packed bytes.Buffer
	if err := Pack(&packed, time.Time{}, files); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}

// Write writes an OCI layout as one tar file: its index has one entry, which is the index
// of the image with a manifest for each program. It returns the digest of that.
func Write(path string, r Release, programs []Program) (v1.Hash, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, program := range programs {
		image, err := imageOf(r, program)
		if err != nil {
			return v1.Hash{}, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: program.Arch},
		}})
	}
	digest, err := index.Digest()
	if err != nil {
		return v1.Hash{}, err
	}
	folder, err := os.MkdirTemp("", "image-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer os.RemoveAll(folder)
	archive, err := layout.Write(folder, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	err = archive.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": r.Version}))
	if err != nil {
		return v1.Hash{}, err
	}
	files, err := Folder(folder)
	if err != nil {
		return v1.Hash{}, err
	}
	target, err := os.Create(path)
	if err != nil {
		return v1.Hash{}, err
	}
	return digest, errors.Join(Pack(target, time.Time{}, files), target.Close())
}
