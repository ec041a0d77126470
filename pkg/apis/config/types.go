package config

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// HyperconvergeArgs are the arguments of the Hyperconverge plugin in one
// profile. Package v1 documents every field and its default.
type HyperconvergeArgs struct {
	metav1.TypeMeta

	// Preference, TierScores, WaitForLocal and LocalFirst are a matter of the profile.
	Preference   placement.Preference
	TierScores   TierScores
	WaitForLocal metav1.Duration
	LocalFirst   LocalFirst

	// All fields from here on are storage settings: they describe the one storage
	// system behind the process and are the same in all of its profiles. See
	// StorageSettings.

	TopologyKeys             TopologyKeys
	Drivers                  []string
	UnknownVolumeGracePeriod metav1.Duration
	MaxStaleness             metav1.Duration
	OpenStorage              OpenStorage
	CountPodsByNamespace     bool
	DebugPort                int32
}

// TierScores are the scores of a node by its nearest relation to a replica,
// 0 to 100, from the nearest tier to the farthest (S2).
type TierScores struct {
	Local  int64
	Rack   int64
	Zone   int64
	Region int64
	Remote int64
}

// LocalFirst bounds what is done for the sake of locality.
type LocalFirst struct {
	MaxAllocation MaxAllocation
	Spread        placement.Spread
	MaxSkew       int32
}

// MaxAllocation are limits in percent of what a node can allocate, as "90%"; empty for no
// limit.
type MaxAllocation struct {
	CPU    string
	Memory string
	Pods   string
}

// TopologyKeys are the node labels that say where a node stands. The first key
// of a list that a node carries counts; an empty list turns its level off.
type TopologyKeys struct {
	Region []string
	Zone   []string
	Rack   []string
}

// OpenStorage is how the storage system is reached and how often it is asked.
type OpenStorage struct {
	Endpoint            string
	TokenFile           string
	TLS                 TLS
	NodePollInterval    metav1.Duration
	ResyncInterval      metav1.Duration
	RequestTimeout      metav1.Duration
	WatchBackoff        metav1.Duration
	AllowPlaintextToken bool
}

// TLS is how the storage system proves who it is.
type TLS struct {
	Enabled    bool
	CAFile     string
	ServerName string
}
