package clustermap

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hyperconverge/scheduler/internal/sandbox/console"
)

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
}

// Draw draws one column per zone, racks below each other in it, and for each
// node its name, the tags of the volumes that it holds, and its pods.
func (s Snapshot) Draw(style Style) string {
	var columns [][]cell
	for _, zone := range s.zones() {
		columns = append(columns, s.column(zone, style))
	}
	var b strings.Builder
	for row := range slices.Max(lengths(columns)) {
		var line strings.Builder
		line.WriteString(margin)
		for i, column := range columns {
			var c cell
			if row < len(column) {
				c = column[row]
			}
			line.WriteString(c.padded(width(column), i == len(columns)-1) + gap)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	b.WriteString("\n" + s.legend(style))
	return b.String()
}

// cell is painted text that takes up width columns.
type cell struct {
	text  string
	width int
}

func newCell(text string, paint func(string) string) cell {
	return cell{text: paint(text), width: utf8.RuneCountInString(text)}
}

func (c cell) plus(other cell) cell {
	return cell{text: c.text + other.text, width: c.width + other.width}
}

func (c cell) padded(width int, last bool) string {
	if last {
		return c.text
	}
	return c.text + strings.Repeat(" ", width-c.width)
}

func width(column []cell) int {
	return slices.MaxFunc(column, func(a, b cell) int { return a.width - b.width }).width
}

func lengths(columns [][]cell) []int {
	found := []int{0}
	for _, column := range columns {
		found = append(found, len(column))
	}
	return found
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

func (s Snapshot) column(zone [2]string, style Style) []cell {
	p := style.Palette
	cells := []cell{newCell(fmt.Sprintf("region %s, zone %s", zone[0], zone[1]), p.Strong)}
	rack := ""
	nameWidth, rackWidth := s.widest(func(n Node) string { return n.Name }), s.widest(func(n Node) string { return n.Rack })
	for _, n := range s.Nodes {
		if [2]string{n.Region, n.Zone} != zone {
			continue
		}
		label := ""
		if n.Rack != rack {
			label, rack = n.Rack, n.Rack
		}
		c := newCell(fmt.Sprintf("%-*s  ", rackWidth, label), p.Faint)
		c = c.plus(newCell(fmt.Sprintf("%-*s", nameWidth, n.Name), nodePaint(n, p)))
		for _, content := range s.contents(n, style) {
			c = c.plus(newCell(" ", same)).plus(content)
		}
		cells = append(cells, c)
	}
	return cells
}

func (s Snapshot) widest(of func(Node) string) int {
	widest := 0
	for _, n := range s.Nodes {
		widest = max(widest, utf8.RuneCountInString(of(n)))
	}
	return widest
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
func (s Snapshot) contents(n Node, style Style) []cell {
	p := style.Palette
	var cells []cell
	if tags := s.tags(n); len(tags) > 0 {
		cells = append(cells, newCell("["+strings.Join(tags, " ")+"]", p.Strong))
	}
	switch n.Storage {
	case Online:
	case "":
		cells = append(cells, newCell("no storage", p.Faint))
	default:
		cells = append(cells, newCell(strings.ToUpper(n.Storage), p.Bad))
	}
	if style.Marks {
		if marks := s.marks(n.Name); marks != "" {
			cells = append(cells, newCell(marks, s.marksPaint(n.Name, p)))
		}
		return cells
	}
	for _, pod := range s.Pods {
		if pod.Node != n.Name {
			continue
		}
		if s.OnData(pod) {
			cells = append(cells, newCell(pod.Name, p.Good))
		} else {
			cells = append(cells, newCell(markAway+pod.Name, same))
		}
	}
	return cells
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

// marks are a mark for each pod on the node, those on their data first.
func (s Snapshot) marks(node string) string {
	t := s.onNode(node).Tally()
	return strings.Repeat(markOnData, t.OnData) + strings.Repeat(markAway, t.Away) + strings.Repeat(markNoStorage, t.NoStorage)
}

func (s Snapshot) marksPaint(node string, p console.Palette) func(string) string {
	switch t := s.onNode(node).Tally(); {
	case t.NoStorage > 0:
		return p.Bad
	case t.Away == 0:
		return p.Good
	default:
		return same
	}
}

// onNode is the snapshot with the pods of one node only.
func (s Snapshot) onNode(node string) Snapshot {
	var pods []Pod
	for _, p := range s.Pods {
		if p.Node == node {
			pods = append(pods, p)
		}
	}
	s.Pods = pods
	return s
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
		lines = append(lines, fmt.Sprintf("%s pod on its data   %s pod away from it   %s pod whose volume cannot be mounted there",
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
