package driver

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
)

// Resources that the storage system and the external snapshotter bring.
var (
	strategies  = schema.GroupVersionResource{Group: "portworx.io", Version: "v1beta2", Resource: "volumeplacementstrategies"}
	snapshots   = schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshots"}
	contents    = schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshotcontents"}
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

//go:embed crds
var crds embed.FS

// Define makes the resources VolumePlacementStrategy, VolumeSnapshot and
// VolumeSnapshotContent, and waits until the API server serves them.
func Define(ctx context.Context, client dynamic.Interface) error {
	err := fs.WalkDir(crds, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := crds.ReadFile(path)
		if err != nil {
			return err
		}
		return defineAll(ctx, client, content)
	})
	if err != nil {
		return err
	}
	for _, resource := range []schema.GroupVersionResource{strategies, snapshots, contents} {
		const interval, timeout = 50 * time.Millisecond, 30 * time.Second
		if err := wait.PollUntilContextTimeout(ctx, interval, timeout, true, func(ctx context.Context) (bool, error) {
			_, err := client.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1})
			return err == nil, nil // it may not be there yet
		}); err != nil {
			return fmt.Errorf("waiting for the resource %s: %w", resource.GroupResource(), err)
		}
	}
	return nil
}

func defineAll(ctx context.Context, client dynamic.Interface, content []byte) error {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), len(content))
	for {
		definition := &unstructured.Unstructured{}
		if err := decoder.Decode(definition); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if _, err := client.Resource(definitions).Create(ctx, definition, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("defining %s: %w", definition.GetName(), err)
		}
	}
}

// Strategy is a VolumePlacementStrategy.
func Strategy(name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": strategies.GroupVersion().String(), "kind": "VolumePlacementStrategy",
		"metadata": map[string]any{"name": name}, "spec": spec,
	}}
}

// CreateStrategy creates a VolumePlacementStrategy.
func CreateStrategy(ctx context.Context, client dynamic.Interface, strategy *unstructured.Unstructured) error {
	if _, err := client.Resource(strategies).Create(ctx, strategy, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the placement strategy %s: %w", strategy.GetName(), err)
	}
	return nil
}
