package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/hyperconverge/scheduler/internal/sandbox"
	"github.com/hyperconverge/scheduler/internal/sandbox/console"
	"github.com/hyperconverge/scheduler/internal/sandbox/demo"
)

func newDemoCommand() *cobra.Command {
	var flags clusterFlags
	command := &cobra.Command{
		Use:   "demo",
		Short: "Watch databases land on their data",
		Long: `Run a cluster, take five steps on it, and check that each of them comes out as the
contract of the scheduler says. The exit code is 0 only if all do.

The maps show one column per zone. Behind a node stand the volumes that it holds
a replica of, in brackets, and its pods.`,
		Example: `  sandbox demo
  sandbox demo --nodes 30 --log-dir logs`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.nodes < demo.MinNodes {
				return fmt.Errorf("the demo needs at least %d nodes, not %d", demo.MinNodes, flags.nodes)
			}
			if flags.storage.Endpoint != "" && flags.storage.Control == "" {
				return errors.New("the demo breaks storage and repairs it: --storage-endpoint needs --storage-control")
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			out, palette := console.New(os.Stdout, cancel)
			return flags.cluster(ctx, out, func(ctx context.Context, s *sandbox.Sandbox) error {
				return demo.Run(ctx, s, out, palette)
			})
		},
	}
	flags.addTo(command.Flags())
	return command
}
