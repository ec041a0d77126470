package hyperconverge

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/scheduler/util"

	"github.com/hyperconverge/scheduler/pkg/claims"
)

// claimIndex names the index of pods without a node by their claims.
const claimIndex = "hyperconverge/claim"

// addClaimIndex lets podsOfClaim find pods. It costs memory for each pod that waits, so that
// it is there only where kube-scheduler asks (minor.PreQueueingHints).
func addClaimIndex(informer cache.SharedIndexInformer) error {
	if _, found := informer.GetIndexer().GetIndexers()[claimIndex]; found {
		return nil
	}
	if err := informer.AddIndexers(cache.Indexers{claimIndex: indexByClaim}); err != nil {
		return fmt.Errorf("indexing pods by their claims: %w", err)
	}
	return nil
}

// indexByClaim puts launchers of virtual machines under the name of no claim: disks that are
// plugged in later are not in the pod.
func indexByClaim(obj any) ([]string, error) {
	pod, is := obj.(*v1.Pod)
	if !is || pod.Spec.NodeName != "" {
		return nil, nil
	}
	var keys []string
	for name := range claims.Names(pod) {
		keys = append(keys, pod.Namespace+"/"+name)
	}
	if machineKey(pod) != "" {
		keys = append(keys, pod.Namespace+"/")
	}
	return keys, nil
}

// podsOfClaim are the pods that an event of a claim may concern, whichever plugin has turned
// them down: those of kube-scheduler that follow claims look at the pod's own alone, too.
func podsOfClaim(pods cache.Indexer, oldObj, newObj any) ([]types.NamespacedName, error) {
	old, now, err := util.As[*v1.PersistentVolumeClaim](oldObj, newObj)
	if err != nil {
		return nil, err
	}
	claim := now
	if claim == nil {
		claim = old
	}
	var found []types.NamespacedName
	for _, key := range []string{claim.Namespace + "/" + claim.Name, claim.Namespace + "/"} {
		keys, err := pods.IndexKeys(claimIndex, key)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			namespace, name, err := cache.SplitMetaNamespaceKey(key)
			if err != nil {
				return nil, err
			}
			found = append(found, types.NamespacedName{Namespace: namespace, Name: name})
		}
	}
	return found, nil
}
