// Command sandbox runs a Kubernetes cluster on one machine, for trying out the
// scheduler without a cluster or storage of one's own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/component-base/version"

	"github.com/hyperconverge/scheduler/internal/sandbox/process"
)

// interrupted is the exit code of a program that Ctrl-C ended.
const interrupted = 130

func main() {
	// The first signal ends things in good order. After it the default is back, so
	// that a second one ends the program at once; children do not survive that.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	// A reader who goes away is no reason to die without cleaning up; the console
	// notices it.
	signal.Ignore(syscall.SIGPIPE)

	os.Exit(exitCode(os.Stderr, newCommand().ExecuteContext(ctx)))
}

func newCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "sandbox",
		Short: "A Kubernetes cluster with simulated storage on this machine",
		Long: `A Kubernetes cluster on this machine for trying out the scheduler.

etcd, kube-apiserver, kube-controller-manager, the stock kube-scheduler and our
scheduler are real and run as processes of their own. Nodes and storage are
simulated: pods that are bound to a node count as running, and volumes have
replicas but no bytes. Nothing listens beyond this machine, nothing is installed,
and nothing stays behind.`,
		Example: `  sandbox demo                          watch databases land on their data
  sandbox up                            keep a cluster running, and use kubectl
  sandbox storage node node-3 offline   from another terminal: break something`,
		Version:       version.Get().String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	command.CompletionOptions.HiddenDefaultCmd = true
	command.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see \"%s --help\"", err, cmd.CommandPath())
	})
	command.AddCommand(newUpCommand(), newDemoCommand(), newStorageCommand())
	return command
}

// exitCode prints the error, one line and for a process that died the end of
// its log, and returns the code to exit with.
func exitCode(stderr io.Writer, err error) int {
	var death *process.Death
	text := fmt.Sprintf("Error: %v\n", err)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		return interrupted
	case errors.Is(err, syscall.EPIPE):
		return 1 // whoever read the output has seen enough
	case errors.As(err, &death) && death.Reason == "" && len(death.Tail) > 0:
		text = fmt.Sprintf("Error: %v\nThe last lines of its log:\n  %s\n", err, strings.Join(death.Tail, "\n  "))
	}
	// If even this cannot be written, the exit code still tells.
	_, _ = io.WriteString(stderr, text)
	return 1
}
