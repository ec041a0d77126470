// Package validation checks the arguments of the Hyperconverge plugin after they
// have been defaulted.
package validation

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	apivalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

const (
	// minWatchBackoff keeps a typo such as 30ms from hammering the storage servers,
	// which do not survive watches that come and go.
	minWatchBackoff = time.Second
	// minPollInterval does the same for the lists of nodes and volumes.
	minPollInterval = 100 * time.Millisecond
	// minRequestTimeout lets a server answer at all.
	minRequestTimeout = 100 * time.Millisecond
)

// ValidateHyperconvergeArgs reports everything that is wrong with the arguments,
// each error with the path of its field below path. It does no I/O: whether
// files exist and the endpoint answers shows when the plugin starts.
func ValidateHyperconvergeArgs(path *field.Path, args *config.HyperconvergeArgs) error {
	var errs field.ErrorList
	errs = append(errs, validatePreference(path.Child("preference"), args.Preference)...)
	errs = append(errs, validateTierScores(path.Child("tierScores"), &args.TierScores)...)
	errs = append(errs, validateWait(path.Child("waitForLocal"), args.WaitForLocal)...)
	errs = append(errs, validateLocalFirst(path.Child("localFirst"), &args.LocalFirst)...)
	errs = append(errs, validateTopologyKeys(path.Child("topologyKeys"), &args.TopologyKeys)...)
	errs = append(errs, validateDrivers(path.Child("drivers"), args.Drivers)...)
	errs = append(errs, validatePositive(path.Child("unknownVolumeGracePeriod"), args.UnknownVolumeGracePeriod)...)
	errs = append(errs, validateMaxStaleness(path.Child("maxStaleness"), args)...)
	errs = append(errs, validateOpenStorage(path.Child("openStorage"), &args.OpenStorage)...)
	errs = append(errs, validateDebugPort(path.Child("debugPort"), args.DebugPort)...)
	return errs.ToAggregate()
}

// validateDebugPort takes 0 for off.
func validateDebugPort(path *field.Path, port int32) field.ErrorList {
	if port == 0 {
		return nil
	}
	var errs field.ErrorList
	for _, detail := range apivalidation.IsValidPortNum(int(port)) {
		errs = append(errs, field.Invalid(path, port, detail+", or 0 to turn the endpoint off"))
	}
	return errs
}

func validatePreference(path *field.Path, preference placement.Preference) field.ErrorList {
	switch preference {
	case placement.LocalFirst, placement.ScoreOnly:
		return nil
	default:
		return field.ErrorList{field.NotSupported(path, preference,
			[]placement.Preference{placement.LocalFirst, placement.ScoreOnly})}
	}
}

func validateWait(path *field.Path, wait metav1.Duration) field.ErrorList {
	if wait.Duration < 0 || wait.Duration > placement.MaxWait {
		return field.ErrorList{field.Invalid(path, wait.Duration.String(), fmt.Sprintf("must be 0s to %s", placement.MaxWait))}
	}
	return nil
}

func validateLocalFirst(path *field.Path, args *config.LocalFirst) field.ErrorList {
	var errs field.ErrorList
	for _, limit := range []struct{ name, percent string }{
		{"cpu", args.MaxAllocation.CPU}, {"memory", args.MaxAllocation.Memory}, {"pods", args.MaxAllocation.Pods},
	} {
		if limit.percent == "" {
			continue
		}
		if _, err := placement.PercentOf(limit.percent); err != nil {
			errs = append(errs, field.Invalid(path.Child("maxAllocation", limit.name), limit.percent, err.Error()))
		}
	}
	if !slices.Contains(placement.Spreads[:], args.Spread) {
		errs = append(errs, field.NotSupported(path.Child("spread"), args.Spread, placement.Spreads[:]))
	}
	if args.MaxSkew < 1 {
		errs = append(errs, field.Invalid(path.Child("maxSkew"), args.MaxSkew, "must be at least 1"))
	}
	return errs
}

// validateTierScores wants every score in the range of the scheduler, and none
// that makes a farther node look better than a nearer one.
func validateTierScores(path *field.Path, scores *config.TierScores) field.ErrorList {
	tiers := []struct {
		name  string
		score int64
	}{
		{"local", scores.Local},
		{"rack", scores.Rack},
		{"zone", scores.Zone},
		{"region", scores.Region},
		{"remote", scores.Remote},
	}
	var errs field.ErrorList
	for i, tier := range tiers {
		if tier.score < fwk.MinNodeScore || tier.score > fwk.MaxNodeScore {
			errs = append(errs, field.Invalid(path.Child(tier.name), tier.score,
				fmt.Sprintf("must be %d to %d", fwk.MinNodeScore, fwk.MaxNodeScore)))
			continue
		}
		if i == 0 {
			continue
		}
		if nearer := tiers[i-1]; tier.score > nearer.score {
			errs = append(errs, field.Invalid(path.Child(tier.name), tier.score,
				fmt.Sprintf("must not be more than %s, which is nearer and scores %d; scores that are left out have their defaults", nearer.name, nearer.score)))
		}
	}
	return errs
}

func validateTopologyKeys(path *field.Path, keys *config.TopologyKeys) field.ErrorList {
	var errs field.ErrorList
	for _, level := range []struct {
		name string
		keys []string
	}{
		{"region", keys.Region},
		{"zone", keys.Zone},
		{"rack", keys.Rack},
	} {
		errs = append(errs, validateNames(path.Child(level.name), level.keys)...)
	}
	return errs
}

func validateDrivers(path *field.Path, drivers []string) field.ErrorList {
	if len(drivers) == 0 {
		return field.ErrorList{field.Required(path, "without a driver no volume is ours; leave the field out for the default names")}
	}
	return validateNames(path, drivers)
}

// validateNames wants names of the form [prefix/]name, each of them once. Label
// keys, CSI driver names and in-tree provisioner names are all of that form.
func validateNames(path *field.Path, names []string) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, name := range names {
		switch {
		case name == "":
			errs = append(errs, field.Required(path.Index(i), "must not be empty"))
		case len(apivalidation.IsQualifiedName(name)) > 0:
			errs = append(errs, field.Invalid(path.Index(i), name,
				"must be [prefix/]name: letters, digits, '-', '_' and '.', the prefix a DNS name, the name at most 63 characters"))
		case seen.Has(name):
			errs = append(errs, field.Duplicate(path.Index(i), name))
		}
		seen.Insert(name)
	}
	return errs
}

func validatePositive(path *field.Path, duration metav1.Duration) field.ErrorList {
	if duration.Duration <= 0 {
		return field.ErrorList{field.Invalid(path, duration.Duration.String(), "must be more than zero")}
	}
	return nil
}

func validateAtLeast(path *field.Path, duration metav1.Duration, least time.Duration) field.ErrorList {
	if duration.Duration < least {
		return field.ErrorList{field.Invalid(path, duration.Duration.String(), fmt.Sprintf("must be at least %s", least))}
	}
	return nil
}

// validateMaxStaleness wants the data of one node poll to live until the next has
// answered. Polls do not keep time to the second, hence a whole interval to spare.
func validateMaxStaleness(path *field.Path, args *config.HyperconvergeArgs) field.ErrorList {
	if errs := validatePositive(path, args.MaxStaleness); errs != nil {
		return errs
	}
	poll, timeout := args.OpenStorage.NodePollInterval.Duration, args.OpenStorage.RequestTimeout.Duration
	if (args.MaxStaleness.Duration-timeout)/2 < poll {
		return field.ErrorList{field.Invalid(path, args.MaxStaleness.Duration.String(),
			fmt.Sprintf("must be at least %s, two openStorage.nodePollInterval (%s) and one openStorage.requestTimeout (%s), or data goes stale between two polls",
				2*poll+timeout, poll, timeout))}
	}
	return nil
}
