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
func (c *ControlClient) Nodes(ctx context.Context) (nodes []Node, err error) {
	err = c.do(ctx, "GET /v1/nodes", nil, &nodes)
	return nodes, err
}

// SetNodeState sets the status that the SDK reports for a node.
func (c *ControlClient) SetNodeState(ctx context.Context, idOrName string, status Status) error {
	return c.do(ctx, "PUT /v1/nodes/{node}/status", statusBody{Status: status.String()}, nil, idOrName)
}

// Volumes returns all volumes, in no promised order.
func (c *ControlClient) Volumes(ctx context.Context) (volumes []VolumeSummary, err error) {
	err = c.do(ctx, "GET /v1/volumes", nil, &volumes)
	return volumes, err
}

// Volume returns the volume with this id, or else with this name.
func (c *ControlClient) Volume(ctx context.Context, idOrName string) (v VolumeSummary, err error) {
	err = c.do(ctx, "GET /v1/volumes/{volume}", nil, &v, idOrName)
	return v, err
}

// SetLabels adds labels to a volume; an empty value removes the label.
func (c *ControlClient) SetLabels(ctx context.Context, volume string, labels map[string]string) error {
	return c.do(ctx, "PUT /v1/volumes/{volume}/labels", labels, nil, volume)
}

// SetReplicaSets puts the replicas exactly there, one list of nodes per set.
func (c *ControlClient) SetReplicaSets(ctx context.Context, volume string, nodes ...[]string) error {
	return c.do(ctx, "PUT /v1/volumes/{volume}/replicas", nodes, nil, volume)
}

// MoveReplica moves every replica that the volume has on one node to another.
func (c *ControlClient) MoveReplica(ctx context.Context, volume, from, to string) error {
	return c.do(ctx, "POST /v1/volumes/{volume}/move", moveBody{From: from, To: to}, nil, volume)
}

// AddReplica puts a replica of every replica set on the node.
func (c *ControlClient) AddReplica(ctx context.Context, volume, onto string) error {
	return c.do(ctx, "POST /v1/volumes/{volume}/replicas/{node}", nil, nil, volume, onto)
}

// RemoveReplica takes the volume's replicas off a node.
func (c *ControlClient) RemoveReplica(ctx context.Context, volume, from string) error {
	return c.do(ctx, "DELETE /v1/volumes/{volume}/replicas/{node}", nil, nil, volume, from)
}

// Attach attaches the volume to a node, or to none if it is empty.
func (c *ControlClient) Attach(ctx context.Context, volume, to string) error {
	return c.do(ctx, "PUT /v1/volumes/{volume}/attached", attachBody{Node: to}, nil, volume)
}

// Faults returns what is wrong at the moment.
func (c *ControlClient) Faults(ctx context.Context) (faults Faults, err error) {
	err = c.do(ctx, "GET /v1/faults", nil, &faults)
	return faults, err
}

// SetFaults replaces the faults.
func (c *ControlClient) SetFaults(ctx context.Context, faults Faults) error {
	return c.do(ctx, "PUT /v1/faults", faults, nil)
}

// Disconnect closes the SDK's listener and all its connections.
func (c *ControlClient) Disconnect(ctx context.Context) error {
	return c.do(ctx, "PUT /v1/connected", false, nil)
}

// Reconnect listens again on the address of before.
func (c *ControlClient) Reconnect(ctx context.Context) error {
	return c.do(ctx, "PUT /v1/connected", true, nil)
}

// do sends a request of the table controls, with these names in its path.
func (c *ControlClient) do(ctx context.Context, pattern string, body, answer any, names ...string) error {
	method, path, _ := strings.Cut(pattern, " ")
	for _, name := range names {
		before, after, _ := strings.Cut(path, "{")
		_, after, _ = strings.Cut(after, "}")
		path = before + url.PathEscape(name) + after
	}
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
	for _, kind := range errorKinds {
		if kind.name == body.Reason {
			remote.cause = kind.err
		}
	}
	return remote
}
