package openstorage

import (
	"context"
	"sync"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"k8s.io/klog/v2"
)

// patience is how long a server may fail to list its nodes before another is tried.
const patience = time.Minute

// connection is a gRPC connection that can be exchanged for another. Behind a
// Service it stays with one server, and neither gRPC nor the Service minds if that
// answers every call with an error, as one in maintenance does.
type connection struct {
	open     func() (*grpc.ClientConn, error)
	patience time.Duration

	mu      sync.Mutex
	current *grpc.ClientConn

	// failingSince is zero while the server does well. It belongs to the node poll.
	failingSince time.Time
}

func newConnection(open func() (*grpc.ClientConn, error)) (*connection, error) {
	conn, err := open()
	if err != nil {
		return nil, err
	}
	return &connection{open: open, patience: patience, current: conn}, nil
}

// get returns the connection of the moment.
func (c *connection) get() *grpc.ClientConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// Invoke implements grpc.ClientConnInterface.
func (c *connection) Invoke(ctx context.Context, method string, request, reply any, options ...grpc.CallOption) error {
	return c.get().Invoke(ctx, method, request, reply, options...)
}

// NewStream implements grpc.ClientConnInterface.
func (c *connection) NewStream(ctx context.Context, stream *grpc.StreamDesc, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.get().NewStream(ctx, stream, method, options...)
}

// Close ends the connection and what goes over it.
func (c *connection) Close() error { return c.get().Close() }

// ready reports whether the connection stands. What fails on one that does is the
// server's doing.
func (c *connection) ready() bool { return c.get().GetState() == connectivity.Ready }

// outworn reports whether the server has failed for too long, by the outcome of
// one more node poll. A refused token is not the server's fault, and where there is
// no connection gRPC is looking for one already.
func (c *connection) outworn(k kind) bool {
	if k == answered || k == refused || k == unsent || !c.ready() {
		c.failingSince = time.Time{}
		return false
	}
	if c.failingSince.IsZero() {
		c.failingSince = time.Now()
	}
	return time.Since(c.failingSince) >= c.patience
}

// replace takes another connection. Calls and the watch on the old one fail as if
// the server had gone, and are repeated as ever.
func (c *connection) replace(conn *grpc.ClientConn) error {
	c.failingSince = time.Time{}
	c.mu.Lock()
	old := c.current
	c.current = conn
	c.mu.Unlock()
	return old.Close()
}

// listNodes asks for the node list. When the server has failed to give one for too
// long, a new connection is asked, and taken for all that follows if it does better:
// one that does not would only cost the watch.
func (c *client) listNodes(ctx context.Context) (*api.SdkNodeEnumerateWithFiltersResponse, error) {
	request := &api.SdkNodeEnumerateWithFiltersRequest{}
	response, err := c.nodes.EnumerateWithFilters(ctx, request, listOption())
	if !c.conn.outworn(kindOf(err)) {
		return response, err
	}
	logger := klog.FromContext(ctx)
	another, openErr := c.conn.open()
	if openErr != nil {
		logger.Error(openErr, "Failed to make another connection to the storage API")
		return nil, err
	}
	better, betterErr := api.NewOpenStorageNodeClient(another).EnumerateWithFilters(ctx, request, listOption())
	if betterErr != nil {
		logger.V(2).Info("A new connection to the storage API does no better", "err", betterErr)
		if closeErr := another.Close(); closeErr != nil {
			logger.Error(closeErr, "Failed to close a connection to the storage API")
		}
		return nil, err
	}
	logger.Info("Left a server of the storage API that kept failing for another", "err", err)
	if closeErr := c.conn.replace(another); closeErr != nil {
		logger.Error(closeErr, "Failed to close a connection to the storage API")
	}
	return better, nil
}
