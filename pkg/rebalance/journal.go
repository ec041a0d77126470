package rebalance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

const (
	// MaxCooldown is the longest that an owner is left alone. For as long a time after its
	// end a cool-down is remembered, so that the next one is longer.
	MaxCooldown = 7 * 24 * time.Hour
	// maxCooldowns bounds the journal, which has to fit into a ConfigMap of 1 MiB: an entry
	// has 250 bytes, and 900 where names are as long as they may be.
	maxCooldowns = 1000
	// answerTimeout is how long after it was noted an eviction whose answer is not known may be on
	// its way.
	answerTimeout = time.Minute
)

// Journal is what has to outlive the process. An eviction is noted before it is asked for, so
// that none is forgotten.
type Journal struct {
	Halt      *Halt      `json:"halt,omitempty"`
	Evictions []Eviction `json:"evictions,omitempty"`
	Cooldowns []Cooldown `json:"cooldowns,omitempty"`
	// Recent are the times of the evictions of the last hour.
	Recent []time.Time `json:"recent,omitempty"`
}

// Halt is why nobody goes home until an administrator says so.
type Halt struct {
	// ID is what ResumeAnnotation has to say.
	ID      string `json:"id"`
	Message string `json:"message"`
}

// Eviction is a pod on its way.
type Eviction struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	Owner     types.UID `json:"owner"`
	OwnerKind string    `json:"ownerKind"`
	OwnerName string    `json:"ownerName"`
	// From is the node that it leaves, To where it should land.
	From string `json:"from"`
	To   string `json:"to"`
	// Volume is one that it goes for.
	Volume string    `json:"volume,omitempty"`
	At     time.Time `json:"at"`
	// Deadline is when the successor has to be ready.
	Deadline time.Time `json:"deadline"`
	// Newest is when the youngest pod of the owner was made, by the clock of the API server:
	// successors are younger.
	Newest time.Time `json:"newest"`
	// Accepted says that the API server has taken the eviction, or KubeVirt the migration.
	Accepted bool `json:"accepted,omitempty"`
	Machine  bool `json:"machine,omitempty"`
}

// Cooldown is an owner of which a pod has not come home.
type Cooldown struct {
	Owner     types.UID `json:"owner"`
	Kind      string    `json:"kind"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Failures  int       `json:"failures"`
	Until     time.Time `json:"until"`
}

// EvictionResult is how an eviction has ended.
type EvictionResult string

// Results. Refused and Failed are those of the eviction itself, the others are found by
// Follow.
const (
	// Home: the successor is ready and has all its data.
	Home EvictionResult = "home"
	// Nearer: it is ready where it should land, which has a part of its data.
	Nearer EvictionResult = "nearer"
	// Elsewhere: it is ready, and not home; the owner cools down.
	Elsewhere EvictionResult = "elsewhere"
	// Stayed: the machine has not migrated; the owner cools down.
	Stayed EvictionResult = "stayed"
	// Late: no successor was ready in time; nobody goes home from then on.
	Late EvictionResult = "late"
	// NotReplaced: the owner is gone, or was scaled down. An owner that is not listed is
	// gone if it has no pod at the deadline: its machine was stopped.
	NotReplaced EvictionResult = "not-replaced"
	// NotBegun: the note was written, and the eviction never made.
	NotBegun EvictionResult = "not-begun"
	// Refused: a PodDisruptionBudget, or KubeVirt, did not let the pod go.
	Refused EvictionResult = "refused"
	// Failed: the API server did not take the eviction.
	Failed EvictionResult = "failed"
)

// Results are all of them.
func Results() []EvictionResult {
	return []EvictionResult{Home, Nearer, Elsewhere, Stayed, Late, NotReplaced, NotBegun, Refused, Failed}
}

// EvictionOutcome is the end of one eviction.
type EvictionOutcome struct {
	Eviction
	Result EvictionResult
	// Successor is nil if there is none.
	Successor *RunningPod
	// Cooldown is set if the owner is left alone.
	Cooldown *Cooldown
}

// Encode writes the journal as it is kept, without the escapes for HTML, with which names that
// tenants choose have six times their length.
func (j *Journal) Encode() ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(j)
	return text.Bytes(), err
}

// DecodeJournal reads what Encode wrote; nothing is an empty journal.
func DecodeJournal(data []byte) (*Journal, error) {
	j := &Journal{}
	if len(data) == 0 {
		return j, nil
	}
	if err := json.Unmarshal(data, j); err != nil {
		return nil, fmt.Errorf("reading the journal of evictions: %w", err)
	}
	return j, nil
}

// Clone copies a journal, which is written before it counts.
func (j *Journal) Clone() *Journal {
	copied := *j
	copied.Evictions, copied.Cooldowns, copied.Recent = slices.Clone(j.Evictions), slices.Clone(j.Cooldowns), slices.Clone(j.Recent)
	return &copied
}

func (j *Journal) cooldown(owner types.UID) *Cooldown {
	for i := range j.Cooldowns {
		if j.Cooldowns[i].Owner == owner {
			return &j.Cooldowns[i]
		}
	}
	return nil
}

func (j *Journal) underWay(owner types.UID) bool {
	return slices.ContainsFunc(j.Evictions, func(e Eviction) bool { return e.Owner == owner })
}

// ofHour reports whether a time is one of the last hour. The clock of another leader may be a
// little ahead; a time that is further ahead is that of a clock which was wrong.
func ofHour(now, at time.Time) bool { return now.Sub(at).Abs() < time.Hour }

func (j *Journal) withinHour(now time.Time) (n int) {
	for _, at := range j.Recent {
		if ofHour(now, at) {
			n++
		}
	}
	return n
}

// giveBack frees the place of the hour that an eviction had which was never made.
func (j *Journal) giveBack(e *Eviction) {
	if k := slices.IndexFunc(j.Recent, e.At.Equal); k >= 0 {
		j.Recent = slices.Delete(j.Recent, k, k+1)
	}
}

// full reports whether another failure would find no room.
func (j *Journal) full() bool { return len(j.Cooldowns)+len(j.Evictions) >= maxCooldowns }

// Begin notes a move that is about to be made.
func (j *Journal) Begin(now time.Time, c *Configuration, s *ClusterState, m *Move) *Eviction {
	p, owner := m.Pod, s.Owners[m.Pod.Owner]
	e := Eviction{
		Namespace: p.Namespace, Name: p.Name, UID: p.UID, Owner: p.Owner, OwnerKind: owner.Kind, OwnerName: owner.Name,
		From: p.Node, To: m.Node, At: now, Deadline: now.Add(min(p.Grace, maxGrace) + c.ReadyTimeout.Duration),
		Newest: countByOwner(s)[p.Owner].newest, Machine: p.Machine != NoMachine,
	}
	if i := slices.IndexFunc(p.Volumes, func(v VolumeState) bool { return !v.Here }); i >= 0 {
		e.Volume = p.Volumes[i].Name
	}
	j.Evictions = append(j.Evictions, e)
	j.Recent = append(slices.DeleteFunc(j.Recent, func(at time.Time) bool { return !ofHour(now, at) }), now)
	return &j.Evictions[len(j.Evictions)-1]
}

// Accept notes that an eviction was taken.
func (j *Journal) Accept(uid types.UID) {
	for i := range j.Evictions {
		if j.Evictions[i].UID == uid {
			j.Evictions[i].Accepted = true
		}
	}
}

// Doubtful are the evictions of which it should be known by now whether they were made.
func (j *Journal) Doubtful(now time.Time) (doubtful []Eviction) {
	for _, e := range j.Evictions {
		if !e.Accepted && now.Sub(e.At) > answerTimeout {
			doubtful = append(doubtful, e)
		}
	}
	return doubtful
}

// Withdraw takes back the note of an eviction that was not taken.
func (j *Journal) Withdraw(uid types.UID) {
	for i := range j.Evictions {
		if e := j.Evictions[i]; e.UID == uid {
			j.Evictions = slices.Delete(j.Evictions, i, i+1)
			j.giveBack(&e)
			return
		}
	}
}

// Resume ends the halt that the annotation names. It reports whether there was one.
func (j *Journal) Resume(annotation string) bool {
	if j.Halt == nil || j.Halt.ID != annotation {
		return false
	}
	j.Halt = nil
	return true
}

// Follow looks at all evictions that are under way, and returns those that have ended. What
// has run out is forgotten.
func (j *Journal) Follow(now time.Time, c *Configuration, s *ClusterState) []EvictionOutcome {
	var ended []EvictionOutcome
	left := j.Evictions[:0:0]
	for _, e := range j.Evictions {
		result, successor := e.follow(now, s)
		if result == "" {
			left = append(left, e)
			continue
		}
		o := EvictionOutcome{Eviction: e, Result: result, Successor: successor}
		switch result {
		case Home:
			j.Cooldowns = slices.DeleteFunc(j.Cooldowns, func(d Cooldown) bool { return d.Owner == e.Owner })
		case Nearer, Elsewhere, Stayed:
			o.Cooldown = j.cool(now, c, &e)
		case Late:
			o.Cooldown = j.cool(now, c, &e)
			j.halt(now, &e)
		case NotBegun:
			j.giveBack(&e)
		}
		ended = append(ended, o)
	}
	j.Evictions = left
	if j.full() { // what has run out is remembered only as long as there is room
		j.Cooldowns = slices.DeleteFunc(j.Cooldowns, func(d Cooldown) bool { return now.After(d.Until) })
	}
	j.Cooldowns = slices.DeleteFunc(j.Cooldowns, func(d Cooldown) bool {
		return now.Sub(d.Until) > MaxCooldown || Listed(d.Kind) && s.Owners[d.Owner] == nil
	})
	return ended
}

// cool leaves an owner alone for twice as long as the last time.
func (j *Journal) cool(now time.Time, c *Configuration, e *Eviction) *Cooldown {
	d := j.cooldown(e.Owner)
	if d == nil {
		j.Cooldowns = append(j.Cooldowns, Cooldown{Owner: e.Owner, Kind: e.OwnerKind, Namespace: e.Namespace, Name: e.OwnerName})
		d = &j.Cooldowns[len(j.Cooldowns)-1]
	}
	length := c.Cooldown.Duration
	for range d.Failures {
		length = min(2*length, MaxCooldown)
	}
	d.Failures++
	d.Until = now.Add(length)
	copied := *d
	return &copied
}

func (j *Journal) halt(now time.Time, e *Eviction) {
	if j.Halt != nil {
		return // the first one tells why
	}
	j.Halt = &Halt{ID: now.UTC().Format(time.RFC3339), Message: fmt.Sprintf(
		"pod %s/%s of %s %s was evicted from %s at %s, and no successor was ready at %s",
		e.Namespace, e.Name, e.OwnerKind, e.OwnerName, e.From, e.At.UTC().Format(time.RFC3339), e.Deadline.UTC().Format(time.RFC3339))}
}

// follow tells how an eviction has ended; empty if it has not.
func (e *Eviction) follow(now time.Time, s *ClusterState) (EvictionResult, *RunningPod) {
	var old, successor *RunningPod
	ready := 0
	for i := range s.Pods {
		p := &s.Pods[i]
		switch {
		case p.UID == e.UID:
			old = p
		case p.Owner != e.Owner || p.Terminating:
		default:
			if !p.ReadySince.IsZero() {
				ready++
			}
			succeeds := p.Created.After(e.Newest)
			if e.OwnerKind == kindStatefulSet { // others of the set may be made at the same time
				succeeds = p.Name == e.Name
			}
			if succeeds && (successor == nil || p.Created.Before(successor.Created)) {
				successor = p
			}
		}
	}
	late := now.After(e.Deadline)
	owner := s.Owners[e.Owner]
	switch {
	case old != nil && !old.Terminating && !e.Accepted && now.Sub(e.At) > answerTimeout:
		return NotBegun, nil
	case old != nil && !late:
		return "", nil
	case old != nil && !old.Terminating:
		return Stayed, nil
	// A pod that never ends is no reason to halt once its successor serves.
	case successor != nil && !successor.ReadySince.IsZero():
		return e.judge(successor, late), successor
	case owner == nil && (late || Listed(e.OwnerKind)), owner != nil && owner.Gone, owner != nil && owner.Known && ready >= owner.Wanted:
		return NotReplaced, nil
	case late && old != nil && successor == nil:
		return Stayed, nil // who keeps a pod from ending halts nobody
	case late:
		return Late, successor
	default:
		return "", nil
	}
}

// judge tells whether a successor that is ready is home. While that is not known, as when
// storage does not answer, it is waited for.
func (e *Eviction) judge(p *RunningPod, late bool) EvictionResult {
	switch p.Locality {
	case placement.LocalityLocal, placement.LocalityAway, placement.LocalityNone:
		return Home
	case placement.LocalityUnknown:
		if !late {
			return ""
		}
		return Elsewhere
	case placement.LocalityPartly:
		if p.Node == e.To {
			return Nearer
		}
	}
	return Elsewhere
}
