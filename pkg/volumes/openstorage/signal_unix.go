//go:build unix

package openstorage

import (
	"os"
	"os/signal"
	"syscall"
)

// notifyDump has SIGUSR2, on which kube-scheduler dumps its cache, too, sent to a channel.
func notifyDump(signals chan<- os.Signal) { signal.Notify(signals, syscall.SIGUSR2) }
