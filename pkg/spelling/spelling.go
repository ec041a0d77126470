// Package spelling finds the keys that users have meant to write and have not.
package spelling

import (
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// knownKeys are all keys under one of keyPrefixes that mean something, wherever they
// stand.
var knownKeys = slices.DeleteFunc(slices.Concat(placement.PodKeys[:], placement.ClaimKeys), func(key string) bool { return nameOf(key) == "" })

// keyPrefixes are those of Stork and of this project. Stork has keys of other parts
// under the first, for backups, migrations and snapshots.
var keyPrefixes = [...]string{"stork.libopenstorage.org/", "hyperconverge.dev/"}

const (
	// MaxTypos is how many letters a key may be away from a known one, capitals apart,
	// to be taken for it. The names of Stork's other keys are further away.
	MaxTypos = 2
	// maxSpelling bounds how many keys of one object are compared: an object has room
	// for thousands.
	maxSpelling = 32
)

// Misspelt returns the keys of annotations or parameters that mean nothing, but nearly
// are one that does, in the order of the keys. Of an object with a great many unknown
// keys some are left out.
func Misspelt(values map[string]string) []placement.Problem {
	var unknown []string
	for key := range values {
		if nameOf(key) == "" || slices.Contains(knownKeys, key) {
			continue
		}
		if unknown = append(unknown, key); len(unknown) == maxSpelling {
			break
		}
	}
	slices.Sort(unknown)
	var problems []placement.Problem
	for _, key := range unknown {
		if meant := nearestKey(key); meant != "" {
			problems = append(problems, placement.Problem{Key: key, Value: placement.Excerpt(values[key]), Detail: "has no effect: did you mean " + meant + "?"})
		}
	}
	return problems
}

// Typos is how many letters two words differ in, capitals apart.
func Typos(a, b string) int {
	return levenshtein.ComputeDistance(strings.ToLower(a), strings.ToLower(b))
}

// nameOf is a key of this project or of Stork without its prefix, empty for others and
// for what the API takes for no key: a webhook sees that, too.
func nameOf(key string) string {
	for _, prefix := range keyPrefixes {
		if name, found := strings.CutPrefix(key, prefix); found && !strings.ContainsFunc(name, isOdd) {
			return name
		}
	}
	return ""
}

func isOdd(r rune) bool {
	return ('a' > r || r > 'z') && ('A' > r || r > 'Z') && ('0' > r || r > '9') && r != '-' && r != '_' && r != '.'
}

// nearestKey is the known key that somebody has meant who wrote another, empty if there
// is none.
func nearestKey(key string) string {
	name := nameOf(key)
	nearest, typos := "", MaxTypos+1
	for _, known := range knownKeys {
		knownName := nameOf(known)
		if difference := len(name) - len(knownName); difference > MaxTypos || difference < -MaxTypos {
			continue
		}
		if n := Typos(name, knownName); n < typos {
			nearest, typos = known, n
		}
	}
	return nearest
}
