package hyperconverge

import (
	"testing"

	v1 "k8s.io/api/core/v1"
)

// fate is what becomes of a pod: exactly one of skipped, rejected and verdicts.
type fate struct {
	name string
	// set is three Online nodes if it has none.
	set setting
	pod func(s *scene) *v1.Pod

	skipped  bool
	rejected string
	// verdicts has one text per node, see scene.verdicts.
	verdicts []string
	// scores has one number per node; nil where scoring is skipped.
	scores []int64
	// events are those that the user sees.
	events []string
}

func runFates(t *testing.T, fates []fate) {
	t.Helper()
	for _, f := range fates {
		t.Run(f.name, func(t *testing.T) {
			if len(f.set.nodes) == 0 {
				f.set.nodes = make([]string, 3)
			}
			play(t, f.set, f.run)
		})
	}
}

func (f *fate) run(s *scene) {
	pod := f.pod(s)
	state, _, status := s.preFilter(pod)
	defer func() { same(s, "events", f.events, s.events.taken()) }()
	if f.rejected != "" {
		same(s, "rejection", f.rejected, s.rejection(pod))
		return
	}
	if !status.IsSuccess() {
		s.Fatalf("the pod is rejected: %s", status.Message())
	}
	if same(s, "skipped", f.skipped, skipped(state)); f.skipped {
		return
	}
	same(s, "verdicts", f.verdicts, s.verdicts(pod))
	same(s, "scores", f.scores, s.scores(pod))
}

var (
	everywhere = []string{"ok", "ok", "ok"}
	atFirst    = []int64{100, 0, 0}
)
