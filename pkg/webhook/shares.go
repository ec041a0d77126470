package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/lru"
)

const (
	// shareOfNamespace is the part of all lookups that each namespace has for itself.
	shareOfNamespace = 0.2
	// knownNamespaces is for how many it is kept who has read how much.
	knownNamespaces = 1024
	// longestNamespace is how long the name of a namespace can be. Reviews may say
	// anything, which is not kept.
	longestNamespace = 63
)

var errNoShare = errors.New("too much is being read from the API server")

// shares limits the rate of lookups, so that the pods of one namespace leave some to
// those of others. Each namespace has a small share, and takes more only from what is
// to spare: while more than half of the common burst is left.
type shares struct {
	common *rate.Limiter

	mu  sync.Mutex
	own *lru.Cache // namespace → *rate.Limiter
}

func newShares(qps float64, burst int) *shares {
	return &shares{common: rate.NewLimiter(rate.Limit(qps), burst), own: lru.New(knownNamespaces)}
}

// wait returns when a pod of the namespace may look up one object, or an error that is
// errNoShare if it may not before the context ends.
func (s *shares) wait(ctx context.Context, namespace string) error {
	own := s.ofNamespace(namespace)
	for {
		switch {
		case own.Allow():
			if err := s.common.Wait(ctx); err != nil {
				return fmt.Errorf("%w: %w", errNoShare, err)
			}
			return nil
		case s.spare():
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errNoShare, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// spare takes a lookup of those that no share needs.
func (s *shares) spare() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.common.Tokens() > float64(s.common.Burst())/2 && s.common.Allow()
}

func (s *shares) ofNamespace(namespace string) *rate.Limiter {
	if len(namespace) > longestNamespace {
		namespace = ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known, _ := s.own.Get(namespace)
	if own, ok := known.(*rate.Limiter); ok {
		return own
	}
	own := rate.NewLimiter(s.common.Limit()*shareOfNamespace, max(1, int(float64(s.common.Burst())*shareOfNamespace)))
	s.own.Add(namespace, own)
	return own
}
