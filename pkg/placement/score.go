package placement

// MaxScore is the score of the best node.
const MaxScore = 100

// Relation is how near a node is to a replica, from nearest to farthest.
type Relation uint8

const (
	// Local is the replica node itself.
	Local Relation = iota
	// SameRack is a node in the rack of a replica node.
	SameRack
	// SameZone is a node in its zone.
	SameZone
	// SameRegion is a node in its region.
	SameRegion
	// Remote is any other node.
	Remote
)

// String returns the word that metrics and messages use.
func (r Relation) String() string {
	return [...]string{"local", "rack", "zone", "region", "remote"}[r]
}

// Relate returns the relation of two nodes (S3). Domains are hierarchical, so
// one equal level is enough.
func Relate(n, m *Node) Relation {
	switch a, b := &n.Topology, &m.Topology; {
	case n == m:
		return Local
	case a.Rack != 0 && a.Rack == b.Rack:
		return SameRack
	case a.Zone != 0 && a.Zone == b.Zone:
		return SameZone
	case a.Region != 0 && a.Region == b.Region:
		return SameRegion
	default:
		return Remote
	}
}

// nearest returns the node's nearest relation to a holder that serves (S2). A
// replica whose own storage is down is no better than one in the same rack.
func (s ReplicaSet) nearest(n *Node) Relation {
	best := Remote
	for i := range s {
		h := &s[i]
		if h.Node == nil || !h.State.Serves() {
			continue
		}
		r := Relate(n, h.Node)
		if r == Local && h.State != Online {
			r = SameRack
		}
		if r < best {
			if r == Local {
				return Local
			}
			best = r
		}
	}
	return best
}

// Relation returns the node's nearest relation to any replica of any near
// volume, and false if no near volume is known.
func (p *Plan) Relation(n *Node) (Relation, bool) {
	best := Remote
	if n != nil {
		for _, v := range p.near {
			for _, set := range v.Sets {
				best = min(best, set.nearest(n))
			}
		}
	}
	return best, len(p.near) > 0
}

// Relation returns the node's relation to the volume: the nearest one to a replica of
// the worst replica set, and false if the replicas are not known.
func (v *Volume) Relation(n *Node) (Relation, bool) {
	if v.Unknown || len(v.Sets) == 0 {
		return Remote, false
	}
	worst := Local
	for _, set := range v.Sets {
		r := Remote
		if n != nil {
			r = set.nearest(n)
		}
		worst = max(worst, r)
	}
	return worst, true
}

func (t *Tiers) of(r Relation) int64 {
	switch r {
	case Local:
		return t.Local
	case SameRack:
		return t.Rack
	case SameZone:
		return t.Zone
	case SameRegion:
		return t.Region
	default:
		return t.Remote
	}
}

// NearerThan is the least score of a node that is nearer by one tier than a node of the
// given score, which may be a mean of several volumes: as much more as the next tier has
// than the one that the score is in, and no more than a replica node has.
func (t *Tiers) NearerThan(score int64) int64 {
	tier := t.Remote
	for _, next := range [...]int64{t.Region, t.Zone, t.Rack, t.Local} {
		if next > score {
			return min(score+next-tier, max(t.Local, score+1))
		}
		tier = max(tier, next)
	}
	return score + 1
}

// cutSlack makes up for what binary fractions lose, so that a mean of exactly 50
// is not cut to 49. It is far below what a true mean can lack of a whole number:
// one part in twice the sum of weights times the common multiple of the volumes'
// set counts.
const cutSlack = 1e-9

// Score returns 0..100 for one node; higher is nearer (S1 to S10, F11). Safe for
// concurrent use.
func (p *Plan) Score(n *Node) int64 {
	if len(p.expected) == 0 {
		return p.bound(n) // of nearly all pods, all volumes are there
	}
	score, expected := p.rank(n)
	if score > 0 && len(p.near) > 0 && expected >= 0 && expected <= p.tiers.Remote {
		score-- // of equals, the one where the new volumes can be is better
	}
	return score
}

// rank is the score without regard to new volumes where others decide, and what speaks
// for the node, among those of the same score, by its new volumes; negative if nothing
// does.
func (p *Plan) rank(n *Node) (score, expected int64) {
	score, expected = p.bound(n), -1
	if len(p.near) > 0 && len(p.expected) > 0 && n != nil {
		expected = int64(p.expectations(n) + cutSlack)
	}
	return score, expected
}

// bound is the score by the volumes that are there, or by the new ones if none of those
// is near.
func (p *Plan) bound(n *Node) int64 {
	if n == nil {
		return 0
	}
	if p.storagePod {
		return storagePodScore(n.State)
	}
	if !n.State.Serves() {
		return 0 // S6
	}
	var sum, weights float64
	if p.hasAway { // S5
		if p.away.has(n) {
			return 0
		}
		if n.State == Online {
			sum = MaxScore
		}
		weights = 1
	}
	for _, v := range p.near { // S4
		w := float64(v.Weight)
		sum += w * p.volumeScore(v, n)
		weights += w
	}
	if len(p.near) == 0 { // S10
		for _, e := range p.expected {
			w := float64(e.Weight)
			sum += w * p.expectedScore(e, n)
			weights += w
		}
	}
	if weights == 0 {
		return 0
	}
	return int64(sum/weights + cutSlack)
}

// storagePodScore is F11.
func storagePodScore(s StorageState) int64 {
	switch s {
	case Online:
		return MaxScore
	case StorageDown:
		return MaxScore / 2
	default:
		return 0
	}
}

// volumeScore is S2, or S8 for virtual machines, for one near volume.
func (p *Plan) volumeScore(v *Volume, n *Node) float64 {
	switch p.machine {
	case MachineStarting:
		if v.Attached != nil && v.HeldBy(v.Attached) {
			if n == v.Attached {
				return halvedIfDown(MaxScore, n)
			}
			return p.tierScore(v, n) / 2
		}
	case MachineMigrating:
		return halvedIfDown(migrationScore(v, n), n)
	}
	return p.tierScore(v, n)
}

// migrationScore orders nodes for a live migration (S8): the replica node that
// the volume is attached to, then nodes without a replica, then the others.
func migrationScore(v *Volume, n *Node) float64 {
	switch {
	case !v.HeldBy(n):
		return MaxScore / 2
	case n == v.Attached:
		return MaxScore
	default:
		return 0
	}
}

// tierScore is S2: the mean over the replica sets.
func (p *Plan) tierScore(v *Volume, n *Node) float64 {
	var sum int64
	for _, set := range v.Sets {
		relation := set.nearest(n)
		if v.Spread == SpreadZone && relation <= SameZone {
			relation = Local
		}
		sum += p.tiers.of(relation)
	}
	return halvedIfDown(float64(sum)/float64(len(v.Sets)), n)
}

func halvedIfDown(score float64, n *Node) float64 {
	if n.State == StorageDown {
		return score / 2
	}
	return score
}
