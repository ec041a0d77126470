package main

import (
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// valuesRows lists the values of a Helm chart by their comments. An object with a comment
// of its own, or without fields, is one row.
func valuesRows(path string) ([]row, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, err
	}
	return rowsOfValues(document.Content[0], "")
}

func rowsOfValues(object *yaml.Node, path string) ([]row, error) {
	var rows []row
	for i := 0; i < len(object.Content); i += 2 {
		key, value := object.Content[i], object.Content[i+1]
		name := path + key.Value
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 {
			below, err := rowsOfValues(value, name+".")
			if err != nil {
				return nil, err
			}
			rows = append(rows, below...)
			continue
		}
		meaning := strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(key.HeadComment, "\n#", " "), "# ", ""))
		if meaning == "" {
			return nil, fmt.Errorf("%s has no comment", name)
		}
		text, kind := inline(value)
		rows = append(rows, row{path: name, kind: kind, value: "`" + text + "`", meaning: escape(meaning)})
	}
	return rows, nil
}

// inline is a default on one line, and what people call its type.
func inline(value *yaml.Node) (text, kind string) {
	switch {
	case value.Kind == yaml.SequenceNode:
		var items []string
		for _, item := range value.Content {
			items = append(items, item.Value)
		}
		return "[" + strings.Join(items, ", ") + "]", "list"
	case value.Kind == yaml.MappingNode:
		return "{}", "object"
	case value.Tag == "!!bool":
		return value.Value, "boolean"
	case value.Tag == "!!int", value.Tag == "!!null":
		return value.Value, "number"
	case value.Value == "":
		return `""`, "string"
	}
	return value.Value, "string"
}
