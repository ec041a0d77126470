package webhook

import (
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// boundedListener keeps no more than a number of connections open. Where a new one
// would be one too many, the oldest that keeps nobody waiting makes room for it, so
// that whoever opens many and says nothing stands in nobody's way.
type boundedListener struct {
	net.Listener
	most int
	// grace is how long a connection may be silent before it makes room.
	grace time.Duration

	mu   sync.Mutex
	open []*boundedConn // oldest first
	// freed has an element if a connection was closed since it was last looked at.
	freed  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newBoundedListener(listener net.Listener, most int, grace time.Duration) *boundedListener {
	return &boundedListener{Listener: listener, most: most, grace: grace, freed: make(chan struct{}, 1), closed: make(chan struct{})}
}

// boundedConn is a connection of a boundedListener.
type boundedConn struct {
	net.Conn
	listener *boundedListener
	accepted time.Time
	// state is guarded by the listener's lock. It is new until the header of the
	// first request has come.
	state http.ConnState
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	connection, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	bounded := &boundedConn{Conn: connection, listener: l, accepted: time.Now()}
	for {
		added, retry := l.add(bounded)
		if added {
			return bounded, nil
		}
		select {
		case <-l.freed:
		case <-time.After(retry):
		case <-l.closed:
			_ = connection.Close() // nobody has heard of it
			return nil, net.ErrClosed
		}
	}
}

// add takes the connection, unless there is no room; then it says when there may be.
func (l *boundedListener) add(c *boundedConn) (added bool, retry time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	retry = l.grace
	if len(l.open) >= l.most {
		i := l.inState(http.StateNew)
		if i >= 0 {
			retry = l.grace - time.Since(l.open[i].accepted)
		}
		if i < 0 || retry > 0 {
			i = l.inState(http.StateIdle)
		}
		if i < 0 {
			return false, retry
		}
		if tcp, ok := l.open[i].Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // the kernel keeps no answers that nobody reads
		}
		_ = l.open[i].Conn.Close() // its server finds it closed, and forgets it
		l.open = slices.Delete(l.open, i, i+1)
	}
	l.open = append(l.open, c)
	return true, 0
}

// count is how many connections are open.
func (l *boundedListener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// inState returns the place of the oldest connection in that state, or -1.
func (l *boundedListener) inState(state http.ConnState) int {
	return slices.IndexFunc(l.open, func(c *boundedConn) bool { return c.state == state })
}

// Close implements net.Listener.
func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// enter notes what a server says of the connection.
func (c *boundedConn) enter(state http.ConnState) {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.state = state
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	l := c.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.open, c); i >= 0 {
		l.open = slices.Delete(l.open, i, i+1)
		select {
		case l.freed <- struct{}{}:
		default:
		}
	}
	return c.Conn.Close()
}
