package openstoragesim

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// maxControlBody is the most bytes that a control request may have.
const maxControlBody = 4 << 20

// ControlHandler lets another process drive the server and its cluster, with
// JSON over HTTP, as the table controls says. It checks no credentials: serve it on
// a loopback address. NewControlClient returns its counterpart.
//
// A volume is named by id or name, a node by id, scheduler node name, hostname
// or address. An error is {"error":"...","reason":"NotFound"}.
func ControlHandler(server *Server) http.Handler {
	mux := http.NewServeMux()
	for pattern, handle := range controls {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxControlBody)
			answer, err := handle(server, r)
			writeAnswer(w, answer, err)
		})
	}
	return mux
}

// control handles one kind of request. A nil answer is no content.
type control func(*Server, *http.Request) (answer any, err error)

var controls = map[string]control{
	"GET /v1/nodes":           func(s *Server, _ *http.Request) (any, error) { return s.cluster.Nodes(), nil },
	"POST /v1/nodes":          with(func(s *Server, _ names, n Node) (any, error) { return s.cluster.AddNode(n) }),
	"DELETE /v1/nodes/{node}": do(func(s *Server, at names) error { return s.cluster.RemoveNode(at.node) }),
	"PUT /v1/nodes/{node}/status": with(func(s *Server, at names, body statusBody) (any, error) {
		status, err := ParseStatus(body.Status)
		if err != nil {
			return nil, err
		}
		return nil, s.cluster.SetNodeState(at.node, status)
	}),

	"GET /v1/volumes": func(s *Server, _ *http.Request) (any, error) {
		summaries := []VolumeSummary{}
		for v := range s.cluster.Volumes() {
			summaries = append(summaries, s.cluster.Summarize(v))
		}
		return summaries, nil
	},
	"POST /v1/volumes": with(func(s *Server, _ names, request CreateRequest) (any, error) {
		v, err := s.cluster.CreateVolume(request)
		return s.cluster.Summarize(v), err
	}),
	// Makes many: {"count":1000,"parameters":{"repl":"3"}}.
	"POST /v1/volumes/fill": with(func(s *Server, _ names, body fillBody) (any, error) {
		return nil, s.cluster.Fill(body.Count, body.Parameters)
	}),
	"GET /v1/volumes/{volume}": func(s *Server, r *http.Request) (any, error) {
		v, err := s.cluster.Volume(r.PathValue("volume"))
		return s.cluster.Summarize(v), err
	},
	"DELETE /v1/volumes/{volume}": do(func(s *Server, at names) error { return s.cluster.DeleteVolume(at.volume) }),
	// {"key":"value"}; an empty value removes.
	"PUT /v1/volumes/{volume}/labels": with(func(s *Server, at names, labels map[string]string) (any, error) {
		return nil, s.cluster.SetLabels(at.volume, labels)
	}),
	// [["node","node"]], one list per replica set.
	"PUT /v1/volumes/{volume}/replicas": with(func(s *Server, at names, sets [][]string) (any, error) {
		return nil, s.cluster.SetReplicaSets(at.volume, sets...)
	}),
	"POST /v1/volumes/{volume}/move": with(func(s *Server, at names, body moveBody) (any, error) {
		return nil, s.cluster.MoveReplica(at.volume, body.From, body.To)
	}),
	"POST /v1/volumes/{volume}/replicas/{node}":   do(func(s *Server, at names) error { return s.cluster.AddReplica(at.volume, at.node) }),
	"DELETE /v1/volumes/{volume}/replicas/{node}": do(func(s *Server, at names) error { return s.cluster.RemoveReplica(at.volume, at.node) }),
	// An empty node detaches.
	"PUT /v1/volumes/{volume}/attached": with(func(s *Server, at names, body attachBody) (any, error) {
		if body.Node == "" {
			return nil, s.cluster.Detach(at.volume)
		}
		return nil, s.cluster.Attach(at.volume, body.Node)
	}),

	"GET /v1/faults": func(s *Server, _ *http.Request) (any, error) { return s.Faults(), nil },
	// Replaces what is wrong; {} is a healthy server.
	"PUT /v1/faults": with(func(s *Server, _ names, faults Faults) (any, error) { return nil, s.SetFaults(faults) }),
	// SDK calls so far, by method; DELETE counts anew.
	"GET /v1/calls":    func(s *Server, _ *http.Request) (any, error) { return s.Calls(false), nil },
	"DELETE /v1/calls": func(s *Server, _ *http.Request) (any, error) { return s.Calls(true), nil },
	"GET /v1/watches":  func(s *Server, _ *http.Request) (any, error) { return watchesBody{Open: s.OpenWatches()}, nil },
	// Cuts all open watches.
	"DELETE /v1/watches": func(s *Server, _ *http.Request) (any, error) { return watchesBody{Cut: s.CutWatches()}, nil },
	// false closes the SDK's port, true opens it again.
	"PUT /v1/connected": with(func(s *Server, _ names, connected bool) (any, error) {
		if connected {
			return nil, s.Reconnect()
		}
		s.Disconnect()
		return nil, nil
	}),
	// {"<bearer>":Token}; replaces all tokens.
	"PUT /v1/tokens": with(func(s *Server, _ names, tokens map[string]Token) (any, error) {
		if s.options.Tokens == nil {
			return nil, fmt.Errorf("this server runs without authentication: %w", ErrConflict)
		}
		s.options.Tokens.Replace(tokens)
		return nil, nil
	}),
}

// names are those in the path of a request.
type names struct{ volume, node string }

func namesOf(r *http.Request) names { return names{r.PathValue("volume"), r.PathValue("node")} }

// do is a request with neither body nor answer.
func do(act func(*Server, names) error) control {
	return func(s *Server, r *http.Request) (any, error) { return nil, act(s, namesOf(r)) }
}

// with is a request with a body.
func with[T any](act func(*Server, names, T) (any, error)) control {
	return func(s *Server, r *http.Request) (any, error) {
		var body T
		if err := strictJSON(r.Body, &body); err != nil {
			return nil, fmt.Errorf("body of %s %s: %w: %w", r.Method, r.URL.Path, ErrInvalid, err)
		}
		return act(s, namesOf(r), body)
	}
}

type (
	statusBody struct {
		Status string `json:"status"`
	}
	fillBody struct {
		Count      int               `json:"count"`
		Parameters map[string]string `json:"parameters,omitempty"`
	}
	moveBody struct {
		From string `json:"from"`
		To   string `json:"to"`
	}
	attachBody struct {
		Node string `json:"node"`
	}
	watchesBody struct {
		Open int `json:"open,omitempty"`
		Cut  int `json:"cut,omitempty"`
	}
	errorBody struct {
		Error  string `json:"error"`
		Reason string `json:"reason"`
	}
)

func writeAnswer(w http.ResponseWriter, answer any, err error) {
	code := http.StatusOK
	if err != nil {
		kind := kindOf(err)
		code, answer = kind.http, errorBody{Error: err.Error(), Reason: kind.name}
	}
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	// Only a connection that broke can fail here, and nobody is left to tell.
	_ = encoder.Encode(answer)
}
