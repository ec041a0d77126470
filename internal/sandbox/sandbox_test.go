package sandbox

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
	"github.com/hyperconverge/scheduler/internal/sandbox/fakenodes"
	"github.com/hyperconverge/scheduler/internal/sandbox/workdir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStorageNodesAreJoinedByName(t *testing.T) {
	places := []fakenodes.Node{{Name: "node-1"}, {Name: "node-2"}, {Name: "node-3"}}
	for name, row := range map[string]struct {
		found []driver.StorageNode
		want  []string // storage ids of node-1 to node-3
		err   string
	}{
		"by scheduler name or by hostname": {
			found: []driver.StorageNode{{ID: "a", Names: []string{"node-1", ""}}, {ID: "c", Names: []string{"", "node-3"}}},
			want:  []string{"a", "", "c"},
		},
		"storage nodes elsewhere do not matter": {
			found: []driver.StorageNode{{ID: "a", Names: []string{"node-1"}}, {ID: "z", Names: []string{"node-99"}}},
			want:  []string{"a", "", ""},
		},
		"none of ours":   {found: []driver.StorageNode{{ID: "z", Names: []string{"px-1", "px-1"}}}, err: "none of them is called node-1 to node-3"},
		"none at all":    {err: "lists no nodes"},
		"nameless nodes": {found: []driver.StorageNode{{ID: "z", Names: []string{"", ""}}}, err: "none of them"},
	} {
		t.Run(name, func(t *testing.T) {
			nodes, err := joinStorage(places, row.found, "sdk:9020")
			if row.err != "" {
				if err == nil || !strings.Contains(err.Error(), row.err) || !strings.Contains(err.Error(), "sdk:9020") {
					t.Errorf("error is %v, want one that names the endpoint and says %q", err, row.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, n := range nodes {
				got = append(got, n.StorageID)
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("storage ids differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSimulatedStorageStandsWhereItIsMeantTo(t *testing.T) {
	places, err := fakenodes.Layout(12)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openStorage(t.Context(), StorageOptions{}, places)
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := joinStorage(places, s.nodes, s.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.Storage != (n.StorageID != "") {
			t.Errorf("%s: storage is meant to be there: %v; its id: %q", n.Name, n.Storage, n.StorageID)
		}
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

func TestStorageThatCannotBeOpenedIsAnError(t *testing.T) {
	places, err := fakenodes.Layout(3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openStorage(t.Context(), StorageOptions{Endpoint: "127.0.0.1:1"}, places); err == nil {
		t.Error("storage that nobody serves was opened")
	}
}

func TestTheControlAddressIsFoundWhileItsSandboxLives(t *testing.T) {
	parent := t.TempDir()
	if _, err := FindControl(parent); err == nil {
		t.Error("found one where none is")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan string), make(chan error)
	places, err := fakenodes.Layout(3)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := workdir.Create(parent)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		ended <- Serve(ctx, dir, places, 0, 0, func(s *openstoragesim.Simulation) { ready <- s.Control })
	}()

	want := <-ready
	got, err := FindControl(parent)
	if err != nil || got != want {
		t.Errorf("FindControl() = %q, %v; want %q", got, err, want)
	}
	control := openstoragesim.NewControlClient(got)
	if state, err := control.State(ctx); err != nil || len(state.Nodes) == 0 {
		t.Errorf("nobody answers there: %v, %v", state, err)
	}

	second, err := workdir.Create(parent)
	if err != nil {
		t.Fatal(err)
	}
	if err := announceControl(second, "127.0.0.1:2"); err != nil {
		t.Fatal(err)
	}
	if _, err := FindControl(parent); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("with two sandboxes: %v, want an error that names both", err)
	}
	if err := second.Remove(); err != nil {
		t.Error(err)
	}

	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve() = %v", err)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestPartsEndTogetherAndTheirErrorEndsTheSandbox(t *testing.T) {
	boom := errors.New("boom")
	ctx, fail := context.WithCancelCause(t.Context())
	p := &parts{fail: fail}
	p.run(ctx, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	p.run(ctx, func(context.Context) error { return boom })
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, boom) {
		t.Errorf("the sandbox ended with %v, want %v", cause, boom)
	}
	p.running.Wait()

	ctx, fail = context.WithCancelCause(t.Context())
	p = &parts{fail: fail}
	running, stop := context.WithCancel(ctx)
	p.run(running, func(ctx context.Context) error { <-ctx.Done(); return errors.New("interrupted") })
	stop()
	p.running.Wait()
	if cause := context.Cause(ctx); cause != nil {
		t.Errorf("a part that was stopped ended the sandbox: %v", cause)
	}
	fail(nil)
}

func TestSchedulerMetricAddsUpTheSeriesThatWereAskedFor(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, `
# TYPE nodes gauge
nodes{state="Online",zone="a"} 3
nodes{state="Online",zone="b"} 4
nodes{state="Offline",zone="a"} 1
`)
	}))
	defer server.Close()
	s := &Sandbox{SchedulerAddress: strings.TrimPrefix(server.URL, "https://"), scheduler: server.Client()}
	for name, row := range map[string]struct {
		metric string
		labels map[string]string
		want   float64
	}{
		"several series":         {"nodes", map[string]string{"state": "Online"}, 7},
		"one series":             {"nodes", map[string]string{"state": "Online", "zone": "b"}, 4},
		"no such series":         {"nodes", map[string]string{"state": "Degraded"}, 0},
		"no such metric":         {"pods", nil, 0},
		"all series of a metric": {"nodes", nil, 8},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.SchedulerMetric(t.Context(), row.metric, row.labels)
			if err != nil || got != row.want {
				t.Errorf("SchedulerMetric() = %v, %v; want %v", got, err, row.want)
			}
		})
	}
	s.SchedulerAddress += "/elsewhere"
	if _, err := s.SchedulerMetric(t.Context(), "nodes", nil); err == nil {
		t.Error("an answer without metrics is taken for 0")
	}
}
