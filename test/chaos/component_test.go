package chaos

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hyperconverge/scheduler/internal/sandbox/process"
	"github.com/hyperconverge/scheduler/test/kit/child"
)

// component is one of our binaries, as a process.
type component struct {
	*child.Process
	command process.Command
	started time.Time
	// goroutines and heap are what it needs at rest.
	goroutines, heap float64
}

// startComponent runs a command and returns without waiting for anything.
func startComponent(supervisor *process.Supervisor, command process.Command, base string) (*component, error) {
	p, err := child.Start(supervisor, command, base)
	if err != nil {
		return nil, err
	}
	return &component{Process: p, command: command, started: time.Now()}, nil
}

// patience is how long a component may take to be ready.
const patience = 90 * time.Second

func (c *component) resetPeak() {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", c.Pid()), []byte("5"), 0)
}

// busy is the processor time that the process has used.
func (c *component) busy() time.Duration {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Pid()))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(content), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 everywhere
	return time.Duration(user+system) * tick
}

// logSize is how much it has said so far.
func (c *component) logSize() int64 {
	stat, err := os.Stat(c.Log)
	if err != nil {
		return 0
	}
	return stat.Size()
}
