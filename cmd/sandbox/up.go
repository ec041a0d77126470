package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/hyperconverge/scheduler/internal/sandbox"
	"github.com/hyperconverge/scheduler/internal/sandbox/console"
	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
)

func newUpCommand() *cobra.Command {
	var flags clusterFlags
	command := &cobra.Command{
		Use:   "up",
		Short: "Run a cluster until Ctrl-C",
		Long: `Run a cluster until Ctrl-C, and leave nothing behind.

Pods are scheduled by ours if they name schedulerName hyperconverge-scheduler, or
stork as on clusters with Stork; and by the stock scheduler if they name none.`,
		Example: `  sandbox up
  sandbox up --nodes 100
  sandbox up --scheduler-config my-config.yaml --log-dir logs
  sandbox up --storage-endpoint 127.0.0.1:9020`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			out, palette := console.New(os.Stdout, cancel)
			ready := false
			err := flags.cluster(ctx, out, func(ctx context.Context, s *sandbox.Sandbox) error {
				ready = true
				printUsage(out, palette, s)
				<-ctx.Done()
				return nil
			})
			if err == nil && !ready {
				return context.Canceled
			}
			return err
		},
	}
	flags.addTo(command.Flags())
	return command
}

// printUsage says what to do with a cluster that runs.
func printUsage(out *console.Console, palette console.Palette, s *sandbox.Sandbox) {
	out.Printf(`
The cluster is up. In another terminal:

  %s
  %s get nodes -L topology.kubernetes.io/zone,px/rack

StorageClasses: %s (default), %s, %s, %s
Schedulers:     hyperconverge-scheduler, stork, default-scheduler
Storage:        %s   (drive it with "sandbox storage --help")
Metrics:        curl -k https://%s/metrics
Logs:           %s

Ctrl-C ends it and leaves nothing behind.`,
		palette.Strong("export KUBECONFIG="+s.Kubeconfig), s.Kubectl,
		driver.ClassDB, driver.ClassDBWait, driver.ClassSharedv4, driver.ClassSharedv4Service,
		s.StorageEndpoint, s.SchedulerAddress, s.LogDir)
}
