package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-logr/zapr"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/internal/sandbox"
	"github.com/hyperconverge/scheduler/internal/sandbox/console"
	"github.com/hyperconverge/scheduler/internal/sandbox/topology"
	"github.com/hyperconverge/scheduler/internal/sandbox/workdir"
)

// defaultNodes fill three zones of two racks with two nodes each.
const defaultNodes = 12

// clusterFlags are what "up" and "demo" have in common.
type clusterFlags struct {
	nodes                        int
	binDir, logDir               string
	schedulerConfig              string
	apiServerPort, schedulerPort int
	storage                      sandbox.StorageOptions
}

func (f *clusterFlags) addTo(flags *pflag.FlagSet) {
	flags.IntVar(&f.nodes, "nodes", defaultNodes, fmt.Sprintf("number of nodes, at most %d", topology.MaxNodes))
	flags.StringVar(&f.binDir, "bin-dir", "", "folder of the control plane's executables (default: that of this one)")
	flags.StringVar(&f.logDir, "log-dir", "", "folder for logs, which stays (default: a temporary one, which does not)")
	flags.StringVar(&f.schedulerConfig, "scheduler-config", "",
		"KubeSchedulerConfiguration file for our scheduler; kubeconfig and storage endpoint are filled in (default: built in)")
	flags.IntVar(&f.apiServerPort, "api-server-port", 0, "port of kube-apiserver on 127.0.0.1; 0 is any free port")
	flags.IntVar(&f.schedulerPort, "scheduler-port", 0, "port of our scheduler's metrics and health on 127.0.0.1; 0 is any free port")
	flags.IntVar(&f.storage.Port, "storage-port", 0, "port of the simulated storage's SDK on 127.0.0.1; 0 is any free port")
	flags.IntVar(&f.storage.ControlPort, "storage-control-port", 0, "port for driving the simulated storage on 127.0.0.1; 0 is any free port")
	flags.StringVar(&f.storage.Endpoint, "storage-endpoint", "",
		"gRPC address of an OpenStorage SDK that runs elsewhere, such as 127.0.0.1:9020 of \"sandbox storage serve\"")
	flags.StringVar(&f.storage.TokenFile, "storage-token-file", "", "file with the token for --storage-endpoint")
	flags.StringVar(&f.storage.Control, "storage-control", "", "control address that belongs to --storage-endpoint")
}

// cluster runs a sandbox as the flags say and calls use in it.
func (f *clusterFlags) cluster(ctx context.Context, out *console.Console, use func(context.Context, *sandbox.Sandbox) error) error {
	options := sandbox.Options{
		Nodes:           f.nodes,
		BinDir:          f.binDir,
		SchedulerConfig: f.schedulerConfig,
		Storage:         f.storage,
		APIServerPort:   f.apiServerPort,
		SchedulerPort:   f.schedulerPort,
		Console:         out,
	}
	if options.BinDir == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding the folder of the executables; name it with --bin-dir: %w", err)
		}
		options.BinDir = filepath.Dir(self)
	}
	if f.storage.Endpoint == "" {
		for flag, value := range map[string]string{"--storage-control": f.storage.Control, "--storage-token-file": f.storage.TokenFile} {
			if value != "" {
				return fmt.Errorf("%s has no meaning without --storage-endpoint", flag)
			}
		}
	}
	if f.storage.TokenFile != "" {
		absolute, err := filepath.Abs(f.storage.TokenFile)
		if err != nil {
			return err
		}
		options.Storage.TokenFile = absolute
	}
	return withFolder(ctx, out, f.logDir, func(ctx context.Context, dir *workdir.Dir, logDir string) error {
		options.Dir, options.LogDir = dir, logDir
		return sandbox.Run(ctx, options, use)
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
