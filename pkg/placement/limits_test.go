package placement_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

func TestDegreesThatPodsAskFor(t *testing.T) {
	const wait, limit, strict, off = placement.PodWaitForLocal, placement.PodMaxAllocation, placement.PodPreferLocalOnly, placement.PodDisableHyperconvergence
	seconds := func(n int) *time.Duration { d := time.Duration(n) * time.Second; return &d }
	for _, row := range []struct {
		name        string
		annotations map[string]string
		wait        *time.Duration
		limits      *placement.Allocation
		// problem is the detail of the only one there is.
		problem string
	}{
		{name: "a wait", annotations: map[string]string{wait: "90s"}, wait: seconds(90)},
		{name: "of an hour", annotations: map[string]string{wait: "1h"}, wait: seconds(3600)},
		{name: "of nothing, over that of the profile", annotations: map[string]string{wait: "0s"}, wait: seconds(0)},
		{name: "a wait without a unit", annotations: map[string]string{wait: "90"}, problem: "has no unit: write 90s; what the profile says is used"},
		{name: "less than nothing", annotations: map[string]string{wait: "-5s"}, problem: "is less than nothing: write 0s; what the profile says is used"},
		{name: "more than an hour", annotations: map[string]string{wait: "2h"}, problem: "is more than an hour: write 1h; what the profile says is used"},
		{name: "no duration", annotations: map[string]string{wait: "soon"}, problem: "is no duration: write for example 90s; what the profile says is used"},
		{name: "a wait of a strict pod", annotations: map[string]string{wait: "90s", strict: "true"}, problem: "has no effect beside " + strict},
		{name: "a wait of a pod to which all nodes are equal", annotations: map[string]string{wait: "90s", off: "true"}, problem: "has no effect beside locality that is off"},
		{name: "limits", annotations: map[string]string{limit: "cpu=90%, memory=95%,pods=100%"}, limits: &placement.Allocation{CPU: 90, Memory: 95, Pods: 100}},
		{name: "one limit", annotations: map[string]string{limit: "Memory=80%"}, limits: &placement.Allocation{Memory: 80}},
		{name: "a limit without a percent sign", annotations: map[string]string{limit: "cpu=90"}, problem: "cpu has no percent sign: write 90%; the limits of the profile are used"},
		{name: "a limit of nothing", annotations: map[string]string{limit: "cpu=0%"}, problem: "cpu is less than 1%: write 1% or more, or leave it out; the limits of the profile are used"},
		{name: "more than everything", annotations: map[string]string{limit: "cpu=150%"}, problem: "cpu is more than 100%: write 100% or less, or leave it out; the limits of the profile are used"},
		{name: "something else", annotations: map[string]string{limit: "gpu=90%"},
			problem: "names something else than cpu, memory and pods: write for example cpu=90%,memory=95%; the limits of the profile are used"},
		{name: "nothing", annotations: map[string]string{limit: ""},
			problem: "names something else than cpu, memory and pods: write for example cpu=90%,memory=95%; the limits of the profile are used"},
		{name: "limits of a strict pod", annotations: map[string]string{limit: "cpu=90%", strict: "true"}, problem: "has no effect beside " + strict},
	} {
		t.Run(row.name, func(t *testing.T) {
			policy, problems := placement.PodPolicyOf(row.annotations)
			if diff := cmp.Diff(row.wait, policy.Wait); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(row.limits, policy.MaxAllocation); diff != "" {
				t.Error(diff)
			}
			got := ""
			if len(problems) == 1 {
				got = problems[0].Detail
			} else if len(problems) > 1 {
				t.Errorf("problems are %v", problems)
			}
			if got != row.problem {
				t.Errorf("problem is %q, want %q", got, row.problem)
			}
		})
	}
}

func TestSpreadOfVolumes(t *testing.T) {
	for value, want := range map[string]struct {
		spread placement.Spread
		detail string
	}{
		"None": {placement.SpreadNone, ""}, "Replicas": {placement.SpreadReplicas, ""}, "Zone": {placement.SpreadZone, ""},
		"zone": {"", "means nothing, what the profile says is used: write Zone"}, "rack": {"", "means nothing, what the profile says is used: write None, Replicas or Zone"},
	} {
		policy, problems := placement.PolicyOf(placement.Traits{}, placement.Sources{Class: map[string]string{placement.VolumeSpread: value}})
		if policy.Spread != want.spread {
			t.Errorf("%q is %q, want %q", value, policy.Spread, want.spread)
		}
		if want.detail != "" && (len(problems) != 1 || problems[0].Detail != want.detail) {
			t.Errorf("%q: problems are %v, want %q", value, problems, want.detail)
		}
	}
}

// TestWaitForLocal is F16.
func TestWaitForLocal(t *testing.T) {
	c := newCluster(t, []string{"zone=a", "zone=a", "zone=b", "zone=b"})
	created := worldNow
	minute := time.Minute
	for _, row := range []struct {
		name     string
		pod      placement.Pod
		settings placement.Settings
		age      time.Duration
		hopeless []int
		volumes  []volume
		// want are the nodes that the pod is left; none where it does not wait.
		want string
	}{
		{name: "a young pod has the replica nodes only", pod: placement.Pod{PodPolicy: placement.PodPolicy{Wait: &minute}}, volumes: []volume{near("A@{1,2}")}, want: "n1 n2"},
		{name: "those that hold all its volumes", pod: placement.Pod{PodPolicy: placement.PodPolicy{Wait: &minute}}, volumes: []volume{near("A@{1,2}"), near("B@{2,3}")}, want: "n2"},
		{name: "or any of them if none holds all", pod: placement.Pod{PodPolicy: placement.PodPolicy{Wait: &minute}}, volumes: []volume{near("A@{1}"), near("B@{3}")}, want: "n1 n3"},
		{name: "the profile has pods wait", settings: placement.Settings{Wait: minute}, volumes: []volume{near("A@{1}")}, want: "n1"},
		{name: "the pod's own wait counts before it", pod: placement.Pod{PodPolicy: placement.PodPolicy{Wait: new(time.Duration)}}, settings: placement.Settings{Wait: minute}, volumes: []volume{near("A@{1}")}},
		{name: "when the time is over all nodes are feasible", pod: placement.Pod{PodPolicy: placement.PodPolicy{Wait: &minute}}, age: minute, volumes: []volume{near("A@{1}")}},
		{name: "nobody waits for nodes that can never take the pod", pod: placement.Pod{PodPolicy: placement.PodPolicy{Wait: &minute}}, hopeless: []int{1, 2}, volumes: []volume{near("A@{1,2}")}},
		{name: "one that can is enough", pod: placement.Pod{PodPolicy: placement.PodPolicy{Wait: &minute}}, hopeless: []int{1}, volumes: []volume{near("A@{1,2}")}, want: "n1 n2"},
		{name: "a pod without near volumes does not wait", pod: placement.Pod{PodPolicy: placement.PodPolicy{Wait: &minute}}, volumes: []volume{away("A@{1}")}},
		{name: "nor does one to which all nodes are equal", pod: placement.Pod{PodPolicy: placement.PodPolicy{Wait: &minute, Off: true}}, volumes: []volume{near("A@{1}")}},
		{name: "nor a virtual machine", pod: placement.Pod{PodPolicy: placement.PodPolicy{Wait: &minute}, Machine: placement.MachineStarting}, volumes: []volume{near("A@{1}")}},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.pod.Claims, row.pod.Created = []placement.PodClaim{{Ours: true}}, created
			row.pod.Hopeless = map[*placement.Node]struct{}{}
			for _, i := range row.hopeless {
				row.pod.Hopeless[c.nodes[i-1]] = struct{}{}
			}
			for _, v := range row.volumes {
				row.pod.Volumes = append(row.pod.Volumes, c.volume(t, v))
			}
			row.settings.Tiers = placement.DefaultTiers
			d := placement.Decide(&row.pod, &row.settings, created.Add(row.age))
			nodes, confined := d.Plan.Confined()
			if got := names(nodes); got != row.want || confined != (row.want != "") {
				t.Errorf("the pod is left %q, %t, want %q", got, confined, row.want)
			}
			if confined && (!d.WaitsUntil.Equal(created.Add(minute)) || d.Plan.NoRoom() != placement.ReasonWaitNoRoom || d.Plan.Verdict(c.nodes[3]) != placement.RejectedNotLocalYet) {
				t.Errorf("it waits until %v, for %q, and is told %q", d.WaitsUntil, d.Plan.NoRoom(), d.Plan.Verdict(c.nodes[3]).Reason())
			}
		})
	}
}

// TestSpreadOverZones: all nodes in the zones of the replicas are as good.
func TestSpreadOverZones(t *testing.T) {
	spread := near("A@{1,3}")
	spread.Spread = placement.SpreadZone
	s := scenario{nodes: []string{"zone=a rack=r1", "zone=a rack=r2", "zone=b", "zone=b StorageDown", "zone=c"}, volumes: []volume{spread}}
	c := newCluster(t, s.nodes)
	plan := c.mustPlan(t, s)
	var scores []int64
	for _, n := range c.nodes {
		scores = append(scores, plan.Score(n))
	}
	if diff := cmp.Diff([]int64{100, 100, 100, 50, 0}, scores); diff != "" {
		t.Error(diff)
	}
	var offer []string
	for group := range plan.Offer(c, 0) {
		offer = append(offer, names(group))
	}
	if diff := cmp.Diff([]string{"n1 n3 n2", "n4"}, offer); diff != "" {
		t.Error(diff)
	}
	if lacking := plan.Lacking(c.nodes[1]); len(lacking) > 0 {
		t.Errorf("a node in the zone lacks %d volumes", len(lacking))
	}
	if lacking := plan.Lacking(c.nodes[4]); len(lacking) != 1 {
		t.Errorf("a node of another zone lacks %d volumes", len(lacking))
	}
}
