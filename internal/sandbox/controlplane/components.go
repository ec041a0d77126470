package controlplane

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hyperconverge/scheduler/internal/sandbox/ports"
)

// The executables, all in one folder, as the Makefile names them.
const (
	etcdBinary              = "etcd"
	apiServerBinary         = "kube-apiserver"
	controllerManagerBinary = "kube-controller-manager"
	defaultSchedulerBinary  = "kube-scheduler"
	schedulerBinary         = "scheduler"
	// schedulerDebug is the scheduler's second port.
	schedulerDebug = "scheduler-debug"
	// KubectlBinary is for the person at the keyboard; the sandbox itself does not
	// run it.
	KubectlBinary = "kubectl"
)

// binaries are those that are run.
func (o *Options) binaries() []string {
	names := []string{etcdBinary, apiServerBinary, controllerManagerBinary}
	if !o.WithoutSchedulers {
		names = append(names, defaultSchedulerBinary, schedulerBinary, webhookBinary, rebalancerBinary)
	}
	return names
}

// component is one child process of the control plane.
type component struct {
	// name is also that of its executable and of its log.
	name string
	args []string
	// ready is asked until it answers 200.
	ready  *http.Client
	health string // URL
}

// controllers are those that a person's workloads need. Nodes are looked after
// by the fake kubelet alone, which is why no controller watches their leases.
var controllers = []string{
	"deployment-controller", "replicaset-controller", "statefulset-controller", "daemonset-controller",
	"job-controller", "cronjob-controller", "disruption-controller", "garbage-collector-controller",
	"namespace-controller", "serviceaccount-controller", "root-ca-certificate-publisher-controller",
	"endpointslice-controller", "ephemeral-volume-controller", "persistentvolume-binder-controller",
	"persistentvolume-protection-controller", "persistentvolumeclaim-protection-controller",
}

// etcdSocket is a file in the sandbox folder.
const etcdSocket = "etcd.sock"

// maxSocketPath is the longest path of a socket on the systems that Go runs on.
const maxSocketPath = 103

// etcd listens on a socket in the sandbox folder: it asks nobody who they are,
// and on a port every user of the machine could read and change the cluster.
func (cp *ControlPlane) etcd() component {
	socket := cp.options.Dir.Join(etcdSocket)
	return component{
		name: etcdBinary,
		args: []string{
			"--name=sandbox",
			"--data-dir=" + cp.options.Dir.Join("etcd"),
			"--listen-client-urls=unix://" + socket,
			"--advertise-client-urls=http://localhost:2379", // nobody asks
			"--listen-peer-urls=http://" + net.JoinHostPort(ports.Loopback, "0"),
			// What is in it dies with the sandbox, so it need not survive a power cut.
			"--unsafe-no-fsync",
			"--log-level=warn",
		},
		ready:  clientOfSocket(socket),
		health: "http://etcd/health",
	}
}

func (cp *ControlPlane) apiServer() component {
	c := cp.credentials
	return cp.server(apiServerBinary, "/readyz",
		"--etcd-servers=unix://"+c.dir.Join(etcdSocket),
		"--advertise-address="+ports.Loopback,
		"--endpoint-reconciler-type=none", // ports.Loopback is no address for an endpoint
		"--token-auth-file="+c.dir.Join(tokensFile),
		// Nobody has a client certificate and no aggregated API server runs here, but
		// components look for both authorities and complain without them.
		"--client-ca-file="+c.dir.Join(certFile),
		"--requestheader-client-ca-file="+c.dir.Join(certFile),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+c.dir.Join(keyFile),
		"--service-account-signing-key-file="+c.dir.Join(keyFile),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--allow-privileged=true",
		// Only the fake kubelets have an external address; see fakenodes.ServeKubelets.
		"--kubelet-preferred-address-types=ExternalIP",
		"--kubelet-certificate-authority="+c.dir.Join(certFile),
		"--enable-priority-and-fairness=false",
		// It taints new nodes until a controller that does not run here clears them.
		"--disable-admission-plugins=TaintNodesByCondition",
	)
}

func (cp *ControlPlane) controllerManager() component {
	c := cp.credentials
	return cp.server(controllerManagerBinary, "/healthz",
		"--kubeconfig="+c.kubeconfigPath(controllerManager),
		"--controllers="+strings.Join(controllers, ","),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+c.dir.Join(keyFile),
		"--root-ca-file="+c.dir.Join(certFile),
		"--leader-elect=false",
		"--kube-api-qps=200",
		"--kube-api-burst=400",
	)
}

// defaultScheduler is kube-scheduler as Kubernetes delivers it.
func (cp *ControlPlane) defaultScheduler() component {
	kubeconfig := cp.credentials.kubeconfigPath(defaultScheduler)
	return cp.server(defaultSchedulerBinary, "/readyz",
		"--kubeconfig="+kubeconfig,
		"--authentication-kubeconfig="+kubeconfig,
		"--authorization-kubeconfig="+kubeconfig,
		"--leader-elect=false",
	)
}

func (cp *ControlPlane) scheduler() component {
	kubeconfig := cp.credentials.kubeconfigPath(scheduler)
	return cp.server(schedulerBinary, "/readyz",
		"--config="+cp.config,
		"--authentication-kubeconfig="+kubeconfig,
		"--authorization-kubeconfig="+kubeconfig,
		// For people with curl; nothing here is secret from the machine's users.
		"--authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics",
		"--logging-format=json",
		"--v=2",
	)
}

// server is a component that serves over TLS on its port.
func (cp *ControlPlane) server(name, health string, args ...string) component {
	c, port := cp.credentials, cp.ports[name]
	return component{
		name: name,
		args: append([]string{
			"--bind-address=" + ports.Loopback,
			"--secure-port=" + strconv.Itoa(port.Port()),
			"--permit-port-sharing=true", // see ports.Reservation
			"--tls-cert-file=" + c.dir.Join(certFile),
			"--tls-private-key-file=" + c.dir.Join(keyFile),
		}, args...),
		ready:  c.httpClient(),
		health: "https://" + port.Address() + health,
	}
}

// requestTimeout bounds one question after a component's health.
const requestTimeout = 2 * time.Second

// httpClient asks components for what they tell anybody.
func (c *credentials) httpClient() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.ca)
	return client(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
}

func clientOfSocket(path string) *http.Client {
	return client(&http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}})
}

func client(transport *http.Transport) *http.Client {
	transport.DisableKeepAlives = true
	return &http.Client{Timeout: requestTimeout, Transport: transport}
}

// healthy returns nil if the component says that it is ready.
func (c component) healthy(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.health, nil)
	if err != nil {
		return err
	}
	response, err := c.ready.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 512))
		return fmt.Errorf("%s: %s", response.Status, strings.Join(strings.Fields(string(body)), " "))
	}
	return nil
}

// versionTimeout is generous: asking for a version takes a tenth of a second on
// an idle machine.
const versionTimeout = 20 * time.Second

// checkBinaries asks every executable for its version, so that a missing or
// broken one is named before anything runs.
func checkBinaries(ctx context.Context, dir string, binaries []string) error {
	failures := make([]error, len(binaries))
	var wg sync.WaitGroup
	for i, name := range binaries {
		wg.Go(func() { failures[i] = checkBinary(ctx, dir, name) })
	}
	wg.Wait()
	return cmp.Or(failures...) // one line; the next run names the next one
}

func checkBinary(ctx context.Context, dir, name string) error {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()

	path := filepath.Join(dir, name)
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is missing; %s", path, howToBuild(name))
	case err != nil && ctx.Err() == nil:
		return fmt.Errorf("%s is broken: %w%s; %s", path, err, firstLine(out), howToBuild(name))
	case err != nil:
		return fmt.Errorf("asking %s for its version: %w", path, context.Cause(ctx))
	}
	return nil
}

// howToBuild is the way out of a missing or broken executable.
func howToBuild(name string) string { return "build it with: make bin/" + name }

// firstLine is what a broken executable had to say, ready to be appended.
func firstLine(out []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	if len(line) == 0 {
		return ""
	}
	return ": " + strings.TrimSpace(string(line))
}
