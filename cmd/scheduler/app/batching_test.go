package app

import (
	"testing"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	"k8s.io/kubernetes/pkg/features"
)

// Without the feature gate no plugin is asked, so that none is to blame.
func TestTheFeatureGateOfBatchingIsNamed(t *testing.T) {
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.OpportunisticBatching, false)
	if offBy := batchingOffBy(nil, nil); offBy != "feature gate OpportunisticBatching" {
		t.Errorf("batching is off by %q", offBy)
	}
}
