// Command rebalancer brings pods that run off their data home, one by one
// (docs/back-home.md).
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"
	_ "time/tzdata" // of maintenance windows, where the image has none

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/component-base/cli"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // --logging-format=json
	"k8s.io/component-base/version/verflag"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/internal/rebalancer"
	"github.com/hyperconverge/scheduler/internal/safelog"
	"github.com/hyperconverge/scheduler/pkg/simulation"
)

// gcPercent has the collector run more often than Go does by itself: what this process keeps
// is large, and looks at it are rare.
const gcPercent = 50

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(cli.Run(newCommand()))
}

func newCommand() *cobra.Command {
	o := newOptions()
	cmd := &cobra.Command{
		Use:   rebalancer.Name,
		Short: "Brings pods that run off their data home",
		Long: `hyperconverge-rebalancer evicts pods that run off their data, one by one, when it is
proven that their successors land nearer to it, and follows each until it is ready.
Unless its configuration says dryRun: false, it reports what it would do and evicts
nothing.

The leader reads the cluster and the storage API as the scheduler does, with the
scheduler's own configuration. /livez, /readyz and /metrics are served over plain
HTTP.`,
		Args:         cobra.NoArgs,
		SilenceUsage: true, // a mistake in a flag is one line, not a page of flags
		RunE: func(*cobra.Command, []string) error {
			verflag.PrintAndExitIfRequested()
			// HideBodies loses sight of buffers, whose end would never be written.
			o.logging.Options.Text.InfoBufferSize, o.logging.Options.JSON.InfoBufferSize = resource.QuantityValue{}, resource.QuantityValue{}
			if err := logsapi.ValidateAndApply(o.logging, nil); err != nil {
				return err
			}
			safelog.HideBodies()
			settings, err := o.load()
			if err != nil {
				return err
			}
			ctx := genericapiserver.SetupSignalContext()
			return run(klog.NewContext(ctx, klog.Background()), o, settings)
		},
	}
	o.addFlags(cmd.Flags())
	verflag.AddFlags(cmd.Flags())
	return cmd
}

// run serves, and leads whenever it has the lease, until the context ends or the lease is
// lost.
func run(ctx context.Context, o *options, s *settings) error {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("finding the API server (--kubeconfig, or inside of a cluster): %w", err)
	}
	rest.AddUserAgent(config, rebalancer.Name)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connecting to the API server: %w", err)
	}
	klog.FromContext(ctx).Info("Starting", "dryRun", s.rebalancer.DryRun, "optIn", s.rebalancer.OptIn, "budgets", s.rebalancer.Budgets, "rescue", s.rebalancer.Rescue)
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return err
	}
	defer broadcaster.Shutdown()
	controller := rebalancer.NewController(&rebalancer.Options{
		Configuration: s.rebalancer,
		Observer: &rebalancer.Observer{
			// Three lists may be missed, and the last one may take its time.
			NodeListMaxAge: 3*s.storage.NodePollInterval.Duration + s.storage.RequestTimeout.Duration,
		},
		Client: client, Events: broadcaster.NewRecorder(nil, rebalancer.Name),
		Namespace: o.namespace, Journal: o.journal, Deployment: o.deployment, Drivers: s.drivers,
	})
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	served, err := serve(ctx, o.opsAddress, controller.Metrics(), stop)
	if err != nil {
		return err
	}
	defer func() { <-served }()
	defer stop(nil)
	if err := lead(ctx, client, o, func(ctx context.Context) error { return control(ctx, config, s, controller) }); err != nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// patience is how long the first look waits for storage to tell of all volumes. What is not
// known then stays where it is.
const patience = time.Minute

// control reads the cluster and controls it until the context ends.
func control(ctx context.Context, config *rest.Config, s *settings, controller *rebalancer.Controller) error {
	replicas := &simulation.Asked{Settings: s.storage, Patience: patience}
	engine, err := simulation.New(ctx, simulation.EngineOptions{RESTConfig: config, Configuration: s.scheduler, Replicas: replicas, Follow: rebalancer.Follow})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer engine.Close()
	o := controller.Observer
	o.Engine, o.Index = engine, replicas.Index()
	o.Conditions = func() (reasons []string) {
		for _, c := range engine.Conditions() {
			reasons = append(reasons, c.Reason)
		}
		return reasons
	}
	controller.Run(ctx)
	return nil
}

// Times of the lease, those of the components of Kubernetes.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

var errLeaseLost = errors.New("lost the lease: another replica leads, or the API server does not answer")

// lead runs work while this process has the lease. The lease is given back after the work
// has ended, so that two never work at a time.
func lead(ctx context.Context, client kubernetes.Interface, o *options, work func(context.Context) error) error {
	if !o.leaderElect {
		return work(ctx)
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("finding the name of this replica: %w", err)
	}
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, o.namespace, o.lease, client.CoreV1(), client.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: fmt.Sprintf("%s_%d", host, time.Now().UnixNano())})
	if err != nil {
		return err
	}
	electing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var led atomic.Bool
	ended := make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, Name: o.lease, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) {
				led.Store(true)
				defer stop()
				working, cancel := context.WithCancel(ctx)
				defer cancel()
				defer context.AfterFunc(leading, cancel)()
				ended <- work(working)
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() {
		if !led.Load() {
			stop()
		}
	})()
	elector.Run(electing)
	if !led.Load() {
		return nil
	}
	if err := <-ended; err != nil || ctx.Err() != nil {
		return err
	}
	return errLeaseLost
}

// serve answers health checks and metrics until the context ends, which it ends if it cannot.
func serve(ctx context.Context, address string, metrics prometheus.Gatherer, stop context.CancelCauseFunc) (<-chan struct{}, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for health checks and metrics (--ops-address): %w", err)
	}
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") } // a prober that has hung up needs no answer
	mux.HandleFunc("GET /livez", ok)
	mux.HandleFunc("GET /readyz", ok)
	const timeout = 5 * time.Second
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: timeout}))
	server := &http.Server{Handler: mux, ReadTimeout: timeout, WriteTimeout: 2 * timeout, IdleTimeout: 90 * time.Second, MaxHeaderBytes: 8 << 10}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			stop(fmt.Errorf("serving at %s: %w", listener.Addr(), err))
		}
	}()
	context.AfterFunc(ctx, func() { _ = server.Close() }) // nobody waits for an answer of it
	return served, nil
}
