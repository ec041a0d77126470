// Command chart makes the templates of the Helm chart from the kustomizations, which are
// the source of what is deployed: it builds them with and without each component, and puts
// what a component changes behind its condition.
//
//	chart MANIFESTS TEMPLATES      the folders of both
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/hyperconverge/scheduler/hack/kustomize"
)

// generated is the first line of files that this command writes, and may delete.
const generated = "{{- /* Made from the kustomizations in manifests by hack/update-chart.sh. */ -}}\n"

func main() {
	if len(os.Args) != 3 {
		fail("usage: chart MANIFESTS TEMPLATES")
	}
	files, err := templates(os.Args[1])
	if err != nil {
		fail(err)
	}
	if err := write(os.Args[2], files); err != nil {
		fail(err)
	}
}

func fail(message ...any) {
	fmt.Fprintln(os.Stderr, append([]any{"chart:"}, message...)...)
	os.Exit(1)
}

// write replaces what this command has written before.
func write(folder string, files map[string]string) error {
	old, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range old {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if bytes.HasPrefix(content, []byte(generated)) {
			if err := os.Remove(file); err != nil {
				return err
			}
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(generated+content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// templates returns the text of each template by the name of its file.
func templates(manifests string) (map[string]string, error) {
	files := map[string]string{}
	for _, part := range parts {
		plain, err := build(manifests, part.folder, nil)
		if err != nil {
			return nil, err
		}
		objects := map[string][]variant{} // by id
		var order []string
		for id := range plain {
			order = append(order, id)
		}
		for _, choice := range part.choices {
			with, err := build(manifests, part.folder, choice.components)
			if err != nil {
				return nil, err
			}
			for id, object := range with {
				if _, found := plain[id]; !found && !slices.Contains(order, id) {
					order = append(order, id)
				}
				if !equal(object, plain[id]) {
					objects[id] = append(objects[id], variant{choice.condition, object})
				}
			}
			for id := range plain {
				if _, found := with[id]; !found {
					objects[id] = append(objects[id], variant{choice.condition, nil})
				}
			}
		}
		for _, id := range order {
			if omitted[id] {
				continue
			}
			name := part.prefix + fileOf(id)
			if _, found := files[name]; found {
				return nil, fmt.Errorf("two objects are called %s", id)
			}
			text, err := template(id, part.condition, plain[id], objects[id])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", id, err)
			}
			files[name] = text
		}
	}
	for id := range overrides {
		if _, found := files[fileOf(id)]; !found {
			return nil, fmt.Errorf("there is no %s for values to override", id)
		}
	}
	return files, nil
}

// build returns the objects of a folder with components, by kind, name and namespace.
func build(manifests, folder string, components []string) (map[string]any, error) {
	if len(components) == 1 && components[0] == withoutWebhook {
		folder, components = folder+"/scheduler", nil
	}
	kustomization := "resources: [PATH/" + folder + "]\n"
	if len(components) > 0 {
		kustomization += "components: [PATH/" + strings.Join(components, ", PATH/") + "]\n"
	}
	resources, err := kustomize.Build(manifests, kustomization)
	if err != nil {
		return nil, err
	}
	objects := map[string]any{}
	for _, resource := range resources.Resources() {
		content, err := resource.AsYAML()
		if err != nil {
			return nil, err
		}
		var object map[string]any
		if err := yaml.Unmarshal(content, &object); err != nil {
			return nil, err
		}
		// The name of a generated object ends in a hash.
		name := resource.GetName()
		for _, configMap := range configMaps {
			if strings.HasPrefix(name, configMap) {
				name = configMap
			}
		}
		objects[resource.GetKind()+"/"+name] = object
	}
	return objects, nil
}

// fileOf is where the template of an object is.
func fileOf(id string) string {
	kind, name, _ := strings.Cut(id, "/")
	name = strings.NewReplacer(":", "-", ".", "-").Replace(strings.TrimPrefix(name, "hyperconverge-"))
	return name + "." + strings.ToLower(kind) + ".yaml"
}
