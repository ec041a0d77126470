package openstorage

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// Source keeps one index true to one storage cluster.
type Source struct {
	config  Config
	timing  timing
	index   *volumes.Index
	client  *client
	token   *tokenFile // nil without one
	queue   *queue
	retries *retries
	gate    *gate
	limiter *rate.Limiter
	// unclaimedLimiter is for the calls about handles that no PV names.
	unclaimedLimiter *rate.Limiter
	// claimed reports whether a PV names a handle.
	claimed  func(handle string) bool
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
	// look has a token in it when the visibility of volumes should be checked.
	look chan struct{}
	// reopen has a token in it when the watch should be opened anew.
	reopen chan struct{}
	// nodesRefused and listRefused are true while the token is refused for the list
	// of nodes, and of volumes.
	nodesRefused, listRefused atomic.Bool
	// invalidText is when storage last sent text that is not UTF-8, in nanoseconds
	// since 1970.
	invalidText atomic.Int64
}

// timing is what tests want shorter.
type timing struct{ dumpIdle, visibilityGap time.Duration }

// New returns the source of an index. It fails on a configuration that is wrong
// and does not talk to the storage API.
func New(config Config, index *volumes.Index) (*Source, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	s := newSource(config, index)
	if config.TokenFile != "" {
		s.token = &tokenFile{path: config.TokenFile, plaintext: config.AllowPlaintextToken,
			trouble: s.tokenTrouble, maxAge: tokenAge}
	}
	var err error
	s.client, err = dial(&config, s.token, s.tellInvalidText)
	return s, err
}

// newSource returns a source without a connection.
func newSource(config Config, index *volumes.Index) *Source {
	s := &Source{
		config:  config,
		timing:  timing{dumpIdle: dumpIdle, visibilityGap: visibilityGap},
		index:   index,
		queue:   newQueue(func(handle string) bool { return !index.Lookup(handle).FirstSeen.IsZero() }),
		gate:    newGate(),
		limiter: rate.NewLimiter(inspectRate, inspectBurst),
		claimed: func(handle string) bool { return index.Lookup(handle).Claimed },

		unclaimedLimiter: rate.NewLimiter(unclaimedRate, unclaimedBurst),
		problems:         newProblems(),
		polled:           make(chan struct{}),
		settle:           make(chan struct{}, 1),
		settled:          make(chan struct{}),
		look:             make(chan struct{}, 1),
		reopen:           make(chan struct{}, 1),
	}
	s.retries = newRetries(s.queue)
	return s
}

// Run feeds the index until ctx ends. It is called once, and leaves nothing
// behind.
func (s *Source) Run(ctx context.Context) {
	metrics.RegisterStorage()
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithName("openstorage"))
	s.problems.start(klog.FromContext(ctx))
	defer s.queue.closeWith(ctx)()
	defer s.index.Subscribe(func(change volumes.Change) {
		for _, handle := range change.Requested {
			s.enqueue(handle, requested)
		}
	})()

	var running sync.WaitGroup
	running.Go(func() { s.nodeLoop(ctx) })
	// Nodes before volumes: a volume whose nodes are not known would take them for
	// Online, and its pods to a node whose storage is not.
	select {
	case <-s.polled:
	case <-ctx.Done():
	}
	loops := []func(context.Context){s.watchLoop, s.settleLoop, s.visibilityLoop, s.resyncLoop, s.debugLoop}
	for range inspectWorkers {
		loops = append(loops, s.inspectLoop)
	}
	for range unclaimedWorkers {
		loops = append(loops, s.unclaimedLoop)
	}
	for _, loop := range loops {
		running.Go(func() { loop(ctx) })
	}
	running.Wait()
	s.retries.stop()
	if err := s.client.conn.Close(); err != nil {
		klog.FromContext(ctx).Error(err, "Failed to close the connection to the storage API")
	}
}

// Problems returns what is wrong with the storage API at the moment.
func (s *Source) Problems() []Problem { return s.problems.list() }

// waitForIndex returns true when the index knows all PVs that were there at the
// start, so that what storage sends is not taken for foreign.
func (s *Source) waitForIndex(ctx context.Context) bool {
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(context.Context) (bool, error) {
		return s.index.HasSynced(), nil
	})
	return err == nil
}
