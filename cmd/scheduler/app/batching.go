package app

import (
	"context"
	"strings"

	v1 "k8s.io/api/core/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
	"k8s.io/kubernetes/pkg/scheduler/profile"

	"github.com/hyperconverge/scheduler/pkg/metrics"
)

// showBatching tells by a metric which profiles place alike pods by what was decided for the
// one before (kube-scheduler's opportunistic batching), and what keeps the others from it.
func showBatching(profiles profile.Map, extenders []fwk.Extender) {
	for name, inner := range profiles {
		offBy := batchingOffBy(inner, extenders)
		on := 0.0
		if offBy == "" {
			on = 1
		}
		metrics.Batching.WithLabelValues(name, offBy).Set(on)
	}
}

// batchingOffBy names what turns batching off for a profile, empty if nothing does.
func batchingOffBy(inner framework.Framework, extenders []fwk.Extender) string {
	if len(extenders) > 0 {
		var all []string
		for _, extender := range extenders {
			all = append(all, extender.Name())
		}
		return strings.Join(all, ", ")
	}
	if !utilfeature.DefaultFeatureGate.Enabled(features.OpportunisticBatching) {
		return "feature gate " + string(features.OpportunisticBatching)
	}
	if signs(inner) {
		return ""
	}
	if utilfeature.DefaultFeatureGate.Enabled(features.DRAExtendedResource) {
		return "feature gate " + string(features.DRAExtendedResource)
	}
	// All plugins that are compiled in sign pods that ask for nothing special, but for one
	// that spreads them by default.
	for _, set := range []config.PluginSet{inner.ListPlugins().Filter, inner.ListPlugins().Score} {
		for _, plugin := range set.Enabled {
			if plugin.Name == names.PodTopologySpread {
				return names.PodTopologySpread
			}
		}
	}
	return "unknown"
}

// signs reports whether a profile signs a pod that asks for nothing.
func signs(inner framework.Framework) bool {
	pod := &v1.Pod{}
	switch f := any(inner).(type) {
	case interface { // Kubernetes 1.35
		SignPod(ctx context.Context, pod *v1.Pod, record bool) fwk.PodSignature
	}:
		return f.SignPod(context.Background(), pod, false) != nil
	case interface {
		SignPod(ctx context.Context, pod *v1.Pod) fwk.PodSignature
	}:
		return f.SignPod(context.Background(), pod) != nil
	}
	return false
}
