package demo

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// check is something that the scheduler's contract says about what is seen.
type check struct {
	text string
	// instead is what was seen, if the check failed.
	instead string
}

func (c check) String() string {
	if c.instead == "" {
		return c.text
	}
	return c.text + "; instead: " + c.instead
}

// runsOnData checks that the pod runs on a node with all of its volumes.
func runsOnData(seen Snapshot, pod Pod) check {
	volumes := strings.Join(pod.Volumes, " and ")
	if seen.OnData(pod) && pod.Running {
		return check{text: fmt.Sprintf("%s runs on %s, which holds %s", pod.Name, pod.Node, volumes)}
	}
	nodes := cmp.Or(strings.Join(seen.DataNodes(pod), " or "), "of which there is none")
	return check{
		text:    fmt.Sprintf("%s runs on a node that holds %s (%s)", pod.Name, volumes, nodes),
		instead: whereabouts(pod),
	}
}

// runsOn checks that the pod runs on that very node.
func runsOn(pod Pod, node, because string) check {
	c := check{text: fmt.Sprintf("%s runs on %s, %s", pod.Name, node, because)}
	if pod.Node != node || !pod.Running {
		c.instead = whereabouts(pod)
	}
	return c
}

// waitsBecause checks that the pod is pending, and that the reason has all the
// words in it.
func waitsBecause(pod Pod, words ...string) check {
	c := check{text: pod.Name + " waits, and the reason names the volume that keeps it waiting"}
	if pod.Node != "" {
		c.instead = whereabouts(pod)
		return c
	}
	for _, word := range words {
		if !strings.Contains(pod.Reason, word) {
			c.instead = fmt.Sprintf("the reason does not say %q: %s", word, orNothing(pod.Reason))
			return c
		}
	}
	return c
}

// spreadEvenly checks that all nodes with storage run the same number of pods,
// give or take one, as they do when nothing prefers one to another.
func spreadEvenly(seen Snapshot) check {
	c := check{text: "all nodes are equal: the pods are spread evenly over every node with storage"}
	counts := map[string]int{} // node -> pods
	for _, p := range seen.Pods {
		counts[p.Node]++
	}
	var each []int
	for _, n := range seen.Nodes {
		if n.Storage != "" {
			each = append(each, counts[n.Name])
		} else if counts[n.Name] > 0 {
			c.instead = fmt.Sprintf("%d on %s, which has no storage", counts[n.Name], n.Name)
			return c
		}
	}
	if len(each) > 0 && slices.Max(each)-slices.Min(each) > 1 {
		c.instead = fmt.Sprintf("%d on one node and %d on another", slices.Max(each), slices.Min(each))
	}
	return c
}

// allOnData checks that every pod is on its data.
func allOnData(seen Snapshot, text string) check {
	c := check{text: text}
	if t := seen.Tally(); t.OnData != len(seen.Pods) {
		c.instead = fmt.Sprintf("%d of %d", t.OnData, len(seen.Pods))
	}
	return c
}

// whereabouts is where the pod is, or why it is nowhere.
func whereabouts(pod Pod) string {
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
	return cmp.Or(reason, "no reason is given")
}
