package connect

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/pkg/debug"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// asking fetches from a server with a user's token.
func asking(t *testing.T, handler http.HandlerFunc) (*debug.State, error) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "https://")
	return fetch(t.Context(), &rest.Config{BearerToken: "s3cret"}, host, rest.TLSClientConfig{Insecure: true})
}

func answer(w http.ResponseWriter) {
	_ = json.NewEncoder(w).Encode(debug.State{Kind: debug.Kind, Version: "v1", Index: &volumes.Snapshot{}})
}

func TestStateIsFetchedWithTheUsersToken(t *testing.T) {
	state, err := asking(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer s3cret" && r.URL.Path == debug.PathState {
			answer(w)
		}
	})
	if err != nil || state.Version != "v1" {
		t.Fatalf("%+v, %v", state, err)
	}
}

// Whom the user has named gets the token, and nobody whom that one names.
func TestRedirectDoesNotLeadTheTokenAway(t *testing.T) {
	var asked atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
	t.Cleanup(other.Close)
	_, err := asking(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) })
	if err == nil || !strings.Contains(err.Error(), "302") || asked.Load() {
		t.Errorf("the other server was asked: %t; %v", asked.Load(), err)
	}
}

func TestBusyEndpointIsAskedAgain(t *testing.T) {
	var times atomic.Int32
	state, err := asking(t, func(w http.ResponseWriter, _ *http.Request) {
		if times.Add(1) == 1 {
			http.Error(w, "", http.StatusTooManyRequests)
			return
		}
		answer(w)
	})
	if err != nil || state == nil || times.Load() != 2 {
		t.Errorf("asked %d times: %v", times.Load(), err)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"no right", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, "you may not get " + debug.PathState + " (bind the ClusterRole hyperconverge:viewer"},
		{"a failure", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "502 Bad Gateway"},
		{"garbage", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "reading its answer"},
		{"another document", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }, "none of a scheduler with the plugin"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := asking(t, tc.handler); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestLeaderPod(t *testing.T) {
	for _, tc := range []struct {
		name     string
		identity *string
		want     string
		failing  string
	}{
		{"pod and uid", ptr.To("hyperconverge-scheduler-5d9-x_6f1c-4"), "hyperconverge-scheduler-5d9-x", ""},
		{"nobody", nil, "", "nobody holds it"},
		{"an empty name", ptr.To(""), "", "nobody holds it"},
		{"no uid", ptr.To("host"), "", `its holder "host" is no pod`},
		{"a uid alone", ptr.To("_uid"), "", "is no pod"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := leaderPod(tc.identity)
			if got != tc.want || (err != nil) != (tc.failing != "") || err != nil && !strings.Contains(err.Error(), tc.failing) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
