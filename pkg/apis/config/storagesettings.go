package config

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// +k8s:deepcopy-gen=false

// StorageSettings are the arguments that describe the storage system and the process
// rather than the wishes of a profile. A process has one view of one storage system, so
// they are equal in all of its profiles.
type StorageSettings struct {
	TopologyKeys             TopologyKeys
	Drivers                  []string
	UnknownVolumeGracePeriod metav1.Duration
	MaxStaleness             metav1.Duration
	OpenStorage              OpenStorage
	CountPodsByNamespace     bool
	DebugPort                int32
}

// StorageSettings returns the storage settings of a profile's arguments. They
// share the lists of the arguments.
func (a *HyperconvergeArgs) StorageSettings() StorageSettings {
	return StorageSettings{
		TopologyKeys:             a.TopologyKeys,
		Drivers:                  a.Drivers,
		UnknownVolumeGracePeriod: a.UnknownVolumeGracePeriod,
		MaxStaleness:             a.MaxStaleness,
		OpenStorage:              a.OpenStorage,
		CountPodsByNamespace:     a.CountPodsByNamespace,
		DebugPort:                a.DebugPort,
	}
}

// FirstDifference returns the path, in the words of the configuration file, of
// the first setting that is not the same in both, and nil when they are equal.
// The order of a list counts.
func (s *StorageSettings) FirstDifference(other *StorageSettings) *field.Path {
	topologyKeys := field.NewPath("topologyKeys")
	openStorage := field.NewPath("openStorage")
	tls := openStorage.Child("tls")

	for _, setting := range []struct {
		path  *field.Path
		equal bool
	}{
		{topologyKeys.Child("region"), slices.Equal(s.TopologyKeys.Region, other.TopologyKeys.Region)},
		{topologyKeys.Child("zone"), slices.Equal(s.TopologyKeys.Zone, other.TopologyKeys.Zone)},
		{topologyKeys.Child("rack"), slices.Equal(s.TopologyKeys.Rack, other.TopologyKeys.Rack)},
		{field.NewPath("drivers"), slices.Equal(s.Drivers, other.Drivers)},
		{field.NewPath("unknownVolumeGracePeriod"), s.UnknownVolumeGracePeriod == other.UnknownVolumeGracePeriod},
		{field.NewPath("maxStaleness"), s.MaxStaleness == other.MaxStaleness},
		{openStorage.Child("endpoint"), s.OpenStorage.Endpoint == other.OpenStorage.Endpoint},
		{openStorage.Child("tokenFile"), s.OpenStorage.TokenFile == other.OpenStorage.TokenFile},
		{tls.Child("enabled"), s.OpenStorage.TLS.Enabled == other.OpenStorage.TLS.Enabled},
		{tls.Child("caFile"), s.OpenStorage.TLS.CAFile == other.OpenStorage.TLS.CAFile},
		{tls.Child("serverName"), s.OpenStorage.TLS.ServerName == other.OpenStorage.TLS.ServerName},
		{openStorage.Child("nodePollInterval"), s.OpenStorage.NodePollInterval == other.OpenStorage.NodePollInterval},
		{openStorage.Child("resyncInterval"), s.OpenStorage.ResyncInterval == other.OpenStorage.ResyncInterval},
		{openStorage.Child("requestTimeout"), s.OpenStorage.RequestTimeout == other.OpenStorage.RequestTimeout},
		{openStorage.Child("watchBackoff"), s.OpenStorage.WatchBackoff == other.OpenStorage.WatchBackoff},
		{openStorage.Child("allowPlaintextToken"), s.OpenStorage.AllowPlaintextToken == other.OpenStorage.AllowPlaintextToken},
		{field.NewPath("countPodsByNamespace"), s.CountPodsByNamespace == other.CountPodsByNamespace},
		{field.NewPath("debugPort"), s.DebugPort == other.DebugPort},
	} {
		if !setting.equal {
			return setting.path
		}
	}
	return nil
}
