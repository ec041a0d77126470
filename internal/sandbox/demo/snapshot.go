package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/internal/sandbox/fakenodes"
)

// snapshot looks at the cluster and its storage as they are now, with no help from
// the scheduler whose work is judged by it.
func (d *demo) snapshot(ctx context.Context) (Snapshot, error) {
	core := d.sandbox.Client.CoreV1()
	pods, err := core.Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return Snapshot{}, fmt.Errorf("looking at pods: %w", err)
	}
	claims, err := core.PersistentVolumeClaims(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return Snapshot{}, fmt.Errorf("looking at claims: %w", err)
	}
	storage, err := d.sandbox.Control.State(ctx)
	if err != nil {
		return Snapshot{}, fmt.Errorf("looking at the storage: %w", err)
	}

	seen := Snapshot{Nodes: mapNodes(d.sandbox.Nodes, storage.Nodes)}
	byName := map[string]openstoragesim.VolumeSummary{}
	for _, v := range storage.Volumes {
		byName[v.Name] = v
	}
	for i := range claims.Items {
		claim := &claims.Items[i]
		seen.Volumes = append(seen.Volumes, Volume{
			Name:     claim.Name,
			Tag:      d.tags[claim.Name],
			Replicas: replicaNodes(byName[claim.Spec.VolumeName]),
		})
	}
	for i := range pods.Items {
		if pod := &pods.Items[i]; pod.DeletionTimestamp == nil {
			seen.Pods = append(seen.Pods, mapPod(pod))
		}
	}
	return seen, nil
}

func mapNodes(nodes []fakenodes.Node, storage []openstoragesim.Node) []Node {
	states := map[string]string{} // storage node id -> state
	for _, n := range storage {
		states[n.ID] = storageState(n)
	}
	drawn := make([]Node, len(nodes))
	for i, n := range nodes {
		drawn[i] = Node{Name: n.Name, Region: n.Region, Zone: n.Zone, Rack: n.Rack, Storage: states[n.StorageID]}
	}
	return drawn
}

// storageState is Online, or the state in the storage system's own words.
func storageState(n openstoragesim.Node) string {
	state := strings.TrimPrefix(n.Status.String(), "STATUS_")
	if state == "OK" || state == "NONE" {
		return Online
	}
	return strings.ToLower(strings.ReplaceAll(state, "_", " "))
}

// replicaNodes are the names of the nodes that hold a replica of every replica
// set of the volume.
func replicaNodes(v openstoragesim.VolumeSummary) []string {
	var sets [][]string
	for _, set := range v.ReplicaSets {
		var names []string
		for _, replica := range set {
			names = append(names, replica.Node)
		}
		sets = append(sets, names)
	}
	return inAll(sets)
}

// inAll are the names that all lists have, in the order of the first.
func inAll(lists [][]string) []string {
	if len(lists) == 0 {
		return nil
	}
	var common []string
	for _, name := range lists[0] {
		if !slices.ContainsFunc(lists, func(list []string) bool { return !slices.Contains(list, name) }) {
			common = append(common, name)
		}
	}
	return common
}

func mapPod(pod *corev1.Pod) Pod {
	drawn := Pod{
		Name:    podTitle(pod),
		Node:    pod.Spec.NodeName,
		Running: pod.Status.Phase == corev1.PodRunning,
	}
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			drawn.Volumes = append(drawn.Volumes, v.PersistentVolumeClaim.ClaimName)
		}
	}
	slices.Sort(drawn.Volumes) // a StatefulSet lists them in any order
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			drawn.Reason = c.Message
		}
	}
	return drawn
}

// podTitle is the pod's name without what a Deployment appends to it.
func podTitle(pod *corev1.Pod) string {
	if hash := pod.Labels["pod-template-hash"]; hash != "" {
		if title, _, found := strings.Cut(pod.Name, "-"+hash); found {
			return title
		}
	}
	return pod.Name
}
