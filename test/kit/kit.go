// Package kit is what tests of every kind share: conditions that are waited for, free
// addresses, and makers of Kubernetes objects. It compiles no component of Kubernetes;
// package controlplane beside it does.
package kit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/hyperconverge/scheduler/internal/sandbox/ports"
)

const (
	// Soon is how long a test waits for what must come by itself: less than the five
	// minutes after which kube-scheduler retries every pod.
	Soon = 30 * time.Second
	// Patience is for processes. It is no measure of speed: what comes in seconds takes
	// minutes on a machine that compiles beside it.
	Patience = 5 * time.Minute
	// poll is how often a condition is looked at.
	poll = 10 * time.Millisecond
)

// Wait polls until the condition holds. Its last error is in the one that Wait returns
// when the time or the context has ended.
func Wait(ctx context.Context, within time.Duration, what string, condition func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %v for: %s: %w", within, what, err)
		case <-time.After(poll):
		}
	}
}

// Eventually is Wait for a test, which fails with the error.
func Eventually(tb testing.TB, within time.Duration, what string, condition func() error) {
	tb.Helper()
	if err := Wait(context.WithoutCancel(tb.Context()), within, what, condition); err != nil {
		tb.Fatalf("%v", err)
	}
}

// Holds is a condition that has no more to say than whether it holds.
func Holds(condition func() bool) func() error {
	return func() error {
		if !condition() {
			return errors.New("it is not so")
		}
		return nil
	}
}

// FreePort is a TCP port of this machine that was free a moment ago.
func FreePort() (int, error) {
	reserved, err := ports.Reserve(0, "")
	if err != nil {
		return 0, err
	}
	reserved.Release()
	return reserved.Port(), nil
}

// FreeAddress is a TCP address of this machine that nobody listens on.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	port, err := FreePort()
	if err != nil {
		tb.Fatal(err)
	}
	return net.JoinHostPort(ports.Loopback, strconv.Itoa(port))
}

// Close closes what a test has opened.
func Close(tb testing.TB, closer io.Closer) {
	tb.Helper()
	if err := closer.Close(); err != nil {
		tb.Error(err)
	}
}
