// Package child runs our binaries as processes of a test, and asks them for what they
// tell a kubelet and Prometheus.
package child

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/hyperconverge/scheduler/internal/sandbox/process"
	"github.com/hyperconverge/scheduler/test/kit"
)

// Process is one of our binaries.
type Process struct {
	*process.Process
	Name string
	// Log is the path of what it says.
	Log string
	// Base is the URL before /metrics and /readyz.
	Base   string
	deaths <-chan *process.Death
}

// Start runs a command, and returns without waiting for anything. The supervisor ends
// it.
func Start(supervisor *process.Supervisor, command process.Command, base string) (*Process, error) {
	started, err := supervisor.Start(command)
	if err != nil {
		return nil, err
	}
	return &Process{Process: started, Name: command.Name, Log: command.LogFile, Base: base, deaths: supervisor.Died()}, nil
}

// Run is Start for a process that ends with the test and finds nothing of this machine
// in its environment. The end of its log is shown when the test fails.
func Run(tb testing.TB, command process.Command, base string) *Process {
	tb.Helper()
	supervisor := process.NewSupervisor(0)
	tb.Cleanup(supervisor.Close)
	command.LogFile = filepath.Join(tb.TempDir(), "log")
	command.Args = append(append([]string{"-i"}, command.Env...), append([]string{command.Path}, command.Args...)...)
	command.Path, command.Env = "env", nil
	p, err := Start(supervisor, command, base)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			tb.Logf("%s said at the end:\n%s", p.Name, p.Tail(0, 40))
		}
	})
	return p
}

// Build compiles a command of the module that the test belongs to, as it is released
// but for the stamps, into the folder, and returns the path.
func Build(tb testing.TB, folder, command string) (path string) {
	tb.Helper()
	return BuildPackage(tb, folder, "github.com/hyperconverge/scheduler/"+command)
}

// BuildPackage compiles a command of any module that the one of the test requires.
func BuildPackage(tb testing.TB, folder, command string) (path string) {
	tb.Helper()
	path = filepath.Join(folder, filepath.Base(command))
	build := exec.Command("go", "build", "-o", path, command)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("compiling %s: %v: %s", command, err, output)
	}
	return path
}

// Probe does not look at certificates, like a kubelet.
var Probe = &http.Client{
	Timeout: 10 * time.Second,
	Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	},
}

// Get asks an endpoint without credentials. The error is nil if it answers 200.
func (p *Process) Get(path string) (string, error) { return p.GetAs("", path) }

// GetAs is Get with a bearer token.
func (p *Process) GetAs(token, path string) (string, error) { return GetFrom(p.Base, token, path) }

// GetFrom is GetAs for another port of a process.
func GetFrom(base, token, path string) (string, error) {
	request, err := http.NewRequest(http.MethodGet, base+path, nil)
	if err != nil {
		return "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := Probe.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.300s", path, response.Status, body)
	}
	return string(body), err
}

// Ready waits for what the readiness probe waits for.
func (p *Process) Ready(ctx context.Context, patience time.Duration) error {
	err := kit.Wait(ctx, patience, p.Name+" is ready", func() error {
		if !p.Alive() {
			return nil
		}
		_, err := p.Get("/readyz")
		return err
	})
	if err == nil && !p.Alive() {
		return fmt.Errorf("%s ended before it was ready: %s", p.Name, p.Tail(0, 5))
	}
	return err
}

// Alive reports whether it has not ended.
func (p *Process) Alive() bool {
	select {
	case <-p.Done():
		return false
	default:
		return true
	}
}

// End asks it to end, and kills it if it does not within the time.
func (p *Process) End(within time.Duration) error {
	p.Signal(syscall.SIGCONT)
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.Done():
		return nil
	case <-time.After(within):
		p.Kill()
		return fmt.Errorf("%s did not end within %v of SIGTERM", p.Name, within)
	}
}

// Kill ends it at once, without any farewell.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.Done()
}

// Death waits until a process of Run has ended, and tells how.
func (p *Process) Death(within time.Duration) (*process.Death, error) {
	select {
	case death := <-p.deaths:
		return death, nil
	case <-time.After(within):
		return nil, fmt.Errorf("%s still runs after %v", p.Name, within)
	}
}

// Families are its metrics.
type Families map[string]*dto.MetricFamily

// Metrics reads all of them.
func (p *Process) Metrics() (Families, error) {
	body, err := p.Get("/metrics")
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(strings.NewReader(body))
}

// Sum adds up the series of a metric that carry these labels, given as name and value.
// A histogram counts with the number of what it has observed, and the sum of that.
func (f Families) Sum(name string, labels ...string) (value, observed float64) {
	for _, m := range f[name].GetMetric() {
		if HasLabels(m, labels...) {
			value += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			observed += m.GetHistogram().GetSampleSum()
		}
	}
	return value, observed
}

// HasLabels reports whether a series carries these labels, given as name and value.
func HasLabels(m *dto.Metric, labels ...string) bool {
	for i := 0; i < len(labels); i += 2 {
		if Label(m, labels[i]) != labels[i+1] {
			return false
		}
	}
	return true
}

// Label is the value of a label, or empty.
func Label(m *dto.Metric, name string) string {
	for _, pair := range m.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}

// Resident is its memory now and at its peak, in bytes.
func (p *Process) Resident() (now, peak int64) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			now = kib << 10
		case "VmHWM:":
			peak = kib << 10
		}
	}
	return now, peak
}

// Said is what it has said since its log was so long.
func (p *Process) Said(from int64) string {
	file, err := os.Open(p.Log)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return ""
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return ""
	}
	return string(content)
}

// Tail is the end of that.
func (p *Process) Tail(from int64, lines int) string {
	all := strings.Split(strings.TrimSpace(p.Said(from)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
