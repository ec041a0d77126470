package openstorage

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	sim "github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/volumes"
	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage/endpoint"
)

func closeLater(t *testing.T, s *Source) {
	t.Helper()
	t.Cleanup(func() {
		if err := s.client.conn.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestStorageIsReachedAtEveryFormOfEndpoint(t *testing.T) {
	for _, test := range []struct {
		name, network, address, prefix string
	}{
		{"host:port", "tcp", "127.0.0.1:0", ""},
		{"dns:///host:port", "tcp", "127.0.0.1:0", "dns:///"},
		{"unix:///path", "unix", filepath.Join(t.TempDir(), "sdk.sock"), "unix://"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !strings.Contains(endpoint.Forms, test.name) {
				t.Errorf("the form is none of those that a user is told of: %s", endpoint.Forms)
			}
			cluster := sim.NewCluster(sim.Options{})
			if _, err := cluster.AddNode(sim.Node{SchedulerNodeName: "node-1"}); err != nil {
				t.Fatal(err)
			}
			listener, err := net.Listen(test.network, test.address)
			if err != nil {
				t.Fatal(err)
			}
			server := sim.NewServer(cluster, sim.ServerOptions{})
			if err := server.StartOn(listener); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Stop)
			index := volumes.NewIndex(volumes.Options{})
			s, err := New(Config{Endpoint: test.prefix + listener.Addr().String()}, index)
			if err != nil {
				t.Fatal(err)
			}
			closeLater(t, s)
			s.pollNodes(t.Context())
			if volumes.Summarize(index, 0).LastNodeList.IsZero() {
				t.Errorf("no node list has come: %v", s.Conditions())
			}
		})
	}
}

func TestNewTakesAnEndpointOrSaysWhatIsWrongWithIt(t *testing.T) {
	for _, test := range []struct {
		name, endpoint, target, wrong string
	}{
		{"the default", "portworx-api.portworx.svc:9020", "dns:///portworx-api.portworx.svc:9020", ""},
		{"an address", "10.0.0.1:9020", "dns:///10.0.0.1:9020", ""},
		{"an IPv6 address", "[fd00::1]:9020", "dns:///[fd00::1]:9020", ""},
		{"a host that is called like a scheme", "unix:9020", "dns:///unix:9020", ""},
		{"the target of a name", "dns:///portworx-api.portworx.svc:9020", "dns:///portworx-api.portworx.svc:9020", ""},
		{"the target of a socket", "unix:///run/sdk.sock", "unix:///run/sdk.sock", ""},
		{"nothing", "", "", endpoint.Forms},
		{"no port", "storage", "", endpoint.Forms},
		{"a target without a port", "dns:///storage", "", endpoint.Forms},
		{"an IPv6 address without brackets", "fd00::1:9020", "", endpoint.Forms},
		{"an IPv6 address with a zone", "[fe80::1%eth0]:9020", "", "neither a host name nor an IP address"},
		{"a host with a space", "my storage:9020", "", "neither a host name nor an IP address"},
		{"port zero", "storage:0", "", "1 to 65535"},
		{"a web address", "https://storage:9021", "", "not https://"},
		{"a DNS server", "dns://storage:9020", "", "with three"},
		{"a relative path", "unix://run/sdk.sock", "", "absolute"},
		{"a path that a target cuts off", "unix:///run/sdk.sock?1", "", "do without"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := New(Config{Endpoint: test.endpoint}, volumes.NewIndex(volumes.Options{}))
			if err == nil {
				closeLater(t, s)
			}
			switch {
			case test.wrong == "" && err != nil:
				t.Error(err)
			case test.wrong == "" && s.client.conn.get().Target() != test.target:
				t.Errorf("target is %q, want %q", s.client.conn.get().Target(), test.target)
			case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
				t.Errorf("error is %v, want one with %q", err, test.wrong)
			}
		})
	}
}

// FuzzEndpoint looks for endpoints that the configuration lets pass and the
// client cannot dial.
func FuzzEndpoint(f *testing.F) {
	for _, text := range []string{"storage:9020", "[fd00::1]:9020", "dns:///storage:9020", "unix:///run/sdk.sock", "[fe80::1%eth0]:9020", "unix:///%zz"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := endpoint.Target(text); err != nil {
			return
		}
		s, err := New(Config{Endpoint: text}, volumes.NewIndex(volumes.Options{}))
		if err != nil {
			t.Fatal(err)
		}
		closeLater(t, s)
	})
}
