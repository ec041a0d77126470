// Package kustomize builds kustomizations that refer to the project's manifests.
package kustomize

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Build returns what the text of a kustomization comes to, in the order in which kubectl
// would apply it. PATH in the text stands for the folder manifests.
func Build(manifests, text string) (resmap.ResMap, error) {
	fs := filesys.MakeFsOnDisk()
	temporary, err := filesys.NewTmpConfirmedDir()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temporary.String())
	absolute, err := filepath.Abs(manifests)
	if err != nil {
		return nil, err
	}
	path, err := filepath.Rel(temporary.String(), absolute)
	if err != nil {
		return nil, err
	}
	text = strings.ReplaceAll(text, "PATH", path)
	if err := fs.WriteFile(temporary.Join("kustomization.yaml"), []byte(text)); err != nil {
		return nil, err
	}
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy
	resources, err := krusty.MakeKustomizer(options).Run(fs, temporary.String())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return resources, nil
}
