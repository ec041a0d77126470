package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-logr/zapr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/internal/console"
	"github.com/hyperconverge/scheduler/internal/sandbox"
	"github.com/hyperconverge/scheduler/internal/sandbox/demo"
	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
	"github.com/hyperconverge/scheduler/internal/sandbox/fakenodes"
	"github.com/hyperconverge/scheduler/internal/sandbox/workdir"
)

func newUpCommand() *cobra.Command {
	var flags clusterFlags
	command := &cobra.Command{
		Use:   "up",
		Short: "Run a cluster until Ctrl-C",
		Long: `Run a cluster until Ctrl-C, and leave nothing behind.

Pods are scheduled by ours if they name schedulerName hyperconverge-scheduler, or
stork as on clusters with Stork. For pods that name none the webhook decides: those
with volumes of the storage are ours, all others the stock scheduler's.

Pods only count as running: nothing runs in them, and kubectl logs says so.`,
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
				self, err := os.Executable()
				if err != nil {
					self = "sandbox"
				}
				out.Printf("%s", usage(palette, s, self))
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

// usage says what to do with a cluster that runs: commands to paste into a shell, of
// which self is the path of this program.
func usage(palette console.Palette, s *sandbox.Sandbox, self string) string {
	commands := []string{
		palette.Strong("export KUBECONFIG=" + shell(s.Kubeconfig)),
		shell(s.Kubectl) + " get nodes -L topology.kubernetes.io/zone,px/rack",
		strings.Join(append([]string{shell(s.Plugin()), "status"}, s.PluginFlags()...), " "),
	}
	if s.Control != nil { // otherwise there is nobody to tell
		commands = append(commands, shell(self)+" storage node node-3 offline")
	}
	return fmt.Sprintf(`
The cluster is up. Pods only count as running: nothing runs in them.
In another terminal:

  %s

StorageClasses: %s (default), %s, %s, %s
Schedulers:     hyperconverge-scheduler, stork, default-scheduler; the webhook
                names the first for pods with our volumes that name none
Storage:        %s
Metrics:        curl -k https://%s/metrics
Logs:           %s

Ctrl-C ends it and leaves nothing behind.`,
		strings.Join(commands, "\n  "),
		driver.ClassDB, driver.ClassDBWait, driver.ClassSharedv4, driver.ClassSharedv4Service,
		s.StorageEndpoint, s.SchedulerAddress, s.LogDir)
}

// shell quotes a path if a shell would not take it as it is.
func shell(path string) string {
	if !strings.ContainsAny(path, " \t'\"$&;()<>|*?[]~`\\!#") {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

func newDemoCommand() *cobra.Command {
	var flags clusterFlags
	command := &cobra.Command{
		Use:   "demo",
		Short: "Watch databases land on their data",
		Long: `Run a cluster, take nine steps on it, and check that each of them comes out as the
contract of the scheduler says. The exit code is 0 only if all do.

The maps show one column per zone. Behind a node stand the volumes that it holds
a replica of, in brackets, and its pods. In the end kubectl hyperconverge explains
where a pod is, and writes a report, which stays.`,
		Example: `  sandbox demo
  sandbox demo --nodes 30 --log-dir logs`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.Nodes < demo.MinNodes {
				return fmt.Errorf("the demo needs at least %d nodes, not %d", demo.MinNodes, flags.Nodes)
			}
			if flags.Storage.Endpoint != "" && flags.Storage.Control == "" {
				return errors.New("the demo breaks storage and repairs it: --storage-endpoint needs --storage-control")
			}
			flags.ControlPlane.Rebalance = true
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

// defaultNodes fill three zones of two racks with two nodes each.
const defaultNodes = 12

// clusterFlags are what "up" and "demo" have in common.
type clusterFlags struct{ sandbox.Options }

func (f *clusterFlags) addTo(flags *pflag.FlagSet) {
	plane, storage := &f.ControlPlane, &f.Storage
	flags.IntVar(&f.Nodes, "nodes", defaultNodes, fmt.Sprintf("number of nodes, at most %d", fakenodes.MaxNodes))
	flags.StringVar(&plane.BinDir, "bin-dir", "", "folder of the control plane's executables (default: that of this one)")
	flags.StringVar(&plane.LogDir, "log-dir", "", "folder for logs, which stays (default: a temporary one, which does not)")
	flags.StringVar(&plane.SchedulerConfig, "scheduler-config", "",
		"KubeSchedulerConfiguration file for our scheduler; kubeconfig and storage endpoint are filled in (default: built in)")
	flags.IntVar(&plane.APIServerPort, "api-server-port", 0, "port of kube-apiserver on 127.0.0.1; 0 is any free port")
	flags.IntVar(&plane.SchedulerPort, "scheduler-port", 0, "port of our scheduler's metrics and health on 127.0.0.1; 0 is any free port")
	flags.IntVar(&storage.Port, "storage-port", 0, "port of the simulated storage's SDK on 127.0.0.1; 0 is any free port")
	flags.IntVar(&storage.ControlPort, "storage-control-port", 0, "port for driving the simulated storage on 127.0.0.1; 0 is any free port")
	flags.StringVar(&storage.Endpoint, "storage-endpoint", "",
		"gRPC address of an OpenStorage SDK that runs elsewhere, such as 127.0.0.1:9020 of \"sandbox storage serve\"")
	flags.StringVar(&storage.TokenFile, "storage-token-file", "", "file with the token for --storage-endpoint")
	flags.StringVar(&storage.Control, "storage-control", "", "control address that belongs to --storage-endpoint")
}

// cluster runs a sandbox as the flags say and calls use in it.
func (f *clusterFlags) cluster(ctx context.Context, out *console.Console, use func(context.Context, *sandbox.Sandbox) error) error {
	plane, storage := &f.ControlPlane, &f.Storage
	plane.Console = out
	if plane.BinDir == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding the folder of the executables; name it with --bin-dir: %w", err)
		}
		plane.BinDir = filepath.Dir(self)
	}
	if storage.Endpoint == "" {
		for flag, value := range map[string]string{"--storage-control": storage.Control, "--storage-token-file": storage.TokenFile} {
			if value != "" {
				return fmt.Errorf("%s has no meaning without --storage-endpoint", flag)
			}
		}
	}
	if storage.TokenFile != "" {
		var err error
		if storage.TokenFile, err = filepath.Abs(storage.TokenFile); err != nil {
			return err
		}
	}
	return withFolder(ctx, out, plane.LogDir, func(ctx context.Context, dir *workdir.Dir, logDir string) error {
		plane.Dir, plane.LogDir = dir, logDir
		return sandbox.Run(ctx, f.Options, use)
	})
}

// withFolder clears away what killed sandboxes left, makes a folder for this one
// and a log in it, and calls run, which removes the folder.
func withFolder(ctx context.Context, out *console.Console, logDir string, run func(context.Context, *workdir.Dir, string) error) (err error) {
	removed, err := workdir.RemoveStale(os.TempDir())
	if err != nil {
		return err
	}
	for _, path := range removed {
		out.Printf("removed %s, which a killed sandbox had left", path)
	}
	dir, err := workdir.Create(os.TempDir())
	if err != nil {
		return err
	}
	if logDir == "" {
		logDir = dir.Join("logs")
	}
	if err := os.MkdirAll(logDir, 0o700); err != nil {
		return errors.Join(fmt.Errorf("making the folder for logs: %w", err), dir.Remove())
	}
	logger, err := newLogger(filepath.Join(logDir, "sandbox.log"))
	if err != nil {
		return errors.Join(err, dir.Remove())
	}
	klog.SetLogger(zapr.NewLogger(logger))
	defer func() {
		klog.Flush()
		// The log may have gone with the folder.
		_ = logger.Sync()
	}()
	return run(klog.NewContext(ctx, zapr.NewLogger(logger)), dir, logDir)
}

// newLogger makes the one logger of the program. Everything logs through klog or
// logr, which hand over to it; the console is for people.
func newLogger(path string) (*zap.Logger, error) {
	config := zap.NewProductionConfig()
	config.OutputPaths = []string{path}
	config.ErrorOutputPaths = []string{path}
	config.EncoderConfig.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	config.Sampling = nil
	logger, err := config.Build()
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	return logger, nil
}
