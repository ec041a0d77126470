// Package command is kubectl hyperconverge.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/hyperconverge/scheduler/internal/kubectl/connect"
)

// tool is what all commands share.
type tool struct {
	genericiooptions.IOStreams
	connect   *connect.Options
	output    string
	verbosity int
}

// errFindings ends the program with 1 after it has said all.
var errFindings = errors.New("there are findings")

// Run runs the program, and returns its exit code.
func Run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	t := &tool{IOStreams: genericiooptions.IOStreams{In: in, Out: out, ErrOut: errOut}, connect: connect.NewOptions()}
	root := t.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFindings):
		return 1
	case ctx.Err() != nil:
		err = errors.New("interrupted")
	}
	_, _ = fmt.Fprintf(errOut, "Error: %s\n", clean(strings.Join(strings.Fields(err.Error()), " ")))
	return 1
}

func (t *tool) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-hyperconverge",
		Short: "See where pods are, where their data is, and why",
		Long: `kubectl hyperconverge tells where pods stand to the replicas of their volumes, and why:
before, during and after scheduling. It changes nothing in the cluster.

What is known of replicas comes from the scheduler's leader, through a port-forward,
or with --storage-endpoint from the storage system itself. Decisions are those of the
scheduler's own code, with the configuration that the scheduler has.`,
		Example: `  kubectl hyperconverge status
  kubectl hyperconverge explain pod db-0 -n shop
  kubectl hyperconverge simulate --drain node-3
  kubectl hyperconverge home
  kubectl hyperconverge doctor`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl hyperconverge"},
		Version:       version.Get().String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(*cobra.Command, []string) {
			logger := logr.Discard()
			if t.verbosity > 0 {
				logger = textlogger.NewLogger(textlogger.NewConfig(textlogger.Verbosity(t.verbosity), textlogger.Output(t.ErrOut)))
			}
			klog.SetLogger(logger)
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see \"%s --help\"", err, cmd.CommandPath())
	})
	root.SetVersionTemplate("{{.Version}}\n")
	flags := root.PersistentFlags()
	t.connect.AddTo(flags)
	flags.IntVarP(&t.verbosity, "v", "v", 0, "log what happens underneath, to standard error, up to 9")
	root.AddCommand(t.status(), t.explain(), t.simulate(), t.home(), t.report(), t.doctor(), t.dump(), t.migrate())
	return root
}

// open connects, with a line of progress on a terminal.
func (t *tool) open(ctx context.Context) (*connect.Session, error) {
	line := newProgress(t.ErrOut)
	defer line.clear()
	return t.connect.Open(ctx, line.say)
}

// tell says on standard error what could not be known.
func (t *tool) tell(unknown []string) {
	for _, text := range unknown {
		_, _ = fmt.Fprintln(t.ErrOut, "Note:", clean(text))
	}
}
