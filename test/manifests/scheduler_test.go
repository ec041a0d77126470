package manifests

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/hyperconverge/scheduler/test/controlplane"
)

const (
	systemNamespace = "hyperconverge-system"
	schedulerName   = "hyperconverge-scheduler" // of the Deployment, the account, the profile and the lease
	schedulerUser   = "system:serviceaccount:" + systemNamespace + ":" + schedulerName
)

var binary struct {
	once sync.Once
	path string
	err  error
}

// schedulerBinary compiles the command as it is released, but for the stamps.
func schedulerBinary(t *testing.T) string {
	t.Helper()
	binary.once.Do(func() {
		dir := controlplane.Process{TB: t}.TempDir()
		binary.path = filepath.Join(dir, "scheduler")
		build := exec.Command("go", "build", "-o", binary.path, "./cmd/scheduler")
		build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			binary.err = fmt.Errorf("%w: %s", err, output)
		}
	})
	if binary.err != nil {
		t.Fatalf("compiling the scheduler: %v", binary.err)
	}
	return binary.path
}

// replica is one pod of the Deployment, played by a process on this machine.
type replica struct {
	*exec.Cmd
	name    string
	address string
	token   string // of its account
	done    chan struct{}
	err     error // of Wait; to be read after done
	output  syncBuffer
}

// syncBuffer may be read while a process writes into it.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// podOptions are what a real pod finds in its surroundings.
type podOptions struct {
	name string
	// endpoint replaces the address of the storage API.
	endpoint string
	// change alters the configuration after that, as its administrator would.
	change func(config string) string
	// args come behind those of the Deployment.
	args []string
}

// startReplica runs the scheduler as the Deployment among the objects says: its
// arguments, its files, its account. What differs from a pod is where the API
// server and the storage are, and where the files stand.
func (p *controlPlane) startReplica(t *testing.T, objects []*unstructured.Unstructured, o podOptions) *replica {
	t.Helper()
	deployment := find[appsv1.Deployment](t, objects, "Deployment", schedulerName)
	spec := deployment.Spec.Template.Spec
	if spec.AutomountServiceAccountToken == nil || !*spec.AutomountServiceAccountToken {
		t.Fatal("the pod would have no token")
	}
	dir := t.TempDir()
	token := p.token(t, systemNamespace, spec.ServiceAccountName)
	kubeconfig := p.kubeconfig(t, dir, token)
	paths := p.mount(t, deployment, dir)
	config := o.configure(t, paths, kubeconfig)

	container := spec.Containers[0]
	if len(container.Command) != 1 || container.Command[0] != "hyperconverge-scheduler" {
		t.Fatalf("the command is %q", container.Command)
	}
	r := &replica{name: o.name, address: freeAddress(t), token: token, done: make(chan struct{})}
	host, port, err := net.SplitHostPort(r.address)
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
	r.Cmd = exec.Command(schedulerBinary(t), args...)
	r.Env = []string{"HOME=/nonexistent"} // nothing of this machine
	r.Stdout, r.Stderr = &r.output, &r.output
	r.WaitDelay = time.Second
	if err := os.WriteFile(paths.Replace("/etc/hyperconverge/scheduler.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.done)
		r.err = r.Wait()
	}()
	t.Cleanup(func() {
		r.kill()
		if t.Failed() {
			t.Logf("%s said at the end:\n%s", o.name, tail(r.output.String(), 40))
		}
	})
	return r
}

// kill ends the process at once, without any farewell.
func (r *replica) kill() {
	_ = r.Process.Kill() // it may have ended by itself
	<-r.done
}

// stop ends the process as the kubelet does.
func (r *replica) stop(t *testing.T) {
	t.Helper()
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-r.done:
	case <-time.After(patience):
		t.Fatal("the scheduler does not stop")
	}
}

// awaitReady waits for what the readiness probe waits for.
func (r *replica) awaitReady(t *testing.T) {
	t.Helper()
	eventually(t, r.name+" is ready", func() error {
		select {
		case <-r.done:
			t.Fatalf("%s ended: %v", r.name, r.err)
		default:
		}
		return r.get("/readyz", "")
	})
}

// probe is the kubelet's client: it does not look at the certificate.
var probe = &http.Client{Transport: &http.Transport{
	TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	DisableKeepAlives: true,
}}

// get asks an endpoint, with a bearer token or without.
func (r *replica) get(path, token string) error {
	_, err := r.read(path, token)
	return err
}

func (r *replica) read(path, token string) (string, error) {
	request, err := http.NewRequest(http.MethodGet, "https://"+r.address+path, nil)
	if err != nil {
		return "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := probe.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, response.Status, body)
	}
	return string(body), err
}

// token is a token of a ServiceAccount, as the kubelet asks for it.
func (p *controlPlane) token(t *testing.T, namespace, account string) string {
	t.Helper()
	hour := int64(3600)
	request, err := p.client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("token of %s: %v", account, err)
	}
	return request.Status.Token
}

// kubeconfig writes a file with the token as only credential.
func (p *controlPlane) kubeconfig(t *testing.T, dir, token string) string {
	t.Helper()
	const name = "scheduler"
	path := filepath.Join(dir, "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{name: {
			Server:                   p.config.Host,
			CertificateAuthority:     p.config.CAFile,
			CertificateAuthorityData: p.config.CAData,
			TLSServerName:            p.config.ServerName,
		}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	return path
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
			found, err := p.client.CoreV1().ConfigMaps(deployment.Namespace).Get(t.Context(), volume.ConfigMap.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for key, value := range found.Data {
				files[key] = []byte(value)
			}
		case volume.Secret != nil:
			found, err := p.client.CoreV1().Secrets(deployment.Namespace).Get(t.Context(), volume.Secret.SecretName, metav1.GetOptions{})
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
	for _, args := range storageArgs(config) {
		args["endpoint"] = o.endpoint
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

// storageArgs are the openStorage settings of all profiles.
func storageArgs(config map[string]any) []map[string]any {
	var found []map[string]any
	var walk func(any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			for key, value := range node {
				if settings, ok := value.(map[string]any); ok && key == "openStorage" {
					found = append(found, settings)
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

// tail is the end of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// holder is who holds the lease of an overlay's configuration.
func (p *controlPlane) holder(ctx context.Context, namespace, name string) (string, error) {
	lease, err := p.client.CoordinationV1().Leases(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return "", errors.New("nobody holds the lease")
	}
	return *lease.Spec.HolderIdentity, nil
}
