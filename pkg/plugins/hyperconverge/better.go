package hyperconverge

import "github.com/hyperconverge/scheduler/pkg/placement"

// betterThan reports whether a pod that was decided about before fares better
// now, whatever node it is: it is no longer rejected everywhere, or F6, F7 or F9
// leave more nodes. A change of a single node is for opens to see.
func (d *decision) betterThan(old *decision) bool {
	if d.Rejection != nil {
		return false
	}
	if old.Rejection != nil || !d.Concerned {
		return true
	}
	confined, isConfined := d.Plan.Confined()
	if _, wasConfined := old.Plan.Confined(); wasConfined && !isConfined {
		return true
	}
	if old.Plan.Verdict(nil) != placement.Feasible && d.Plan.Verdict(nil) == placement.Feasible {
		return true // a Windows volume: not even the driver is needed any more
	}
	return d.opensOneOf(old, confined) || d.opensOneOf(old, old.Plan.Forbidden())
}

func (d *decision) opensOneOf(old *decision, nodes []*placement.Node) bool {
	for _, n := range nodes {
		if d.opens(old, n.Name) {
			return true
		}
	}
	return false
}

// opens reports whether a node that storage had ruled out has become feasible.
func (d *decision) opens(old *decision, node string) bool {
	return old.verdict(node) != placement.Feasible && d.verdict(node) == placement.Feasible
}
