package conformance

import (
	"testing"
	"time"

	"github.com/libopenstorage/openstorage/pkg/auth"

	sim "github.com/hyperconverge/scheduler/internal/openstoragesim"
)

const (
	issuer = "conformance.example.com"
	secret = "the secret of the test"
)

// caller is someone who calls the storage API, with or without a token.
type caller struct {
	name   string
	token  sim.Token
	guest  bool // sends no token
	bearer string
}

var (
	viewer      = caller{name: "system.view of all groups", token: sim.Token{User: "viewer", Roles: []string{sim.RoleView}, Groups: []string{sim.AdminGroup}}}
	blindViewer = caller{name: "system.view without a group", token: sim.Token{User: "blind", Roles: []string{sim.RoleView}}}
	user        = caller{name: "system.user of all groups", token: sim.Token{User: "user", Roles: []string{sim.RoleUser}, Groups: []string{sim.AdminGroup}}}
	expired     = caller{name: "a token that has expired", token: sim.Token{User: "late", Roles: []string{sim.RoleView}, Groups: []string{sim.AdminGroup}, Expires: time.Unix(1_600_000_000, 0)}}
	garbage     = caller{name: "a token that is none", bearer: "garbage"}
	guest       = caller{name: "no token", guest: true}
)

// signed returns the caller's token as the real server wants it.
func (c caller) signed(t *testing.T) string {
	if c.guest || c.bearer != "" {
		return c.bearer
	}
	expires := c.token.Expires
	if expires.IsZero() {
		expires = time.Now().Add(time.Hour)
	}
	signature, err := auth.NewSignatureSharedSecret(secret)
	must(t, err)
	bearer, err := auth.Token(
		&auth.Claims{Issuer: issuer, Subject: c.token.User, Name: c.token.User, Email: c.token.User + "@example.com",
			Roles: c.token.Roles, Groups: c.token.Groups},
		signature, &auth.Options{Expiration: expires.Unix(), IATSubtract: time.Minute})
	must(t, err)
	return bearer
}

// world is one storage cluster behind one of the two servers.
type world struct {
	t        *testing.T
	cluster  *sim.Cluster
	endpoint string
	bearers  map[string]string // caller's name -> token
}

// onBoth runs a test against the simulator and against the real server. Each has
// a cluster of its own; both are equal.
func onBoth(t *testing.T, test func(*world)) {
	callers := []caller{viewer, blindViewer, user, expired, garbage, guest}
	newWorld := func(t *testing.T) *world {
		w := &world{t: t, cluster: sim.NewCluster(sim.Options{}), bearers: map[string]string{}}
		for _, name := range []string{"node-1", "node-2", "node-3"} {
			_, err := w.cluster.AddNode(sim.Node{SchedulerNodeName: name})
			must(t, err)
		}
		for _, c := range callers {
			w.bearers[c.name] = c.signed(t)
		}
		return w
	}
	t.Run("simulator", func(t *testing.T) {
		w := newWorld(t)
		tokens := &sim.Tokens{}
		for _, c := range callers {
			if !c.guest && c.bearer == "" {
				tokens.Set(w.bearers[c.name], c.token)
			}
		}
		server := sim.NewServer(w.cluster, sim.ServerOptions{Tokens: tokens})
		must(t, server.Start("127.0.0.1:0"))
		t.Cleanup(server.Stop)
		w.endpoint = server.Endpoint()
		test(w)
	})
	t.Run("real server", func(t *testing.T) {
		w := newWorld(t)
		w.endpoint = startReal(t, w.cluster)
		test(w)
	})
}

// volume makes a volume with its replicas on these nodes.
func (w *world) volume(name string, nodes ...string) (id string) {
	w.t.Helper()
	v, err := w.cluster.CreateVolume(sim.CreateRequest{Name: name})
	must(w.t, err)
	must(w.t, w.cluster.SetReplicaSets(name, nodes))
	return v.GetId()
}
