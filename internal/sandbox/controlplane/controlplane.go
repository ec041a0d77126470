// Package controlplane runs a real Kubernetes control plane on one machine:
// etcd, kube-apiserver, kube-controller-manager, the stock kube-scheduler, and
// the scheduler of this project, each a process of its own.
package controlplane

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/hyperconverge/scheduler/internal/console"
	"github.com/hyperconverge/scheduler/internal/sandbox/ports"
	"github.com/hyperconverge/scheduler/internal/sandbox/process"
	"github.com/hyperconverge/scheduler/internal/sandbox/workdir"
)

const (
	// stopGrace is how long the components together may take to end. Nothing that
	// they would save in a longer time is ever looked at again.
	stopGrace = 3 * time.Second
	// startTimeout is for a machine that is busy with something else.
	startTimeout = 2 * time.Minute
	// pollInterval is how often a component is asked whether it is ready.
	pollInterval = 50 * time.Millisecond
)

// Options say what to run and where.
type Options struct {
	// BinDir holds the executables.
	BinDir string
	// Dir receives all files except logs.
	Dir *workdir.Dir
	// LogDir exists and receives one log per component.
	LogDir string
	// SchedulerConfig is the path of a KubeSchedulerConfiguration; empty means the
	// built-in one.
	SchedulerConfig string
	// StorageEndpoint and StorageTokenFile are written into that configuration.
	// The latter may be empty.
	StorageEndpoint, StorageTokenFile string
	// APIServerPort and SchedulerPort are 0 for any free port.
	APIServerPort, SchedulerPort int
	// Rebalance has the rebalancer evict pods that ask for it; otherwise it is a dry run.
	Rebalance bool
	// WithoutSchedulers is for callers that run schedulers of their own.
	WithoutSchedulers bool
	Console           *console.Console
}

// ControlPlane is a running control plane.
type ControlPlane struct {
	options     Options
	supervisor  *process.Supervisor
	credentials *credentials
	config      string // path of the scheduler's configuration
	debugPort   int    // of the scheduler, as its configuration says; 0 for none
	// ports are kept until the last component is gone.
	ports    map[string]*ports.Reservation // name of the executable, or what else has a port -> the port
	apiReady time.Time
	client   kubernetes.Interface // with all rights
}

// Start runs etcd and the API server and returns when the latter is ready. Close
// must be called on the result. On an error nothing is left running.
func Start(ctx context.Context, options Options) (_ *ControlPlane, err error) {
	cp := &ControlPlane{options: options, config: options.Dir.Join("scheduler.yaml"), ports: map[string]*ports.Reservation{}}
	o := &cp.options
	defer func() {
		if err != nil {
			cp.Close()
		}
	}()

	if socket := o.Dir.Join(etcdSocket); len(socket) > maxSocketPath {
		return nil, fmt.Errorf("the path of the folder for temporary files is too long for a socket in it: %s has more than %d bytes; set TMPDIR to a shorter one", socket, maxSocketPath)
	}
	o.Console.Status("asking the control plane binaries for their versions")
	if err := checkBinaries(ctx, o.BinDir, o.binaries()); err != nil {
		return nil, err
	}
	if err := cp.reservePorts(); err != nil {
		return nil, err
	}
	if cp.credentials, err = writeCredentials(o.Dir, cp.ports[apiServerBinary].Address()); err != nil {
		return nil, err
	}
	// Before anything runs, because a file that cannot be read is the most likely
	// mistake.
	cp.debugPort, err = o.writeSchedulerConfig(cp.config, cp.credentials.kubeconfigPath(scheduler), cp.ports[schedulerDebug].Port())
	if err != nil {
		return nil, err
	}

	cp.supervisor = process.NewSupervisor(stopGrace)
	if err := cp.run(ctx, cp.etcd()); err != nil {
		return nil, err
	}
	if err := cp.run(ctx, cp.apiServer()); err != nil {
		return nil, err
	}
	cp.apiReady = time.Now()

	if cp.client, err = kubernetes.NewForConfig(cp.RESTConfig()); err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	if err := grantSchedulerRights(ctx, cp.client); err != nil {
		return nil, err
	}
	if err := grantWebhookRights(ctx, cp.client); err != nil {
		return nil, err
	}
	return cp, cp.installRebalancer(ctx)
}

// StartControllers runs the controller manager and, unless they are not wanted, both
// schedulers, the webhook and the rebalancer, and returns when all of them are ready.
func (cp *ControlPlane) StartControllers(ctx context.Context) error {
	components := []component{cp.controllerManager()}
	if !cp.options.WithoutSchedulers {
		components = append(components, cp.scheduler(), cp.defaultScheduler(), cp.webhook(), cp.rebalancer())
	}
	group, starting := errgroup.WithContext(ctx)
	for _, component := range components {
		group.Go(func() error { return cp.run(starting, component) })
	}
	if err := group.Wait(); err != nil || cp.options.WithoutSchedulers {
		return err
	}
	return cp.registerWebhook(ctx)
}

// run starts one component and waits until it is ready or something died.
func (cp *ControlPlane) run(ctx context.Context, c component) error {
	started := time.Now()
	cp.options.Console.Status("starting %s", c.name)
	if _, err := cp.supervisor.Start(process.Command{
		Name:    c.name,
		Path:    filepath.Join(cp.options.BinDir, c.name),
		Args:    c.args,
		LogFile: filepath.Join(cp.options.LogDir, c.name+".log"),
	}); err != nil {
		return err
	}
	if err := cp.waitUntilReady(ctx, c); err != nil {
		return err
	}
	took := fmt.Sprintf("%.1f s", time.Since(started).Seconds())
	if !cp.apiReady.IsZero() {
		took += fmt.Sprintf(", %.1f s after the API server", time.Since(cp.apiReady).Seconds())
	}
	cp.options.Console.Printf("  %-24s ready after %s", c.name, took)
	return nil
}

// waitUntilReady returns a death, whichever component it befell, as the error.
func (cp *ControlPlane) waitUntilReady(ctx context.Context, c component) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout,
		fmt.Errorf("%s was not ready within %v", c.name, startTimeout))
	defer cancel()
	var answer error
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		select {
		case death := <-cp.supervisor.Died():
			return false, cp.explain(death)
		default:
			answer = c.healthy(ctx)
			return answer == nil, nil
		}
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w; its last answer: %w", context.Cause(ctx), answer)
	}
	return err
}

// explain adds the configuration file's name to what the scheduler says about
// it, since the scheduler sees only a copy.
func (cp *ControlPlane) explain(death *process.Death) error {
	if death.Name == schedulerBinary && death.Reason != "" && cp.options.SchedulerConfig != "" {
		return fmt.Errorf("%w (its configuration is %s)", death, cp.options.SchedulerConfig)
	}
	return death
}

func (cp *ControlPlane) reservePorts() error {
	for _, want := range []struct {
		binary string
		port   int
		flag   string // for error messages
	}{
		{apiServerBinary, cp.options.APIServerPort, "--api-server-port"},
		{schedulerBinary, cp.options.SchedulerPort, "--scheduler-port"},
		{controllerManagerBinary, 0, ""},
		{defaultSchedulerBinary, 0, ""},
		{schedulerDebug, 0, ""},
		{webhookBinary, 0, ""},
		{webhookOps, 0, ""},
		{rebalancerBinary, 0, ""},
	} {
		reserved, err := ports.Reserve(want.port, want.flag)
		if err != nil {
			return err
		}
		cp.ports[want.binary] = reserved
	}
	return nil
}

// Died delivers the first component that died without being asked to.
func (cp *ControlPlane) Died() <-chan *process.Death { return cp.supervisor.Died() }

// RESTConfig is for clients with all rights and without a rate limit.
func (cp *ControlPlane) RESTConfig() *rest.Config { return cp.credentials.restConfig() }

// Certificate is the paths of the certificate that all components serve with, and of its
// key.
func (cp *ControlPlane) Certificate() (certificate, key string) {
	return cp.credentials.dir.Join(certFile), cp.credentials.dir.Join(keyFile)
}

// HTTPClient is for what components tell anybody.
func (cp *ControlPlane) HTTPClient() *http.Client { return cp.credentials.httpClient() }

// Kubeconfig is the path of a kubeconfig with all rights.
func (cp *ControlPlane) Kubeconfig() string { return cp.credentials.kubeconfigPath(admin) }

// SchedulerAddress is host:port of the scheduler's metrics and health.
func (cp *ControlPlane) SchedulerAddress() string { return cp.ports[schedulerBinary].Address() }

// DebugAddress is host:port of the scheduler's debug endpoint; empty if its configuration
// turns that off.
func (cp *ControlPlane) DebugAddress() string {
	if cp.debugPort == 0 {
		return ""
	}
	return net.JoinHostPort(ports.Loopback, strconv.Itoa(cp.debugPort))
}

// Close ends all components and returns when they are gone.
func (cp *ControlPlane) Close() {
	if cp.supervisor != nil {
		cp.supervisor.Close()
	}
	for _, port := range cp.ports {
		port.Release()
	}
}
