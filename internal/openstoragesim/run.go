package openstoragesim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// RunOptions configure a simulator that runs as a process of its own.
type RunOptions struct {
	Cluster Options
	Server  ServerOptions
	// Nodes are added before anything is served.
	Nodes []Node
	// Address of the SDK, such as 127.0.0.1:9020; port 0 takes a free one.
	Address string
	// ControlAddress of ControlHandler, which must be a loopback address; empty
	// for none.
	ControlAddress string
	// Ready, if set, is called once both addresses accept connections, with the
	// addresses as they came out. control is empty if there is none.
	Ready func(endpoint, control string)
}

// Run serves a simulated cluster until the context ends, which is no error. It
// leaves nothing running.
func Run(ctx context.Context, options RunOptions) error {
	cluster := NewCluster(options.Cluster)
	for _, n := range options.Nodes {
		if _, err := cluster.AddNode(n); err != nil {
			return err
		}
	}
	server := NewServer(cluster, options.Server)
	if err := server.Start(options.Address); err != nil {
		return err
	}
	defer server.Stop()
	if options.ControlAddress == "" {
		ready(options, server.Endpoint(), "")
		<-ctx.Done()
		return nil
	}

	listener, err := listenLoopback(options.ControlAddress)
	if err != nil {
		return err
	}
	control := &http.Server{Handler: ControlHandler(server), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- control.Serve(listener) }()
	ready(options, server.Endpoint(), listener.Addr().String())
	select {
	case <-ctx.Done():
		// Whoever controls us has asked us to end, so its requests may break.
		err := control.Close()
		if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	case err := <-failed:
		return fmt.Errorf("control interface of the storage simulator on %s: %w", listener.Addr(), err)
	}
}

func ready(options RunOptions, endpoint, control string) {
	if options.Ready != nil {
		options.Ready(endpoint, control)
	}
}

func listenLoopback(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("control interface of the storage simulator cannot listen on %s: %w", address, err)
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, errors.Join(
			fmt.Errorf("control interface of the storage simulator on %s: it checks no credentials, use a loopback address: %w", address, ErrInvalid),
			listener.Close())
	}
	return listener, nil
}
