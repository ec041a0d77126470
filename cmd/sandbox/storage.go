package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hyperconverge/scheduler/internal/console"
	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/internal/sandbox"
	"github.com/hyperconverge/scheduler/internal/sandbox/fakenodes"
	"github.com/hyperconverge/scheduler/internal/sandbox/workdir"
)

func newStorageCommand() *cobra.Command {
	var drive storageDriver
	command := &cobra.Command{
		Use:   "storage",
		Short: "Drive the simulated storage, or run it on its own",
		Long: `Look at the simulated storage of the sandbox that runs on this machine, and break
it: take nodes offline, move replicas, let the SDK fail.

A NODE is the name of a Kubernetes node. A VOLUME is the name of a claim, with its
namespace before a slash if several are called so, or a volume's own name or id.`,
		Example: `  sandbox storage volumes
  sandbox storage node node-3 offline
  sandbox storage move mysql-data node-3 node-7
  sandbox storage faults outage`,
		// Without this an unknown word would print the help and succeed.
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.PersistentFlags().StringVar(&drive.address, "control", "",
		"control address of the storage, such as 127.0.0.1:9021 (default: that of the sandbox that runs here)")
	command.AddCommand(
		newServeCommand(),
		drive.nodesCommand(), drive.nodeCommand(),
		drive.volumesCommand(), drive.moveCommand(), drive.replicaCommand("add"), drive.replicaCommand("remove"),
		drive.attachCommand(), drive.labelCommand(),
		drive.faultsCommand(),
	)
	return command
}

// storageDriver runs commands against a simulated storage in another process.
type storageDriver struct {
	address string
}

// run calls do with a client of the storage.
func (d *storageDriver) run(do func(ctx context.Context, control *openstoragesim.ControlClient, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		address := d.address
		if address == "" {
			var err error
			if address, err = sandbox.FindControl(os.TempDir()); err != nil {
				return err
			}
		}
		control := openstoragesim.NewControlClient(address)
		return do(cmd.Context(), control, args)
	}
}

func newServeCommand() *cobra.Command {
	var nodes, port, controlPort int
	command := &cobra.Command{
		Use:   "serve",
		Short: "Run the simulated storage on its own until Ctrl-C",
		Long: `Run the simulated storage on its own until Ctrl-C, for "sandbox up
--storage-endpoint", or for a scheduler that runs elsewhere on this machine. It has
the storage nodes of a sandbox with the same number of nodes.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			places, err := fakenodes.Layout(nodes)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			out, palette := console.New(os.Stdout, cancel)
			return withFolder(ctx, out, "", func(ctx context.Context, dir *workdir.Dir, _ string) error {
				return sandbox.Serve(ctx, dir, places, port, controlPort, func(s *openstoragesim.Simulation) {
					out.Printf("The storage serves the OpenStorage SDK.\n\n  %s\n  %s\n\nCtrl-C ends it.",
						palette.Strong("sandbox up --storage-endpoint "+s.Endpoint+" --storage-control "+s.Control),
						"sandbox storage nodes --control "+s.Control)
				})
			})
		},
	}
	command.Flags().IntVar(&nodes, "nodes", defaultNodes, "number of Kubernetes nodes that it stands for")
	command.Flags().IntVar(&port, "port", 9020, "port of the SDK on 127.0.0.1; 0 is any free port")
	command.Flags().IntVar(&controlPort, "control-port", 9021, "port for driving it on 127.0.0.1; 0 is any free port")
	return command
}

func (d *storageDriver) nodeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "node NODE STATE",
		Short: "Set the state of a storage node",
		Long: `Set the state of a storage node, as the SDK reports it:

  online                                             all is well
  storage_down, poolmaintenance                      serves its data from elsewhere
  storage_degraded, storage_rebalance,
  storage_drive_replace                              no new pods
  offline, maintenance, decommission, error, ...     gone`,
		Example: `  sandbox storage node node-3 offline
  sandbox storage node node-3 online`,
		Args: cobra.ExactArgs(2),
		RunE: d.run(func(ctx context.Context, control *openstoragesim.ControlClient, args []string) error {
			node, word := args[0], args[1]
			if strings.EqualFold(word, "online") {
				word = "OK"
			}
			state, err := openstoragesim.ParseStatus(word)
			if err != nil {
				return err
			}
			if err := control.SetNodeState(ctx, node, state); err != nil {
				return err
			}
			fmt.Printf("the storage of %s is %s\n", node, strings.ToLower(args[1]))
			return nil
		}),
	}
}

func (d *storageDriver) moveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "move VOLUME FROM TO",
		Short: "Move a replica from one node to another",
		Args:  cobra.ExactArgs(3),
		RunE: d.onVolume(func(ctx context.Context, control *openstoragesim.ControlClient, volume string, args []string) error {
			return control.MoveReplica(ctx, volume, args[0], args[1])
		}),
	}
}

// replicaCommand adds or removes a replica.
func (d *storageDriver) replicaCommand(what string) *cobra.Command {
	return &cobra.Command{
		Use:   what + "-replica VOLUME NODE",
		Short: strings.ToUpper(what[:1]) + what[1:] + " a replica",
		Args:  cobra.ExactArgs(2),
		RunE: d.onVolume(func(ctx context.Context, control *openstoragesim.ControlClient, volume string, args []string) error {
			if what == "add" {
				return control.AddReplica(ctx, volume, args[0])
			}
			return control.RemoveReplica(ctx, volume, args[0])
		}),
	}
}

func (d *storageDriver) attachCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "attach VOLUME [NODE]",
		Short: "Attach a volume to a node, or to none",
		Args:  cobra.RangeArgs(1, 2),
		RunE: d.onVolume(func(ctx context.Context, control *openstoragesim.ControlClient, volume string, args []string) error {
			return control.Attach(ctx, volume, strings.Join(args, "")) // at most one
		}),
	}
}

func (d *storageDriver) labelCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "label VOLUME KEY=VALUE...",
		Short:   "Set labels of a volume; KEY= removes one",
		Example: `  sandbox storage label media stork.libopenstorage.org/preferRemoteNode=false`,
		Args:    cobra.MinimumNArgs(2),
		RunE: d.onVolume(func(ctx context.Context, control *openstoragesim.ControlClient, volume string, args []string) error {
			labels := map[string]string{}
			for _, arg := range args {
				key, value, found := strings.Cut(arg, "=")
				if !found || key == "" {
					return fmt.Errorf("%q is not KEY=VALUE", arg)
				}
				labels[key] = value
			}
			return control.SetLabels(ctx, volume, labels)
		}),
	}
}

// onVolume calls do with the name of the volume that the first argument means,
// and with the other arguments, and shows the volume as it is then.
func (d *storageDriver) onVolume(do func(ctx context.Context, control *openstoragesim.ControlClient, volume string, args []string) error) func(*cobra.Command, []string) error {
	return d.run(func(ctx context.Context, control *openstoragesim.ControlClient, args []string) error {
		state, err := control.State(ctx)
		if err != nil {
			return err
		}
		found, err := findVolume(state.Volumes, args[0])
		if err != nil {
			return err
		}
		if err := do(ctx, control, found.Name, args[1:]); err != nil {
			return err
		}
		if state, err = control.State(ctx); err != nil {
			return err
		}
		changed, err := findVolume(state.Volumes, found.ID)
		if err != nil {
			return err
		}
		return printVolumes(os.Stdout, []openstoragesim.VolumeSummary{changed}, state.Nodes)
	})
}
