package integration

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/rebalance"
)

// soak is a homestead on which all goes wrong at random.
type soak struct {
	*homestead
	random *rand.Rand
	kill   bool // after the next eviction
	look   func() error
	begun  map[types.UID]time.Time
}

// soakFaults are what may happen, each with its end. Storage that is away for longer than a look
// holds everything, a filler takes the room of two databases.
var soakFaults = map[string]func(s *soak){
	"n1 is drained": func(s *soak) {
		s.cordon("n1", true)
		defer s.cordon("n1", false)
		for _, set := range s.sets() {
			s.isReady(set)
			if pod := s.Get(set + "-0"); pod.Spec.NodeName == "n1" {
				s.Delete(pod.Name)
			}
			s.isReady(set)
		}
	},
	"storage of n1 is offline": func(s *soak) {
		s.storageState("n1", openstoragesim.StatusOffline)
		defer s.storageState("n1", openstoragesim.StatusOK)
		s.looks(3)
	},
	"the room is taken": func(s *soak) {
		s.Must(s.fill("n1"))
		defer s.Delete("filler")
		s.looks(3)
	},
	"the controller is paused": func(s *soak) {
		s.Must(s.annotate(rebalance.PauseAnnotation, "true"))
		defer func() { s.Must(s.annotate(rebalance.PauseAnnotation, "false")) }()
		before := s.evictions.Load()
		s.looks(2)
		if s.evictions.Load() != before {
			s.Error("a pod is evicted during the pause")
		}
	},
	"it is killed after its next eviction": func(s *soak) { s.kill = true },
	"nothing":                              func(s *soak) { s.looks(5) },
}

// TestReturnsWhateverHappens plays faults at random for as long as SOAK says (make chaos), and
// for seconds without it. SEED repeats a run.
func TestReturnsWhateverHappens(t *testing.T) {
	duration, err := time.ParseDuration(cmp.Or(os.Getenv("SOAK"), "10s"))
	if err != nil {
		t.Fatalf("SOAK: %v", err)
	}
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("SEED"), strconv.FormatInt(time.Now().UnixNano(), 10)), 10, 64)
	if err != nil {
		t.Fatalf("SEED: %v", err)
	}
	t.Logf("seed %d", seed)
	s := &soak{homestead: newHomestead(t), random: rand.New(rand.NewPCG(seed, 0)), begun: map[types.UID]time.Time{}}
	for _, name := range []string{"a", "b", "c"} {
		s.database(name, optIn, schedulerName)
	}
	s.budget(1)
	s.onEviction = s.check
	s.after = func() error {
		if s.kill {
			s.kill = false
			return errKilled
		}
		return nil
	}
	s.start()
	names := slices.Sorted(maps.Keys(soakFaults)) // a seed repeats their order
	soakFaults["n1 is drained"](s)                // so that there is something to bring home
	for end := time.Now().Add(duration); time.Now().Before(end) && !t.Failed(); {
		soakFaults[names[s.random.IntN(len(names))]](s)
		s.looks(s.random.IntN(4))
	}
	s.kill = false
	s.Eventually("every database is home, or its owner cools down", func() error {
		s.looks(1)
		cooling := map[string]bool{}
		for _, c := range s.journal().Cooldowns {
			cooling[c.Name] = time.Now().Before(c.Until)
		}
		for _, set := range s.sets() {
			pod, err := s.Client.CoreV1().Pods(s.Namespace).Get(s.Ctx, set+"-0", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if !ready(pod) || pod.Spec.NodeName != "n1" && !cooling[set] {
				return fmt.Errorf("%s is on %q", pod.Name, pod.Spec.NodeName)
			}
		}
		return nil
	})
	if halt := s.journal().Halt; halt != nil {
		t.Errorf("it halts: %s", halt.Message)
	}
	t.Logf("%d evictions", s.evictions.Load())
}

// start makes a controller that remembers nothing but its journal.
func (s *soak) start() {
	c := s.rebalancer(func(c *rebalance.Configuration) {
		c.Cooldown, c.Budgets.MaxPerHour = metav1.Duration{Duration: 100 * time.Millisecond}, 1000
	})
	s.look = func() error { return c.Look(s.Ctx) }
}

// looks has the controller look, and makes another one when it is killed.
func (s *soak) looks(n int) {
	s.Helper()
	for range n {
		switch err := s.look(); {
		case errors.Is(err, errKilled):
			s.start()
		case err != nil:
			s.Fatal(err)
		}
	}
}

// check holds what is never to happen against what the controller is about to do.
func (s *soak) check() error {
	j := s.journal()
	owners := map[types.UID]bool{}
	for _, e := range j.Evictions {
		if owners[e.Owner] {
			s.Errorf("two pods of %s are on their way", e.OwnerName)
		}
		owners[e.Owner] = true
	}
	last := j.Evictions[len(j.Evictions)-1]
	for _, c := range j.Cooldowns {
		if c.Owner == last.Owner && last.At.Before(c.Until) {
			s.Errorf("pod %s is evicted at %s, and its owner cools down until %s", last.Name, last.At, c.Until)
		}
	}
	if at, twice := s.begun[last.UID]; twice && last.At.Sub(at) < time.Minute {
		s.Errorf("pod %s is evicted at %s and at %s", last.Name, at, last.At)
	}
	s.begun[last.UID] = last.At
	return nil
}
