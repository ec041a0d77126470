package minor

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/profile"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

func TestSkew(t *testing.T) {
	for _, tc := range []struct {
		name          string
		server        uint
		fault, advice string
		broken        bool
	}{
		{"the same", 36, "", "", false},
		{"an API server that is one minor newer", 37, "", "", false},
		{"an API server that is two minors newer", 38, "the scheduler is of Kubernetes 1.36, the API server of 1.38", "use the build for Kubernetes 1.37 (docs/versions.md)", false},
		{"an API server for which there is no build yet", 39, "the scheduler is of Kubernetes 1.36, the API server of 1.39", "no build of this version fits: take the scheduler of another one (docs/versions.md)", false},
		{"an API server for which there is no build any more", 34, "the scheduler is of Kubernetes 1.36, the API server of 1.34: it may schedule nothing", "no build of this version fits: take the scheduler of another one (docs/versions.md)", true},
		{"an API server that is older", 35, "the scheduler is of Kubernetes 1.36, the API server of 1.35: it may schedule nothing", "use the build for Kubernetes 1.35 (docs/versions.md)", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if fault, advice, broken := Skew(36, tc.server); fault != tc.fault || advice != tc.advice || broken != tc.broken {
				t.Errorf("%q, %q, %t", fault, advice, broken)
			}
		})
	}
}

func TestPodsAreScheduledOnTheNodesThatThereAre(t *testing.T) {
	ctx := t.Context()
	client := fake.NewClientset()
	s, err := scheduler.New(ctx, client, NewInformerFactory(client), nil, profile.NewRecorderFactory(events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})))
	if err != nil {
		t.Fatal(err)
	}
	pod := st.MakePod().Namespace("default").Name("db").UID("db").Obj()
	for i := range 3 {
		name := fmt.Sprintf("n%d", i)
		s.Cache.AddNode(klog.FromContext(ctx), st.MakeNode().Name(name).Label(v1.LabelHostname, name).Capacity(map[v1.ResourceName]string{v1.ResourcePods: "9"}).Obj())
		result, err := SchedulePod(ctx, s, s.Profiles[v1.DefaultSchedulerName], framework.NewCycleState(), pod)
		if err != nil || result.FeasibleNodes != i+1 {
			t.Errorf("%d nodes: %d are feasible, %v", i+1, result.FeasibleNodes, err)
		}
	}
}

func TestMinorsAreThoseThatAreBuilt(t *testing.T) {
	text, err := os.ReadFile("../../hack/kubernetes/minors")
	if err != nil {
		t.Fatal(err)
	}
	var built []uint
	for line := range strings.Lines(string(text)) {
		var minor uint
		if n, _ := fmt.Sscanf(line, "1.%d ", &minor); n == 1 {
			built = append(built, minor)
		}
	}
	if len(built) == 0 || slices.Min(built) != Oldest || slices.Max(built) != Newest {
		t.Errorf("built are %v, Oldest and Newest say %d and %d", built, Oldest, Newest)
	}
}

func TestAPluginThatIsLeftOutSaysSo(t *testing.T) {
	_, err := leftOut("Some", "use another")(t.Context(), nil, nil)
	if err == nil || !strings.Contains(err.Error(), "Some") || !strings.Contains(err.Error(), "use another") {
		t.Errorf("error is %v", err)
	}
}
