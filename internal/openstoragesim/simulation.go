package openstoragesim

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// SimulationOptions configure a simulator with its control interface.
type SimulationOptions struct {
	Cluster Options
	Server  ServerOptions
	// Nodes are added before anything is served.
	Nodes []Node
	// Address of the SDK, such as 127.0.0.1:9020; port 0 takes a free one.
	Address string
	// ControlAddress of ControlHandler, which must be a loopback address.
	ControlAddress string
}

// Simulation is a simulated cluster that is served, and its control interface.
type Simulation struct {
	// Endpoint of the SDK and Control are host:port as they came out.
	Endpoint, Control string

	server  *Server
	control *http.Server
	served  chan struct{} // closed when control has returned
}

// Start serves a simulated cluster until Close.
func Start(options SimulationOptions) (*Simulation, error) {
	cluster := NewCluster(options.Cluster)
	for _, n := range options.Nodes {
		if _, err := cluster.AddNode(n); err != nil {
			return nil, err
		}
	}
	server := NewServer(cluster, options.Server)
	if err := server.Start(options.Address); err != nil {
		return nil, err
	}
	listener, err := listenLoopback(options.ControlAddress)
	if err != nil {
		server.Stop()
		return nil, err
	}
	s := &Simulation{
		Endpoint: server.Endpoint(),
		Control:  listener.Addr().String(),
		server:   server,
		control:  &http.Server{Handler: ControlHandler(server), ReadHeaderTimeout: 10 * time.Second},
		served:   make(chan struct{}),
	}
	go func() {
		defer close(s.served)
		// It returns when it is closed, or when the listener breaks: then clients see
		// refused connections, which says it all.
		_ = s.control.Serve(listener)
	}()
	return s, nil
}

// Close leaves nothing running. Control requests that are under way may break:
// whoever made them has asked for the end.
func (s *Simulation) Close() error {
	err := s.control.Close()
	<-s.served
	s.server.Stop()
	return err
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
