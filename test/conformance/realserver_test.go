package conformance

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/libopenstorage/openstorage/api"
	"github.com/libopenstorage/openstorage/api/server/sdk"
	clusterapi "github.com/libopenstorage/openstorage/cluster"
	"github.com/libopenstorage/openstorage/pkg/auth"
	"github.com/libopenstorage/openstorage/pkg/loadbalancer"
	"github.com/libopenstorage/openstorage/pkg/role"
	policy "github.com/libopenstorage/openstorage/pkg/storagepolicy"
	"github.com/libopenstorage/openstorage/volume"
	volumedrivers "github.com/libopenstorage/openstorage/volume/drivers"
	"github.com/portworx/kvdb"
	"github.com/portworx/kvdb/mem"
	"github.com/sirupsen/logrus"

	sim "github.com/hyperconverge/scheduler/internal/openstoragesim"
)

const driverName = "conformance"

// driver is a volume driver of the real server whose volumes are those of a
// simulated cluster. What it does not override is not called.
type driver struct {
	volume.VolumeDriver
	cluster *sim.Cluster
	events  chan *api.Volume
	stop    func()
}

func (d *driver) Name() string         { return driverName }
func (d *driver) Type() api.DriverType { return api.DriverType_DRIVER_TYPE_BLOCK }
func (d *driver) Shutdown()            {}

// Enumerate is also what Inspect is made of. Like Portworx, it takes names for
// ids.
func (d *driver) Enumerate(locator *api.VolumeLocator, _ map[string]string) ([]*api.Volume, error) {
	var found []*api.Volume
	for v := range d.cluster.Volumes() {
		if matches(v, locator) {
			found = append(found, v)
		}
	}
	return found, nil
}

func matches(v *api.Volume, locator *api.VolumeLocator) bool {
	name := v.GetLocator().GetName()
	if ids := locator.GetVolumeIds(); len(ids) > 0 && !slices.Contains(ids, v.GetId()) && !slices.Contains(ids, name) {
		return false
	}
	if locator.GetName() != "" && locator.GetName() != name {
		return false
	}
	for key, value := range locator.GetVolumeLabels() {
		if v.GetLocator().GetVolumeLabels()[key] != value {
			return false
		}
	}
	return true
}

func (d *driver) StartVolumeWatcher() {}
func (d *driver) StopVolumeWatcher()  { d.stop() }
func (d *driver) GetVolumeWatcher(*api.VolumeLocator, map[string]string) (chan *api.Volume, error) {
	return d.events, nil
}

// newDriver returns a driver that passes on the events of the cluster.
func newDriver(cluster *sim.Cluster) *driver {
	events, stop := cluster.Subscribe(10_000)
	ctx, cancel := context.WithCancel(context.Background())
	d := &driver{cluster: cluster, events: make(chan *api.Volume)}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case v := <-events:
				select {
				case <-ctx.Done():
				case d.events <- v:
				}
			}
		}
	})
	d.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		stop()
	})
	return d
}

// nodes is the cluster of the real server: the nodes of a simulated one.
type nodes struct {
	clusterapi.Cluster
	cluster *sim.Cluster
}

func (n *nodes) Enumerate() (api.Cluster, error) {
	cluster := api.Cluster{Id: "cluster", Status: api.Status_STATUS_OK}
	for _, node := range n.cluster.Nodes() {
		real := nodeOf(node)
		cluster.Nodes = append(cluster.Nodes, &real)
	}
	return cluster, nil
}

func (n *nodes) Inspect(id string) (api.Node, error) {
	node, err := n.cluster.Node(id)
	if err != nil {
		return api.Node{}, kvdb.ErrNotFound
	}
	return nodeOf(node), nil
}

func nodeOf(n sim.Node) api.Node {
	return api.Node{Id: n.ID, SchedulerNodeName: n.SchedulerNodeName, Hostname: n.Hostname,
		MgmtIp: n.MgmtIP, DataIp: n.DataIP, Status: n.Status, NodeLabels: n.Labels}
}

// singletons are what the real server has once per process.
type singletons struct {
	policies policy.PolicyManager
	roles    role.RoleManager
}

var makeSingletons = sync.OnceValues(func() (s singletons, err error) {
	kv, err := kvdb.New(mem.Name, "conformance", nil, nil, kvdb.LogFatalErrorCB)
	if err != nil {
		return s, err
	}
	if err = kvdb.SetInstance(kv); err != nil {
		return s, err
	}
	if _, err = policy.Init(); err != nil {
		return s, err
	}
	if s.policies, err = policy.Inst(); err != nil {
		return s, err
	}
	s.roles, err = role.NewSdkRoleManager(kv)
	return s, err
})

// startReal serves a simulated cluster with the code of the real server, and
// returns its address.
func startReal(t *testing.T, cluster *sim.Cluster) (endpoint string) {
	logrus.SetOutput(io.Discard)
	must(t, volumedrivers.Add(driverName, func(map[string]string) (volume.VolumeDriver, error) { return newDriver(cluster), nil }))
	t.Cleanup(func() { volumedrivers.Remove(driverName) })
	must(t, volumedrivers.Register(driverName, nil))
	once, err := makeSingletons()
	must(t, err)
	authenticator, err := auth.NewJwtAuth(&auth.JwtAuthConfig{SharedSecret: []byte(secret), UsernameClaim: auth.UsernameClaimTypeName})
	must(t, err)

	port := freePort(t)
	server, err := sdk.New(&sdk.ServerConfig{
		DriverName:         driverName,
		Net:                "tcp",
		Address:            net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		RestPort:           strconv.Itoa(freePort(t)),
		Socket:             filepath.Join(t.TempDir(), "sdk.sock"),
		Cluster:            &nodes{cluster: cluster},
		StoragePolicy:      once.policies,
		AccessOutput:       io.Discard,
		AuditOutput:        io.Discard,
		RoundRobinBalancer: loadbalancer.NewNullBalancer(),
		Security: &sdk.SecurityConfig{
			Role:           once.roles,
			Authenticators: map[string]auth.Authenticator{issuer: authenticator},
		},
	})
	must(t, err)
	must(t, server.Start())
	t.Cleanup(server.Stop)
	return fmt.Sprint("127.0.0.1:", port)
}

// freePort returns a port that nobody listened on a moment ago: the real server
// cannot be told to choose one.
func freePort(t *testing.T) int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { must(t, listener.Close()) }()
	return listener.Addr().(*net.TCPAddr).Port
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
