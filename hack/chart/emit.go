package main

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// variant is what a component makes of a value, nil if it takes it away.
type variant struct {
	condition string
	value     any
}

// negation is the condition of what the variant takes away.
func (v variant) negation() string {
	if negated, is := strings.CutPrefix(v.condition, "not ("); is {
		return strings.TrimSuffix(negated, ")")
	}
	return "not (" + v.condition + ")"
}

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

// emitter writes the template of an object.
type emitter struct {
	id  string
	out strings.Builder
	// overridden has the paths of overrides that have been applied.
	overridden map[string]bool
}

// override returns what values put at a path.
func (e *emitter) override(path string) override {
	o, found := overrides[e.id][path]
	if found {
		e.overridden[path] = true
	}
	return o
}

// template is the text for an object, which is nil where only components bring it.
func template(id, condition string, object any, variants []variant) (string, error) {
	e := &emitter{id: id, overridden: map[string]bool{}}
	var conditions []string
	if condition != "" {
		conditions = append(conditions, condition)
	}
	if condition := switches[id]; condition != "" {
		conditions = append(conditions, condition)
	}
	if object == nil {
		conditions = append(conditions, anyOf(variants))
		object = variants[0].value
		for _, v := range variants {
			if !equal(v.value, object) {
				return "", fmt.Errorf("%s brings another object than others", v.condition)
			}
		}
		variants = nil
	}
	var left []variant
	for _, v := range variants {
		if v.value == nil {
			conditions = append(conditions, v.negation())
		} else {
			left = append(left, v)
		}
	}
	e.open(conditions)
	if err := e.children(0, "", object.(map[string]any), left); err != nil {
		return "", err
	}
	e.close(conditions)
	for path := range overrides[id] {
		if !e.overridden[path] {
			return "", fmt.Errorf("there is nothing at %s for values to override", path)
		}
	}
	return finish(e.out.String()), nil
}

func (e *emitter) open(conditions []string) {
	switch len(conditions) {
	case 0:
	case 1:
		e.line(0, "{{- if "+conditions[0]+" }}")
	default:
		e.line(0, "{{- if and ("+strings.Join(conditions, ") (")+") }}")
	}
}

func (e *emitter) close(conditions []string) {
	if len(conditions) > 0 {
		e.line(0, "{{- end }}")
	}
}

func anyOf(variants []variant) string {
	if len(variants) == 1 {
		return variants[0].condition
	}
	conditions := make([]string, len(variants))
	for i, v := range variants {
		conditions[i] = "(" + v.condition + ")"
	}
	return "or " + strings.Join(conditions, " ")
}

func (e *emitter) line(indent int, text string) {
	e.out.WriteString(strings.Repeat(" ", indent) + text + "\n")
}

// children writes the fields of an object, and what variants make of each.
func (e *emitter) children(indent int, path string, fields map[string]any, variants []variant) error {
	keys := slices.Collect(maps.Keys(fields))
	for _, v := range variants {
		for key := range v.value.(map[string]any) {
			if !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	for at := range overrides[e.id] { // fields that only values bring
		rest, below := strings.CutPrefix(at, path+".")
		if key, _, _ := strings.Cut(rest, "."); below && !strings.Contains(rest, "[") && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int { return strings.Compare(rank(a), rank(b)) })
	for _, key := range keys {
		var changed []variant
		for _, v := range variants {
			if value := v.value.(map[string]any)[key]; !equal(value, fields[key]) {
				changed = append(changed, variant{v.condition, value})
			}
		}
		if err := e.field(indent, join(path, key), key, fields[key], changed); err != nil {
			return err
		}
	}
	if path == "metadata.labels" {
		e.line(indent, `{{- include "hyperconverge.labels" $ | nindent `+fmt.Sprint(indent)+` }}`)
	}
	return nil
}

// rank puts fields in the order that people are used to.
func rank(key string) string {
	if i := slices.Index([]string{"apiVersion", "kind", "metadata", "name"}, key); i >= 0 {
		return fmt.Sprint(i)
	}
	return key
}

func join(path, key string) string { return strings.TrimPrefix(path+"."+key, ".") }

// field writes a field, unless it is nil and no variant has it, as values may override it.
func (e *emitter) field(indent int, path, key string, value any, variants []variant) error {
	o := e.override(path)
	switch {
	case o.text != "" && (value != nil || len(variants) > 0):
		e.line(indent, key+": "+o.text)
		return nil
	case o.text != "":
		return fmt.Errorf("there is nothing at %s for values to override", path)
	case o.value != "":
		e.line(indent, "{{- with $.Values."+o.value+" }}")
		e.line(indent, key+": {{ toYaml . | nindent "+fmt.Sprint(indent+2)+" }}")
		if value != nil || len(variants) > 0 {
			e.line(indent, "{{- else }}")
			if err := e.plain(indent, path, key, value, variants); err != nil {
				return err
			}
		}
		e.line(indent, "{{- end }}")
		return nil
	}
	return e.plain(indent, path, key, value, variants)
}

func (e *emitter) plain(indent int, path, key string, value any, variants []variant) error {
	// Those that agree with what is there first extend it; the others replace it.
	var replace, extend []variant
	for _, v := range variants {
		if extends(v.value, value) {
			extend = append(extend, v)
		} else {
			replace = append(replace, v)
		}
	}
	for i, v := range replace {
		e.line(indent, "{{- "+[]string{"if ", "else if "}[min(i, 1)]+v.condition+" }}")
		if v.value == nil {
			continue
		}
		if err := e.extended(indent, path, key, v.value, nil); err != nil {
			return err
		}
	}
	if len(replace) == 0 {
		return e.extended(indent, path, key, value, extend)
	}
	if value != nil || len(extend) > 0 {
		e.line(indent, "{{- else }}")
		if err := e.extended(indent, path, key, value, extend); err != nil {
			return err
		}
	}
	e.line(indent, "{{- end }}")
	return nil
}

// extends reports whether a value can be had from another by additions within.
func extends(value, other any) bool {
	switch value := value.(type) {
	case map[string]any:
		_, is := other.(map[string]any)
		return is || other == nil
	case []any:
		others, is := other.([]any)
		return (is || other == nil) && aligned(value, others) != nil
	}
	return false
}

// aligned returns where each item of a list stands in another one that has more, nil if
// some do not.
func aligned(longer, items []any) []int {
	at := make([]int, len(items))
	next := 0
	for i, item := range items {
		found := slices.IndexFunc(longer[next:], func(o any) bool { return equal(o, item) || alike(o, item) })
		if found < 0 {
			return nil
		}
		at[i] = next + found
		next = at[i] + 1
	}
	return at
}

// alike reports whether two items of a list are the same thing, changed: they have a name
// in common, or no name and no operator by which items of such lists are told apart.
func alike(a, b any) bool {
	x, isMap := a.(map[string]any)
	if !isMap {
		return false
	}
	y, isMap := b.(map[string]any)
	if !isMap {
		return false
	}
	if x["name"] != nil || y["name"] != nil {
		return equal(x["name"], y["name"])
	}
	return x["ports"] != nil && y["ports"] != nil
}

// extended writes a field of which the variants have more.
func (e *emitter) extended(indent int, path, key string, value any, variants []variant) error {
	if value == nil {
		// What values bring below makes the field be there, too.
		brought := e.broughtBelow(path)
		e.line(indent, "{{- if "+anyOf(append(brought, variants...))+" }}")
		defer e.line(indent, "{{- end }}")
		if len(brought) == 0 && len(variants) == 1 {
			return e.extended(indent, path, key, variants[0].value, nil)
		}
	}
	if !e.within(path) && len(variants) == 0 {
		e.dump(indent, map[string]any{key: value})
		return nil
	}
	first := value
	if first == nil && len(variants) > 0 {
		first = variants[0].value
	} else if first == nil {
		first = map[string]any{}
	}
	switch first.(type) {
	case map[string]any:
		e.line(indent, key+":")
		fields, _ := value.(map[string]any)
		return e.children(indent+2, path, fields, variants)
	case []any:
		e.line(indent, key+":")
		items, _ := value.([]any)
		return e.items(indent, path, items, variants)
	}
	e.dump(indent, map[string]any{key: value})
	return nil
}

// items writes a list and what variants put into it.
func (e *emitter) items(indent int, path string, items []any, variants []variant) error {
	at := make([][]int, len(variants))
	written := make([]int, len(variants)) // how many items of each
	for k, v := range variants {
		at[k] = aligned(v.value.([]any), items)
	}
	// more writes the items of a variant up to one that all have.
	more := func(k, end int) {
		if end > written[k] {
			e.line(indent, "{{- if "+variants[k].condition+" }}")
			e.dump(indent, variants[k].value.([]any)[written[k]:end])
			e.line(indent, "{{- end }}")
		}
	}
	for i, item := range items {
		var changed []variant
		for k, v := range variants {
			more(k, at[k][i])
			written[k] = at[k][i] + 1
			if other := v.value.([]any)[at[k][i]]; !equal(other, item) {
				changed = append(changed, variant{v.condition, other})
			}
		}
		if err := e.item(indent, fmt.Sprintf("%s[%d]", path, i), item, changed); err != nil {
			return err
		}
	}
	for k := range variants {
		more(k, len(variants[k].value.([]any)))
	}
	if o := e.override(path); o.each != "" {
		e.line(indent, "{{- range $.Values."+o.more+" }}")
		e.line(indent, "- "+o.each)
		e.line(indent, "{{- end }}")
	} else if o.more != "" {
		e.line(indent, "{{- with $.Values."+o.more+" }}")
		e.line(indent, "{{- toYaml . | nindent "+fmt.Sprint(indent)+" }}")
		e.line(indent, "{{- end }}")
	}
	return nil
}

func (e *emitter) item(indent int, path string, item any, changed []variant) error {
	if text := e.override(path).text; text != "" {
		e.line(indent, "- "+text)
		return nil
	}
	if len(changed) == 0 && !e.within(path) {
		e.dump(indent, []any{item})
		return nil
	}
	fields, is := item.(map[string]any)
	if !is {
		return fmt.Errorf("%s is changed", path)
	}
	inner := &emitter{id: e.id, overridden: e.overridden}
	if err := inner.children(indent+2, path, fields, changed); err != nil {
		return err
	}
	text := []byte(inner.out.String())
	text[indent] = '-' // before its first field, which is always there
	e.out.Write(text)
	return nil
}

// broughtBelow has the values that, if set, bring fields below a path.
func (e *emitter) broughtBelow(path string) []variant {
	var brought []variant
	for _, at := range slices.Sorted(maps.Keys(overrides[e.id])) {
		if o := overrides[e.id][at]; o.value != "" && strings.HasPrefix(at, path+".") {
			brought = append(brought, variant{condition: "$.Values." + o.value})
		}
	}
	return brought
}

// within reports whether values override something at or below a path.
func (e *emitter) within(path string) bool {
	if path == "metadata" || path == "metadata.labels" {
		return true
	}
	for at := range overrides[e.id] {
		if at == path || strings.HasPrefix(at, path+".") || strings.HasPrefix(at, path+"[") {
			return true
		}
	}
	return false
}

const brace = "@@brace@@"

// dump writes a value as it is.
func (e *emitter) dump(indent int, value any) {
	text, err := yaml.Marshal(escaped(value))
	if err != nil {
		panic(err) // what has been read from YAML can be written
	}
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) == "" {
			e.out.WriteString("\n")
		} else {
			e.out.WriteString(strings.Repeat(" ", indent) + line)
		}
	}
}

// escaped is a value in which nothing looks like a template.
func escaped(value any) any {
	switch value := value.(type) {
	case string:
		return strings.ReplaceAll(value, "{{", brace)
	case map[string]any:
		fields := map[string]any{}
		for key, field := range value {
			fields[key] = escaped(field)
		}
		return fields
	case []any:
		items := make([]any, len(value))
		for i := range value {
			items[i] = escaped(value[i])
		}
		return items
	}
	return value
}

var wholeNamespace = regexp.MustCompile(`(?m)^([ -]*(?:[\w.-]+: )?)hyperconverge-system$`)

// names are those that values change wherever they stand.
var names = strings.NewReplacer(
	"hyperconverge-system", "{{ $.Release.Namespace }}",
	"'hyperconverge-scheduler'", "'{{ first $.Values.profiles }}'", // in expressions
	"--own-scheduler-names=hyperconverge-scheduler", `--own-scheduler-names={{ join "," $.Values.profiles }}`,
	// The ports of the component webhook-host-network.
	"19443", "{{ $.Values.webhook.hostPorts.admission }}", "19080", "{{ $.Values.webhook.hostPorts.ops }}",
	brace, `{{ "{{" }}`,
)

// finish puts the names of the release in the place of ours. Where the namespace is a value
// of its own it is quoted, because it may be a number.
func finish(text string) string {
	return names.Replace(wholeNamespace.ReplaceAllString(text, "$1{{ $$.Release.Namespace | quote }}"))
}
