package placement

// Locality says how a pod that has a node stands to its data (section 11).
type Locality uint8

const (
	// LocalityNone is a pod of which no volume has a wish, or for which locality does
	// not count (S1, F11).
	LocalityNone Locality = iota
	// LocalityLocal pods run on a replica node of every near volume.
	LocalityLocal
	// LocalityPartly pods run on a replica node of some near volumes, or on a node that
	// holds some replica sets of one.
	LocalityPartly
	// LocalityRemote pods run on a node that holds nothing of their near volumes, or on
	// one of those that an away volume wants them off.
	LocalityRemote
	// LocalityAway pods have away volumes only, and run on none of the nodes that hold
	// a replica of one.
	LocalityAway
	// LocalityUnknown pods have a volume with a wish whose replicas are not known.
	LocalityUnknown
)

// String returns the word that metrics and messages use; it is empty for LocalityNone.
func (l Locality) String() string {
	return [...]string{"", "local", "partly", "remote", "away", "unknown"}[l]
}

// LocalityOf tells how a pod stands to its data on a node, which is nil if the view
// does not have it. It looks at nothing but volumes and node: a pod that runs keeps
// its locality, whatever would be decided about it today.
func LocalityOf(pod *Pod, n *Node) Locality {
	if pod.StoragePod || pod.Off {
		return LocalityNone
	}
	var near, local int
	var partly, away, onReplica bool
	for i := range pod.Volumes {
		v := &pod.Volumes[i]
		switch {
		case v.Kind == Neutral:
		case v.Unknown:
			return LocalityUnknown
		case len(v.Sets) == 0: // S7
		case !v.draws(pod.Machine):
			away = true
			v.eachHolderNode(func(holder *Node) { onReplica = onReplica || holder == n })
		default:
			near++
			switch {
			case n == nil:
			case v.servedBy(n):
				local++
			case v.touchedBy(n):
				partly = true
			}
		}
	}
	switch {
	case near > 0 && local == near:
		return LocalityLocal
	case local > 0 || partly:
		return LocalityPartly
	case near > 0 || onReplica:
		return LocalityRemote
	case away:
		return LocalityAway
	default:
		return LocalityNone
	}
}
