package debug

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"k8s.io/component-base/version"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/pkg/volumes"
	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage"
)

// Scheduler is what the endpoint tells of: hyperconverge.Factory.
type Scheduler interface {
	Index() *volumes.Snapshot
	Conditions() []openstorage.Condition
	Waiting() []hyperconverge.WaitingPod
	Leading() bool
}

// atOnce bounds the requests that are answered at a time. A copy of the index of a large
// cluster takes memory and time of the process that schedules.
const atOnce = 2

// patience is how long a client may take to read an answer.
const patience = 20 * time.Second

// Handler answers the paths of this package. Who may ask is decided before it.
func Handler(source Scheduler, configuration json.RawMessage) http.Handler {
	slots := make(chan struct{}, atOnce)
	mux := http.NewServeMux()
	for path, fill := range map[string]func(*State){
		PathState: func(s *State) {
			s.Index, s.Conditions, s.Waiting, s.Configuration = source.Index(), source.Conditions(), source.Waiting(), configuration
		},
		PathIndex:         func(s *State) { s.Index, s.Conditions = source.Index(), source.Conditions() },
		PathWaiting:       func(s *State) { s.Waiting = source.Waiting() },
		PathConfiguration: func(s *State) { s.Configuration = configuration },
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			default:
				w.Header().Set("Retry-After", "1")
				http.Error(w, "too many requests at once, try again", http.StatusTooManyRequests)
				return
			}
			// A client that does not read must not keep the others out.
			if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience)); err != nil {
				klog.FromContext(r.Context()).V(4).Info("Cannot bound the answer of the debug endpoint", "err", err)
			}
			state := State{APIVersion: APIVersion, Kind: Kind, Version: version.Get().String(), Leading: source.Leading()}
			fill(&state)
			write(w, r, &state)
		})
	}
	return mux
}

func write(w http.ResponseWriter, r *http.Request, state *State) {
	w.Header().Set("Content-Type", "application/json")
	var out io.Writer = w
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		zipped := gzip.NewWriter(w)
		defer func() { _ = zipped.Close() }() // the client has gone
		out = zipped
	}
	if err := json.NewEncoder(out).Encode(state); err != nil {
		klog.FromContext(r.Context()).V(4).Info("Cannot write the answer of the debug endpoint", "err", err)
	}
}
