package migrate

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
)

// scores are how loud locality is.
type scores struct {
	// preference is empty for the default.
	preference string
	weight     int
	// tiers are local, rack, zone, region and remote; nil are the defaults.
	tiers []int
}

var (
	scoreArgs = []string{"replica-score", "rack-score", "zone-score", "region-score", "remote-score"}
	tierNames = []string{"local", "rack", "zone", "region", "remote"}

	// What Stork gives with normalize-stork-scores, and without.
	normalized   = []int{4, 3, 2, 1, 0}
	unnormalized = []int{100, 50, 25, 10, 5}

	// normalizing is the first release that knows the argument.
	normalizing = version.MustParseGeneric("26.4.2")
)

const (
	ownWeight = 15
	// extenderScale is what kube-scheduler multiplies the weighted scores of an extender
	// with: extenders score to 10, plugins to 100.
	extenderScale = 10
	maxScore      = 100
	maxWeight     = 10_000
)

// readScores finds the arguments whose product is Stork's. Kube-scheduler adds up 10 times
// weight times score of an extender, and weight times score of a plugin.
func (s *settings) readScores(args *arguments, weight *int64, weightName string) error {
	s.scores = scores{weight: ownWeight}
	given := map[string]int{}
	for _, key := range args.keys() {
		switch {
		case slices.Contains(scoreArgs, key):
			value, err := args.number(key, 0, maxScore)
			if err != nil {
				return err
			}
			given[key] = value
		case strings.HasSuffix(key, "-score"):
			return fmt.Errorf("%s: Stork has no such score: it has %s; correct it, or take it out", args.name(key), strings.Join(scoreArgs, ", "))
		}
	}
	_, said := args.values["normalize-stork-scores"]
	old := s.version != nil && s.version.LessThan(normalizing)
	normalize, err := args.boolean("normalize-stork-scores", !old)
	if err != nil {
		return err
	}
	if weight != nil && (*weight < 1 || *weight > maxWeight) {
		return fmt.Errorf("%s is %d: want a weight from 1 to %d", weightName, *weight, maxWeight)
	}
	if !said && len(given) == 0 && weight == nil {
		if normalize {
			s.lose("Stork's own scores, of which nothing is said: since 26.4.2 they let load decide against the data (normalize-stork-scores). " +
				"Here data decides; for Stork's way write preference: Score, weight: 1 and tierScores 40, 30, 20, 10, 0")
		}
		return nil
	}
	tiers := slices.Clone(unnormalized)
	if normalize {
		tiers = slices.Clone(normalized)
		for i, key := range scoreArgs {
			if value, found := given[key]; found {
				tiers[i] = value
			}
		}
		for i := 1; i < len(tiers); i++ {
			if tiers[i] > tiers[i-1] {
				return fmt.Errorf("%s (%d) is more than %s (%d): a node farther from the data would win; Stork wants them in this order, too",
					args.name(scoreArgs[i]), tiers[i], args.name(scoreArgs[i-1]), tiers[i-1])
			}
		}
		s.scores.preference = "Score"
	} else if len(given) > 0 {
		s.lose(args.name("*-score") + ": Stork does not read them while normalize-stork-scores is off")
	}
	s.scores.weight = 1
	if weight != nil {
		s.scores.weight = int(*weight)
	}
	if tiers[0]*extenderScale <= maxScore {
		for i := range tiers {
			tiers[i] *= extenderScale
		}
	} else {
		s.scores.weight *= extenderScale
	}
	s.scores.tiers = tiers
	from, way := []string{"not normalized"}, "data decides, as before (preference LocalFirst)"
	if normalize {
		from, way = []string{"normalized"}, "load may decide against data, as before (preference Score)"
	}
	if weight != nil {
		from = append(from, fmt.Sprintf("%s %d", weightName, *weight))
	}
	for _, key := range scoreArgs {
		if value, found := given[key]; found && normalize {
			from = append(from, fmt.Sprintf("%s %d", key, value))
		}
	}
	s.carry("Stork's scores (%s) -> the same points on the scale of plugins, weight %d: %s", strings.Join(from, ", "), s.scores.weight, way)
	return nil
}
