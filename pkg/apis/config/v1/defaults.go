package v1

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// SetDefaults_HyperconvergeArgs sets the fields that the user left out.
func SetDefaults_HyperconvergeArgs(obj *HyperconvergeArgs) {
	if obj.Preference == "" {
		obj.Preference = string(placement.LocalFirst)
	}
	setDefaultList(&obj.Drivers, "pxd.portworx.com", "com.openstorage.pxd", "kubernetes.io/portworx-volume")
	setDefault(&obj.UnknownVolumeGracePeriod, metav1.Duration{Duration: 5 * time.Second})
	setDefault(&obj.MaxStaleness, metav1.Duration{Duration: 10 * time.Minute})
	setDefault(&obj.CountPodsByNamespace, true)
	setDefault(&obj.WaitForLocal, metav1.Duration{})
	setDefault(&obj.DebugPort, 10359)
}

// SetDefaults_TierScores sets the scores that the user left out, one by one.
func SetDefaults_TierScores(obj *TierScores) {
	setDefault(&obj.Local, 100)
	setDefault(&obj.Rack, 50)
	setDefault(&obj.Zone, 25)
	setDefault(&obj.Region, 10)
	setDefault(&obj.Remote, 0)
}

// SetDefaults_LocalFirst leaves locality its way.
func SetDefaults_LocalFirst(obj *LocalFirst) {
	if obj.Spread == "" {
		obj.Spread = string(placement.SpreadNone)
	}
	setDefault(&obj.MaxSkew, 1)
}

// SetDefaults_TopologyKeys sets the lists that the user left out; an empty list
// is the user's wish.
func SetDefaults_TopologyKeys(obj *TopologyKeys) {
	setDefaultList(&obj.Region, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaRegion, "px/region", "topology.portworx.io/region")
	setDefaultList(&obj.Zone, corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaZone, "px/zone", "topology.portworx.io/zone")
	setDefaultList(&obj.Rack, "px/rack", "topology.portworx.io/rack")
}

// SetDefaults_OpenStorage sets what the user left out of the connection.
func SetDefaults_OpenStorage(obj *OpenStorage) {
	setDefault(&obj.Endpoint, "portworx-api.portworx.svc:9020")
	setDefault(&obj.NodePollInterval, metav1.Duration{Duration: 10 * time.Second})
	setDefault(&obj.ResyncInterval, metav1.Duration{Duration: 15 * time.Minute})
	setDefault(&obj.RequestTimeout, metav1.Duration{Duration: 10 * time.Second})
	setDefault(&obj.WatchBackoff, metav1.Duration{Duration: 30 * time.Second})
	setDefault(&obj.AllowPlaintextToken, false)
}

// SetDefaults_TLS leaves encryption off unless the user turned it on.
func SetDefaults_TLS(obj *TLS) {
	setDefault(&obj.Enabled, false)
}

// setDefault sets a field that the user left out.
func setDefault[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// setDefaultList sets a list that the user left out. An empty list was written
// by the user, so it stays.
func setDefaultList(field *[]string, values ...string) {
	if *field == nil {
		*field = values
	}
}
