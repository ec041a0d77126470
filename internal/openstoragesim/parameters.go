package openstoragesim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/libopenstorage/openstorage/api"
	"github.com/libopenstorage/openstorage/api/spec"
)

// Limits of the real system.
const (
	maxReplicas = 3
	maxStripes  = 16
)

// Volume labels that the driver writes for the claim a volume was made for.
const (
	LabelPVC       = "pvc"
	LabelNamespace = "namespace"
)

// provisionerPrefix marks parameters that the CSI provisioner adds or consumes.
// They describe the claim or name secrets and never become labels as they are.
const provisionerPrefix = "csi.storage.k8s.io/"

// ParseParameters turns StorageClass parameters into what Volume.Create takes:
// a spec and volume labels. It is what the CSI driver does before it calls the
// SDK, by the driver's own code: what that does not know becomes a volume label,
// value untouched, which is how placement_strategy and the stork.libopenstorage.org
// keys arrive. An error wraps ErrInvalid and names the parameter.
func ParseParameters(parameters map[string]string) (*api.VolumeSpec, map[string]string, error) {
	handler := spec.NewSpecHandler()
	volume := handler.DefaultSpec()
	volume.AggregationLevel = 1
	locator := &api.VolumeLocator{VolumeLabels: map[string]string{}}
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		value, name := parameters[key], key
		if strings.HasPrefix(key, provisionerPrefix) {
			var known bool
			if name, known = provisionerKeys[key]; !known {
				continue
			}
		}
		var err error
		if check, ok := checks[key]; ok {
			err = check(value)
		}
		if key == api.SpecNodes {
			value = strings.Join(splitList(value), ",")
		}
		if err == nil {
			// One at a time, so that the error can name it.
			_, _, _, err = handler.UpdateSpecFromOpts(map[string]string{name: value}, volume, locator, nil)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("StorageClass parameter %s=%q: %w: %w", key, parameters[key], ErrInvalid, err)
		}
	}
	return volume, locator.GetVolumeLabels(), nil
}

// provisionerKeys say what the driver calls the provisioner's keys.
var provisionerKeys = map[string]string{
	provisionerPrefix + "fstype":        api.SpecFilesystem,
	provisionerPrefix + "pvc/name":      LabelPVC,
	provisionerPrefix + "pvc/namespace": LabelNamespace,
}

// checks refuse what the driver's code lets pass and the storage system does not.
var checks = map[string]func(value string) error{
	api.SpecHaLevel: numberUpTo(maxReplicas),
	api.SpecAggregationLevel: func(value string) error {
		if value == api.SpecAutoAggregationValue {
			return nil
		}
		return numberUpTo(maxStripes)(value)
	},
	api.SpecNodes: namesSome,
	api.SpecZones: namesSome,
	api.SpecRacks: namesSome,
	api.SpecRack:  namesSome,
	api.SpecBackendType: func(value string) error {
		if value != api.SpecBackendPureBlock && value != api.SpecBackendPureFile {
			return fmt.Errorf("must be %s or %s", api.SpecBackendPureBlock, api.SpecBackendPureFile)
		}
		return nil
	},
}

func numberUpTo(most int) func(string) error {
	return func(value string) error {
		if number, err := strconv.Atoi(value); err != nil || number < 1 || number > most {
			return fmt.Errorf("must be a number from 1 to %d", most)
		}
		return nil
	}
}

func namesSome(value string) error {
	if len(splitList(value)) == 0 {
		return errors.New("names none")
	}
	return nil
}

// splitList reads a list that is separated by commas or semicolons.
func splitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ';' || unicode.IsSpace(r) })
}
