package openstoragesim

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc/codes"
)

// controlled is a served cluster with nodes n001 to n003 and a client that
// drives it.
func controlled(t testing.TB, options ServerOptions) (*Server, *ControlClient) {
	t.Helper()
	s := start(t, newCluster(t, 3), options)
	server := httptest.NewServer(ControlHandler(s))
	t.Cleanup(server.Close)
	client := NewControlClient(strings.TrimPrefix(server.URL, "http://"))
	t.Cleanup(client.Close)
	return s, client
}

func TestControlOfNodes(t *testing.T) {
	s, control := controlled(t, ServerOptions{})
	ctx := t.Context()
	var added Node
	err := control.do(ctx, "POST /v1/nodes", Node{SchedulerNodeName: "n004", Status: api.Status_STATUS_STORAGE_DOWN, Zone: "a", Labels: map[string]string{"disk": "nvme"}}, &added)
	must(t, err)
	must(t, control.SetNodeState(ctx, "n001", api.Status_STATUS_OFFLINE))
	must(t, control.do(ctx, "DELETE /v1/nodes/{node}", nil, nil, "n002"))
	nodes, err := control.Nodes(ctx)
	must(t, err)
	if diff := cmp.Diff(s.Cluster().Nodes(), nodes); diff != "" {
		t.Errorf("nodes (-cluster +control):\n%s", diff)
	}
	if len(nodes) != 3 || nodes[0].Status != api.Status_STATUS_OFFLINE || !cmp.Equal(nodes[2], added) {
		t.Errorf("nodes %+v", nodes)
	}
}

func TestControlOfVolumes(t *testing.T) {
	s, control := controlled(t, ServerOptions{})
	c, ctx := s.Cluster(), t.Context()
	var made VolumeSummary
	err := control.do(ctx, "POST /v1/volumes", CreateRequest{Name: "v", Size: 5, Parameters: map[string]string{"repl": "2"}, Labels: map[string]string{"a": "1"}}, &made)
	must(t, err)
	must(t, control.SetLabels(ctx, "v", map[string]string{"a": "", "b": "2"}))
	must(t, control.MoveReplica(ctx, "v", "n001", "n003"))
	must(t, control.Attach(ctx, "v", "n002"))
	n2, err := c.Node("n002")
	must(t, err)
	got, err := control.Volume(ctx, made.ID)
	must(t, err)
	n3, err := c.Node("n003")
	must(t, err)
	want := VolumeSummary{
		ID: made.ID, Name: "v", Size: 5, Labels: map[string]string{"b": "2"}, AttachedOn: n2.ID,
		ReplicaSets: [][]Replica{{
			{NodeID: n3.ID, Node: "n003", Pool: n3.Pools[0].UUID},
			{NodeID: n2.ID, Node: "n002", Pool: n2.Pools[0].UUID},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("volume (-want +got):\n%s", diff)
	}

	must(t, control.AddReplica(ctx, "v", "n001"))
	must(t, control.RemoveReplica(ctx, "v", "n002"))
	must(t, control.Attach(ctx, "v", ""))
	v, err := c.Volume("v")
	must(t, err)
	if diff := cmp.Diff([][]string{{"n003", "n001"}}, placedOn(t, c, v)); diff != "" || v.GetAttachedOn() != "" {
		t.Errorf("attached on %q, replicas (-want +got):\n%s", v.GetAttachedOn(), diff)
	}
	must(t, control.SetReplicaSets(ctx, "v", []string{"n001"}, []string{"n002"}))
	v, err = c.Volume("v")
	must(t, err)
	if diff := cmp.Diff([][]string{{"n001"}, {"n002"}}, placedOn(t, c, v)); diff != "" {
		t.Errorf("replicas (-want +got):\n%s", diff)
	}

	must(t, control.do(ctx, "POST /v1/volumes/fill", fillBody{Count: 3, Parameters: map[string]string{"repl": "3"}}, nil))
	all, err := control.Volumes(ctx)
	must(t, err)
	if len(all) != 4 || len(c.volumes) != 4 {
		t.Errorf("%d volumes in the list, %d in the cluster", len(all), len(c.volumes))
	}
	must(t, control.do(ctx, "DELETE /v1/volumes/{volume}", nil, nil, "v"))
	if len(c.volumes) != 3 {
		t.Errorf("%d volumes after the deletion", len(c.volumes))
	}
}

func TestControlErrorsAreThoseOfTheCluster(t *testing.T) {
	_, control := controlled(t, ServerOptions{})
	ctx := t.Context()
	create := func(request CreateRequest) error { return control.do(ctx, "POST /v1/volumes", request, nil) }
	remove := func(volume string) error { return control.do(ctx, "DELETE /v1/volumes/{volume}", nil, nil, volume) }
	must(t, create(CreateRequest{Name: "v"}))
	tests := []struct {
		name string
		err  error
		want error
		says string
	}{
		{name: "a volume that does not exist", err: remove("w"), want: ErrNotFound, says: `"w"`},
		{name: "a node that does not exist", err: control.SetNodeState(ctx, "n9", api.Status_STATUS_OK), want: ErrNotFound, says: `"n9"`},
		{name: "a name with a slash is one name", err: remove("a/b"), want: ErrNotFound, says: `"a/b"`},
		{name: "a parameter that makes no sense", err: create(CreateRequest{Name: "w", Parameters: map[string]string{"repl": "x"}}), want: ErrInvalid, says: "repl"},
		{name: "too few nodes", err: create(CreateRequest{Name: "w", Parameters: map[string]string{"repl": "2", "nodes": "n001"}}), want: ErrExhausted, says: "n001"},
		{name: "a name that is taken", err: create(CreateRequest{Name: "v", Size: 5}), want: ErrExists, says: `"v"`},
		{name: "a replica that cannot go", err: control.RemoveReplica(ctx, "v", "n001"), want: ErrConflict, says: "last replica"},
		{name: "faults that make no sense", err: control.SetFaults(ctx, Faults{HideNodes: 3}), want: ErrInvalid, says: "hideNodes"},
		{name: "tokens without authentication", err: control.do(ctx, "PUT /v1/tokens", map[string]Token{}, nil), want: ErrConflict, says: "without authentication"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if !errors.Is(test.err, test.want) || !strings.Contains(test.err.Error(), test.says) {
				t.Errorf("got %v, want %v that says %q", test.err, test.want, test.says)
			}
		})
	}
}

func TestControlReadsBodiesStrictly(t *testing.T) {
	s, control := controlled(t, ServerOptions{})
	tests := []struct{ name, body string }{
		{name: "an unknown field", body: `{"hideVolume":1}`},
		{name: "two values", body: `{"hideVolumes":1} {}`},
		{name: "no value", body: ``},
		{name: "another type", body: `[]`},
		{name: "a code that is none", body: `{"calls":{"*":{"code":"BROKEN"}}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, control.base+"/v1/faults", strings.NewReader(test.body))
			must(t, err)
			response, err := control.http.Do(request)
			must(t, err)
			must(t, response.Body.Close())
			if response.StatusCode != http.StatusBadRequest {
				t.Errorf("the answer is %s", response.Status)
			}
			if diff := cmp.Diff(Faults{}, s.Faults()); diff != "" {
				t.Errorf("faults were set:\n%s", diff)
			}
		})
	}
}

func TestControlOfTheServer(t *testing.T) {
	tokens := &Tokens{}
	s, control := controlled(t, ServerOptions{Tokens: tokens})
	ctx := t.Context()
	cl := dial(t, s.Endpoint())
	version := func() error {
		_, err := cl.identity.Version(ctx, &api.SdkIdentityVersionRequest{})
		return err
	}

	faults := Faults{Calls: map[string]CallFault{"Identity.*": {Code: codes.Unavailable, Latency: time.Microsecond}}, HideNodes: 1}
	must(t, control.SetFaults(ctx, faults))
	got, err := control.Faults(ctx)
	must(t, err)
	if diff := cmp.Diff(faults, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	wantCode(t, version(), codes.Unavailable)
	must(t, control.SetFaults(ctx, Faults{}))
	wantCode(t, version(), codes.OK)

	for _, method := range []string{"GET", "DELETE"} {
		var calls map[string]int
		must(t, control.do(ctx, method+" /v1/calls", nil, &calls))
		if diff := cmp.Diff(map[string]int{"Identity.Version": 2}, calls); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	}
	if calls := s.Calls(false); len(calls) != 0 {
		t.Errorf("after the reset: %v", calls)
	}

	must(t, control.do(ctx, "PUT /v1/tokens", map[string]Token{"t": {User: "u", Roles: []string{RoleAdmin}, Groups: []string{AdminGroup}}}, nil))
	if tokens.tokens["t"].User != "u" {
		t.Errorf("tokens %v", tokens.tokens)
	}

	must(t, control.Disconnect(ctx))
	wantCode(t, version(), codes.Unavailable)
	must(t, control.Reconnect(ctx))
	wantWatches(t, control, 0)
}

// wantWatches counts the open watches and cuts them.
func wantWatches(t *testing.T, control *ControlClient, want int) {
	t.Helper()
	var open, cut watchesBody
	must(t, control.do(t.Context(), "GET /v1/watches", nil, &open))
	must(t, control.do(t.Context(), "DELETE /v1/watches", nil, &cut))
	if open.Open != want || cut.Cut != want {
		t.Errorf("%d watches open, %d cut, want %d of each", open.Open, cut.Cut, want)
	}
}

func TestControlCutsWatches(t *testing.T) {
	s, control := controlled(t, ServerOptions{})
	must(t, s.Cluster().Fill(1, nil))
	stream := openWatch(t, dial(t, s.Endpoint()))
	recv(t, stream, 1)
	wantWatches(t, control, 1)
	_, err := stream.Recv()
	wantCode(t, err, codes.Unavailable)
}

func TestControlClientWithoutAServer(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	address := strings.TrimPrefix(server.URL, "http://")
	control := NewControlClient(address)
	defer control.Close()
	if _, err := control.Nodes(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("something else that answers: %v", err)
	}
	server.Close()
	if _, err := control.Nodes(t.Context()); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("nothing that answers: %v, want an error that names %s", err, address)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := control.Nodes(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// FuzzControl sends anything and expects a proper answer.
func FuzzControl(f *testing.F) {
	for _, request := range [][3]string{
		{"GET", "/v1/nodes", ""},
		{"POST", "/v1/nodes", `{"schedulerNodeName":"n9","pools":[{"uuid":"p"},{"uuid":"p"}]}`},
		{"PUT", "/v1/nodes/n001/status", `{"status":"OFFLINE"}`},
		{"POST", "/v1/volumes", `{"name":"w","parameters":{"repl":"3"}}`},
		{"PUT", "/v1/volumes/v/replicas", `[["n001","n002"],[]]`},
		{"POST", "/v1/volumes/v/move", `{"from":"n001","to":"n002"}`},
		{"DELETE", "/v1/volumes/v/replicas/n001", ""},
		{"PUT", "/v1/faults", `{"calls":{"*":{"latency":"1h"}},"watch":{"reorder":3}}`},
		{"PUT", "/v1/volumes/v/attached", `{"node":"n001"} {}`},
	} {
		f.Add(request[0], request[1], request[2])
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if strings.Contains(path, "/fill") || strings.Contains(path, "/connected") {
			t.Skip("takes long or needs a port")
		}
		request, err := http.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
		if err != nil {
			t.Skip("is no request")
		}
		c := newCluster(t, 3)
		if _, err := c.CreateVolume(CreateRequest{Name: "v"}); err != nil {
			t.Fatal(err)
		}
		answer := httptest.NewRecorder()
		ControlHandler(NewServer(c, ServerOptions{Tokens: &Tokens{}})).ServeHTTP(answer, request)
		checkConsistent(t, c)
		if answer.Header().Get("Content-Type") != "application/json" {
			return // no content, or net/http's own redirect or refusal
		}
		if !json.Valid(answer.Body.Bytes()) {
			t.Errorf("%d with a body that is no JSON: %q", answer.Code, answer.Body)
		}
		if answer.Code == http.StatusInternalServerError {
			t.Errorf("an error without a reason: %s", answer.Body)
		}
	})
}
