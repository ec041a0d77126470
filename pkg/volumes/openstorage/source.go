package openstorage

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// Source keeps one index true to one storage cluster.
type Source struct {
	config   Config
	timing   timing
	index    *volumes.Index
	client   *client
	token    *tokenFile // nil without one
	queue    *queue
	gate     *gate
	limiter  *rate.Limiter
	problems *problems
	audit    audit

	// watching is true while changes come from the watch.
	watching atomic.Bool
	// dumping is true while a watch sends what was there before.
	dumping atomic.Bool
	// polled is closed when the first node poll is over, whatever came of it.
	polled chan struct{}
	// settle has a token in it when unsettled volumes should be looked for.
	settle chan struct{}
	// settled is closed when the volumes of the start have been asked for.
	settled chan struct{}
}

// timing is what tests want shorter.
type timing struct {
	// firstRetry is the pause before an inspect that brought nothing is repeated.
	firstRetry time.Duration
	// dumpIdle is how long a watch must be silent for its dump to be over. There
	// is no other sign of the end.
	dumpIdle time.Duration
	// visibilityGap is the least time between two looks at what the token shows.
	visibilityGap time.Duration
}

// New returns the source of an index. It fails on a configuration that is wrong
// and does not talk to the storage API.
func New(config Config, index *volumes.Index) (*Source, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	s := &Source{
		config:   config,
		timing:   timing{firstRetry: firstRetry, dumpIdle: 2 * time.Second, visibilityGap: 30 * time.Second},
		index:    index,
		queue:    newQueue(),
		gate:     newGate(),
		limiter:  rate.NewLimiter(inspectRate, inspectBurst),
		problems: newProblems(config.OnProblem),
		polled:   make(chan struct{}),
		settle:   make(chan struct{}, 1),
		settled:  make(chan struct{}),
	}
	if config.TokenFile != "" {
		s.token = &tokenFile{path: config.TokenFile, plaintext: config.AllowPlaintextToken,
			trouble: s.tokenTrouble, maxAge: tokenAge}
	}
	var err error
	s.client, err = dial(&config, s.token)
	return s, err
}

// Run feeds the index until ctx ends. It is called once, and leaves nothing
// behind.
func (s *Source) Run(ctx context.Context) {
	metrics.RegisterStorage()
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithName("openstorage"))
	s.problems.start(klog.FromContext(ctx))
	defer s.queue.closeWith(ctx)()

	var running sync.WaitGroup
	running.Go(func() { s.nodeLoop(ctx) })
	// Nodes before volumes: a volume whose nodes are not known would take them for
	// Online, and its pods to a node whose storage is not.
	select {
	case <-s.polled:
	case <-ctx.Done():
	}
	loops := []func(context.Context){s.wantLoop, s.watchLoop, s.settleLoop, s.resyncLoop, s.debugLoop}
	for range inspectWorkers {
		loops = append(loops, s.inspectLoop)
	}
	for _, loop := range loops {
		running.Go(func() { loop(ctx) })
	}
	running.Wait()
	if err := s.client.conn.Close(); err != nil {
		klog.FromContext(ctx).Error(err, "Failed to close the connection to the storage API")
	}
}

// Problems returns what is wrong with the storage API at the moment.
func (s *Source) Problems() []Problem { return s.problems.list() }

// wantLoop passes on what the index wants to know at once.
func (s *Source) wantLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.index.Wanted():
			for _, handle := range s.index.TakeWanted() {
				s.queue.add(handle, wanted)
			}
		}
	}
}

// waitForIndex returns true when the index knows all PVs that were there at the
// start, so that what storage sends is not taken for foreign.
func (s *Source) waitForIndex(ctx context.Context) bool {
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(context.Context) (bool, error) {
		return s.index.HasSynced(), nil
	})
	return err == nil
}

// reached sorts the outcome of a call, and keeps the crowd away while nobody
// answers.
func (s *Source) reached(err error) kind {
	k := kindOf(err)
	switch k {
	case answered, absent:
		if s.gate.open() {
			s.settleSoon()
		}
	case unreachable:
		s.gate.shut()
	}
	return k
}

// settleSoon has the volumes inspected that nothing else will.
func (s *Source) settleSoon() {
	select {
	case s.settle <- struct{}{}:
	default:
	}
}

// judge says in which way the storage API as a whole fails. It takes the outcome
// of the node poll, which tells of no single object.
func (s *Source) judge(k kind, err error) {
	if k == answered || k == refused {
		s.problems.clear(ReasonUnreachable)
	}
	switch k {
	case answered:
		if s.problems.clear(ReasonTokenRefused) {
			s.settleSoon()
		}
	case refused:
		s.problems.set(ReasonTokenRefused, s.refusal(err))
	default:
		s.problems.set(ReasonUnreachable, fmt.Sprintf("%s does not list its nodes: %s. What was known last is used for now.",
			s.config.Endpoint, status.Convert(err).Message()))
	}
}

func (s *Source) refusal(err error) string {
	remedy := "no tokenFile is configured"
	if s.config.TokenFile != "" {
		remedy = fmt.Sprintf("the token in %s must be valid, and have role system.view or system.admin and group *", s.config.TokenFile)
	}
	return fmt.Sprintf("%s refuses the scheduler: %s; %s.", s.config.Endpoint, status.Convert(err).Message(), remedy)
}

func (s *Source) tokenTrouble(err error) {
	if err == nil {
		s.problems.clear(ReasonTokenUnreadable)
		return
	}
	s.problems.set(ReasonTokenUnreadable, err.Error()+". The token read last is used, if there is one.")
}
