package openstoragesim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/libopenstorage/openstorage/api"
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

// parameterReaders hold the StorageClass parameters that mean something to the
// storage system. Every other one becomes a volume label, value untouched:
// that is how placement_strategy and the stork.libopenstorage.org keys arrive.
var parameterReaders = map[string]func(spec *api.VolumeSpec, labels map[string]string, value string) error{
	api.SpecHaLevel: func(spec *api.VolumeSpec, _ map[string]string, value string) error {
		replicas, err := strconv.ParseInt(value, 10, 64)
		if err != nil || replicas < 1 || replicas > maxReplicas {
			return fmt.Errorf("must be a number from 1 to %d", maxReplicas)
		}
		spec.HaLevel = replicas
		return nil
	},
	api.SpecAggregationLevel: func(spec *api.VolumeSpec, _ map[string]string, value string) error {
		if value == api.SpecAutoAggregationValue {
			spec.AggregationLevel = api.AutoAggregation
			return nil
		}
		stripes, err := strconv.ParseUint(value, 10, 32)
		if err != nil || stripes < 1 || stripes > maxStripes {
			return fmt.Errorf("must be %q or a number from 1 to %d", api.SpecAutoAggregationValue, maxStripes)
		}
		spec.AggregationLevel = uint32(stripes)
		return nil
	},
	api.SpecNodes: func(spec *api.VolumeSpec, _ map[string]string, value string) error {
		nodes := splitList(value)
		if len(nodes) == 0 {
			return errors.New("names no node")
		}
		spec.ReplicaSet = &api.ReplicaSet{Nodes: nodes}
		return nil
	},
	api.SpecZones: readPlaces(api.SpecZones),
	api.SpecRacks: readPlaces(api.SpecRacks),
	api.SpecRack:  readPlaces(api.SpecRacks),
	// Any value switches it on, as on real servers.
	api.SpecBestEffortLocationProvisioning: func(_ *api.VolumeSpec, labels map[string]string, _ string) error {
		labels[api.SpecBestEffortLocationProvisioning] = "true"
		return nil
	},
	api.SpecGroup: func(spec *api.VolumeSpec, _ map[string]string, value string) error {
		spec.Group = &api.Group{Id: value}
		return nil
	},
	api.SpecGroupEnforce: readBool(func(spec *api.VolumeSpec, on bool) { spec.GroupEnforced = on }),
	api.SpecShared:       readBool(func(spec *api.VolumeSpec, on bool) { spec.Shared = on }),
	api.SpecSharedv4:     readBool(func(spec *api.VolumeSpec, on bool) { spec.Sharedv4 = on }),
	api.SpecWinshare:     readBool(func(spec *api.VolumeSpec, on bool) { spec.Winshare = on }),
	api.SpecJournal:      readBool(func(spec *api.VolumeSpec, on bool) { spec.Journal = on }),
	api.SpecSticky:       readBool(func(spec *api.VolumeSpec, on bool) { spec.Sticky = on }),
	api.SpecSecure:       readBool(func(spec *api.VolumeSpec, on bool) { spec.Encrypted = on }),
	api.SpecSharedv4ServiceType: func(spec *api.VolumeSpec, _ map[string]string, value string) error {
		kind, ok := serviceTypes[value]
		if !ok {
			return errors.New("must be ClusterIP, NodePort, LoadBalancer or empty")
		}
		spec.Sharedv4ServiceSpec = &api.Sharedv4ServiceSpec{Type: kind}
		return nil
	},
	api.SpecBackendType: func(spec *api.VolumeSpec, _ map[string]string, value string) error {
		protocol, err := api.ProxyProtocolSimpleValueOf(value)
		if err != nil || !(&api.ProxySpec{ProxyProtocol: protocol}).IsPureBackend() {
			return fmt.Errorf("must be %s or %s", api.SpecBackendPureBlock, api.SpecBackendPureFile)
		}
		proxySpec(spec).ProxyProtocol = protocol
		return nil
	},
	api.SpecProxyEndpoint: func(spec *api.VolumeSpec, _ map[string]string, value string) error {
		protocol, endpoint := api.ParseProxyEndpoint(value)
		if protocol == api.ProxyProtocol_PROXY_PROTOCOL_INVALID {
			return errors.New("must begin with nfs://, s3:// or pxd://")
		}
		proxySpec(spec).ProxyProtocol = protocol
		proxySpec(spec).Endpoint = endpoint
		return nil
	},
	api.SpecFilesystem:           readFormat,
	provisionerPrefix + "fstype": readFormat,
	provisionerPrefix + "pvc/name": func(_ *api.VolumeSpec, labels map[string]string, value string) error {
		labels[LabelPVC] = value
		return nil
	},
	provisionerPrefix + "pvc/namespace": func(_ *api.VolumeSpec, labels map[string]string, value string) error {
		labels[LabelNamespace] = value
		return nil
	},
}

var serviceTypes = map[string]api.Sharedv4ServiceSpec_ServiceType{
	"":             api.Sharedv4ServiceSpec_NONE, // plain sharedv4, said explicitly
	"NodePort":     api.Sharedv4ServiceSpec_NODEPORT,
	"nodePort":     api.Sharedv4ServiceSpec_NODEPORT,
	"ClusterIP":    api.Sharedv4ServiceSpec_CLUSTERIP,
	"clusterIP":    api.Sharedv4ServiceSpec_CLUSTERIP,
	"LoadBalancer": api.Sharedv4ServiceSpec_LOADBALANCER,
	"loadBalancer": api.Sharedv4ServiceSpec_LOADBALANCER,
}

// ParseParameters turns StorageClass parameters into what Volume.Create takes:
// a spec and volume labels. It is what the CSI driver does before it calls the
// SDK. An error wraps ErrInvalid and names the parameter.
func ParseParameters(parameters map[string]string) (*api.VolumeSpec, map[string]string, error) {
	spec := &api.VolumeSpec{HaLevel: 1, AggregationLevel: 1, Format: api.FSType_FS_TYPE_EXT4}
	labels := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		value := parameters[key]
		read, known := parameterReaders[key]
		switch {
		case known:
			if err := read(spec, labels, value); err != nil {
				return nil, nil, fmt.Errorf("StorageClass parameter %s=%q: %w: %w", key, value, ErrInvalid, err)
			}
		case strings.HasPrefix(key, provisionerPrefix):
		default:
			labels[key] = value
		}
	}
	return spec, labels, nil
}

func proxySpec(spec *api.VolumeSpec) *api.ProxySpec {
	if spec.ProxySpec == nil {
		spec.ProxySpec = &api.ProxySpec{}
	}
	return spec.ProxySpec
}

func readBool(set func(*api.VolumeSpec, bool)) func(*api.VolumeSpec, map[string]string, string) error {
	return func(spec *api.VolumeSpec, _ map[string]string, value string) error {
		on, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New("must be true or false")
		}
		set(spec, on)
		return nil
	}
}

// readPlaces keeps zones and racks as labels, because that is how they travel
// to the storage system.
func readPlaces(label string) func(*api.VolumeSpec, map[string]string, string) error {
	return func(_ *api.VolumeSpec, labels map[string]string, value string) error {
		if len(splitList(value)) == 0 {
			return errors.New("names no place")
		}
		labels[label] = value
		return nil
	}
}

func readFormat(spec *api.VolumeSpec, _ map[string]string, value string) error {
	format, err := api.FSTypeSimpleValueOf(value)
	if err != nil {
		return errors.New("is not a filesystem")
	}
	spec.Format = format
	return nil
}

// splitList reads a list that is separated by commas or semicolons.
func splitList(text string) []string {
	var items []string
	for _, item := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ';' }) {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
