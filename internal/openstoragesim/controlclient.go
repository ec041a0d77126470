package openstoragesim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
)

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
