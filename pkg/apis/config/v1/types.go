package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// HyperconvergeArgs are the arguments of the Hyperconverge plugin in one
// profile.
//
// Without any arguments the plugin works against a plain Portworx installation
// in kube-system: no authorization, no encryption.
//
// One process has one view of one storage system, however many profiles it
// runs. So topologyKeys, drivers, unknownVolumeGracePeriod, maxStaleness,
// openStorage, countPodsByNamespace and debugPort are the same in all profiles that
// enable the plugin; preference, tierScores, waitForLocal and localFirst may differ.
type HyperconvergeArgs struct {
	metav1.TypeMeta `json:",inline"`

	// preference says how pods are brought to the nodes that hold their volumes.
	// LocalFirst: those nodes are tried first, the others only when none of them
	// is feasible; this holds at any cluster size. Score: the plugin only scores
	// the nodes that the scheduler looks at, which in clusters over 100 nodes is
	// a sample.
	// Default: LocalFirst.
	// +optional
	Preference string `json:"preference,omitempty"`

	// tierScores are the scores of a node by its nearest relation to a replica of
	// the volume.
	// +optional
	TierScores TierScores `json:"tierScores,omitzero"`

	// waitForLocal is how long a pod that prefers its data waits for a node that holds it
	// before it takes another, from its creation on. The annotation
	// hyperconverge.dev/wait-for-local of the pod counts before it. 0 to 1h.
	// Default: 0s, it does not wait.
	// +optional
	WaitForLocal *metav1.Duration `json:"waitForLocal,omitempty"`

	// localFirst bounds what is done for the sake of locality.
	// +optional
	LocalFirst LocalFirst `json:"localFirst,omitzero"`

	// topologyKeys are the node labels that say where a node stands.
	// +optional
	TopologyKeys TopologyKeys `json:"topologyKeys,omitzero"`

	// drivers are the names under which the storage driver appears: as CSI
	// driver of a volume or node, and as provisioner of a storage class. Volumes
	// of other drivers are none of the plugin's business. Not empty.
	// Default: [pxd.portworx.com, com.openstorage.pxd, kubernetes.io/portworx-volume].
	// +optional
	Drivers []string `json:"drivers,omitzero"`

	// unknownVolumeGracePeriod is the longest time that a pod waits for a volume
	// that was bound moments ago and whose replicas are not known yet. Then the
	// pod is scheduled as if the volume had no say. Pods that insist on local
	// nodes wait until the volume is known. More than zero.
	// Default: 5s.
	// +optional
	UnknownVolumeGracePeriod *metav1.Duration `json:"unknownVolumeGracePeriod,omitempty"`

	// maxStaleness is for how long the last good data is used while the storage
	// system does not answer. After it the volumes count as unknown. At least two
	// openStorage.nodePollInterval and one openStorage.requestTimeout.
	// Default: 10m.
	// +optional
	MaxStaleness *metav1.Duration `json:"maxStaleness,omitempty"`

	// openStorage is how the storage system is reached and how often it is asked.
	// +optional
	OpenStorage OpenStorage `json:"openStorage,omitzero"`

	// countPodsByNamespace gives the metric scheduler_hyperconverge_pods a series for
	// each namespace. Clusters with thousands of namespaces turn it off.
	// Default: true.
	// +optional
	CountPodsByNamespace *bool `json:"countPodsByNamespace,omitempty"`

	// debugPort is the port on which the scheduler tells what it knows of volumes, nodes
	// and waiting pods, to those who may get /debug/hyperconverge/. It listens on
	// the loopback address only, with the certificate of --secure-port; kubectl
	// hyperconverge comes through a port-forward. 0 turns it off.
	// Default: 10359.
	// +optional
	DebugPort *int32 `json:"debugPort,omitempty"`
}

// TierScores are scores, each 0 to 100. From local to remote they do not rise.
type TierScores struct {
	// local is the score of a node that holds a replica.
	// Default: 100.
	// +optional
	Local *int64 `json:"local,omitempty"`

	// rack is the score of a node in the rack of a replica.
	// Default: 50.
	// +optional
	Rack *int64 `json:"rack,omitempty"`

	// zone is the score of a node in the zone of a replica.
	// Default: 25.
	// +optional
	Zone *int64 `json:"zone,omitempty"`

	// region is the score of a node in the region of a replica.
	// Default: 10.
	// +optional
	Region *int64 `json:"region,omitempty"`

	// remote is the score of every other node of the storage cluster.
	// Default: 0.
	// +optional
	Remote *int64 `json:"remote,omitempty"`
}

// LocalFirst bounds what preference LocalFirst does for the sake of locality. Pods that
// insist on their data are not concerned.
type LocalFirst struct {
	// maxAllocation is how full a node may be made. One that the pod would push over a
	// limit is not offered to it, and counts as far from its data, as long as another node
	// is feasible. The annotation hyperconverge.dev/max-allocation of the pod counts
	// before it.
	// +optional
	MaxAllocation MaxAllocation `json:"maxAllocation,omitzero"`

	// spread says how the pods of a volume that several share (ReadWriteMany,
	// ReadOnlyMany) are to stand to its replica nodes. None: all on them. Replicas: as
	// many on each. Zone: anywhere in the zones of the replicas, as the pods' own wishes
	// decide. The key hyperconverge.dev/spread of claim, volume or class counts before it.
	// Default: None.
	// +optional
	Spread string `json:"spread,omitempty"`

	// maxSkew is how many pods of the volume a node may have more than the node with the
	// fewest before it is left out, with spread Replicas. At least 1.
	// Default: 1.
	// +optional
	MaxSkew *int32 `json:"maxSkew,omitempty"`
}

// MaxAllocation are limits of what pods request on a node, as kube-scheduler counts it, in
// percent of what the node can allocate: 1% to 100%.
type MaxAllocation struct {
	// cpu is the limit of CPU.
	// Default: none.
	// +optional
	CPU Percentage `json:"cpu,omitempty"`

	// memory is the limit of memory.
	// Default: none.
	// +optional
	Memory Percentage `json:"memory,omitempty"`

	// pods is the limit of the number of pods.
	// Default: none.
	// +optional
	Pods Percentage `json:"pods,omitempty"`
}

// Percentage is a whole number with a percent sign: 90%.
type Percentage string

// TopologyKeys are lists of node label keys. The first key of a list that a node
// carries counts. An empty list turns its level off.
type TopologyKeys struct {
	// region lists the labels that hold a node's region.
	// Default: [topology.kubernetes.io/region, failure-domain.beta.kubernetes.io/region, px/region,
	// topology.portworx.io/region].
	// +optional
	Region []string `json:"region,omitzero"`

	// zone lists the labels that hold a node's zone.
	// Default: [topology.kubernetes.io/zone, failure-domain.beta.kubernetes.io/zone, px/zone,
	// topology.portworx.io/zone].
	// +optional
	Zone []string `json:"zone,omitzero"`

	// rack lists the labels that hold a node's rack.
	// Default: [px/rack, topology.portworx.io/rack].
	// +optional
	Rack []string `json:"rack,omitzero"`
}

// OpenStorage is the connection to the OpenStorage SDK of the storage system.
type OpenStorage struct {
	// endpoint is the gRPC address of the SDK: host:port, or one of the gRPC
	// targets dns:///host:port and unix:///path.
	// Default: portworx-api.portworx.svc:9020.
	// +optional
	Endpoint *string `json:"endpoint,omitempty"`

	// tokenFile is the path of a file with the JWT that is sent with every
	// request. It is read again when it changes. The token needs the role
	// system.view and the group *. Without encryption it is sent only when
	// allowPlaintextToken is true.
	// Default: none, requests carry no token.
	// +optional
	TokenFile string `json:"tokenFile,omitempty"`

	// tls is how the storage system proves who it is.
	// +optional
	TLS TLS `json:"tls,omitzero"`

	// nodePollInterval is the time between two requests for the list of storage
	// nodes and their states. At least 100ms.
	// Default: 10s.
	// +optional
	NodePollInterval *metav1.Duration `json:"nodePollInterval,omitempty"`

	// resyncInterval is the time between two passes over all volumes, which find
	// what the watch has lost. At least nodePollInterval.
	// Default: 15m.
	// +optional
	ResyncInterval *metav1.Duration `json:"resyncInterval,omitempty"`

	// requestTimeout is the longest time that one request may take. It does not
	// bound the watch, which stays open. At least 100ms.
	// Default: 10s.
	// +optional
	RequestTimeout *metav1.Duration `json:"requestTimeout,omitempty"`

	// watchBackoff is the least time between two attempts to open the watch.
	// Storage servers do not take well to watches that come and go. At least 1s.
	// Default: 30s.
	// +optional
	WatchBackoff *metav1.Duration `json:"watchBackoff,omitempty"`

	// allowPlaintextToken allows the token to go over an unencrypted connection,
	// where everyone on the way can read it.
	// Default: false.
	// +optional
	AllowPlaintextToken *bool `json:"allowPlaintextToken,omitempty"`
}

// TLS is the encryption of the connection. There is no way to skip verification
// of the server's certificate.
type TLS struct {
	// enabled turns encryption on. The other fields need it.
	// Default: false.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`

	// caFile is the path of a PEM file with certificates of authorities that are
	// trusted in addition to those of the system.
	// Default: none, only those of the system are trusted.
	// +optional
	CAFile string `json:"caFile,omitempty"`

	// serverName is the name that the server's certificate must carry.
	// Default: none, the host of the endpoint.
	// +optional
	ServerName string `json:"serverName,omitempty"`
}
