package openstoragesim

import "github.com/libopenstorage/openstorage/api"

// Subscription receives every volume that is created, changed or deleted (then
// with VOLUME_STATE_DELETED). It never holds the cluster up: what does not fit
// into its buffer is lost, as on real servers.
type Subscription struct {
	cluster *Cluster
	events  chan *api.Volume
	faults  *disturbance // nil lets everything pass
}

// Subscribe starts a subscription with a buffer of that many events, at least
// one. It must be closed.
func (c *Cluster) Subscribe(buffer int) *Subscription { return c.subscribe(buffer, nil) }

func (c *Cluster) subscribe(buffer int, faults *disturbance) *Subscription {
	s := &Subscription{cluster: c, events: make(chan *api.Volume, max(buffer, 1)), faults: faults}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers[s] = struct{}{}
	return s
}

// Events returns the channel of changed volumes. It is never closed.
func (s *Subscription) Events() <-chan *api.Volume { return s.events }

// Close ends the subscription. Events that are in the buffer stay there.
func (s *Subscription) Close() {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	delete(s.cluster.watchers, s)
}

func (s *Subscription) deliver(volumes ...*api.Volume) {
	for _, v := range volumes {
		select {
		case s.events <- v:
		default: // lost
		}
	}
}

// publish needs c.mu for writing, so that subscribers see changes in order.
func (c *Cluster) publish(v *api.Volume) {
	for s := range c.watchers {
		if s.faults == nil {
			s.deliver(v)
		} else {
			s.deliver(s.faults.pass(v)...)
		}
	}
}

// releaseHeld delivers what faults hold back.
func (c *Cluster) releaseHeld() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.watchers {
		if s.faults != nil {
			s.deliver(s.faults.release()...)
		}
	}
}
