package openstorage

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// Source keeps one index true to one storage cluster.
type Source struct {
	config Config
	timing timing
	index  volumes.Sink
	client *client
	token  *tokenFile // nil without one
	health *health
	audit  audit

	queue   *queue
	retries *retries
	limiter *rate.Limiter
	// unclaimedLimiter is for the calls about handles that no PV names.
	unclaimedLimiter *rate.Limiter
	// claimed reports whether a PV names a handle.
	claimed func(handle string) bool
	// summarize is what the index holds, in numbers.
	summarize func(examples int) volumes.Summary

	mu    sync.Mutex
	watch watchState

	// The node poll fires polled, whether it fails or not. The verify loop fires verified
	// when it has queued what the start left unknown.
	polled, verified trigger
	// verify queues the volumes that need an inspect, checkAccess runs an access check,
	// and reopen replaces the watch.
	verify, checkAccess, reopen trigger
}

// timing is what tests want shorter.
type timing struct{ initialListIdle, accessCheckGap, accessRecheck time.Duration }

// trigger starts one round of a loop. Fired any number of times before the loop is
// ready, it starts one round.
type trigger chan struct{}

func newTrigger() trigger { return make(trigger, 1) }

func (t trigger) fire() {
	select {
	case t <- struct{}{}:
	default:
	}
}

// wait returns true when the trigger is fired, false when ctx ends before.
func (t trigger) wait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-t:
		return true
	}
}

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
			observe: s.health.observeTokenFile, maxAge: tokenAge}
	}
	var err error
	if s.client, err = dial(&config, s.token, s.health.observeInvalidText); err != nil {
		return nil, err
	}
	s.health.connected = s.client.conn.ready
	return s, nil
}

// newSource returns a source without a connection.
func newSource(config Config, index *volumes.Index) *Source {
	s := &Source{
		config:      config,
		timing:      timing{initialListIdle: initialListIdle, accessCheckGap: accessCheckGap, accessRecheck: accessRecheck},
		index:       index,
		health:      newHealth(&config),
		queue:       newQueue(func(handle string) bool { return !index.Lookup(handle).FirstSeen.IsZero() }),
		limiter:     rate.NewLimiter(inspectRate, inspectBurst),
		claimed:     func(handle string) bool { return index.Lookup(handle).Claimed },
		summarize:   func(examples int) volumes.Summary { return volumes.Summarize(index, examples) },
		polled:      newTrigger(),
		verified:    newTrigger(),
		verify:      newTrigger(),
		checkAccess: newTrigger(),
		reopen:      newTrigger(),

		unclaimedLimiter: rate.NewLimiter(unclaimedRate, unclaimedBurst),
	}
	s.retries = newRetries(s.queue)
	s.health.recovered, s.health.rightsGained = s.verify.fire, s.rightsGained
	return s
}

// Run feeds the index until ctx ends. It is called once, and leaves nothing
// behind.
func (s *Source) Run(ctx context.Context) {
	metrics.RegisterStorage()
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithName("openstorage"))
	s.health.logTo(klog.FromContext(ctx))
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
	s.polled.wait(ctx)
	loops := []func(context.Context){s.watchLoop, s.verifyLoop, s.accessLoop, s.resyncLoop, s.debugLoop}
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
	s.token.rest()
}

// setWatch notes the state of the watch.
func (s *Source) setWatch(state watchState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch = state
}

// watchIs reports whether the watch is in a state.
func (s *Source) watchIs(state watchState) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watch == state
}

// Conditions returns what is wrong with the storage API at the moment.
func (s *Source) Conditions() []Condition { return s.health.list() }

// rightsGained queues what a token without rights did not show, and replaces the watch:
// a stream shows for ever what its token was allowed to see when it was opened.
func (s *Source) rightsGained() {
	s.verify.fire()
	s.checkAccess.fire()
	s.reopen.fire()
}

// waitForIndex returns true when the index knows all PVs that were there at the
// start, so that what storage sends is not taken for foreign.
func (s *Source) waitForIndex(ctx context.Context) bool {
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(context.Context) (bool, error) {
		return s.index.HasSynced(), nil
	})
	return err == nil
}
