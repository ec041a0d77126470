package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// The executables, all in one folder, as the Makefile names them.
const (
	etcdBinary              = "etcd"
	apiServerBinary         = "kube-apiserver"
	controllerManagerBinary = "kube-controller-manager"
	defaultSchedulerBinary  = "kube-scheduler"
	schedulerBinary         = "scheduler"
	// KubectlBinary is for the person at the keyboard; the sandbox itself does not
	// run it.
	KubectlBinary = "kubectl"
)

// binaries are those that are run.
func (o *Options) binaries() []string {
	names := []string{etcdBinary, apiServerBinary, controllerManagerBinary}
	if !o.WithoutSchedulers {
		names = append(names, defaultSchedulerBinary, schedulerBinary)
	}
	return names
}

// versionTimeout is generous: asking for a version takes a tenth of a second on
// an idle machine.
const versionTimeout = 20 * time.Second

// checkBinaries asks every executable for its version, so that a missing or
// broken one is named before anything runs.
func checkBinaries(ctx context.Context, dir string, binaries []string) error {
	failures := make([]error, len(binaries))
	var wg sync.WaitGroup
	for i, name := range binaries {
		wg.Go(func() { failures[i] = checkBinary(ctx, dir, name) })
	}
	wg.Wait()
	for _, err := range failures {
		if err != nil {
			return err // one line; the next run names the next one
		}
	}
	return nil
}

func checkBinary(ctx context.Context, dir, name string) error {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()

	path := filepath.Join(dir, name)
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is missing; %s", path, howToBuild(name))
	case err != nil && ctx.Err() == nil:
		return fmt.Errorf("%s is broken: %w%s; %s", path, err, firstLine(out), howToBuild(name))
	case err != nil:
		return fmt.Errorf("asking %s for its version: %w", path, context.Cause(ctx))
	}
	return nil
}

// howToBuild is the way out of a missing or broken executable.
func howToBuild(name string) string { return "build it with: make bin/" + name }

// firstLine is what a broken executable had to say, ready to be appended.
func firstLine(out []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	if len(line) == 0 {
		return ""
	}
	return ": " + strings.TrimSpace(string(line))
}
