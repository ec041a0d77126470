package placement

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxWait is the longest time that a soft pod waits for a replica node.
const MaxWait = time.Hour

// Allocation are limits of what may be requested on a node, in percent of what it can
// allocate, 1 to 100; 0 for no limit.
type Allocation struct{ CPU, Memory, Pods int64 }

// Limited reports whether there is any limit.
func (a Allocation) Limited() bool { return a != Allocation{} }

// PercentOf reads a limit: a whole number from 1 to 100 with a percent sign. The error says
// how to write what was meant.
func PercentOf(text string) (int64, error) {
	number, signed := strings.CutSuffix(strings.TrimSpace(text), "%")
	percent, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	switch {
	case err != nil:
		return 0, errors.New("is no percentage: write for example 90%")
	case percent < 1:
		return 0, errors.New("is less than 1%: write 1% or more, or leave it out")
	case percent > 100:
		return 0, errors.New("is more than 100%: write 100% or less, or leave it out")
	case !signed:
		return 0, fmt.Errorf("has no percent sign: write %d%%", percent)
	}
	return percent, nil
}

// allocationOf reads the value of PodMaxAllocation.
func allocationOf(value string) (*Allocation, *Problem) {
	problem := func(detail string) (*Allocation, *Problem) {
		return nil, &Problem{Key: PodMaxAllocation, Value: Excerpt(value), Detail: detail + "; the limits of the profile are used"}
	}
	var a Allocation
	for entry := range strings.SplitSeq(Excerpt(value), ",") {
		name, text, _ := strings.Cut(entry, "=")
		limit, known := map[string]*int64{"cpu": &a.CPU, "memory": &a.Memory, "pods": &a.Pods}[strings.ToLower(strings.TrimSpace(name))]
		if !known {
			return problem("names something else than cpu, memory and pods: write for example cpu=90%,memory=95%")
		}
		percent, err := PercentOf(text)
		if err != nil {
			return problem(strings.TrimSpace(name) + " " + err.Error())
		}
		*limit = percent
	}
	return &a, nil
}

// waitOf reads the value of PodWaitForLocal.
func waitOf(value string) (*time.Duration, *Problem) {
	problem := func(detail string) (*time.Duration, *Problem) {
		return nil, &Problem{Key: PodWaitForLocal, Value: Excerpt(value), Detail: detail + "; what the profile says is used"}
	}
	text := strings.TrimSpace(Excerpt(value))
	wait, err := time.ParseDuration(text)
	switch {
	case err != nil:
		if seconds, err := strconv.ParseUint(text, 10, 12); err == nil && time.Duration(seconds)*time.Second <= MaxWait {
			return problem(fmt.Sprintf("has no unit: write %ds", seconds))
		}
		return problem("is no duration: write for example 90s")
	case wait < 0:
		return problem("is less than nothing: write 0s")
	case wait > MaxWait:
		return problem("is more than an hour: write 1h")
	}
	return &wait, nil
}

// readLimits reads what a soft pod says of how much locality is worth to it.
func (p *PodPolicy) readLimits(annotations map[string]string) (problems []Problem) {
	soft := func(key, value string) bool {
		by := ""
		switch {
		case p.Strict:
			by = PodPreferLocalOnly
		case p.Off:
			by = "locality that is off"
		default:
			return true
		}
		problems = append(problems, Problem{Key: key, Value: Excerpt(value), Detail: "has no effect beside " + by})
		return false
	}
	if value, found := annotations[PodWaitForLocal]; found {
		wait, problem := waitOf(value)
		if problem != nil {
			problems = append(problems, *problem)
		} else if soft(PodWaitForLocal, value) {
			p.Wait = wait
		}
	}
	if value, found := annotations[PodMaxAllocation]; found {
		limits, problem := allocationOf(value)
		if problem != nil {
			problems = append(problems, *problem)
		} else if soft(PodMaxAllocation, value) {
			p.MaxAllocation = limits
		}
	}
	return problems
}

// Spread says how the pods of a shared volume are to stand to its replica nodes.
type Spread string

const (
	// SpreadNone lets all nodes that are equally near take as many as they like.
	SpreadNone Spread = "None"
	// SpreadReplicas keeps the numbers of the volume's pods on the nodes of an offer even.
	SpreadReplicas Spread = "Replicas"
	// SpreadZone makes all nodes in the zone of a replica as good as the replica node, so
	// that the pods' own wishes decide among them.
	SpreadZone Spread = "Zone"
)

// Spreads are all of them.
var Spreads = [...]Spread{SpreadNone, SpreadReplicas, SpreadZone}

// SpreadOf reads the value of VolumeSpread; empty if it means nothing.
func SpreadOf(value string) (Spread, *Problem) {
	advice := "None, Replicas or Zone"
	for _, s := range Spreads {
		if string(s) == value {
			return s, nil
		}
		if strings.EqualFold(string(s), strings.TrimSpace(value)) {
			advice = string(s)
		}
	}
	return "", &Problem{Key: VolumeSpread, Value: Excerpt(value), Detail: "means nothing, what the profile says is used: write " + advice}
}

// WaitsUntil is until when a soft pod waits for a replica node (F16); zero if it does not.
func (p *Pod) WaitsUntil(settings *Settings) time.Time {
	wait := settings.Wait
	if p.Wait != nil {
		wait = *p.Wait
	}
	if wait <= 0 || p.Strict || p.Off || p.StoragePod || p.Machine != NoMachine || p.Created.IsZero() {
		return time.Time{}
	}
	return p.Created.Add(wait)
}

// wait applies F16: for a while a soft pod has the replica nodes of all its near volumes
// only, or of any of them where no node has all. It does not wait for nodes of which none
// can ever take it.
func (d *Decision) wait(pod *Pod, settings *Settings, now time.Time) {
	until := pod.WaitsUntil(settings)
	if !now.Before(until) || d.Plan.confined || d.Plan.windows || len(d.Plan.near) == 0 {
		return
	}
	nodes := d.Plan.near[0].replicaNodes()
	for _, v := range d.Plan.near[1:] {
		nodes = nodes.keep(v.HeldBy)
	}
	if len(nodes.list) == 0 {
		nodes = nodeSet{}
		nodes.addAll(ReplicaNodes(d.Plan.near))
	}
	for _, n := range nodes.list {
		if _, hopeless := pod.Hopeless[n]; !hopeless {
			d.Plan.confined, d.Plan.waits, d.Plan.local = true, true, nodes
			d.WaitsUntil = until
			return
		}
	}
}
