package openstoragesim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxControlBody is the most bytes that a control request may have.
const maxControlBody = 4 << 20

// ControlHandler lets another process drive the server and its cluster, with
// JSON over HTTP. It checks no credentials: serve it on a loopback address.
// NewControlClient returns its counterpart.
//
//	GET    /v1/nodes                            all nodes
//	POST   /v1/nodes                            add a Node
//	DELETE /v1/nodes/{node}                     remove it
//	PUT    /v1/nodes/{node}/status              {"status":"OFFLINE"}
//	GET    /v1/volumes                          all volumes
//	POST   /v1/volumes                          make one: CreateRequest
//	POST   /v1/volumes/fill                     make many: {"count":1000,"parameters":{"repl":"3"}}
//	GET    /v1/volumes/{volume}                 one volume, by id or name
//	DELETE /v1/volumes/{volume}                 delete it
//	PUT    /v1/volumes/{volume}/labels          {"key":"value"}; an empty value removes
//	PUT    /v1/volumes/{volume}/replicas        [["node","node"]], one list per replica set
//	POST   /v1/volumes/{volume}/move            {"from":"node","to":"node"}
//	POST   /v1/volumes/{volume}/replicas/{node} add a replica
//	DELETE /v1/volumes/{volume}/replicas/{node} remove a replica
//	PUT    /v1/volumes/{volume}/attached        {"node":"node"}; an empty node detaches
//	GET    /v1/faults                           what is wrong
//	PUT    /v1/faults                           replace it: Faults; {} is a healthy server
//	GET    /v1/calls                            SDK calls so far, by method
//	DELETE /v1/calls                            the same, and count anew
//	GET    /v1/watches                          {"open":1}
//	DELETE /v1/watches                          cut all open watches
//	PUT    /v1/connected                        false closes the SDK's port, true opens it again
//	PUT    /v1/tokens                           {"<bearer>":Token}; replaces all tokens
//
// A volume is named by id or name, a node by id, scheduler node name, hostname
// or address. An error is {"error":"...","reason":"NotFound"}.
func ControlHandler(server *Server) http.Handler {
	c := server.Cluster()
	mux := http.NewServeMux()
	handle := func(pattern string, do func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxControlBody)
			answer, err := do(r)
			writeAnswer(w, answer, err)
		})
	}

	handle("GET /v1/nodes", func(*http.Request) (any, error) { return c.Nodes(), nil })
	handle("POST /v1/nodes", withBody(func(_ *http.Request, n Node) (any, error) {
		return c.AddNode(n)
	}))
	handle("DELETE /v1/nodes/{node}", func(r *http.Request) (any, error) {
		return nil, c.RemoveNode(r.PathValue("node"))
	})
	handle("PUT /v1/nodes/{node}/status", withBody(func(r *http.Request, body statusBody) (any, error) {
		status, err := ParseStatus(body.Status)
		if err != nil {
			return nil, err
		}
		return nil, c.SetNodeState(r.PathValue("node"), status)
	}))

	handle("GET /v1/volumes", func(*http.Request) (any, error) {
		summaries := []VolumeSummary{}
		for v := range c.Volumes() {
			summaries = append(summaries, c.Summarize(v))
		}
		return summaries, nil
	})
	handle("POST /v1/volumes", withBody(func(_ *http.Request, request CreateRequest) (any, error) {
		v, err := c.CreateVolume(request)
		if err != nil {
			return nil, err
		}
		return c.Summarize(v), nil
	}))
	handle("POST /v1/volumes/fill", withBody(func(_ *http.Request, body fillBody) (any, error) {
		return nil, c.Fill(body.Count, body.Parameters)
	}))
	handle("GET /v1/volumes/{volume}", func(r *http.Request) (any, error) {
		v, err := c.Volume(r.PathValue("volume"))
		if err != nil {
			return nil, err
		}
		return c.Summarize(v), nil
	})
	handle("DELETE /v1/volumes/{volume}", func(r *http.Request) (any, error) {
		return nil, c.DeleteVolume(r.PathValue("volume"))
	})
	handle("PUT /v1/volumes/{volume}/labels", withBody(func(r *http.Request, labels map[string]string) (any, error) {
		return nil, c.SetLabels(r.PathValue("volume"), labels)
	}))
	handle("PUT /v1/volumes/{volume}/replicas", withBody(func(r *http.Request, sets [][]string) (any, error) {
		return nil, c.SetReplicaSets(r.PathValue("volume"), sets...)
	}))
	handle("POST /v1/volumes/{volume}/move", withBody(func(r *http.Request, body moveBody) (any, error) {
		return nil, c.MoveReplica(r.PathValue("volume"), body.From, body.To)
	}))
	handle("POST /v1/volumes/{volume}/replicas/{node}", func(r *http.Request) (any, error) {
		return nil, c.AddReplica(r.PathValue("volume"), r.PathValue("node"))
	})
	handle("DELETE /v1/volumes/{volume}/replicas/{node}", func(r *http.Request) (any, error) {
		return nil, c.RemoveReplica(r.PathValue("volume"), r.PathValue("node"))
	})
	handle("PUT /v1/volumes/{volume}/attached", withBody(func(r *http.Request, body attachBody) (any, error) {
		if body.Node == "" {
			return nil, c.Detach(r.PathValue("volume"))
		}
		return nil, c.Attach(r.PathValue("volume"), body.Node)
	}))

	handle("GET /v1/faults", func(*http.Request) (any, error) { return server.Faults(), nil })
	handle("PUT /v1/faults", withBody(func(_ *http.Request, faults Faults) (any, error) {
		return nil, server.SetFaults(faults)
	}))
	handle("GET /v1/calls", func(*http.Request) (any, error) { return server.Calls(false), nil })
	handle("DELETE /v1/calls", func(*http.Request) (any, error) { return server.Calls(true), nil })
	handle("GET /v1/watches", func(*http.Request) (any, error) {
		return watchesBody{Open: server.OpenWatches()}, nil
	})
	handle("DELETE /v1/watches", func(*http.Request) (any, error) {
		return watchesBody{Cut: server.CutWatches()}, nil
	})
	handle("PUT /v1/connected", withBody(func(_ *http.Request, connected bool) (any, error) {
		if connected {
			return nil, server.Reconnect()
		}
		server.Disconnect()
		return nil, nil
	}))
	handle("PUT /v1/tokens", withBody(func(_ *http.Request, tokens map[string]Token) (any, error) {
		if server.options.Tokens == nil {
			return nil, fmt.Errorf("this server runs without authentication: %w", ErrConflict)
		}
		server.options.Tokens.Replace(tokens)
		return nil, nil
	}))
	return mux
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

// reasons tell a client which error of the cluster it was.
var reasons = []struct {
	name string
	err  error
	code int
}{
	{"NotFound", ErrNotFound, http.StatusNotFound},
	{"Invalid", ErrInvalid, http.StatusBadRequest},
	{"Exhausted", ErrExhausted, http.StatusInsufficientStorage},
	{"Exists", ErrExists, http.StatusConflict},
	{"Conflict", ErrConflict, http.StatusConflict},
}

func writeAnswer(w http.ResponseWriter, answer any, err error) {
	code := http.StatusOK
	if err != nil {
		body := errorBody{Error: err.Error(), Reason: "Internal"}
		code = http.StatusInternalServerError
		for _, reason := range reasons {
			if errors.Is(err, reason.err) {
				body.Reason, code = reason.name, reason.code
				break
			}
		}
		answer = body
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

// withBody reads the request's body before do is asked.
func withBody[T any](do func(*http.Request, T) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		var body T
		data, err := io.ReadAll(r.Body)
		if err == nil {
			err = strictJSON(data, &body)
		}
		if err != nil {
			return nil, fmt.Errorf("body of %s %s: %w: %w", r.Method, r.URL.Path, ErrInvalid, err)
		}
		return do(r, body)
	}
}
