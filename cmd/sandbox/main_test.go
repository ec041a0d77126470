package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"k8s.io/component-base/version"

	"github.com/hyperconverge/scheduler/internal/console"
	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/internal/sandbox"
	"github.com/hyperconverge/scheduler/internal/sandbox/process"
)

// programVariable turns the test binary into the program itself.
const programVariable = "SANDBOX_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program is a run of the sandbox command with a folder for temporary files of
// its own.
func program(t *testing.T, tmp string, args ...string) *exec.Cmd {
	t.Helper()
	command := exec.Command(os.Args[0], args...)
	command.Env = append(os.Environ(), programVariable+"=1", "TMPDIR="+tmp)
	return command
}

func TestVersionIsThatOfTheRelease(t *testing.T) {
	output, err := program(t, temporary(t), "--version").Output()
	if want := "sandbox version " + version.Get().String() + "\n"; err != nil || string(output) != want {
		t.Errorf("it says %q, %v; want %q", output, err, want)
	}
}

func TestWhatASIGKILLLeavesDoesNotHinderTheNextStart(t *testing.T) {
	tmp := temporary(t)
	serve := []string{"storage", "serve", "--port=0", "--control-port=0"}

	killed := program(t, tmp, serve...)
	startServing(t, killed)
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait()
	left := folders(t, tmp)
	if len(left) != 1 {
		t.Fatalf("a killed sandbox left %v, this test expects one folder", left)
	}

	next := program(t, tmp, serve...)
	said := startServing(t, next)
	if want := "removed " + left[0]; !strings.Contains(said, want) {
		t.Errorf("the next start said %q, want %q in it", said, want)
	}
	if got := folders(t, tmp); len(got) != 1 || got[0] == left[0] {
		t.Errorf("folders are %v, want one new one", got)
	}

	if err := next.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := next.Wait(); err != nil {
		t.Errorf("SIGTERM is the way to end it, not %v", err)
	}
	if got := folders(t, tmp); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestAReaderThatGoesAwayEndsTheProgramInGoodOrder(t *testing.T) {
	tmp := temporary(t)
	command := program(t, tmp, "storage", "serve", "--port=0", "--control-port=0")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout = writer
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	_ = reader.Close() // before it has said a word
	_ = command.Wait()
	if got := folders(t, tmp); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestBadInputIsOneLineThatNamesIt(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	busy := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	binaries := t.TempDir() // without any

	for name, row := range map[string]struct {
		args string
		want []string
	}{
		"too many nodes":         {"up --nodes 5000", []string{"5000", "1000"}},
		"too few for the demo":   {"demo --nodes 2", []string{"at least 6", "2"}},
		"a flag that is none":    {"up --node 3", []string{"--node", "--help"}},
		"a command that is none": {"storage brake", []string{"brake"}},
		"an argument too many":   {"up now", []string{"now"}},
		"a busy storage port":    {"up --storage-port " + busy, []string{busy, "--storage-port"}},
		"a busy control port":    {"up --storage-control-port " + busy, []string{busy, "--storage-control-port"}},
		"missing binaries":       {"up --bin-dir " + binaries, []string{filepath.Join(binaries, "etcd"), "make bin/etcd"}},
		"storage that is not there": {"up --storage-endpoint 127.0.0.1:1",
			[]string{"127.0.0.1:1", "connection refused"}},
		"a token without an endpoint": {"up --storage-token-file t", []string{"--storage-token-file", "--storage-endpoint"}},
		"no sandbox to drive":         {"storage nodes", []string{"no sandbox is running"}},
		"a state that is none":        {"storage --control 127.0.0.1:1 node node-1 sleepy", []string{"sleepy"}},
	} {
		t.Run(name, func(t *testing.T) {
			tmp := temporary(t)
			command := program(t, tmp, strings.Fields(row.args)...)
			var stderr bytes.Buffer
			command.Stderr = &stderr
			if err := command.Run(); err == nil {
				t.Error("it succeeded")
			}
			said := stderr.String()
			if strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "Error: ") {
				t.Errorf("it said %q, want one line", said)
			}
			for _, want := range row.want {
				if !strings.Contains(said, want) {
					t.Errorf("it said %q, want %q in it", said, want)
				}
			}
			if got := folders(t, tmp); len(got) != 0 {
				t.Errorf("left behind: %v", got)
			}
		})
	}
}

func TestTheCommandsOfAClusterThatRunsCanBePasted(t *testing.T) {
	s := &sandbox.Sandbox{
		Kubeconfig: "/tmp/s 1/kubeconfig", Kubectl: "/b/kubectl", BinDir: "/b", LogDir: "/tmp/s 1/logs",
		DebugAddress: "127.0.0.1:1", SchedulerAddress: "127.0.0.1:2", StorageEndpoint: "127.0.0.1:3",
		Control: openstoragesim.NewControlClient("127.0.0.1:4"),
	}
	const offline = "\n  '/it'\\''s here/sandbox' storage node node-3 offline\n"
	said := usage(console.Plain, s, "/it's here/sandbox")
	for _, want := range []string{
		"\n  export KUBECONFIG='/tmp/s 1/kubeconfig'\n", "\n  /b/kubectl get nodes -L ",
		"\n  /b/kubectl-hyperconverge status --scheduler-endpoint https://127.0.0.1:1\n", offline,
		" curl -k https://127.0.0.1:2/metrics\n", "Pods only count as running",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("it says %q, want %q in it", said, want)
		}
	}

	s.Control, s.DebugAddress = nil, ""
	said = usage(console.Plain, s, "/it's here/sandbox")
	if strings.Contains(said, offline) {
		t.Error("storage that nobody can drive is to be driven")
	}
	if strings.Contains(said, "--scheduler-endpoint") {
		t.Error("a debug endpoint that is turned off is to be asked")
	}
}

func TestExitCodes(t *testing.T) {
	const died = "Error: etcd died: signal: killed\nThe last lines of its log:\n  last words\n"
	for name, row := range map[string]struct {
		err  error
		want int
		says string
	}{
		"all is well":          {},
		"Ctrl-C":               {err: fmt.Errorf("starting etcd: %w", context.Canceled), want: 130},
		"head has seen enough": {err: fmt.Errorf("write /dev/stdout: %w", syscall.EPIPE), want: 1},
		"anything else":        {err: io.ErrUnexpectedEOF, want: 1, says: "Error: unexpected EOF\n"},
		"a component has died": {
			err:  &process.Death{Name: "etcd", Status: "signal: killed", Tail: []string{"last words"}},
			want: 1, says: died,
		},
		"a component has said why": {
			err:  &process.Death{Name: "scheduler", Status: "exit status 1", Reason: "unknown field", Tail: []string{"last words"}},
			want: 1, says: "Error: scheduler: unknown field\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var says strings.Builder
			if got := exitCode(&says, row.err); got != row.want || says.String() != row.says {
				t.Errorf("exitCode() = %d, saying %q; want %d, saying %q", got, says.String(), row.want, row.says)
			}
		})
	}
}

// startServing starts the program and returns what it said until it was ready.
func startServing(t *testing.T, command *exec.Cmd) string {
	t.Helper()
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill() })
	var said strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "Ctrl-C ends it") {
			return said.String()
		}
	}
	t.Fatalf("it ended before it was ready; it said %q", said.String())
	return ""
}

// temporary is a folder whose path leaves room for that of a socket in it.
func temporary(t *testing.T) string {
	t.Helper()
	tmp, err := os.MkdirTemp("", "sandbox-test-") //nolint:usetesting // t.TempDir has the name of the test in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	return tmp
}

func folders(t *testing.T, tmp string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(tmp, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}
