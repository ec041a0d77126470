// Package story plays the demonstration: five acts on a sandbox, each of which
// says what the scheduler promises, does it, shows it, and checks it.
package story

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/internal/sandbox"
	"github.com/hyperconverge/scheduler/internal/sandbox/console"
)

// MinNodes is the smallest sandbox that the story can play on: it needs five
// nodes with storage.
const MinNodes = 6

var (
	// ErrBroken is returned by Play when a promise was not kept.
	ErrBroken = errors.New("not everything came out as the contract says")

	errImpatient = fmt.Errorf("it did not happen within %v", patience)
)

// act is one part of the story.
type act struct {
	letter, title string
	play          func(*stage, context.Context) error
}

var acts = []act{
	{"a", "MySQL starts where its data is", (*stage).mysqlStarts},
	{"b", "the storage of that node fails, and MySQL moves to its other replica", (*stage).mysqlMoves},
	{"c", "a StatefulSet that takes no node without all its data", (*stage).strictLedger},
	{"d", "a shared volume with hyperconvergence turned off", (*stage).sharedOff},
	{"e", "60 databases: the stock scheduler and ours", (*stage).crowd},
}

// Play plays all acts. The error wraps ErrBroken if a promise was broken, after
// all acts have been played and the broken promises printed.
func Play(ctx context.Context, box *sandbox.Sandbox, out *console.Console, palette console.Palette) error {
	begun := time.Now()
	s := &stage{sandbox: box, out: out, palette: palette}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	var broken []string
	for _, a := range acts {
		problems, err := s.playAct(ctx, a)
		if err != nil {
			return err
		}
		broken = append(broken, problems...)
	}
	problems, err := s.epilogue(ctx)
	if err != nil {
		return err
	}
	broken = append(broken, problems...)

	took := time.Since(begun).Round(time.Second)
	if len(broken) > 0 {
		out.Printf("\n%s", palette.Bad(fmt.Sprintf("After %v, this did not come out as the contract says:", took)))
		for _, problem := range broken {
			out.Printf("  %s", problem)
		}
		return ErrBroken
	}
	out.Printf("\n%s", palette.Good(fmt.Sprintf("All %d acts came out as the contract says, in %v.", len(acts), took)))
	return nil
}

// playAct plays one act and clears the stage. Problems of the act do not end the
// story; the error is for when it cannot go on.
func (s *stage) playAct(ctx context.Context, a act) (problems []string, err error) {
	s.out.Printf("\n%s", s.palette.Strong("Act "+a.letter+": "+a.title))
	s.broken = nil
	if err := a.play(s, ctx); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		s.say("%s %v", s.palette.Bad("FAILED:"), err)
		problems = append(problems, fmt.Sprintf("act %s: %v", a.letter, err))
	}
	for _, p := range s.broken {
		problems = append(problems, fmt.Sprintf("act %s: %s", a.letter, p))
	}
	if a.letter == "a" && len(problems) == 0 {
		return nil, nil // act b goes on from here
	}
	return problems, s.clear(ctx)
}

// prepare waits for what a controller makes for every namespace, without which
// no pod is let in.
func (s *stage) prepare(ctx context.Context) error {
	volumes, err := s.sandbox.Control.Volumes(ctx)
	if err != nil {
		return fmt.Errorf("looking at the storage: %w", err)
	}
	s.volumesBefore = len(volumes)
	accounts := s.sandbox.Client.CoreV1().ServiceAccounts(namespace)
	return s.until(ctx, "the default service account exists", func(ctx context.Context) (bool, string, error) {
		_, err := accounts.Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, "not yet", nil
		}
		return err == nil, "", err
	})
}

// epilogue checks that the volumes went with their claims.
func (s *stage) epilogue(ctx context.Context) (problems []string, err error) {
	err = s.until(ctx, "the volumes are deleted", func(ctx context.Context) (bool, string, error) {
		volumes, err := s.sandbox.Control.Volumes(ctx)
		left := len(volumes) - s.volumesBefore
		return left <= 0, fmt.Sprintf("%d left", left), err
	})
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return []string{strings.TrimSpace(err.Error())}, nil
	}
	return nil, nil
}
