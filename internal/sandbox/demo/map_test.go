package demo

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hyperconverge/scheduler/internal/console"
)

// nodes are two zones with a rack more in the first.
func nodes() []Node {
	return []Node{
		{Name: "node-1", Region: "east", Zone: "a", Rack: "rack-1", Storage: Online},
		{Name: "node-2", Region: "east", Zone: "a", Rack: "rack-1", Storage: Online},
		{Name: "node-3", Region: "east", Zone: "a", Rack: "rack-2"},
		{Name: "node-10", Region: "west", Zone: "a", Rack: "rack-3", Storage: Online},
	}
}

func TestDraw(t *testing.T) {
	for name, row := range map[string]struct {
		snapshot Snapshot
		style    Style
		want     string
	}{
		"zones are columns, and racks are named once": {
			snapshot: Snapshot{Nodes: nodes()},
			want: `
  region east, zone a          region west, zone a
  rack-1  node-1               rack-3  node-10
          node-2
  rack-2  node-3  no storage

`,
		},
		"a pod on its data and one away from it": {
			snapshot: Snapshot{
				Nodes:   nodes(),
				Volumes: []Volume{{Name: "mysql-data", Tag: "A", Replicas: []string{"node-1", "node-10"}}},
				Pods: []Pod{
					{Name: "mysql", Node: "node-10", Volumes: []string{"mysql-data"}},
					{Name: "backup", Node: "node-2", Volumes: []string{"mysql-data"}},
				},
			},
			want: `
  region east, zone a          region west, zone a
  rack-1  node-1  [A]          rack-3  node-10 [A] mysql
          node-2  ~backup
  rack-2  node-3  no storage

  [A] volume mysql-data on node-1, node-10
  ~ pod away from its data
`,
		},
		"storage that is not well stands beside the node": {
			snapshot: Snapshot{
				Nodes:   []Node{{Name: "node-1", Region: "east", Zone: "a", Rack: "rack-1", Storage: "Offline"}},
				Volumes: []Volume{{Name: "mysql-data", Tag: "A", Replicas: []string{"node-1"}}},
			},
			want: `
  region east, zone a
  rack-1  node-1 [A] OFFLINE

  [A] volume mysql-data on node-1
`,
		},
		"pods without a node are listed with their reason": {
			snapshot: Snapshot{
				Nodes: nodes()[:1],
				Pods:  []Pod{{Name: "ledger-1", Reason: "0/12 nodes are available"}, {Name: "ledger-2"}},
			},
			want: `
  region east, zone a
  rack-1  node-1

  pending: ledger-1: 0/12 nodes are available
`,
		},
		"many pods are marks, those on their data first": {
			style: Style{Marks: true},
			snapshot: Snapshot{
				Nodes:   nodes(),
				Volumes: []Volume{{Name: "v", Replicas: []string{"node-1"}}, {Name: "w", Replicas: []string{"node-2"}}},
				Pods: []Pod{
					{Name: "p1", Node: "node-1", Volumes: []string{"w"}},
					{Name: "p2", Node: "node-1", Volumes: []string{"v"}},
					{Name: "p3", Node: "node-3", Volumes: []string{"v"}},
				},
			},
			want: `
  region east, zone a            region west, zone a
  rack-1  node-1  #~             rack-3  node-10
          node-2
  rack-2  node-3  no storage x

  # pod on its data   ~ away from it   x where its volume cannot be mounted
`,
		},
		"zones that just fit stand beside each other": {
			style:    Style{Width: 50},
			snapshot: Snapshot{Nodes: nodes()},
			want: `
  region east, zone a          region west, zone a
  rack-1  node-1               rack-3  node-10
          node-2
  rack-2  node-3  no storage

`,
		},
		"zones that do not fit beside each other stand below": {
			style:    Style{Width: 49},
			snapshot: Snapshot{Nodes: nodes()},
			want: `
  region east, zone a
  rack-1  node-1
          node-2
  rack-2  node-3  no storage

  region west, zone a
  rack-3  node-10

`,
		},
		"a zone that does not fit at all is drawn all the same": {
			style:    Style{Width: 10},
			snapshot: Snapshot{Nodes: nodes()[:1]},
			want: `
  region east, zone a
  rack-1  node-1

`,
		},
		"a cluster without nodes is an empty map": {
			want: "\n\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if row.style.Palette.Good == nil {
				row.style.Palette = console.Plain
			}
			if diff := cmp.Diff(row.want, "\n"+row.snapshot.Draw(row.style)); diff != "" {
				t.Errorf("map differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestColoursDoNotMoveColumns(t *testing.T) {
	snapshot := Snapshot{
		Nodes:   nodes(),
		Volumes: []Volume{{Name: "v", Tag: "A", Replicas: []string{"node-1"}}},
		Pods:    []Pod{{Name: "p", Node: "node-1", Volumes: []string{"v"}}},
	}
	painted := snapshot.Draw(Style{Palette: console.Colours})
	if !strings.Contains(painted, "\x1b[") {
		t.Fatal("nothing is painted")
	}
	for _, sequence := range []string{"\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m"} {
		painted = strings.ReplaceAll(painted, sequence, "")
	}
	if diff := cmp.Diff(trimLines(snapshot.Draw(Style{Palette: console.Plain})), trimLines(painted)); diff != "" {
		t.Errorf("the painted map differs in more than its colours (-plain +painted):\n%s", diff)
	}
}

// trimLines drops blanks at line ends, which may stand before a colour sequence.
func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func TestOnlyANodeWithAllVolumesOfAPodCountsAsItsData(t *testing.T) {
	snapshot := Snapshot{
		Nodes: nodes(),
		Volumes: []Volume{
			{Name: "data", Replicas: []string{"node-1", "node-2"}},
			{Name: "log", Replicas: []string{"node-2", "node-10"}},
		},
	}
	both := []string{"data", "log"}
	for name, row := range map[string]struct {
		pod  Pod
		want bool
	}{
		"all volumes":               {pod: Pod{Node: "node-2", Volumes: both}, want: true},
		"some volumes":              {pod: Pod{Node: "node-1", Volumes: both}, want: false},
		"one volume is enough":      {pod: Pod{Node: "node-10", Volumes: []string{"log"}}, want: true},
		"a volume nobody knows":     {pod: Pod{Node: "node-2", Volumes: []string{"data", "gone"}}, want: false},
		"a pod without volumes":     {pod: Pod{Node: "node-2"}, want: false},
		"a pod that is still to go": {pod: Pod{Volumes: both}, want: false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := snapshot.OnData(row.pod); got != row.want {
				t.Errorf("OnData() = %v, want %v", got, row.want)
			}
		})
	}
}

func TestTallyCountsEveryPodOnce(t *testing.T) {
	snapshot := Snapshot{
		Nodes:   nodes(),
		Volumes: []Volume{{Name: "v", Replicas: []string{"node-1"}}},
		Pods: []Pod{
			{Node: "node-1", Volumes: []string{"v"}},
			{Node: "node-2", Volumes: []string{"v"}},
			{Node: "node-3", Volumes: []string{"v"}},
			{Volumes: []string{"v"}},
		},
	}
	if diff := cmp.Diff(Tally{OnData: 1, Away: 1, NoStorage: 1, Pending: 1}, snapshot.Tally()); diff != "" {
		t.Errorf("tally differs (-want +got):\n%s", diff)
	}
}
