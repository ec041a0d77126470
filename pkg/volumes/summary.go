package volumes

import (
	"slices"
	"time"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// NumFreshness is the number of Freshness values.
const NumFreshness = int(Stale) + 1

// Summary is the state of the index in a few numbers, for metrics and for the
// debug view.
type Summary struct {
	// Volumes counts the handles that PVs name by freshness.
	Volumes [NumFreshness]int
	// Dirty counts those of them that wait for an inspect to confirm them.
	Dirty int
	// Unclaimed counts the handles that only pods name. What a tenant makes up must
	// not look like trouble with the volumes of others.
	Unclaimed int
	// Nodes counts the Kubernetes nodes by storage state.
	Nodes map[placement.StorageState]int
	// MatchedNodes and UnmatchedNodes count the storage nodes of the last list by
	// whether a Kubernetes node is known to be the same machine. Replicas on an
	// unmatched one are near to nothing.
	MatchedNodes, UnmatchedNodes int
	// Unmatched are some of the unmatched ones, sorted by id.
	Unmatched []StorageNode
	// LastContact is when storage last gave an answer of use, LastNodeList when it
	// last listed its nodes; zero if it never did.
	LastContact, LastNodeList time.Time
	// NodeList is a number that each node list has another of, 0 before the first. The dates
	// of one list differ by what it takes to read the clock.
	NodeList int64
	// OldestVerified is the longest time ago that any known volume was confirmed.
	OldestVerified time.Time
	// Examples are some handles of each freshness other than fresh, sorted.
	Examples [NumFreshness][]string
	// Problems are what cannot be taken as written on nodes and in their CSINodes.
	Problems []NodeProblem
}

// NumVolumes returns the number of handles that PVs name.
func (s *Summary) NumVolumes() int {
	n := 0
	for _, count := range s.Volumes {
		n += count
	}
	return n
}

// Summarize counts what an index holds. It walks over all records.
func Summarize(ix *Index, examples int) Summary {
	view := ix.view.Load()
	s := Summary{
		Nodes:          map[placement.StorageState]int{},
		MatchedNodes:   view.matched,
		UnmatchedNodes: len(view.unmatched),
		Unmatched:      slices.Clone(view.unmatched[:min(examples, len(view.unmatched))]),
		LastContact:    ix.dateOf(ix.contact.Load()),
		NodeList:       ix.listed.Load(),
		Problems:       view.problems,
	}
	s.LastNodeList = ix.dateOf(s.NodeList)
	for _, node := range view.nodes {
		s.Nodes[node.State]++
	}
	oldest := int64(0)
	for k, r := range ix.volumes.read() {
		if r.pvs == 0 {
			s.Unclaimed++
			continue
		}
		freshness := r.freshness(view)
		s.Volumes[freshness]++
		if r.dirtySince != 0 {
			s.Dirty++
		}
		if r.volume != nil && (oldest == 0 || r.verified < oldest) {
			oldest = r.verified
		}
		if freshness != Fresh && len(s.Examples[freshness]) < examples {
			s.Examples[freshness] = append(s.Examples[freshness], k.handle())
		}
	}
	s.OldestVerified = ix.dateOf(oldest)
	for _, handles := range s.Examples {
		slices.Sort(handles)
	}
	return s
}
