package openstoragesim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"sync"
)

// SimulationOptions configure a simulator that other processes can drive.
type SimulationOptions struct {
	// Nodes are added before anything is served.
	Nodes []Node
	// Address of the SDK, such as 127.0.0.1:9020; port 0 takes a free one.
	Address string
	// ControlAddress is where a ControlClient finds it. Nobody is asked for
	// credentials there: it must be a loopback address.
	ControlAddress string
}

// Simulation is a simulated cluster that is served, and its control interface.
type Simulation struct {
	// Endpoint of the SDK and Control are host:port as they came out.
	Endpoint, Control string

	server  *Server
	control net.Listener
	stop    context.CancelFunc // ends the connections of control
	served  chan struct{}      // closed when they have ended
}

// Start serves a simulated cluster until Close.
func Start(options SimulationOptions) (*Simulation, error) {
	cluster := NewCluster(Options{})
	for _, n := range options.Nodes {
		if _, err := cluster.AddNode(n); err != nil {
			return nil, err
		}
	}
	server := NewServer(cluster, ServerOptions{})
	if err := server.Start(options.Address); err != nil {
		return nil, err
	}
	listener, err := listenLoopback(options.ControlAddress)
	if err != nil {
		server.Stop()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Simulation{
		Endpoint: server.Endpoint(),
		Control:  listener.Addr().String(),
		server:   server,
		control:  listener,
		stop:     stop,
		served:   make(chan struct{}),
	}
	go func() {
		defer close(s.served)
		serveControl(ctx, listener, server)
	}()
	return s, nil
}

// Close leaves nothing running. Control requests that are under way may break:
// whoever made them has asked for the end.
func (s *Simulation) Close() error {
	err := s.control.Close()
	s.stop()
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

// ControlClient drives the Simulation of another process. Its methods do what those
// of Cluster and Server of the same name do. It may be used concurrently.
//
// A volume is named by id or name, a node by id, scheduler node name, hostname
// or address.
type ControlClient struct{ address string }

// NewControlClient returns a client of the control interface at host:port.
func NewControlClient(address string) *ControlClient { return &ControlClient{address} }

// State is all that there is to see of a Simulation.
type State struct {
	Nodes   []Node          // in the order in which they were added
	Volumes []VolumeSummary // in no promised order
	Faults  Faults
}

// State returns what is the case now.
func (c *ControlClient) State(ctx context.Context) (state State, err error) {
	err = c.call(ctx, "State", none{}, &state)
	return state, err
}

// SetNodeState sets the status that the SDK reports for a node.
func (c *ControlClient) SetNodeState(ctx context.Context, node string, status Status) error {
	return c.call(ctx, "SetNodeState", ControlRequest{Node: node, Status: status}, &none{})
}

// SetLabels adds labels to a volume; an empty value removes the label.
func (c *ControlClient) SetLabels(ctx context.Context, volume string, labels map[string]string) error {
	return c.call(ctx, "SetLabels", ControlRequest{Volume: volume, Labels: labels}, &none{})
}

// SetReplicaSets puts the replicas exactly there, one list of nodes per set.
func (c *ControlClient) SetReplicaSets(ctx context.Context, volume string, nodes ...[]string) error {
	return c.call(ctx, "SetReplicaSets", ControlRequest{Volume: volume, ReplicaSets: nodes}, &none{})
}

// MoveReplica moves every replica that the volume has on one node to another.
func (c *ControlClient) MoveReplica(ctx context.Context, volume, from, to string) error {
	return c.call(ctx, "MoveReplica", ControlRequest{Volume: volume, Node: from, Target: to}, &none{})
}

// AddReplica puts a replica of every replica set on the node.
func (c *ControlClient) AddReplica(ctx context.Context, volume, onto string) error {
	return c.call(ctx, "AddReplica", ControlRequest{Volume: volume, Node: onto}, &none{})
}

// RemoveReplica takes the volume's replicas off a node.
func (c *ControlClient) RemoveReplica(ctx context.Context, volume, from string) error {
	return c.call(ctx, "RemoveReplica", ControlRequest{Volume: volume, Node: from}, &none{})
}

// Attach attaches the volume to a node, or to none if it is empty.
func (c *ControlClient) Attach(ctx context.Context, volume, to string) error {
	return c.call(ctx, "Attach", ControlRequest{Volume: volume, Node: to}, &none{})
}

// SetFaults replaces the faults.
func (c *ControlClient) SetFaults(ctx context.Context, faults Faults) error {
	return c.call(ctx, "SetFaults", ControlRequest{Faults: faults}, &none{})
}

// SetConnected closes the SDK's listener and all its connections, or listens again
// on the address of before.
func (c *ControlClient) SetConnected(ctx context.Context, connected bool) error {
	return c.call(ctx, "SetConnected", connected, &none{})
}

// call waits for the answer, but not beyond the end of the context. An error of the
// cluster comes as it is.
func (c *ControlClient) call(ctx context.Context, method string, request, answer any) error {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return fmt.Errorf("storage simulator: %w", err)
	}
	client := rpc.NewClient(connection)
	defer func() { _ = client.Close() }()
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
	err = client.Call(controlName+"."+method, request, answer)
	var refused rpc.ServerError
	switch {
	case err == nil, errors.As(err, &refused):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return fmt.Errorf("storage simulator at %s: %s: %w", c.address, method, err)
	}
}

// serveControl answers until the listener is closed, or breaks: then clients see
// refused connections, which says it all. It returns when the context has ended, too.
func serveControl(ctx context.Context, listener net.Listener, server *Server) {
	answers := rpc.NewServer()
	if err := answers.RegisterName(controlName, control{server, server.cluster}); err != nil {
		panic(err) // a method of control has not the form that rpc wants: a mistake in this file
	}
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		connections.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
			answers.ServeConn(connection)
		})
	}
}

// controlName is what rpc calls the methods of control by.
const controlName = "Control"

// control does what the methods of ControlClient ask for.
type control struct {
	server  *Server
	cluster *Cluster
}

// ControlRequest is what a ControlClient sends: of its fields those that the method needs.
type ControlRequest struct {
	Volume, Node string
	Target       string // node, of a move
	Status       Status
	Labels       map[string]string
	ReplicaSets  [][]string
	Faults       Faults
}

type none = struct{}

func (c control) State(_ none, state *State) error {
	state.Nodes, state.Faults = c.cluster.Nodes(), c.server.Faults()
	for v := range c.cluster.Volumes() {
		state.Volumes = append(state.Volumes, c.cluster.summarize(v))
	}
	return nil
}

func (c control) SetNodeState(r ControlRequest, _ *none) error {
	return c.cluster.SetNodeState(r.Node, r.Status)
}

func (c control) SetLabels(r ControlRequest, _ *none) error {
	return c.cluster.SetLabels(r.Volume, r.Labels)
}

func (c control) SetReplicaSets(r ControlRequest, _ *none) error {
	return c.cluster.SetReplicaSets(r.Volume, r.ReplicaSets...)
}

func (c control) MoveReplica(r ControlRequest, _ *none) error {
	return c.cluster.MoveReplica(r.Volume, r.Node, r.Target)
}

func (c control) AddReplica(r ControlRequest, _ *none) error {
	return c.cluster.AddReplica(r.Volume, r.Node)
}

func (c control) RemoveReplica(r ControlRequest, _ *none) error {
	return c.cluster.RemoveReplica(r.Volume, r.Node)
}

func (c control) Attach(r ControlRequest, _ *none) error {
	if r.Node == "" {
		return c.cluster.Detach(r.Volume)
	}
	return c.cluster.Attach(r.Volume, r.Node)
}

func (c control) SetFaults(r ControlRequest, _ *none) error { return c.server.SetFaults(r.Faults) }

func (c control) SetConnected(connected bool, _ *none) error {
	if connected {
		return c.server.Reconnect()
	}
	c.server.Disconnect()
	return nil
}
