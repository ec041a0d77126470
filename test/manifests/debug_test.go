package manifests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/version"

	"github.com/hyperconverge/scheduler/internal/kubectl/command"
	"github.com/hyperconverge/scheduler/internal/kubectl/doctor"
	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/debug"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/child"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// Who is bound to the viewer's role reads what the scheduler knows, and nobody else does.
func TestDebugEndpoint(t *testing.T) {
	plane := sharedPlane(t)
	objects := build(t, "manifests/base")
	plane.apply(t, objects)
	c := newCluster(t, plane, 3, openstoragesim.ServerOptions{})
	c.Volume("a", "n1", "n2")
	c.Volume("b", "n3")
	port, err := kit.FreePort()
	c.Must(err)
	replica := plane.startReplica(t, objects, podOptions{name: "the scheduler", endpoint: c.Server.Endpoint(), debugPort: port})
	replica.awaitReady(t)
	base := fmt.Sprintf("https://127.0.0.1:%d", port)

	viewer, stranger := c.account("viewer"), c.account("stranger")
	asViewer, asStranger := plane.As(t, c.Namespace, "viewer"), plane.As(t, c.Namespace, "stranger")
	_, err = plane.Client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: c.Namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "hyperconverge:viewer"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: c.Namespace, Name: "viewer"}},
	}, metav1.CreateOptions{})
	c.Must(err)

	_, err = plane.Client.RbacV1().RoleBindings(systemNamespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: c.Namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "hyperconverge:viewer"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: c.Namespace, Name: "viewer"}},
	}, metav1.CreateOptions{})
	c.Must(err)

	// A strict pod whose volumes are on different nodes waits for storage.
	c.Create(c.pod("nowhere", schedulerName, "a", "b").Annotation(placement.PodPreferLocalOnly, "true"))
	var state debug.State
	kit.Eventually(t, kit.Patience, "the endpoint tells of the pod that waits", func() error {
		answer, err := child.GetFrom(base, viewer, debug.PathState)
		if err != nil {
			return err
		}
		state = debug.State{}
		if err := json.Unmarshal([]byte(answer), &state); err != nil {
			return err
		}
		for _, waiting := range state.Waiting {
			if waiting.Name == "nowhere" && strings.HasPrefix(waiting.Reason, placement.ReasonStrictNowhere) {
				return nil
			}
		}
		return fmt.Errorf("waiting are %+v", state.Waiting)
	})
	if !state.Leading || state.Version != version.Get().String() {
		t.Errorf("leading is %v, the version %q", state.Leading, state.Version)
	}
	configuration, err := debug.DecodeConfiguration(state.Configuration)
	c.Must(err)
	if name := configuration.Profiles[0].SchedulerName; name != schedulerName {
		t.Errorf("the first profile is %q", name)
	}
	held := map[string][]string{}
	for _, v := range state.Index.Volumes {
		for _, replica := range v.ReplicaSets[0] {
			if v.Freshness != "fresh" || replica.State != "Online" {
				t.Errorf("volume %s is %s, its replica on %s %s", v.Handle, v.Freshness, replica.Node, replica.State)
			}
			held[v.Handle] = append(held[v.Handle], replica.Node)
		}
	}
	if len(held) != 2 || len(state.Index.StorageNodes) != 3 {
		t.Errorf("%d volumes and %d storage nodes, want 2 and 3: %v", len(held), len(state.Index.StorageNodes), held)
	}

	for _, tc := range []struct{ name, token string }{{"without a token", ""}, {"with the token of an account that nobody has bound", stranger}} {
		for _, path := range []string{debug.PathState, debug.PathIndex, debug.PathWaiting, debug.PathConfiguration, "/debug/hyperconverge/"} {
			if answer, err := child.GetFrom(base, tc.token, path); err == nil {
				t.Errorf("%s is answered %s: %.100s", path, tc.name, answer)
			}
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+debug.PathState, strings.NewReader("{}"))
	c.Must(err)
	request.Header.Set("Authorization", "Bearer "+viewer)
	response, err := child.Probe.Do(request)
	c.Must(err)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("a POST of who may read is answered with %s", response.Status)
	}
	c.tryKubectl(asViewer, asStranger, base)

	addresses, err := net.InterfaceAddrs()
	c.Must(err)
	for _, address := range addresses {
		ip, _, err := net.ParseCIDR(address.String())
		if err != nil || ip.IsLoopback() {
			continue
		}
		if connection, err := net.Dial("tcp", net.JoinHostPort(ip.String(), strconv.Itoa(port))); err == nil {
			_ = connection.Close()
			t.Errorf("the endpoint listens on %s, beyond the loopback address", ip)
		}
	}
}

// tryKubectl shows that the viewer's role is what kubectl hyperconverge needs, and that
// who lacks it is told.
func (c *cluster) tryKubectl(viewer, stranger *rest.Config, endpoint string) {
	c.Helper()
	run := func(as *rest.Config, args ...string) (code int, out, errOut string) {
		var said, complaints bytes.Buffer
		code = command.Run(c.Ctx, append(args, "--kubeconfig", controlplane.Kubeconfig(c.TB, as), "--scheduler-endpoint", endpoint), nil, &said, &complaints)
		return code, said.String(), complaints.String()
	}
	for _, args := range [][]string{
		{"status"}, {"explain", "pod", "nowhere", "-n", c.Namespace}, {"explain", "volume", c.Namespace + "/a"},
		{"simulate", "--pod", "nowhere", "-n", c.Namespace}, {"report", "--html", "-"}, {"dump", "--file", "-"},
	} {
		if code, out, errOut := run(viewer, args...); code != 0 || errOut != "" || out == "" {
			c.Errorf("%s ends with %d and says %q", args[0], code, errOut)
		}
	}
	// There are findings: no kubelet says that the Deployment is ready.
	code, out, errOut := run(viewer, "doctor", "-o", "json")
	var findings doctor.Report
	if err := json.Unmarshal([]byte(out), &findings); err != nil || code != 1 || errOut != "" {
		c.Fatalf("doctor ends with %d and says %q: %v", code, errOut, err)
	}
	levels := map[string]doctor.Level{}
	for _, f := range findings.Findings {
		levels[f.Check] = f.Level
	}
	want := map[string]doctor.Level{
		"scheduler": doctor.Fail, "rights": doctor.Pass, "versions": doctor.Unknown, "profiles": doctor.Pass, "batching": doctor.Pass,
		"storage": doctor.Pass, "volumes": doctor.Pass, "nodes": doctor.Pass, "webhook": doctor.Warn, "schedulerNames": doctor.Pass, "keys": doctor.Pass,
	}
	if diff := cmp.Diff(want, levels); diff != "" {
		c.Errorf("findings (-want +got):\n%s\n%s", diff, out)
	}
	if code, out, errOut := run(stranger, "status"); code != 1 || out != "" || !strings.Contains(errOut, "you may not get /debug/hyperconverge/state (bind the ClusterRole hyperconverge:viewer") {
		c.Errorf("who has no rights gets %d, %q and is told %q", code, out, errOut)
	}
}

// account makes a service account and returns its token.
func (c *cluster) account(name string) (token string) {
	_, err := c.Client.CoreV1().ServiceAccounts(c.Namespace).Create(c.Ctx, &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	c.Must(err)
	return c.plane.As(c.TB, c.Namespace, name).BearerToken
}
