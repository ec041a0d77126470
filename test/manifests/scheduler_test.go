package manifests

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/hyperconverge/scheduler/internal/sandbox/process"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/child"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

const (
	systemNamespace = "hyperconverge-system"
	schedulerName   = "hyperconverge-scheduler" // of the Deployment, the account, the profile and the lease
	schedulerUser   = "system:serviceaccount:" + systemNamespace + ":" + schedulerName
)

// schedulerBinary is the scheduler's command, compiled.
var schedulerBinary = controlplane.Once(func(p controlplane.Process) string { return child.Build(p, p.TempDir(), "cmd/scheduler") })

// replica is one pod of the Deployment, played by a process on this machine.
type replica struct {
	*child.Process
	token string // of its account
}

// podOptions are what a real pod finds in its surroundings.
type podOptions struct {
	name string
	// pod is the name of the pod, if there is one.
	pod string
	// endpoint replaces the address of the storage API.
	endpoint string
	// change alters the configuration after that, as its administrator would.
	change func(config string) string
	// debugPort is 0 for no debug endpoint.
	debugPort int
	// args come behind those of the Deployment.
	args []string
}

// startReplica runs the scheduler as the Deployment among the objects says: its
// arguments, its files, its account. What differs from a pod is where the API
// server and the storage are, and where the files stand.
func (p *controlPlane) startReplica(t *testing.T, objects []*unstructured.Unstructured, o podOptions) *replica {
	t.Helper()
	deployment := deploy.Find[appsv1.Deployment](t, objects, "Deployment", schedulerName)
	spec := deployment.Spec.Template.Spec
	if spec.AutomountServiceAccountToken == nil || !*spec.AutomountServiceAccountToken {
		t.Fatal("the pod would have no token")
	}
	user := p.As(t, systemNamespace, spec.ServiceAccountName)
	kubeconfig := controlplane.Kubeconfig(t, user)
	paths := p.mount(t, deployment, t.TempDir())
	config := o.configure(t, paths, kubeconfig)

	container := spec.Containers[0]
	if len(container.Command) != 1 || container.Command[0] != "hyperconverge-scheduler" {
		t.Fatalf("the command is %q", container.Command)
	}
	address := kit.FreeAddress(t)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--bind-address=" + host, "--secure-port=" + port,
		"--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
	}
	for _, arg := range append(slices.Clone(container.Args), o.args...) {
		args = append(args, paths.Replace(arg))
	}
	if err := os.WriteFile(paths.Replace("/etc/hyperconverge/scheduler.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return &replica{token: user.BearerToken, Process: child.Run(t, process.Command{
		Name: o.name, Path: schedulerBinary(t), Args: args, Env: append(o.environment(t, container.Env), "HOME=/nonexistent"),
	}, "https://"+address)}
}

// environment fills in the variables of a container as the kubelet does.
func (o *podOptions) environment(t *testing.T, variables []v1.EnvVar) []string {
	t.Helper()
	var filled []string
	for _, variable := range variables {
		value := variable.Value
		if variable.ValueFrom != nil {
			switch path := variable.ValueFrom.FieldRef.FieldPath; path {
			case "metadata.namespace":
				value = systemNamespace
			case "metadata.name":
				value = o.pod
			default:
				t.Fatalf("the test does not know %s of a pod", path)
			}
		}
		filled = append(filled, variable.Name+"="+value)
	}
	return filled
}

// stop ends the process as the kubelet does.
func (r *replica) stop(t *testing.T) {
	t.Helper()
	if err := r.End(kit.Patience); err != nil {
		t.Fatal(err)
	}
}

// awaitReady waits for what the readiness probe waits for.
func (r *replica) awaitReady(t *testing.T) {
	t.Helper()
	if err := r.Ready(t.Context(), kit.Patience); err != nil {
		t.Fatal(err)
	}
}

// awaitMetrics waits until who has the token can read the metrics.
func (r *replica) awaitMetrics(t *testing.T, token string) {
	t.Helper()
	kit.Eventually(t, kit.Patience, "the metrics can be read", func() error {
		_, err := r.GetAs(token, "/metrics")
		return err
	})
}

// mount writes the pod's volumes into the folder, and returns what replaces the
// paths in the container by those.
func (p *controlPlane) mount(t *testing.T, deployment *appsv1.Deployment, dir string) *strings.Replacer {
	t.Helper()
	spec := deployment.Spec.Template.Spec
	var pairs []string
	for _, mount := range spec.Containers[0].VolumeMounts {
		target := filepath.Join(dir, mount.Name)
		if err := os.Mkdir(target, 0o700); err != nil {
			t.Fatal(err)
		}
		for file, content := range p.volume(t, deployment, mount.Name) {
			if err := os.WriteFile(filepath.Join(target, file), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		pairs = append(pairs, mount.MountPath+"/", target+"/")
	}
	return strings.NewReplacer(pairs...)
}

// volume reads the files of a ConfigMap or Secret from the API server.
func (p *controlPlane) volume(t *testing.T, deployment *appsv1.Deployment, name string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, volume := range deployment.Spec.Template.Spec.Volumes {
		switch {
		case volume.Name != name:
		case volume.ConfigMap != nil:
			found, err := p.Client.CoreV1().ConfigMaps(deployment.Namespace).Get(t.Context(), volume.ConfigMap.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for key, value := range found.Data {
				files[key] = []byte(value)
			}
		case volume.Secret != nil:
			found, err := p.Client.CoreV1().Secrets(deployment.Namespace).Get(t.Context(), volume.Secret.SecretName, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			files = found.Data
		}
	}
	if len(files) == 0 {
		t.Fatalf("the volume %s of %s is empty or not there", name, deployment.Name)
	}
	return files
}

// configure puts this machine's addresses and paths into the mounted
// configuration.
func (o *podOptions) configure(t *testing.T, paths *strings.Replacer, kubeconfig string) string {
	t.Helper()
	content, err := os.ReadFile(paths.Replace("/etc/hyperconverge/scheduler.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.UnmarshalStrict(content, &config); err != nil {
		t.Fatal(err)
	}
	connection, _, err := unstructured.NestedMap(config, "clientConnection")
	if err != nil {
		t.Fatal(err)
	}
	connection["kubeconfig"] = kubeconfig
	config["clientConnection"] = connection
	for _, args := range pluginArgs(config) {
		args["openStorage"].(map[string]any)["endpoint"] = o.endpoint
		args["debugPort"] = o.debugPort // tests run several replicas on one machine
	}
	rewritten, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	text := paths.Replace(string(rewritten))
	if o.change != nil {
		changed := o.change(text)
		if changed == text {
			t.Fatal("the change of the configuration changes nothing")
		}
		text = changed
	}
	return text
}

// pluginArgs are the arguments of the plugin in all profiles.
func pluginArgs(config map[string]any) []map[string]any {
	var found []map[string]any
	var walk func(any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			for key, value := range node {
				if _, ok := value.(map[string]any); ok && key == "openStorage" {
					found = append(found, node)
				}
				walk(value)
			}
		case []any:
			for _, value := range node {
				walk(value)
			}
		}
	}
	walk(config)
	return found
}

// holder is who holds the lease of an overlay's configuration.
func (p *controlPlane) holder(ctx context.Context, namespace, name string) (string, error) {
	lease, err := p.Client.CoordinationV1().Leases(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return "", errors.New("nobody holds the lease")
	}
	return *lease.Spec.HolderIdentity, nil
}
