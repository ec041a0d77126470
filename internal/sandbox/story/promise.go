package story

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hyperconverge/scheduler/internal/sandbox/clustermap"
)

// promise is something that the scheduler's contract says about a scene.
type promise struct {
	text string
	// instead is what was seen, if the promise was not kept.
	instead string
}

func (p promise) String() string {
	if p.instead == "" {
		return p.text
	}
	return p.text + "; instead: " + p.instead
}

// runsOnData promises that the pod runs on a node with all of its volumes.
func runsOnData(scene clustermap.Scene, pod clustermap.Pod) promise {
	volumes := strings.Join(pod.Volumes, " and ")
	if scene.OnData(pod) && pod.Running {
		return promise{text: fmt.Sprintf("%s runs on %s, which holds %s", pod.Name, pod.Node, volumes)}
	}
	nodes := strings.Join(scene.DataNodes(pod), " or ")
	if nodes == "" {
		nodes = "of which there is none"
	}
	return promise{
		text:    fmt.Sprintf("%s runs on a node that holds %s (%s)", pod.Name, volumes, nodes),
		instead: whereabouts(pod),
	}
}

// runsOn promises that the pod runs on that very node.
func runsOn(pod clustermap.Pod, node, because string) promise {
	p := promise{text: fmt.Sprintf("%s runs on %s, %s", pod.Name, node, because)}
	if pod.Node != node || !pod.Running {
		p.instead = whereabouts(pod)
	}
	return p
}

// waitsBecause promises that the pod is pending, and that the reason has all the
// words in it.
func waitsBecause(pod clustermap.Pod, words ...string) promise {
	p := promise{text: pod.Name + " waits, and the reason names the volume that keeps it waiting"}
	if pod.Node != "" {
		p.instead = whereabouts(pod)
		return p
	}
	for _, word := range words {
		if !strings.Contains(pod.Reason, word) {
			p.instead = fmt.Sprintf("the reason does not say %q: %s", word, orNothing(pod.Reason))
			return p
		}
	}
	return p
}

// spreadEvenly promises that all nodes with storage run the same number of pods,
// give or take one, as they do when nothing prefers one to another.
func spreadEvenly(scene clustermap.Scene) promise {
	p := promise{text: "all nodes are equal: the pods are spread evenly over every node with storage"}
	counts := podsPerNode(scene)
	var each []int
	for _, n := range scene.Nodes {
		if n.Storage != "" {
			each = append(each, counts[n.Name])
		} else if counts[n.Name] > 0 {
			p.instead = fmt.Sprintf("%d on %s, which has no storage", counts[n.Name], n.Name)
			return p
		}
	}
	if len(each) > 0 && slices.Max(each)-slices.Min(each) > 1 {
		p.instead = fmt.Sprintf("%d on one node and %d on another", slices.Max(each), slices.Min(each))
	}
	return p
}

// allOnData promises that every pod is on its data.
func allOnData(scene clustermap.Scene, text string) promise {
	p := promise{text: text}
	if t := scene.Tally(); t.OnData != len(scene.Pods) {
		p.instead = fmt.Sprintf("%d of %d", t.OnData, len(scene.Pods))
	}
	return p
}

func podsPerNode(scene clustermap.Scene) map[string]int {
	counts := map[string]int{}
	for _, p := range scene.Pods {
		counts[p.Node]++
	}
	return counts
}

// whereabouts is where the pod is, or why it is nowhere.
func whereabouts(pod clustermap.Pod) string {
	switch {
	case pod.Node == "":
		return "it is pending: " + orNothing(pod.Reason)
	case !pod.Running:
		return "it is on " + pod.Node + " and does not run"
	default:
		return "it runs on " + pod.Node
	}
}

func orNothing(reason string) string {
	if reason == "" {
		return "no reason is given"
	}
	return reason
}
