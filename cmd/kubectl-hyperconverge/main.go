// Command kubectl-hyperconverge is the kubectl plugin: kubectl hyperconverge.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/hyperconverge/scheduler/internal/kubectl/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	os.Exit(command.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
