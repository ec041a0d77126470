package controlplane

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/kubernetes/test/utils/ktesting"
)

// Process is a test whose end is the end of the process, for what all tests of a
// package share. It fails with the test that it holds, and cleans up at the
// end of Main.
type Process struct{ testing.TB }

var atExit []func()

// Cleanup puts f off to the end of Main.
func (p Process) Cleanup(f func()) { atExit = append(atExit, f) }

// TempDir returns a folder that is removed at the end of Main.
func (p Process) TempDir() string {
	dir, err := os.MkdirTemp("", "hyperconverge-test-")
	if err != nil {
		p.Fatalf("temporary folder: %v", err)
	}
	p.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Once is something that all tests of a package share. The first that asks makes it,
// and it ends with the process.
func Once[T any](start func(Process) T) func(testing.TB) T {
	var once sync.Once
	var made *T
	return func(tb testing.TB) T {
		tb.Helper()
		once.Do(func() {
			started := start(Process{TB: tb})
			made = &started
		})
		if made == nil {
			tb.Fatal("what all tests share could not be made, see the first test")
		}
		return *made
	}
}

// Main is the TestMain of a package whose tests share a control plane. The
// components write to a file, whose name is told when a test has failed.
func Main(m *testing.M) {
	detectMutations()
	// Whoever wants to know more says so: go test -v -args -v=4.
	ktesting.SetDefaultVerbosity(1)
	flag.Parse()
	unsilence := func(int) {}
	if !testing.Verbose() {
		unsilence = silence()
	}

	code := m.Run()
	for _, f := range slices.Backward(atExit) {
		f()
	}
	unsilence(code)
	os.Exit(code)
}

// detectMutations makes writing to an object that an informer holds a crash. The
// variable is read before TestMain runs, so the process starts once more.
func detectMutations() {
	const variable = "KUBE_CACHE_MUTATION_DETECTOR"
	if os.Getenv(variable) != "" {
		return
	}
	program, err := os.Executable()
	if err == nil {
		err = syscall.Exec(program, os.Args, append(os.Environ(), variable+"=true"))
	}
	panic(err) // what Exec returns is never nil
}

// silence sends what etcd, the API server and the schedulers have to say to a
// file, so that the output of a failed test is about that test. Crashes are still
// reported where everybody looks. The function that is returned removes the file
// of a run in which all was well.
func silence() func(code int) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	file, err := os.CreateTemp("", "hyperconverge-test-*.log")
	must(err)
	fd, err := unix.Dup(unix.Stderr)
	must(err)
	stderr := os.NewFile(uintptr(fd), "stderr")
	must(debug.SetCrashOutput(stderr, debug.CrashOptions{}))
	must(unix.Dup2(int(file.Fd()), unix.Stderr))
	return func(code int) {
		if code == 0 {
			must(os.Remove(file.Name()))
			return
		}
		_, err := fmt.Fprintln(stderr, "What the components said is in", file.Name())
		must(err)
	}
}
