package openstorage

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	sim "github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// service passes connections on, as a Service of Kubernetes does: each of them to
// the server that is the target when it is made, and to its end.
type service struct {
	listener     net.Listener
	target       atomic.Pointer[sim.Server]
	opened, open atomic.Int32
}

func newService(t *testing.T, target *sim.Server) *service {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{listener: listener}
	s.target.Store(target)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.pass(client) })
		}
	})
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	return s
}

func (s *service) pass(client net.Conn) {
	defer client.Close() //nolint:errcheck // either end may have closed it
	server, err := net.Dial("tcp", s.target.Load().Endpoint())
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // either end may have closed it
	s.opened.Add(1)
	s.open.Add(1)
	defer s.open.Add(-1)
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server) // ends with either connection
		_ = client.Close()
	})
	_, _ = io.Copy(server, client)
	_ = server.Close()
	back.Wait()
}

// through has a source connect by way of a service, and give a server little time.
func through(t *testing.T, front **service) func(*Source) {
	return func(s *Source) {
		if err := s.client.conn.Close(); err != nil {
			t.Error(err)
		}
		config := s.config
		config.Endpoint = (*front).listener.Addr().String()
		var err error
		if s.client, err = dial(&config, s.token, s.health.observeInvalidText); err != nil {
			t.Fatal(err)
		}
		s.client.conn.patience = 100 * time.Millisecond
	}
}

func TestServerThatKeepsFailingIsLeftForAnother(t *testing.T) {
	for _, test := range []struct {
		name   string
		faults sim.Faults
	}{
		{"all its calls", failingCalls("*", codes.Unavailable)},
		{"the node list, of all things", failingCalls("Node.*", codes.Internal)},
		{"by not answering", sim.Faults{Calls: map[string]sim.CallFault{"Node.*": {Hang: true}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var front *service
			var id string
			r := start(t, settings{
				config: Config{RequestTimeout: 200 * time.Millisecond},
				setUp: func(r *rig) {
					withVolume(&id)(r)
					front = newService(t, r.server)
				},
				tune: func(s *Source) { through(t, &front)(s) },
			})
			r.addPV(pvOf("pv", id))
			r.watching()
			r.eventuallyOn(id, "node-1", "node-2")

			healthy := sim.NewServer(r.cluster, sim.ServerOptions{})
			r.must(healthy.Start("127.0.0.1:0"))
			t.Cleanup(healthy.Stop)
			front.target.Store(healthy)
			r.must(r.server.SetFaults(test.faults))
			r.eventually("the watch is with the healthy server", func() bool { return healthy.OpenWatches() == 1 })
			r.eventuallyProblem(ReasonUnreachable, false)
			r.must(r.cluster.MoveReplica(id, "node-2", "node-3"))
			r.eventuallyOn(id, "node-1", "node-3")
			r.eventually("the old connection is closed", func() bool { return front.open.Load() == 1 && r.server.OpenWatches() == 0 })
		})
	}
}

// While no server does better, the watch is not risked.
func TestConnectionIsKeptWhereNoOtherDoesBetter(t *testing.T) {
	var front *service
	r := start(t, settings{
		setUp: func(r *rig) { front = newService(t, r.server) },
		tune:  func(s *Source) { through(t, &front)(s) },
	})
	r.watching()
	r.must(r.server.SetFaults(failingCalls("Node.*", codes.Unavailable)))
	r.eventually("others have been tried", func() bool { return front.opened.Load() >= 4 })
	r.eventually("their connections are closed", func() bool { return front.open.Load() == 1 })
	if got := r.server.Calls(false)["Watch.Watch"]; got != 1 {
		t.Errorf("the watch was opened %d times", got)
	}
}

func TestNoOtherServerIsTriedForWhatIsNotItsFault(t *testing.T) {
	s, err := New(Config{Endpoint: "127.0.0.1:1"}, volumes.NewIndex(volumes.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, s)
	s.client.conn.patience = 0
	if s.client.conn.outworn(unreachable) {
		t.Error("there is no connection, which gRPC mends")
	}

	server := sim.NewServer(sim.NewCluster(sim.Options{}), sim.ServerOptions{})
	if err := server.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	if s, err = New(Config{Endpoint: server.Endpoint()}, volumes.NewIndex(volumes.Options{})); err != nil {
		t.Fatal(err)
	}
	closeLater(t, s)
	s.pollNodes(t.Context())
	conn := s.client.conn
	conn.patience = 0
	for k, want := range map[kind]bool{answered: false, refused: false, unreachable: true, unsupported: true, failed: true} {
		if got := conn.outworn(k); got != want {
			t.Errorf("kind %v: another server is tried: %v, want %v", k, got, want)
		}
	}
	conn.patience = time.Hour
	conn.outworn(failed)
	if conn.outworn(failed) {
		t.Error("another server is tried after a moment of failure")
	}
}
