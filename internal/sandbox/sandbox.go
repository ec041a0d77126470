// Package sandbox is a Kubernetes cluster on one machine for trying out the
// scheduler: a real control plane, nodes that do not exist, and storage that is
// simulated.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/hyperconverge/scheduler/internal/console"
	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/internal/sandbox/controlplane"
	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
	"github.com/hyperconverge/scheduler/internal/sandbox/fakenodes"
	"github.com/hyperconverge/scheduler/internal/sandbox/ports"
)

// Options say what kind of sandbox to run. Run removes the folder ControlPlane.Dir
// in the end.
type Options struct {
	// ControlPlane says what to run, except for where the storage is.
	ControlPlane controlplane.Options
	// Nodes is the number of Kubernetes nodes, 1 to fakenodes.MaxNodes.
	Nodes   int
	Storage StorageOptions
}

// Sandbox is a running sandbox.
type Sandbox struct {
	// Client has all rights.
	Client kubernetes.Interface
	// Resources likewise, for placement strategies and snapshots.
	Resources dynamic.Interface
	// Control drives the simulated storage; nil if the storage is somebody else's
	// and its control address was not given.
	Control *openstoragesim.ControlClient
	Nodes   []fakenodes.Node
	// Kubeconfig is the path of a kubeconfig with all rights.
	Kubeconfig string
	// Kubectl is the command to use with it.
	Kubectl string
	// LogDir holds one log per process.
	LogDir string
	// SchedulerAddress is host:port of the scheduler's metrics.
	SchedulerAddress string
	// DebugAddress is host:port of the scheduler's debug endpoint; empty if the
	// configuration turns that off.
	DebugAddress string
	// BinDir has the executables.
	BinDir string
	// StorageEndpoint is host:port of the storage's SDK.
	StorageEndpoint string

	scheduler *http.Client
}

// Run brings up a sandbox, calls use, and takes the sandbox down again when use
// has returned. The context of use ends when ctx does or when a part of the
// sandbox has died, which then is its cause and Run's error.
func Run(ctx context.Context, options Options, use func(context.Context, *Sandbox) error) (err error) {
	plan := options.ControlPlane
	defer func() {
		plan.Console.Status("cleaning up")
		err = errors.Join(err, plan.Dir.Remove())
		plan.Console.Done()
	}()
	places, err := fakenodes.Layout(options.Nodes)
	if err != nil {
		return err
	}

	plan.Console.Printf("Starting a cluster of %d nodes on this machine.", len(places))

	// Whatever fails ends the rest by way of this context.
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	storage, err := openStorage(ctx, options.Storage, places)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, storage.close()) }()
	nodes, err := joinStorage(places, storage.nodes, options.Storage.Endpoint)
	if err != nil {
		return err
	}
	if storage.control != "" {
		if err := announceControl(plan.Dir, storage.control); err != nil {
			return err
		}
	}

	plan.StorageEndpoint, plan.StorageTokenFile = storage.endpoint, options.Storage.TokenFile
	plane, err := controlplane.Start(ctx, plan)
	if err != nil {
		return err
	}
	defer plane.Close()

	client, err := kubernetes.NewForConfig(plane.RESTConfig())
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	resources, err := dynamic.NewForConfig(plane.RESTConfig())
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if err := driver.Define(ctx, resources); err != nil {
		return err
	}
	kubelets, err := listenForKubelets(ctx, nodes)
	if err != nil {
		return err
	}
	defer func() { _ = kubelets.Close() }()
	parts := &parts{fail: fail}
	running, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		parts.running.Wait()
	}()
	starting, startCtx := errgroup.WithContext(ctx)
	starting.Go(func() error { return plane.StartControllers(startCtx) })
	starting.Go(func() error { return furnish(startCtx, plan.Console, client, nodes) })
	if err := starting.Wait(); err != nil {
		return err
	}
	parts.run(running, func(ctx context.Context) error { return fakenodes.Run(ctx, client, nodes) })
	parts.run(running, func(ctx context.Context) error {
		cert, key := plane.Certificate()
		return fakenodes.ServeKubelets(ctx, kubelets, cert, key)
	})
	parts.run(running, func(ctx context.Context) error {
		driver.RunProvisioner(ctx, client, resources, storage.driver)
		return nil
	})
	parts.run(running, func(ctx context.Context) error {
		select {
		case death := <-plane.Died():
			return death
		case <-ctx.Done():
			return nil
		}
	})

	sandbox := &Sandbox{
		Client:           client,
		Resources:        resources,
		Nodes:            nodes,
		Kubeconfig:       plane.Kubeconfig(),
		Kubectl:          kubectl(plan.BinDir),
		LogDir:           plan.LogDir,
		SchedulerAddress: plane.SchedulerAddress(),
		DebugAddress:     plane.DebugAddress(),
		BinDir:           plan.BinDir,
		StorageEndpoint:  storage.endpoint,
		scheduler:        plane.HTTPClient(),
	}
	if storage.control != "" {
		sandbox.Control = openstoragesim.NewControlClient(storage.control)
	}
	err = use(ctx, sandbox)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		// What died explains better why use could not go on.
		return cause
	}
	return err
}

// parts are the goroutines of a sandbox.
type parts struct {
	fail    context.CancelCauseFunc
	running sync.WaitGroup
}

// run runs one part until the context ends. Its error ends the sandbox.
func (p *parts) run(ctx context.Context, part func(context.Context) error) {
	p.running.Go(func() {
		if err := part(ctx); err != nil && ctx.Err() == nil {
			p.fail(err)
		}
	})
}

// listenForKubelets opens a free port for the kubelets of all nodes, and writes it into
// the nodes.
func listenForKubelets(ctx context.Context, nodes []fakenodes.Node) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(ports.Loopback, "0"))
	if err != nil {
		return nil, fmt.Errorf("opening a port for the kubelets: %w", err)
	}
	if address, ok := listener.Addr().(*net.TCPAddr); ok {
		for i := range nodes {
			nodes[i].KubeletPort = address.Port
		}
	}
	return listener, nil
}

// furnish creates what an administrator and the storage driver's operator would
// have created.
func furnish(ctx context.Context, out *console.Console, client kubernetes.Interface, nodes []fakenodes.Node) error {
	started := time.Now()
	out.Status("registering %d nodes", len(nodes))
	if err := fakenodes.Register(ctx, client, nodes); err != nil {
		return err
	}
	if _, err := client.StorageV1().CSIDrivers().Create(ctx, driver.Object(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the CSIDriver: %w", err)
	}
	for _, class := range driver.StorageClasses() {
		if _, err := client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating the StorageClass %s: %w", class.Name, err)
		}
	}
	withStorage := 0
	for _, n := range nodes {
		if n.StorageID != "" {
			withStorage++
		}
	}
	out.Printf("  %-24s %d nodes, %d of them with storage, after %.1f s", "nodes", len(nodes), withStorage, time.Since(started).Seconds())
	return nil
}

// kubectl is the command for a person to use: the one that was built along, or
// the one that is installed.
func kubectl(binDir string) string {
	path := filepath.Join(binDir, controlplane.KubectlBinary)
	if _, err := os.Stat(path); err != nil {
		return controlplane.KubectlBinary
	}
	return path
}

// Plugin is the path of the kubectl plugin.
func (s *Sandbox) Plugin() string { return filepath.Join(s.BinDir, "kubectl-hyperconverge") }

// PluginFlags tell the kubectl plugin where to ask the scheduler; none if its
// configuration has it answer nobody.
func (s *Sandbox) PluginFlags() []string {
	if s.DebugAddress == "" {
		return nil
	}
	return []string{"--scheduler-endpoint", "https://" + s.DebugAddress}
}

// SchedulerMetric reads a gauge or counter of the scheduler: the sum of all
// series that carry these labels, 0 if there are none.
func (s *Sandbox) SchedulerMetric(ctx context.Context, name string, labels map[string]string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.SchedulerAddress+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := s.scheduler.Do(request)
	if err != nil {
		return 0, fmt.Errorf("reading the scheduler's metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("reading the scheduler's metrics: %s", response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return 0, fmt.Errorf("reading the scheduler's metrics: %w", err)
	}
	sum := 0.0
	for _, metric := range families[name].GetMetric() {
		if carries(metric, labels) {
			sum += metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
		}
	}
	return sum, nil
}

func carries(metric *dto.Metric, labels map[string]string) bool {
	found := 0
	for _, pair := range metric.GetLabel() {
		if value, asked := labels[pair.GetName()]; asked && value == pair.GetValue() {
			found++
		}
	}
	return found == len(labels)
}
