package view

import (
	"cmp"
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
)

// NewMap is the whole cluster.
func NewMap(ctx context.Context, w *World, cluster string, now time.Time) (*Map, error) {
	status, err := NewStatus(ctx, w, Selection{})
	if err != nil {
		return nil, err
	}
	m := &Map{Taken: now, Cluster: cluster, Status: *status, Nodes: []MapNode{}, Volumes: []MapVolume{}, Pods: []MapPod{}}
	for _, n := range w.Index.Nodes {
		m.Nodes = append(m.Nodes, MapNode{Name: n.Name, Region: n.Region, Zone: n.Zone, Rack: n.Rack, State: n.State, Unschedulable: n.Unschedulable})
	}
	claims, err := w.Engine.Informers().Core().V1().PersistentVolumeClaims().Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	claimOf := map[string]string{} // handle → claim
	for _, claim := range claims {
		if v := w.Plugin.ExplainClaim(claim.Namespace, claim.Name); v.Claim.Handle != "" {
			claimOf[v.Claim.Handle] = claim.Namespace + "/" + claim.Name
		}
	}
	for i := range w.Index.Volumes {
		v := &w.Index.Volumes[i]
		sets, _ := replicaNodes(v)
		m.Volumes = append(m.Volumes, MapVolume{Claim: cmp.Or(claimOf[v.Handle], v.Handle), Handle: v.Handle, Freshness: v.Freshness, ReplicaSets: sets})
	}
	slices.SortFunc(m.Volumes, func(a, b MapVolume) int { return cmp.Compare(a.Claim, b.Claim) })
	pods, err := w.pods(Selection{})
	if err != nil {
		return nil, err
	}
	for _, pod := range pods {
		if !hyperconverge.Occupies(pod) {
			continue
		}
		line := MapPod{Namespace: pod.Namespace, Name: pod.Name, Node: pod.Spec.NodeName}
		for _, c := range w.Plugin.Claims(pod) {
			if c.Driver != "" {
				line.Claims = append(line.Claims, c.String())
			}
		}
		if locality := w.Plugin.Locality(pod); len(line.Claims) > 0 && locality != placement.LocalityNone {
			line.Locality = locality.String()
			m.Pods = append(m.Pods, line)
		}
	}
	slices.SortFunc(m.Pods, func(a, b MapPod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return m, nil
}
