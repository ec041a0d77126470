package webhook

import (
	"slices"

	"github.com/go-logr/logr"
	"gomodules.xyz/jsonpatch/v2"
	v1 "k8s.io/api/core/v1"
)

// storageTaints are what the storage operator puts on nodes to keep them for
// pods with volumes: storage nodes are closed to others, storageless ones are
// second choice.
var storageTaints = []v1.Taint{
	{Key: "node.portworx.io/px-storage", Value: "true", Effect: v1.TaintEffectNoSchedule},
	{Key: "node.portworx.io/px-storageless", Value: "true", Effect: v1.TaintEffectPreferNoSchedule},
}

// tolerate returns what a pod with these tolerations lacks for storageTaints.
func tolerate(tolerations []v1.Toleration) []jsonpatch.Operation {
	missing := intolerable(tolerations)
	switch {
	case len(missing) == 0:
		return nil
	case len(tolerations) == 0:
		return []jsonpatch.Operation{jsonpatch.NewOperation("add", "/spec/tolerations", missing)}
	}
	var patch []jsonpatch.Operation
	for _, toleration := range missing {
		patch = append(patch, jsonpatch.NewOperation("add", "/spec/tolerations/-", toleration))
	}
	return patch
}

// intolerable returns the tolerations for those of the storageTaints that none of
// the given ones tolerates.
func intolerable(tolerations []v1.Toleration) []v1.Toleration {
	var missing []v1.Toleration
	for _, taint := range storageTaints {
		tolerated := slices.ContainsFunc(tolerations, func(toleration v1.Toleration) bool {
			// The discarded logger is for operators that are not compared here.
			return toleration.ToleratesTaint(logr.Discard(), &taint, false)
		})
		if !tolerated {
			missing = append(missing, v1.Toleration{
				Key: taint.Key, Operator: v1.TolerationOpEqual, Value: taint.Value, Effect: taint.Effect,
			})
		}
	}
	return missing
}
