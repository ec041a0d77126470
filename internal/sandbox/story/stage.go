package story

import (
	"context"
	"fmt"
	"time"

	"github.com/hyperconverge/scheduler/internal/sandbox"
	"github.com/hyperconverge/scheduler/internal/sandbox/clustermap"
	"github.com/hyperconverge/scheduler/internal/sandbox/console"
)

const (
	// namespace is where the story plays.
	namespace = "default"
	// patience is how long the story waits for anything. On an idle machine nothing
	// takes longer than a few seconds.
	patience = 60 * time.Second
	// lookInterval is how often the story looks whether something has come true.
	lookInterval = 100 * time.Millisecond
)

// stage is where one act plays.
type stage struct {
	sandbox *sandbox.Sandbox
	out     *console.Console
	palette console.Palette
	// volumesBefore is how many volumes the storage had when the story began.
	volumesBefore int
	// tags are the short names of volumes on maps.
	tags map[string]string // claim name -> tag
	// broken are the promises that were not kept.
	broken []promise
}

// say prints one sentence of the story.
func (s *stage) say(format string, args ...any) {
	s.out.Printf("  "+format, args...)
}

// show draws the scene.
func (s *stage) show(scene clustermap.Scene) {
	s.out.Printf("\n%s", scene.Draw(clustermap.Style{Palette: s.palette}))
}

// showCrowd draws the scene with a mark for each pod.
func (s *stage) showCrowd(scene clustermap.Scene) {
	s.out.Printf("\n%s", scene.Draw(clustermap.Style{Palette: s.palette, Crowd: true}))
}

// expect prints what became of promises and remembers those that were broken.
func (s *stage) expect(promises ...promise) {
	for _, p := range promises {
		if p.instead == "" {
			s.say("%s %s", s.palette.Good("kept:  "), p.text)
			continue
		}
		s.say("%s %s", s.palette.Bad("BROKEN:"), p)
		s.broken = append(s.broken, p)
	}
}

// until waits until look says that it is done. Progress is what there is to see
// meanwhile.
func (s *stage) until(ctx context.Context, what string, look func(context.Context) (done bool, progress string, err error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errImpatient)
	defer cancel()
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	progress := ""
	for {
		done, now, err := look(ctx)
		switch {
		case err == nil && done:
			return nil
		case err == nil:
			progress = now
			s.out.Status("until %s: %s", what, progress)
		case ctx.Err() == nil:
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w; last seen: %s", what, context.Cause(ctx), progress)
		}
	}
}

// untilScene waits for a scene with that many pods in which come is true of
// every pod, and returns it.
func (s *stage) untilScene(ctx context.Context, what string, pods int, come func(clustermap.Pod) bool) (scene clustermap.Scene, err error) {
	return scene, s.until(ctx, what, func(ctx context.Context) (bool, string, error) {
		var err error
		if scene, err = s.scene(ctx); err != nil {
			return false, "", err
		}
		there, waiting := 0, ""
		for _, p := range scene.Pods {
			if come(p) {
				there++
			} else if waiting == "" && p.Reason != "" {
				waiting = "; " + p.Name + ": " + p.Reason
			}
		}
		return there == pods && len(scene.Pods) == pods, fmt.Sprintf("%d of %d pods%s", there, pods, waiting), nil
	})
}

func runs(p clustermap.Pod) bool      { return p.Running }
func hasNode(p clustermap.Pod) bool   { return p.Node != "" }
func isSettled(p clustermap.Pod) bool { return p.Running || p.Node == "" && p.Reason != "" }
