// Package process runs child processes that never outlive the process that
// started them, and says in one line why one of them died.
package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Command says what to run.
type Command struct {
	// Name is what messages call the process.
	Name string
	// Path is the executable, Args its arguments without the executable.
	Path string
	Args []string
	// Env is added to the environment of this process.
	Env []string
	// LogFile receives standard output and standard error.
	LogFile string
}

// Process is a child that was started.
type Process struct {
	command Command
	cmd     *exec.Cmd
	done    chan struct{}
	stopped atomic.Bool // somebody asked it to end
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Pid is the number of the process, which is somebody else's once it has ended.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends sig to the process and to all that it started itself.
func (p *Process) Signal(sig syscall.Signal) {
	select {
	case <-p.done:
		return // its number may belong to somebody else by now
	default:
	}
	// The child leads a process group of its own, whose number is its own. An
	// error means that the group is gone, which is what was wanted.
	_ = syscall.Kill(-p.cmd.Process.Pid, sig)
}

// Supervisor starts children and ends them all. The zero value is not usable.
type Supervisor struct {
	// grace is how long all children together may take to end after SIGTERM.
	grace time.Duration
	// starts carries work to the thread that all children are started from.
	starts chan func()
	died   chan *Death

	mu       sync.Mutex
	children []*Process
	closed   bool
}

// NewSupervisor makes a supervisor whose children together get grace to end by
// themselves before they are killed. Close ends it.
func NewSupervisor(grace time.Duration) *Supervisor {
	s := &Supervisor{
		grace:  grace,
		starts: make(chan func()),
		// Room for one: the first death is the one that explains the others.
		died: make(chan *Death, 1),
	}
	go startFromOneThread(s.starts)
	return s
}

// Died delivers the first death of a child that nobody asked to end.
func (s *Supervisor) Died() <-chan *Death { return s.died }

// ErrClosed is returned by Start after Close.
var ErrClosed = errors.New("the supervisor is closed")

// Start runs the command. The error names the process and what is wrong with its
// executable or log file.
func (s *Supervisor) Start(command Command) (*Process, error) {
	log, err := os.OpenFile(command.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", command.Name, err)
	}
	defer func() { _ = log.Close() }() // the child has its own copy

	cmd := exec.Command(command.Path, command.Args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), command.Env...)
	// In a group of its own a Ctrl-C at the terminal does not reach the child: the
	// supervisor decides when and in which way it ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)

	p := &Process{command: command, cmd: cmd, done: make(chan struct{})}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	started := make(chan error)
	s.starts <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", command.Name, err)
	}
	s.children = append(s.children, p)
	go s.wait(p)
	return p, nil
}

// wait reaps the child and reports its death if nobody asked for it.
func (s *Supervisor) wait(p *Process) {
	_ = p.cmd.Wait() // how it ended, the state of the process says
	if !p.stopped.Load() {
		select {
		case s.died <- newDeath(p):
		default: // not the first
		}
	}
	close(p.done)
}

// end asks one child to end and returns when it is gone: with SIGTERM first, and
// with SIGKILL when patience ends, both to the child's whole process group.
func (p *Process) end(patience <-chan struct{}) {
	p.stopped.Store(true)
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-patience:
		p.Signal(syscall.SIGKILL)
		<-p.done
	}
}

// Close ends all children, the youngest first and each only when the one before
// it is gone, so that a server outlives its clients. All together they get the
// grace, and those that remain then are killed. It may be called twice.
func (s *Supervisor) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	patience, cancel := context.WithTimeout(context.Background(), s.grace)
	defer cancel()
	for _, child := range slices.Backward(s.children) {
		child.end(patience.Done())
	}
	close(s.starts)
}

// startFromOneThread runs what it is sent on one operating system thread that
// lives as long as the channel is open.
//
// The kernel ties a child's parent-death signal to the thread that forked it,
// not to the process. Go ends idle threads when it likes, and children forked
// from them would die for no reason that anybody could see.
func startFromOneThread(starts <-chan func()) {
	// Never unlocked: the thread ends with this goroutine, which is after the
	// last child.
	runtime.LockOSThread()
	for start := range starts {
		start()
	}
}

// tailLines is how much of a dead child's log is shown.
const tailLines = 15

// Death is the end of a child that nobody asked to end.
type Death struct {
	// Name is the name of the process.
	Name string
	// Status is how it ended: "exit status 1", "signal: killed".
	Status string
	// Reason is the child's own last word on what is wrong, or empty.
	Reason string
	// Tail is the end of its log.
	Tail []string
}

// Error is one line.
func (d *Death) Error() string {
	if d.Reason != "" {
		return fmt.Sprintf("%s: %s", d.Name, d.Reason)
	}
	return fmt.Sprintf("%s died: %s", d.Name, d.Status)
}

func newDeath(p *Process) *Death {
	log := readEnd(p.command.LogFile)
	return &Death{
		Name:   p.command.Name,
		Status: p.cmd.ProcessState.String(),
		Reason: reason(log),
		Tail:   tail(log),
	}
}

// readEnd is the last part of the file, enough for the tail and the reason. A
// log that cannot be read counts as empty: the death itself is the news.
func readEnd(path string) []byte {
	const enough = 64 << 10
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	if stat, err := file.Stat(); err == nil && stat.Size() > enough {
		if _, err := file.Seek(-enough, io.SeekEnd); err != nil {
			return nil
		}
	}
	end, err := io.ReadAll(file)
	if err != nil {
		return nil
	}
	return bytes.TrimSpace(end)
}

func tail(log []byte) []string {
	if len(log) == 0 {
		return nil
	}
	lines := strings.Split(string(log), "\n")
	return lines[max(0, len(lines)-tailLines):]
}

// commandFailed is the line with which every Kubernetes component says why it
// gives up, in the text format of klog.
var commandFailed = regexp.MustCompile(`"command failed" err=("(?:[^"\\]|\\.)*")`)

// reason finds the last "command failed" in the log of a Kubernetes component,
// written as text or as JSON.
func reason(log []byte) string {
	for _, line := range slices.Backward(bytes.Split(log, []byte("\n"))) {
		if match := commandFailed.FindSubmatch(line); match != nil {
			if text, err := strconv.Unquote(string(match[1])); err == nil {
				return oneLine(text)
			}
		}
		var entry struct{ Msg, Err string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg == "command failed" {
			return oneLine(entry.Err)
		}
	}
	return ""
}

// oneLine joins the lines of an aggregated message.
func oneLine(text string) string {
	return strings.Join(strings.Fields(text), " ")
}
