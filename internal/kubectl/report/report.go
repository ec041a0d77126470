// Package report draws a cluster as one page that needs nothing else.
package report

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hyperconverge/scheduler/internal/kubectl/view"
)

//go:embed page.html
var pageText string

//go:embed page.css
var style string

//go:embed page.js
var script string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"join": strings.Join,
	"time": func(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") },
}).Parse(pageText))

// Grade is how well a cluster does, from A to F.
type Grade struct {
	Letter string
	// Reasons are the parts of the rule that have spoken.
	Reasons []string
}

// GradeOf grades a cluster by the share of pods that have all of their data on their node,
// among those that could: A from 99 %, B from 95 %, C from 85 %, D from 70 %, F below.
// Storage that is Offline somewhere, or volumes whose replicas are not known, cost one
// grade each. There is none while the replicas of no pod are known.
func GradeOf(s *view.Status) Grade {
	placed := s.Pods.Local + s.Pods.Partly + s.Pods.Remote
	if placed == 0 && s.Pods.Unknown > 0 {
		return Grade{Letter: "?", Reasons: []string{fmt.Sprintf("of none of %d pods is known where its data is", s.Pods.Unknown)}}
	}
	share := 100.0
	if placed > 0 {
		share = 100 * float64(s.Pods.Local) / float64(placed)
	}
	grade := Grade{Reasons: []string{fmt.Sprintf("%d of %d pods (%.1f %%) have all of their data on their node", s.Pods.Local, placed, share)}}
	if placed == 0 {
		grade.Reasons = []string{"no pod runs whose volumes want it near"}
	}
	const letters = "ABCDF"
	step := 0
	for _, bound := range [...]float64{99, 95, 85, 70} {
		if share < bound {
			step++
		}
	}
	if s.StorageNodes.Offline > 0 {
		step++
		grade.Reasons = append(grade.Reasons, fmt.Sprintf("storage is Offline on %d nodes", s.StorageNodes.Offline))
	}
	if lost := s.Volumes.Stale + s.Volumes.Unknown; lost > 0 {
		step++
		grade.Reasons = append(grade.Reasons, fmt.Sprintf("the replicas of %d volumes are not known", lost))
	}
	grade.Letter = string(letters[min(step, len(letters)-1)])
	return grade
}

// document is what the page is made of.
type document struct {
	*view.Map
	Grade  Grade
	CSP    string
	Style  template.CSS
	Script template.JS
	Zones  []zone
}

// zone is a region and a zone of it, with its racks.
type zone struct {
	Name  string
	Racks []rack
	Nodes int
}

type rack struct {
	Name  string
	Nodes []node
}

type node struct {
	view.MapNode
	Volumes []string // claims with a replica here
	Pods    []view.MapPod
}

// Write writes the page. All that comes from the cluster is escaped.
func Write(w io.Writer, m *view.Map) error {
	d := &document{
		Map: m, Grade: GradeOf(&m.Status), Style: template.CSS(style), Script: template.JS(script), //nolint:gosec // both are of this package
		Zones: zonesOf(m),
		// Nothing is loaded, and nothing runs but what this package has written.
		CSP: fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; script-src 'sha256-%s'", hash(style), hash(script)),
	}
	return page.Execute(w, d)
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// zonesOf orders the nodes by where they stand.
func zonesOf(m *view.Map) []zone {
	volumes, pods := map[string][]string{}, map[string][]view.MapPod{}
	for i := range m.Volumes {
		seen := map[string]bool{}
		for _, set := range m.Volumes[i].ReplicaSets {
			for _, name := range set {
				if !seen[name] {
					seen[name] = true
					volumes[name] = append(volumes[name], m.Volumes[i].Claim)
				}
			}
		}
	}
	for _, p := range m.Pods {
		pods[p.Node] = append(pods[p.Node], p)
	}
	places := map[string]map[string][]node{} // zone → rack → nodes
	for _, n := range m.Nodes {
		name := cmp.Or(strings.Trim(n.Region+" / "+n.Zone, " /"), "no zone")
		if places[name] == nil {
			places[name] = map[string][]node{}
		}
		places[name][n.Rack] = append(places[name][n.Rack], node{MapNode: n, Volumes: volumes[n.Name], Pods: pods[n.Name]})
	}
	var zones []zone
	for _, name := range slices.Sorted(maps.Keys(places)) {
		z := zone{Name: name}
		for _, rackName := range slices.Sorted(maps.Keys(places[name])) {
			z.Racks = append(z.Racks, rack{Name: rackName, Nodes: places[name][rackName]})
			z.Nodes += len(places[name][rackName])
		}
		zones = append(zones, z)
	}
	return zones
}
