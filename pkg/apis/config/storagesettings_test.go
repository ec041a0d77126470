package config_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	configv1 "github.com/hyperconverge/scheduler/pkg/apis/config/v1"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// argument is one field of HyperconvergeArgs, under the path that users write.
type argument struct {
	path  string
	index []int
}

// arguments finds all of them, so that a field which is added later cannot be
// forgotten here. The versioned type knows the names that users write.
func arguments(internal, versioned reflect.Type, path *field.Path, index []int) []argument {
	var found []argument
	for i := range internal.NumField() {
		goField := internal.Field(i)
		if goField.Anonymous {
			continue
		}
		written, ok := versioned.FieldByName(goField.Name)
		if !ok {
			panic("the versioned type has no field " + goField.Name)
		}
		name, _, _ := strings.Cut(written.Tag.Get("json"), ",")
		at := append(append([]int(nil), index...), i)
		if goField.Type.Kind() == reflect.Struct && goField.Type != reflect.TypeFor[metav1.Duration]() {
			found = append(found, arguments(goField.Type, written.Type, path.Child(name), at)...)
			continue
		}
		found = append(found, argument{path: path.Child(name).String(), index: at})
	}
	return found
}

func change(t *testing.T, value reflect.Value) {
	t.Helper()
	switch v := value.Addr().Interface().(type) {
	case *string:
		*v += "changed"
	case *placement.Preference:
		*v += "changed"
	case *placement.Spread:
		*v += "changed"
	case *bool:
		*v = !*v
	case *int64:
		*v++
	case *metav1.Duration:
		v.Duration += time.Nanosecond
	case *[]string:
		*v = append(*v, "changed")
	case *int32:
		*v++
	default:
		t.Fatalf("no change for a %T", v)
	}
}

func TestFirstDifference(t *testing.T) {
	all := arguments(reflect.TypeFor[config.HyperconvergeArgs](), reflect.TypeFor[configv1.HyperconvergeArgs](), nil, nil)
	if len(all) < 20 {
		t.Fatalf("found only %d arguments", len(all))
	}
	for _, argument := range all {
		mayDiffer := argument.path == "preference" || argument.path == "waitForLocal" ||
			strings.HasPrefix(argument.path, "tierScores.") || strings.HasPrefix(argument.path, "localFirst.")
		name := argument.path + " must be the same in all profiles"
		if mayDiffer {
			name = argument.path + " may differ between profiles"
		}
		t.Run(name, func(t *testing.T) {
			var first, second config.HyperconvergeArgs
			change(t, reflect.ValueOf(&second).Elem().FieldByIndex(argument.index))

			one, other := first.StorageSettings(), second.StorageSettings()
			want := argument.path
			if mayDiffer {
				want = (*field.Path)(nil).String()
			}
			if got := one.FirstDifference(&other).String(); got != want {
				t.Errorf("difference at %s, want %s", got, want)
			}
		})
	}
}

func TestFirstDifferenceMindsTheOrderOfLists(t *testing.T) {
	one := config.StorageSettings{TopologyKeys: config.TopologyKeys{Zone: []string{"a", "b"}}}
	other := config.StorageSettings{TopologyKeys: config.TopologyKeys{Zone: []string{"b", "a"}}}
	if got, want := one.FirstDifference(&other).String(), "topologyKeys.zone"; got != want {
		t.Errorf("difference at %s, want %s: the first key that a node carries counts", got, want)
	}
}
