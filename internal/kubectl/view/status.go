package view

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/pkg/simulation"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// explainedPods bounds for how many pods the reasons are looked for: each costs about as
// much as placing it.
const explainedPods = 200

// NewStatus looks at the cluster. What it counts of pods is that of the selected ones.
func NewStatus(ctx context.Context, w *World, selection Selection) (*Status, error) {
	s := &Status{APIVersion: APIVersion, Kind: "Status", Misplaced: []Misplaced{}, Waiting: []Waiting{}, Unknown: w.Unknown}
	s.count(w.Index)
	pods, err := w.pods(selection)
	if err != nil {
		return nil, err
	}
	var misplaced []*v1.Pod
	localities := map[*v1.Pod]placement.Locality{}
	for _, pod := range pods {
		if !hyperconverge.Occupies(pod) {
			continue
		}
		locality := w.Plugin.Locality(pod)
		switch locality {
		case placement.LocalityLocal:
			s.Pods.Local++
		case placement.LocalityPartly:
			s.Pods.Partly++
		case placement.LocalityRemote:
			s.Pods.Remote++
		case placement.LocalityAway:
			s.Pods.Away++
		case placement.LocalityUnknown:
			s.Pods.Unknown++
		case placement.LocalityNone:
		}
		if locality == placement.LocalityRemote || locality == placement.LocalityPartly {
			misplaced = append(misplaced, pod)
			localities[pod] = locality
		}
	}
	slices.SortFunc(misplaced, func(a, b *v1.Pod) int { // remote is the greater number, and worse
		return cmp.Or(cmp.Compare(localities[b], localities[a]), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	cluster, err := w.Engine.Cluster()
	if err != nil {
		return nil, err
	}
	for i, pod := range misplaced {
		m := Misplaced{Namespace: pod.Namespace, Name: pod.Name, Node: pod.Spec.NodeName, Locality: localities[pod].String(), Reasons: []string{}}
		if i < explainedPods {
			if m.Reasons, err = whyElsewhere(ctx, w, cluster, pod); err != nil {
				return nil, err
			}
		}
		s.Misplaced = append(s.Misplaced, m)
	}
	s.Waiting = waiting(w, pods)
	return s, nil
}

func (s *Status) count(index *volumes.Snapshot) {
	for i := range index.Volumes {
		if !index.Volumes[i].Claimed {
			continue
		}
		switch index.Volumes[i].Freshness {
		case volumes.Fresh.String():
			s.Volumes.Fresh++
		case volumes.Suspect.String():
			s.Volumes.Suspect++
		case volumes.Stale.String():
			s.Volumes.Stale++
		default:
			s.Volumes.Unknown++
		}
	}
	for _, n := range index.Nodes {
		switch n.State {
		case placement.Online.String():
			s.StorageNodes.Online++
		case placement.StorageDown.String():
			s.StorageNodes.StorageDown++
		case placement.Degraded.String():
			s.StorageNodes.Degraded++
		case placement.Offline.String():
			s.StorageNodes.Offline++
		}
	}
}

// whyElsewhere says of each node that holds what the pod lacks why the pod is not there,
// as things stand now.
func whyElsewhere(ctx context.Context, w *World, cluster *simulation.Cluster, pod *v1.Pod) ([]string, error) {
	nodes := w.Plugin.Explain(pod).ReplicaNodes(pod.Spec.NodeName)
	if len(nodes) == 0 {
		return []string{"no node holds a replica of every stripe of what it lacks"}, nil
	}
	reasons, err := cluster.Reasons(ctx, pod, nodes)
	if err != nil {
		return nil, err
	}
	lines := make([]string, 0, len(nodes))
	for _, node := range nodes {
		found, exists := reasons[node]
		switch {
		case node == pod.Spec.NodeName:
			lines = append(lines, node+": its storage does not serve")
		case !exists:
			lines = append(lines, node+": no such node any more")
		case len(found) == 0:
			lines = append(lines, node+": would fit now")
		default:
			lines = append(lines, node+": "+messages(found))
		}
	}
	return lines, nil
}

// messages puts what several plugins say into one line.
func messages(reasons []simulation.Reason) string {
	texts := make([]string, 0, len(reasons))
	for _, r := range reasons {
		texts = append(texts, r.Message)
	}
	return strings.Join(texts, ", ")
}

// waiting lists the selected pods without a node that have volumes of the driver. The
// scheduler knows best why; without it the pod's condition says it.
func waiting(w *World, pods []*v1.Pod) []Waiting {
	held := map[string]string{}
	for _, p := range w.Waiting {
		text := p.Reason
		if text != "" && !p.HeldUntil.IsZero() {
			text += fmt.Sprintf(" (until %s at the latest)", p.HeldUntil.Format(time.TimeOnly))
		}
		held[p.Namespace+"/"+p.Name] = text
	}
	list := []Waiting{}
	for _, pod := range pods {
		if pod.Spec.NodeName != "" || pod.Status.Phase != v1.PodPending || !w.concerns(pod) {
			continue
		}
		reason := cmp.Or(held[pod.Namespace+"/"+pod.Name], condition(pod), binding(pod), "not tried yet: does anybody serve the scheduler name "+pod.Spec.SchedulerName+"?")
		list = append(list, Waiting{Namespace: pod.Namespace, Name: pod.Name, Reason: reason})
	}
	slices.SortFunc(list, func(a, b Waiting) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// concerns reports whether a pod has volumes of the driver, or claims that are missing.
func (w *World) concerns(pod *v1.Pod) bool {
	for _, c := range w.Plugin.Claims(pod) {
		if c.Driver != "" || c.State == placement.ClaimMissing {
			return true
		}
	}
	return false
}

// binding says of a pod that has been given a node, and waits to be bound to it, so.
func binding(pod *v1.Pod) string {
	if node := pod.Status.NominatedNodeName; node != "" {
		return "is being bound to " + node + ": new volumes may be on their way"
	}
	return ""
}

// condition is what PodScheduled says of a pod that waits.
func condition(pod *v1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == v1.PodScheduled && c.Status == v1.ConditionFalse {
			return c.Message
		}
	}
	return ""
}
