package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/hyperconverge/scheduler/test/kit"
)

// roleVariable turns the test binary into a child of the given behaviour.
const roleVariable = "SANDBOX_TEST_ROLE"

func TestMain(m *testing.M) {
	if role, ok := roles[os.Getenv(roleVariable)]; ok {
		role()
		return
	}
	goleak.VerifyTestMain(m)
}

// roles are the children that the tests run. Those that live on print "ready"
// when a signal finds them as their name says.
var roles = map[string]func(){
	"ends on SIGTERM": func() {
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		fmt.Println("ready")
		<-term
		fmt.Println("goodbye")
	},
	"ignores SIGTERM": func() {
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		liveOn()
	},
	"exits with a reason": func() {
		fmt.Println("Flag --something has been deprecated")
		fmt.Println(`E1122 15:08:09.540130   10304 run.go:72] "command failed" err="unknown field \"profiles[0].plugns\""`)
		os.Exit(1)
	},
	"supervises": func() {
		s := NewSupervisor(time.Minute)
		for _, role := range []string{"ends on SIGTERM", "ignores SIGTERM"} {
			p, err := s.Start(Command{
				Name: role, Path: os.Args[0], LogFile: os.DevNull, Env: []string{roleVariable + "=" + role},
			})
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			fmt.Println(p.cmd.Process.Pid)
		}
		liveOn()
	},
}

// liveOn waits for a signal that ends the process; the runtime takes a main
// goroutine that waits for nothing for a deadlock.
func liveOn() {
	for {
		time.Sleep(time.Hour)
	}
}

func TestAChildThatListensToSIGTERMEndsByItself(t *testing.T) {
	s, p, log := startRole(t, time.Hour, "ends on SIGTERM")
	s.Close()

	if !p.cmd.ProcessState.Success() {
		t.Errorf("the child ended with %v, want a clean end", p.cmd.ProcessState)
	}
	if got := readLog(t, log); !strings.Contains(got, "goodbye") {
		t.Errorf("the child was not allowed to say goodbye; its log: %q", got)
	}
	expectNoDeath(t, s)
}

func TestAChildThatIgnoresSIGTERMIsKilledWhenTheGraceIsOver(t *testing.T) {
	s, p, _ := startRole(t, time.Millisecond, "ignores SIGTERM")
	s.Close()

	if got, want := p.cmd.ProcessState.String(), "signal: killed"; got != want {
		t.Errorf("the child ended with %q, want %q", got, want)
	}
	expectNoDeath(t, s)
}

func TestTheDeathOfAChildIsReportedWithItsReasonAndTheEndOfItsLog(t *testing.T) {
	s := newSupervisor(t, time.Hour)
	start(t, s, "exits with a reason")

	got := <-s.Died()
	want := &Death{
		Name:   "exits with a reason",
		Status: "exit status 1",
		Reason: `unknown field "profiles[0].plugns"`,
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Death{}, "Tail")); diff != "" {
		t.Errorf("death differs (-want +got):\n%s", diff)
	}
	if len(got.Tail) != 2 || !strings.HasPrefix(got.Tail[0], "Flag --something") {
		t.Errorf("tail is %q, want the two lines of the log", got.Tail)
	}
	if got, want := got.Error(), `exits with a reason: unknown field "profiles[0].plugns"`; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

func TestACrashInSilenceIsReportedWithItsSignal(t *testing.T) {
	script := filepath.Join(t.TempDir(), "crashes")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nkill -SEGV $$\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := newSupervisor(t, time.Hour)
	if _, err := s.Start(Command{Name: "crashes", Path: script, LogFile: filepath.Join(t.TempDir(), "log")}); err != nil {
		t.Fatal(err)
	}
	got, want := <-s.Died(), &Death{Name: "crashes", Status: "signal: segmentation fault"}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("death differs (-want +got):\n%s", diff)
	}
	if got, want := got.Error(), "crashes died: signal: segmentation fault"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

func TestAnExecutableThatCannotRunIsAnErrorOfStart(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte("not a program\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		path string
		want error
	}{
		"missing executable":      {path: filepath.Join(dir, "missing"), want: fs.ErrNotExist},
		"file that is no program": {path: garbage, want: syscall.ENOEXEC},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSupervisor(t, time.Hour)
			_, err := s.Start(Command{Name: "etcd", Path: row.path, LogFile: os.DevNull})
			if !errors.Is(err, row.want) || !strings.Contains(err.Error(), "etcd") {
				t.Errorf("Start() = %v, want %v with the name of the process", err, row.want)
			}
		})
	}
}

func TestNothingStartsAfterClose(t *testing.T) {
	s := newSupervisor(t, time.Hour)
	s.Close()
	s.Close() // the second does nothing
	if _, err := s.Start(Command{Name: "late", Path: os.Args[0], LogFile: os.DevNull}); !errors.Is(err, ErrClosed) {
		t.Errorf("Start() = %v, want %v", err, ErrClosed)
	}
}

func TestChildrenDieWithASupervisorThatIsKilled(t *testing.T) {
	supervisor := exec.Command(os.Args[0])
	supervisor.Env = append(os.Environ(), roleVariable+"=supervises")
	out, err := supervisor.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := supervisor.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var children []int
	for range 2 {
		if !lines.Scan() {
			t.Fatalf("the supervisor said too little: %v", lines.Err())
		}
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatalf("the supervisor could not start a child: %s", lines.Text())
		}
		children = append(children, pid)
	}

	if err := supervisor.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out)
	if err := supervisor.Wait(); err == nil {
		t.Error("the supervisor ended well although it was killed")
	}
	for _, pid := range children {
		kit.Eventually(t, kit.Soon, fmt.Sprintf("child %d is gone", pid), kit.Holds(func() bool { return !alive(pid) }))
	}
}

func TestTheReasonIsFoundInBothLogFormats(t *testing.T) {
	for name, row := range map[string]struct{ log, want string }{
		"text": {
			log:  "I1122 serving.go:386] hello\nE1122 run.go:72] \"command failed\" err=\"listen tcp 127.0.0.1:1: bind: in use\"",
			want: "listen tcp 127.0.0.1:1: bind: in use",
		},
		"JSON": {
			log:  `{"ts":1,"msg":"hello"}` + "\n" + `{"ts":2,"msg":"command failed","err":"profiles[0]: Invalid value: 900"}`,
			want: "profiles[0]: Invalid value: 900",
		},
		"the last one counts": {
			log:  "\"command failed\" err=\"first\"\n\"command failed\" err=\"last\"\nand so on",
			want: "last",
		},
		"several lines become one": {
			log:  `E1 run.go:72] "command failed" err="one\n\ttwo"`,
			want: "one two",
		},
		"a log without a reason": {log: "panic: boom\ngoroutine 1", want: ""},
		"an empty log":           {log: "", want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := reason([]byte(row.log)); got != row.want {
				t.Errorf("reason() = %q, want %q", got, row.want)
			}
		})
	}
}

func TestOnlyTheEndOfALongLogIsShown(t *testing.T) {
	log := strings.Repeat("line\n", 1000) + "last"
	got := tail([]byte(log))
	if len(got) != tailLines || got[len(got)-1] != "last" {
		t.Errorf("tail() = %q, want the last %d lines", got, tailLines)
	}
}

func newSupervisor(t *testing.T, grace time.Duration) *Supervisor {
	s := NewSupervisor(grace)
	t.Cleanup(s.Close)
	return s
}

func start(t *testing.T, s *Supervisor, role string) (*Process, string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	p, err := s.Start(Command{
		Name: role, Path: os.Args[0], LogFile: log, Env: []string{roleVariable + "=" + role},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, log
}

// startRole starts a child and waits until it is ready for signals.
func startRole(t *testing.T, grace time.Duration, role string) (*Supervisor, *Process, string) {
	t.Helper()
	s := newSupervisor(t, grace)
	p, log := start(t, s, role)
	kit.Eventually(t, kit.Soon, "the child is ready", kit.Holds(func() bool { return strings.Contains(readLog(t, log), "ready") }))
	return s, p, log
}

func readLog(t *testing.T, path string) string {
	t.Helper()
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}

func expectNoDeath(t *testing.T, s *Supervisor) {
	t.Helper()
	select {
	case death := <-s.Died():
		t.Errorf("an end that was asked for is reported as %v", death)
	default:
	}
}

// alive is whether the process exists and has not merely not been reaped yet.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// "pid (name) state ...": the name may hold anything, so look behind it.
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}
