package debug

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/pkg/volumes"
	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage"
)

const configuration = `{"kind":"KubeSchedulerConfiguration"}`

// known is what the scheduler of these tests knows.
var known = State{
	APIVersion:    APIVersion,
	Kind:          Kind,
	Leading:       true,
	Index:         &volumes.Snapshot{Synced: true, Volumes: []volumes.VolumeSnapshot{{Handle: "4242", Freshness: "fresh"}}},
	Waiting:       []hyperconverge.WaitingPod{{Namespace: "shop", Name: "db-0"}},
	Conditions:    []openstorage.Condition{{Reason: "Unreachable", Message: "nobody answers"}},
	Configuration: json.RawMessage(configuration),
}

// stub knows what is known. It calls asked before it tells its index.
type stub struct{ asked func() }

func (s stub) Index() *volumes.Snapshot {
	s.asked()
	return known.Index
}
func (stub) Conditions() []openstorage.Condition { return known.Conditions }
func (stub) Waiting() []hyperconverge.WaitingPod { return known.Waiting }
func (stub) Leading() bool                       { return known.Leading }

func newHandler(asked func()) http.Handler {
	return Handler(stub{asked: asked}, json.RawMessage(configuration))
}

func answer(handler http.Handler, method, path string, headers ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, path, http.NoBody)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

func TestEachPathTellsItsPart(t *testing.T) {
	for _, tc := range []struct {
		name, path string
		without    []string
	}{
		{"the state is everything", PathState, nil},
		{"the index comes with the conditions of storage", PathIndex, []string{"Waiting", "Configuration"}},
		{"the waiting pods come alone", PathWaiting, []string{"Index", "Conditions", "Configuration"}},
		{"the configuration comes alone", PathConfiguration, []string{"Index", "Conditions", "Waiting"}},
	} {
		for encoding, open := range map[string]func(io.Reader) (io.Reader, error){
			"identity": func(r io.Reader) (io.Reader, error) { return r, nil },
			"br, gzip": func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		} {
			t.Run(tc.name+", as "+encoding, func(t *testing.T) {
				got := answer(newHandler(func() {}), http.MethodGet, tc.path, "Accept-Encoding", encoding)
				if got.Code != http.StatusOK || got.Header().Get("Content-Type") != "application/json" {
					t.Fatalf("got %d %s", got.Code, got.Header())
				}
				if zipped := got.Header().Get("Content-Encoding") == "gzip"; zipped != (encoding != "identity") {
					t.Errorf("zipped: %v", zipped)
				}
				body, err := open(got.Body)
				if err != nil {
					t.Fatal(err)
				}
				var state State
				if err := json.NewDecoder(body).Decode(&state); err != nil {
					t.Fatal(err)
				}
				want := known
				for _, field := range tc.without {
					reflect.ValueOf(&want).Elem().FieldByName(field).SetZero()
				}
				if diff := cmp.Diff(want, state, cmpopts.IgnoreFields(State{}, "Version")); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if state.Version == "" {
					t.Error("there is no version")
				}
			})
		}
	}
}

func TestWhatIsNotAnswered(t *testing.T) {
	for _, tc := range []struct {
		name, method, path string
		want               int
	}{
		{"the state cannot be written", http.MethodPost, PathState, http.StatusMethodNotAllowed},
		{"the index cannot be replaced", http.MethodPut, PathIndex, http.StatusMethodNotAllowed},
		{"the configuration cannot be deleted", http.MethodDelete, PathConfiguration, http.StatusMethodNotAllowed},
		{"there is nothing beside the parts", http.MethodGet, "/debug/hyperconverge/", http.StatusNotFound},
	} {
		t.Run(tc.name, func(t *testing.T) {
			asked := func() { t.Error("the scheduler was asked") }
			if got := answer(newHandler(asked), tc.method, tc.path); got.Code != tc.want {
				t.Errorf("got %d, want %d", got.Code, tc.want)
			}
		})
	}
}

func TestThirdRequestAtOnceIsTurnedAway(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	handler := newHandler(func() {
		asked <- struct{}{}
		<-release
	})
	codes := make(chan int)
	for range atOnce {
		go func() { codes <- answer(handler, http.MethodGet, PathIndex).Code }()
		<-asked
	}
	// Whatever it asks for: the bound is one for all paths.
	got := answer(handler, http.MethodGet, PathConfiguration)
	if got.Code != http.StatusTooManyRequests || got.Header().Get("Retry-After") != "1" {
		t.Errorf("the third got %d, to come back after %q s", got.Code, got.Header().Get("Retry-After"))
	}
	close(release)
	for range atOnce {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("one of the first got %d", code)
		}
	}
	if got := answer(handler, http.MethodGet, PathConfiguration); got.Code != http.StatusOK {
		t.Errorf("one after them got %d", got.Code)
	}
}
