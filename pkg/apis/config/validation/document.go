package validation

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	v1 "github.com/hyperconverge/scheduler/pkg/apis/config/v1"
	"github.com/hyperconverge/scheduler/pkg/spelling"
)

// ValidateDocument looks at arguments as they stand in a configuration file, before
// anything decodes them, and says in the words of the file what the decoder would say in
// those of Go: fields that do not exist, and values of another type. The document is
// what encoding/json makes of an object, with numbers as json.Number.
func ValidateDocument(path *field.Path, document any) field.ErrorList {
	errs := validateType(path, document, reflect.TypeFor[v1.HyperconvergeArgs]())
	for _, err := range errs {
		// Kubernetes names unknown fields from the document's own root on.
		err.Detail = strings.ReplaceAll(err.Detail, unknownField+path.String()+".", unknownField)
	}
	return errs
}

const unknownField = `unknown field "`

func validateType(path *field.Path, value any, want reflect.Type) field.ErrorList {
	if value == nil {
		return nil // the default
	}
	switch {
	case want.Kind() == reflect.Pointer:
		return validateType(path, value, want.Elem())
	case want == reflect.TypeFor[metav1.Duration]():
		return validateDuration(path, value)
	}
	switch want.Kind() {
	case reflect.Struct:
		return validateFields(path, value, want)
	case reflect.Slice:
		return validateList(path, value, want)
	case reflect.Bool:
		if _, is := value.(bool); !is {
			return mismatch(path, value, "must be true or false, without quotes")
		}
	case reflect.Int32, reflect.Int64:
		number, is := value.(json.Number)
		if _, err := strconv.ParseInt(number.String(), 10, want.Bits()); !is || err != nil {
			return mismatch(path, value, "must be a whole number, without quotes")
		}
	case reflect.String:
		if number, is := value.(json.Number); is && want == reflect.TypeFor[v1.Percentage]() {
			return mismatch(path, value, fmt.Sprintf("%s needs a percent sign: %s%%", number, number))
		}
		if _, is := value.(string); !is {
			return mismatch(path, value, "must be a text: put it in quotes")
		}
	}
	return nil
}

func mismatch(path *field.Path, value any, detail string) field.ErrorList {
	return field.ErrorList{field.Invalid(path, value, detail)}
}

// validateDuration tells of the unit that is missing: that is the usual mistake.
func validateDuration(path *field.Path, value any) field.ErrorList {
	text := fmt.Sprint(value)
	if _, isText := value.(string); isText {
		if _, err := time.ParseDuration(text); err == nil {
			return nil
		}
	}
	if _, err := json.Number(text).Float64(); err == nil {
		return mismatch(path, value, text+" needs a unit: "+text+"s")
	}
	return mismatch(path, value, "must be a duration such as 500ms, 10s or 1h30m")
}

func validateList(path *field.Path, value any, want reflect.Type) field.ErrorList {
	list, is := value.([]any)
	if !is {
		return mismatch(path, value, "must be a list")
	}
	var errs field.ErrorList
	for i, item := range list {
		errs = append(errs, validateType(path.Index(i), item, want.Elem())...)
	}
	return errs
}

func validateFields(path *field.Path, value any, want reflect.Type) field.ErrorList {
	object, is := value.(map[string]any)
	if !is {
		return mismatch(path, value, "must be an object with the fields "+strings.Join(slices.Sorted(maps.Keys(fieldsOf(want))), ", "))
	}
	fields := fieldsOf(want)
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if known, found := fields[name]; found {
			errs = append(errs, validateType(path.Child(name), object[name], known)...)
			continue
		}
		errs = append(errs, field.Invalid(path.Child(name), object[name], unknownField+path.Child(name).String()+`": did you mean `+nearestName(name, slices.Sorted(maps.Keys(fields)))+"?"))
	}
	return errs
}

// fieldsOf are the types of a struct's fields by their names in JSON.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name == "" && options == "inline" {
			maps.Copy(fields, fieldsOf(t.Field(i).Type))
			continue
		}
		fields[name] = t.Field(i).Type
	}
	return fields
}

// nearestName is the name with the fewest letters to change.
func nearestName(name string, known []string) string {
	return slices.MinFunc(known, func(a, b string) int { return spelling.Typos(name, a) - spelling.Typos(name, b) })
}
