package demo

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hyperconverge/scheduler/internal/console"
)

// Online is the Storage of a node whose storage is well.
const Online = "Online"

// Snapshot is who is where at one moment: which node of the cluster holds which
// replicas and runs which pods.
type Snapshot struct {
	Nodes   []Node
	Volumes []Volume
	Pods    []Pod
}

// Node is a Kubernetes node.
type Node struct {
	Name, Region, Zone, Rack string
	// Storage is the state of the storage node there: Online, something worse, or
	// empty if there is none.
	Storage string
}

// Volume is a volume of the storage driver.
type Volume struct {
	// Name is that of the claim.
	Name string
	// Tag is the short name that stands for the volume on the map; without one the
	// volume is not drawn.
	Tag string
	// Replicas are the names of the nodes that hold all of the volume.
	Replicas []string
}

// Pod is a pod on the map.
type Pod struct {
	Name string
	// Node is empty while the pod is pending.
	Node string
	// Volumes are the names of its volumes.
	Volumes []string
	// Running is whether its containers run.
	Running bool
	// Reason is why the pod is pending, in the scheduler's words.
	Reason string
}

// Volume returns the volume of that name; without replicas if there is none.
func (s Snapshot) Volume(name string) Volume {
	for _, v := range s.Volumes {
		if v.Name == name {
			return v
		}
	}
	return Volume{Name: name}
}

// Pod returns the pod of that name; not bound if there is none.
func (s Snapshot) Pod(name string) Pod {
	for _, p := range s.Pods {
		if p.Name == name {
			return p
		}
	}
	return Pod{Name: name}
}

// DataNodes are the nodes that hold a replica of all volumes of the pod.
func (s Snapshot) DataNodes(p Pod) []string {
	var replicas [][]string
	for _, name := range p.Volumes {
		replicas = append(replicas, s.Volume(name).Replicas)
	}
	return inAll(replicas)
}

// OnData is whether the pod is on a node that holds all of its volumes.
func (s Snapshot) OnData(p Pod) bool {
	return p.Node != "" && slices.Contains(s.DataNodes(p), p.Node)
}

// Tally counts pods by where they are.
type Tally struct {
	// OnData and Away are on nodes where they can run; NoStorage are on nodes where
	// their volumes cannot be mounted.
	OnData, Away, NoStorage, Pending int
}

// Tally counts all pods.
func (s Snapshot) Tally() Tally {
	var t Tally
	for _, p := range s.Pods {
		switch {
		case p.Node == "":
			t.Pending++
		case s.OnData(p):
			t.OnData++
		case slices.ContainsFunc(s.Nodes, func(n Node) bool { return n.Name == p.Node && n.Storage != "" }):
			t.Away++
		default:
			t.NoStorage++
		}
	}
	return t
}

const (
	margin = "  "
	gap    = "   "
)

// The marks of pods on a map without names.
const (
	markOnData    = "#"
	markAway      = "~"
	markNoStorage = "x"
)

// Style says how a snapshot is drawn.
type Style struct {
	Palette console.Palette
	// Marks draws a mark for each pod instead of its name.
	Marks bool
	// Width is how many columns there are; 0 for any number.
	Width int
}

// Draw draws one column per zone, racks below each other in it, and for each
// node its name, the tags of the volumes that it holds, and its pods. Zones that do not
// fit beside the others stand below them.
func (s Snapshot) Draw(style Style) string {
	var b strings.Builder
	var columns [][]string
	taken := len(margin)
	for _, zone := range s.zones() {
		column := s.column(zone, style)
		wide := width(column...)
		if len(columns) > 0 && style.Width > 0 && taken+wide > style.Width {
			b.WriteString(beside(columns) + "\n")
			columns, taken = nil, len(margin)
		}
		columns, taken = append(columns, column), taken+wide+len(gap)
	}
	return b.String() + beside(columns) + "\n" + s.legend(style)
}

// beside draws columns beside each other.
func beside(columns [][]string) string {
	var widths []int
	rows := 0
	for _, column := range columns {
		widths, rows = append(widths, width(column...)), max(rows, len(column))
	}
	var b strings.Builder
	for row := range rows {
		var line strings.Builder
		line.WriteString(margin)
		for i, column := range columns {
			text := ""
			if row < len(column) {
				text = column[row]
			}
			line.WriteString(text)
			if i < len(columns)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-width(text)) + gap)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// paint matches what a palette adds to text and a terminal does not show.
var paint = regexp.MustCompile("\x1b\\[[0-9]*m")

// width is how many columns the widest of the texts takes up.
func width(texts ...string) int {
	widest := 0
	for _, text := range texts {
		widest = max(widest, utf8.RuneCountInString(paint.ReplaceAllString(text, "")))
	}
	return widest
}

// zones are the region and zone of all nodes, each pair once, in the order of
// the nodes.
func (s Snapshot) zones() [][2]string {
	var zones [][2]string
	for _, n := range s.Nodes {
		if zone := [2]string{n.Region, n.Zone}; !slices.Contains(zones, zone) {
			zones = append(zones, zone)
		}
	}
	return zones
}

func (s Snapshot) column(zone [2]string, style Style) []string {
	p := style.Palette
	lines := []string{p.Strong(fmt.Sprintf("region %s, zone %s", zone[0], zone[1]))}
	var names, racks []string
	for _, n := range s.Nodes {
		names, racks = append(names, n.Name), append(racks, n.Rack)
	}
	rack, rackWidth, nameWidth := "", width(racks...), width(names...)
	for _, n := range s.Nodes {
		if [2]string{n.Region, n.Zone} != zone {
			continue
		}
		label := ""
		if n.Rack != rack {
			label, rack = n.Rack, n.Rack
		}
		lines = append(lines, strings.Join(append([]string{
			p.Faint(fmt.Sprintf("%-*s  ", rackWidth, label)) + nodePaint(n, p)(fmt.Sprintf("%-*s", nameWidth, n.Name)),
		}, s.contents(n, style)...), " "))
	}
	return lines
}

func nodePaint(n Node, p console.Palette) func(string) string {
	switch n.Storage {
	case Online:
		return same
	case "":
		return p.Faint
	default:
		return p.Bad
	}
}

// contents are what there is to say of a node, from left to right.
func (s Snapshot) contents(n Node, style Style) []string {
	p := style.Palette
	var contents []string
	if tags := s.tags(n); len(tags) > 0 {
		contents = append(contents, p.Strong("["+strings.Join(tags, " ")+"]"))
	}
	switch n.Storage {
	case Online:
	case "":
		contents = append(contents, p.Faint("no storage"))
	default:
		contents = append(contents, p.Bad(strings.ToUpper(n.Storage)))
	}
	on := s
	on.Pods = slices.DeleteFunc(slices.Clone(s.Pods), func(pod Pod) bool { return pod.Node != n.Name })
	if style.Marks {
		if len(on.Pods) > 0 {
			contents = append(contents, on.marks(p))
		}
		return contents
	}
	for _, pod := range on.Pods {
		switch {
		case len(pod.Volumes) == 0:
			contents = append(contents, pod.Name)
		case s.OnData(pod):
			contents = append(contents, p.Good(pod.Name))
		default:
			contents = append(contents, markAway+pod.Name)
		}
	}
	return contents
}

// tags are those of the volumes that the node holds.
func (s Snapshot) tags(n Node) []string {
	var tags []string
	for _, v := range s.Volumes {
		if v.Tag != "" && slices.Contains(v.Replicas, n.Name) {
			tags = append(tags, v.Tag)
		}
	}
	return tags
}

// marks are one for each pod, those on their data first.
func (s Snapshot) marks(p console.Palette) string {
	t := s.Tally()
	marks := strings.Repeat(markOnData, t.OnData) + strings.Repeat(markAway, t.Away) + strings.Repeat(markNoStorage, t.NoStorage)
	switch {
	case t.NoStorage > 0:
		return p.Bad(marks)
	case t.Away == 0:
		return p.Good(marks)
	default:
		return marks
	}
}

// legend explains what the map shows, and lists the pods that are on no node.
func (s Snapshot) legend(style Style) string {
	var lines []string
	for _, v := range s.Volumes {
		if v.Tag != "" {
			lines = append(lines, fmt.Sprintf("[%s] volume %s on %s", v.Tag, v.Name, strings.Join(v.Replicas, ", ")))
		}
	}
	switch {
	case style.Marks:
		lines = append(lines, fmt.Sprintf("%s pod on its data   %s away from it   %s where its volume cannot be mounted",
			markOnData, markAway, markNoStorage))
	case slices.ContainsFunc(s.Pods, func(p Pod) bool { return p.Node != "" && !s.OnData(p) }):
		lines = append(lines, markAway+" pod away from its data")
	}
	for _, p := range s.Pods {
		if p.Node == "" && p.Reason != "" {
			lines = append(lines, fmt.Sprintf("pending: %s: %s", p.Name, p.Reason))
		}
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(margin + style.Palette.Faint(line) + "\n")
	}
	return b.String()
}

func same(text string) string { return text }
