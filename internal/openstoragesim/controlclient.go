package openstoragesim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/libopenstorage/openstorage/api"
)

// ControlClient drives a simulated storage cluster in another process. Its
// methods do what those of Cluster and Server of the same name do, and their
// errors wrap the same ones. It may be used concurrently.
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

func (c *ControlClient) Nodes(ctx context.Context) ([]Node, error) {
	var nodes []Node
	return nodes, c.do(ctx, http.MethodGet, path("nodes"), nil, &nodes)
}

func (c *ControlClient) AddNode(ctx context.Context, n Node) (Node, error) {
	var added Node
	return added, c.do(ctx, http.MethodPost, path("nodes"), n, &added)
}

func (c *ControlClient) RemoveNode(ctx context.Context, idOrName string) error {
	return c.do(ctx, http.MethodDelete, path("nodes", idOrName), nil, nil)
}

func (c *ControlClient) SetNodeState(ctx context.Context, idOrName string, status api.Status) error {
	return c.do(ctx, http.MethodPut, path("nodes", idOrName, "status"), statusBody{Status: status.String()}, nil)
}

func (c *ControlClient) Volumes(ctx context.Context) ([]VolumeSummary, error) {
	var volumes []VolumeSummary
	return volumes, c.do(ctx, http.MethodGet, path("volumes"), nil, &volumes)
}

func (c *ControlClient) Volume(ctx context.Context, idOrName string) (VolumeSummary, error) {
	var v VolumeSummary
	return v, c.do(ctx, http.MethodGet, path("volumes", idOrName), nil, &v)
}

func (c *ControlClient) CreateVolume(ctx context.Context, request CreateRequest) (VolumeSummary, error) {
	var v VolumeSummary
	return v, c.do(ctx, http.MethodPost, path("volumes"), request, &v)
}

func (c *ControlClient) Fill(ctx context.Context, count int, parameters map[string]string) error {
	return c.do(ctx, http.MethodPost, path("volumes", "fill"), fillBody{Count: count, Parameters: parameters}, nil)
}

func (c *ControlClient) DeleteVolume(ctx context.Context, idOrName string) error {
	return c.do(ctx, http.MethodDelete, path("volumes", idOrName), nil, nil)
}

func (c *ControlClient) SetLabels(ctx context.Context, volume string, labels map[string]string) error {
	return c.do(ctx, http.MethodPut, path("volumes", volume, "labels"), labels, nil)
}

func (c *ControlClient) SetReplicaSets(ctx context.Context, volume string, nodes ...[]string) error {
	return c.do(ctx, http.MethodPut, path("volumes", volume, "replicas"), nodes, nil)
}

func (c *ControlClient) MoveReplica(ctx context.Context, volume, from, to string) error {
	return c.do(ctx, http.MethodPost, path("volumes", volume, "move"), moveBody{From: from, To: to}, nil)
}

func (c *ControlClient) AddReplica(ctx context.Context, volume, onto string) error {
	return c.do(ctx, http.MethodPost, path("volumes", volume, "replicas", onto), nil, nil)
}

func (c *ControlClient) RemoveReplica(ctx context.Context, volume, from string) error {
	return c.do(ctx, http.MethodDelete, path("volumes", volume, "replicas", from), nil, nil)
}

func (c *ControlClient) Attach(ctx context.Context, volume, to string) error {
	return c.do(ctx, http.MethodPut, path("volumes", volume, "attached"), attachBody{Node: to}, nil)
}

func (c *ControlClient) Detach(ctx context.Context, volume string) error {
	return c.do(ctx, http.MethodPut, path("volumes", volume, "attached"), attachBody{}, nil)
}

func (c *ControlClient) Faults(ctx context.Context) (Faults, error) {
	var faults Faults
	return faults, c.do(ctx, http.MethodGet, path("faults"), nil, &faults)
}

func (c *ControlClient) SetFaults(ctx context.Context, faults Faults) error {
	return c.do(ctx, http.MethodPut, path("faults"), faults, nil)
}

func (c *ControlClient) Calls(ctx context.Context, reset bool) (map[string]int, error) {
	method := http.MethodGet
	if reset {
		method = http.MethodDelete
	}
	var calls map[string]int
	return calls, c.do(ctx, method, path("calls"), nil, &calls)
}

func (c *ControlClient) OpenWatches(ctx context.Context) (int, error) {
	var body watchesBody
	err := c.do(ctx, http.MethodGet, path("watches"), nil, &body)
	return body.Open, err
}

func (c *ControlClient) CutWatches(ctx context.Context) (int, error) {
	var body watchesBody
	err := c.do(ctx, http.MethodDelete, path("watches"), nil, &body)
	return body.Cut, err
}

func (c *ControlClient) Disconnect(ctx context.Context) error {
	return c.do(ctx, http.MethodPut, path("connected"), false, nil)
}

func (c *ControlClient) Reconnect(ctx context.Context) error {
	return c.do(ctx, http.MethodPut, path("connected"), true, nil)
}

// SetTokens replaces all tokens of the server.
func (c *ControlClient) SetTokens(ctx context.Context, tokens map[string]Token) error {
	return c.do(ctx, http.MethodPut, path("tokens"), tokens, nil)
}

func path(elements ...string) string {
	joined := "/v1"
	for _, element := range elements {
		joined += "/" + url.PathEscape(element)
	}
	return joined
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
