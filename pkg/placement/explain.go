package placement

import "strconv"

// Rule is a rule of docs/behaviour.md.
type Rule struct {
	// Number is F1 to F16, S1 to S11, or the section that has the rule.
	Number string
	// Name says in a few words what it does.
	Name string
}

// rulesOfReasons are the rules behind the reasons, for those who look one up.
var rulesOfReasons = map[string]Rule{
	ReasonRestoring:         {"F2", "a claim waits for its restore"},
	ReasonClaimMissing:      {"F3", "claims must exist"},
	ReasonClaimNotOwned:     {"F3", "claims must exist"},
	ReasonClaimLost:         {"F3", "claims must exist"},
	ReasonNodeUnschedulable: {"F4", "the storage operator closes nodes"},
	ReasonNoDriver:          {"F5", "nodes must run the driver"},
	ReasonDegraded:          {"F5", "nodes must run the driver"},
	ReasonOffline:           {"F5", "nodes must run the driver"},
	ReasonNotFast:           {"F14", "volumes with fastpath work on their replica nodes only"},
	ReasonFastUnknown:       {"F14", "volumes with fastpath work on their replica nodes only"},
	ReasonFastStale:         {"F14", "volumes with fastpath work on their replica nodes only"},
	ReasonFastNowhere:       {"F14", "volumes with fastpath work on their replica nodes only"},
	ReasonFastNoRoom:        {"F14", "volumes with fastpath work on their replica nodes only"},
	ReasonNotLocalYet:       {"F16", "soft pods may wait for a replica node"},
	ReasonWaitNoRoom:        {"F16", "soft pods may wait for a replica node"},
	ReasonNotLocal:          {"F6", "strict pods run on replica nodes only"},
	ReasonStrictUnknown:     {"F6", "strict pods run on replica nodes only"},
	ReasonStrictStale:       {"F6", "strict pods run on replica nodes only"},
	ReasonStrictNowhere:     {"F6", "strict pods run on replica nodes only"},
	ReasonStrictNoRoom:      {"F6", "strict pods run on replica nodes only"},
	ReasonNoNewReplica:      {"F15", "strict pods need nodes that may hold their new volumes"},
	ReasonRemoteOnly:        {"F7", "replica nodes of preferRemoteNodeOnly are forbidden"},
	ReasonNoOnlineReplica:   {"F8", "some replica must be online"},
	ReasonStrictRemoteOnly:  {"F10", "strict and remote-only contradict"},
	ReasonTooManyVolumes:    {"F12", "too many volumes"},
	ReasonHandleInvalid:     {"F13", "volume ids have a length"},
	ReasonVolumeUnknown:     {"section 7", "a moment's wait for replicas of a new volume"},
}

// RuleOf is the rule behind one of the reasons; zero for any other text.
func RuleOf(reason string) Rule { return rulesOfReasons[reason] }

// Rule is the one that says what a volume of the pod does to its placement.
func (v *Volume) Rule(p *Pod) Rule {
	switch {
	case p.StoragePod:
		return Rule{"F11", "storage's own pods go to nodes that are online"}
	case v.Unknown && v.Kind != Neutral && p.Strict:
		return RuleOf(ReasonStrictUnknown)
	case v.Unknown && v.Fast:
		return RuleOf(ReasonFastUnknown)
	case v.Unknown && v.Kind != Neutral:
		return Rule{"section 7", "replicas are not known, the volume has no say"}
	case v.Windows:
		return Rule{"F9", "Windows volumes go anywhere"}
	case !v.usable():
		return RuleOf(ReasonNoOnlineReplica)
	case p.Strict && v.Kind == Near:
		return RuleOf(ReasonNotLocal)
	case v.Fast:
		return RuleOf(ReasonNotFast)
	case p.Off:
		return Rule{"S1", "locality is off, all nodes are equal"}
	case v.Kind == Away && v.RemoteOnly:
		return RuleOf(ReasonRemoteOnly)
	case v.Kind != Neutral && p.Machine != NoMachine:
		return Rule{"S8", "disks of a virtual machine"}
	case v.Kind == Away:
		return Rule{"S5", "off the replica nodes"}
	case v.Kind == Neutral:
		return Rule{"S1", "no say, all nodes are equal"}
	case len(v.Sets) == 0:
		return Rule{"S7", "no replicas, no say"}
	default:
		return Rule{"S2", "near a replica"}
	}
}

// Known reports whether anything can be told of where the volume will lie.
func (e *Expected) Known() bool { return e.Source != nil || e.Rules != nil }

// Rule is the one that says what the new volume does to the placement of the pod.
func (e *Expected) Rule(p *Pod) Rule {
	switch {
	case !e.Known():
		return Rule{"section 12", "where it will lie cannot be told"}
	case e.Kind != Near:
		return Rule{"section 12", "will not want to be near"}
	case e.Source != nil && !p.Off:
		return Rule{"S10", "a copy is expected where its source lies"}
	case p.Strict || e.Fast:
		return RuleOf(ReasonNoNewReplica)
	case p.Off:
		return Rule{"S1", "locality is off, all nodes are equal"}
	default:
		return Rule{"S10", "expected where strategy and class let it lie"}
	}
}

// Likely are the nodes where replicas are expected most, a few of them, sorted by name if
// rules decide.
func (e *Expected) Likely() []*Node {
	switch {
	case e.Source != nil:
		return ReplicaNodes([]*Volume{e.Source})
	case e.Candidates != nil && len(e.Candidates.groups) > 0 && !e.Candidates.even:
		return e.Candidates.groups[0][:min(len(e.Candidates.groups[0]), OfferLimit)]
	default:
		return nil
	}
}

// String returns the word that users read.
func (k Kind) String() string { return [...]string{"neutral", "near", "away"}[k] }

// String returns the place as users know it.
func (o Origin) String() string { return [...]string{"claim", "label", "class", "default"}[o] }

// Setting is one key of a volume as it is in force.
type Setting struct {
	Key, Value string
	// Origin is where the value stands; FromDefault if nowhere.
	Origin Origin
}

// SettingsOf returns the keys of a volume as they are in force, in the order of
// VolumeKeys. Values that cannot be taken as written are returned as written.
func SettingsOf(traits Traits, sources Sources) []Setting {
	settings := make([]Setting, 0, len(VolumeKeys))
	for _, key := range VolumeKeys {
		value, origin, found := sources.find(key)
		switch {
		case found:
		case key == VolumeWeight:
			value, origin = strconv.Itoa(defaultWeight), FromDefault
		case key == VolumeSpread:
			value, origin = string(SpreadNone), FromDefault
		default:
			value, origin = strconv.FormatBool(traits.byDefault(key)), FromDefault
		}
		settings = append(settings, Setting{Key: key, Value: Excerpt(value), Origin: origin})
	}
	return settings
}
