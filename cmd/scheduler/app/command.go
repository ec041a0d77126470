// Package app runs kube-scheduler with the plugins of this project.
package app

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"
	genericapiserver "k8s.io/apiserver/pkg/server"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/cli/globalflag"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/component-base/featuregate"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/term"
	"k8s.io/component-base/version/verflag"
	kubescheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	schedulerconfig "k8s.io/kubernetes/cmd/kube-scheduler/app/config"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	"k8s.io/kubernetes/pkg/scheduler"

	"github.com/hyperconverge/scheduler/internal/safelog"
)

// NewCommand returns the command. Flags, configuration file and endpoints are
// those of kube-scheduler.
func NewCommand() *cobra.Command {
	opts := options.NewOptions()
	var allowPlain bool
	cmd := &cobra.Command{
		Use:   "hyperconverge-scheduler",
		Short: "Schedules pods onto the nodes that hold their volumes",
		Long: `hyperconverge-scheduler is kube-scheduler with the Hyperconverge plugin: it puts
pods on the nodes that hold replicas of their OpenStorage or Portworx volumes,
prefers these nodes or insists on them as the pod asks, and leaves all other pods
to the default plugins.

It is deployed as a second scheduler, with profiles in a
KubeSchedulerConfiguration (--config). Coscheduling, CapacityScheduling,
NodeResourcesAllocatable and NodeResourceTopologyMatch are compiled in and can be
enabled in the same profile.`,
		Example:      "  hyperconverge-scheduler --config /etc/kubernetes/hyperconverge-scheduler.yaml",
		Args:         cobra.NoArgs,
		SilenceUsage: true, // a mistake in the configuration is one line, not a page of flags
		PersistentPreRunE: func(*cobra.Command, []string) error {
			// Feature gates take effect before anything asks for them.
			return opts.ComponentGlobalsRegistry.Set()
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd, opts, allowPlain) },
	}

	flagSets := opts.Flags
	flagSets.FlagSet("hyperconverge").BoolVar(&allowPlain, plainProfilesFlag, false,
		"Start with profiles in which the Hyperconverge plugin is not enabled, and which place pods without regard to their volumes.")
	verflag.AddFlags(flagSets.FlagSet("global"))
	globalflag.AddGlobalFlags(flagSets.FlagSet("global"), cmd.Name(), logs.SkipLoggingConfigurationFlags())
	for _, set := range flagSets.FlagSets {
		cmd.Flags().AddFlagSet(set)
	}
	columns, _, _ := term.TerminalSize(cmd.OutOrStdout())
	cliflag.SetUsageAndHelpFunc(cmd, *flagSets, columns)
	if err := cmd.MarkFlagFilename("config", "yaml", "yml", "json"); err != nil {
		panic(err) // a flag of that name is missing: a mistake in this function
	}
	return cmd
}

// run is what kube-scheduler's own command does, with the profiles wrapped
// between Setup and Run.
func run(cmd *cobra.Command, opts *options.Options, allowPlain bool) error {
	verflag.PrintAndExitIfRequested()
	gates := opts.ComponentGlobalsRegistry.FeatureGateFor(basecompatibility.DefaultKubeComponent)
	// HideBodies below loses sight of buffers, whose end would never be written.
	opts.Logs.Options.Text.InfoBufferSize, opts.Logs.Options.JSON.InfoBufferSize = resource.QuantityValue{}, resource.QuantityValue{}
	if err := logsapi.ValidateAndApply(opts.Logs, gates); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) // the loggers are not set up, so the usual way out prints nothing
	}
	safelog.HideBodies() // the tokens of those who read the metrics are in bodies
	cliflag.PrintFlags(cmd.Flags())

	if err := checkConfiguration(opts.ConfigFile, allowPlain); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := genericapiserver.SetupSignalHandler()
	go func() {
		<-signals
		cancel()
	}()

	config, sched, err := setUp(ctx, opts)
	if err != nil {
		return err
	}
	if mutable, ok := gates.(featuregate.MutableFeatureGate); ok {
		mutable.AddMetrics()
	}
	opts.ComponentGlobalsRegistry.AddMetrics()
	return kubescheduler.Run(ctx, config, sched)
}

// setUp is Setup that a signal ends. Setup asks the API server with a context of
// its own and without a deadline, so that one that does not answer would hold the
// process until it is killed.
func setUp(ctx context.Context, opts *options.Options) (*schedulerconfig.CompletedConfig, *scheduler.Scheduler, error) {
	var (
		config *schedulerconfig.CompletedConfig
		sched  *scheduler.Scheduler
	)
	done := make(chan error, 1)
	go func() {
		var err error
		config, sched, err = Setup(ctx, opts)
		done <- err
	}()
	select {
	case err := <-done:
		return config, sched, err
	case <-ctx.Done():
		return nil, nil, errors.New("asked to end before the start was over: no answer from the API server yet")
	}
}
