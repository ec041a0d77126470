package openstoragesim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// ControlClient drives a simulated storage cluster in another process. Its
// methods do what those of Cluster and Server of the same name do, and their
// errors wrap the same ones of ErrNotFound and so on. It may be used
// concurrently.
type ControlClient struct {
	base string
	http *http.Client
}

// NewControlClient returns a client of the ControlHandler at host:port.
func NewControlClient(address string) *ControlClient {
	return &ControlClient{base: "http://" + address, http: &http.Client{Transport: &http.Transport{}}}
}

// Close lets go of idle connections.
func (c *ControlClient) Close() { c.http.CloseIdleConnections() }

// Nodes returns all nodes in the order in which they were added.
func (c *ControlClient) Nodes(ctx context.Context) ([]Node, error) {
	var nodes []Node
	return nodes, c.do(ctx, http.MethodGet, path("nodes"), nil, &nodes)
}

// AddNode adds a storage node and returns it as it was completed.
func (c *ControlClient) AddNode(ctx context.Context, n Node) (Node, error) {
	var added Node
	return added, c.do(ctx, http.MethodPost, path("nodes"), n, &added)
}

// RemoveNode takes a node out of the cluster.
func (c *ControlClient) RemoveNode(ctx context.Context, idOrName string) error {
	return c.do(ctx, http.MethodDelete, path("nodes", idOrName), nil, nil)
}

// SetNodeState sets the status that the SDK reports for a node.
func (c *ControlClient) SetNodeState(ctx context.Context, idOrName string, status Status) error {
	return c.do(ctx, http.MethodPut, path("nodes", idOrName, "status"), statusBody{Status: status.String()}, nil)
}

// Volumes returns all volumes, in no promised order.
func (c *ControlClient) Volumes(ctx context.Context) ([]VolumeSummary, error) {
	var volumes []VolumeSummary
	return volumes, c.do(ctx, http.MethodGet, path("volumes"), nil, &volumes)
}

// Volume returns the volume with this id, or else with this name.
func (c *ControlClient) Volume(ctx context.Context, idOrName string) (VolumeSummary, error) {
	var v VolumeSummary
	return v, c.do(ctx, http.MethodGet, path("volumes", idOrName), nil, &v)
}

// CreateVolume makes a volume and places its replicas.
func (c *ControlClient) CreateVolume(ctx context.Context, request CreateRequest) (VolumeSummary, error) {
	var v VolumeSummary
	return v, c.do(ctx, http.MethodPost, path("volumes"), request, &v)
}

// Fill makes that many volumes with these StorageClass parameters.
func (c *ControlClient) Fill(ctx context.Context, count int, parameters map[string]string) error {
	return c.do(ctx, http.MethodPost, path("volumes", "fill"), fillBody{Count: count, Parameters: parameters}, nil)
}

// DeleteVolume forgets a volume that is not attached.
func (c *ControlClient) DeleteVolume(ctx context.Context, idOrName string) error {
	return c.do(ctx, http.MethodDelete, path("volumes", idOrName), nil, nil)
}

// SetLabels adds labels to a volume; an empty value removes the label.
func (c *ControlClient) SetLabels(ctx context.Context, volume string, labels map[string]string) error {
	return c.do(ctx, http.MethodPut, path("volumes", volume, "labels"), labels, nil)
}

// SetReplicaSets puts the replicas exactly there, one list of nodes per set.
func (c *ControlClient) SetReplicaSets(ctx context.Context, volume string, nodes ...[]string) error {
	return c.do(ctx, http.MethodPut, path("volumes", volume, "replicas"), nodes, nil)
}

// MoveReplica moves every replica that the volume has on one node to another.
func (c *ControlClient) MoveReplica(ctx context.Context, volume, from, to string) error {
	return c.do(ctx, http.MethodPost, path("volumes", volume, "move"), moveBody{From: from, To: to}, nil)
}

// AddReplica puts a replica of every replica set on the node.
func (c *ControlClient) AddReplica(ctx context.Context, volume, onto string) error {
	return c.do(ctx, http.MethodPost, path("volumes", volume, "replicas", onto), nil, nil)
}

// RemoveReplica takes the volume's replicas off a node.
func (c *ControlClient) RemoveReplica(ctx context.Context, volume, from string) error {
	return c.do(ctx, http.MethodDelete, path("volumes", volume, "replicas", from), nil, nil)
}

// Attach attaches the volume to a node.
func (c *ControlClient) Attach(ctx context.Context, volume, to string) error {
	return c.do(ctx, http.MethodPut, path("volumes", volume, "attached"), attachBody{Node: to}, nil)
}

// Detach detaches the volume.
func (c *ControlClient) Detach(ctx context.Context, volume string) error {
	return c.do(ctx, http.MethodPut, path("volumes", volume, "attached"), attachBody{}, nil)
}

// Faults returns what is wrong at the moment.
func (c *ControlClient) Faults(ctx context.Context) (Faults, error) {
	var faults Faults
	return faults, c.do(ctx, http.MethodGet, path("faults"), nil, &faults)
}

// SetFaults replaces the faults.
func (c *ControlClient) SetFaults(ctx context.Context, faults Faults) error {
	return c.do(ctx, http.MethodPut, path("faults"), faults, nil)
}

// Calls returns how often each SDK method was called, and starts to count anew
// if reset is true.
func (c *ControlClient) Calls(ctx context.Context, reset bool) (map[string]int, error) {
	method := http.MethodGet
	if reset {
		method = http.MethodDelete
	}
	var calls map[string]int
	return calls, c.do(ctx, method, path("calls"), nil, &calls)
}

// OpenWatches returns the number of open watch streams.
func (c *ControlClient) OpenWatches(ctx context.Context) (int, error) {
	var body watchesBody
	err := c.do(ctx, http.MethodGet, path("watches"), nil, &body)
	return body.Open, err
}

// CutWatches ends all open watch streams and returns how many there were.
func (c *ControlClient) CutWatches(ctx context.Context) (int, error) {
	var body watchesBody
	err := c.do(ctx, http.MethodDelete, path("watches"), nil, &body)
	return body.Cut, err
}

// Disconnect closes the SDK's listener and all its connections.
func (c *ControlClient) Disconnect(ctx context.Context) error {
	return c.do(ctx, http.MethodPut, path("connected"), false, nil)
}

// Reconnect listens again on the address of before.
func (c *ControlClient) Reconnect(ctx context.Context) error {
	return c.do(ctx, http.MethodPut, path("connected"), true, nil)
}

// SetTokens replaces all tokens of the server.
func (c *ControlClient) SetTokens(ctx context.Context, tokens map[string]Token) error {
	return c.do(ctx, http.MethodPut, path("tokens"), tokens, nil)
}

func path(elements ...string) string {
	for i, element := range elements {
		elements[i] = url.PathEscape(element)
	}
	return "/v1/" + strings.Join(elements, "/")
}

func (c *ControlClient) do(ctx context.Context, method, path string, body, answer any) error {
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("storage simulator: %s %s: %w", method, path, err)
		}
		sent = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, sent)
	if err != nil {
		return fmt.Errorf("storage simulator: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("storage simulator: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("storage simulator: %s %s: %w", method, path, err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return controlError(response.Status, data)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("storage simulator: answer of %s %s: %w", method, path, err)
	}
	return nil
}

// remoteError reads as the server wrote it and wraps the cluster's error.
type remoteError struct {
	message string
	cause   error
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.cause }

func controlError(status string, data []byte) error {
	var body errorBody
	if json.Unmarshal(data, &body) != nil || body.Error == "" {
		return fmt.Errorf("storage simulator: %s: %s", status, bytes.TrimSpace(data))
	}
	remote := &remoteError{message: body.Error}
	for _, reason := range reasons {
		if reason.name == body.Reason {
			remote.cause = reason.err
		}
	}
	return remote
}
