package chaos

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/hyperconverge/scheduler/internal/sandbox/process"
)

// component is one of our binaries, as a process.
type component struct {
	*process.Process
	name    string
	log     string // path
	base    string // URL of /metrics and /readyz
	command process.Command
	started time.Time
	// goroutines and heap are what it needs at rest.
	goroutines, heap float64
}

// startComponent runs a command and returns without waiting for anything.
func startComponent(supervisor *process.Supervisor, command process.Command, base string) (*component, error) {
	p, err := supervisor.Start(command)
	if err != nil {
		return nil, err
	}
	return &component{Process: p, name: command.Name, log: command.LogFile, base: base, command: command, started: time.Now()}, nil
}

// probe does not look at certificates, like a kubelet.
var probe = &http.Client{
	Timeout: 10 * time.Second,
	Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	},
}

// get is nil if the path answers 200.
func (c *component) get(path string) (string, error) {
	response, err := probe.Get(c.base + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.300s", path, response.Status, body)
	}
	return string(body), err
}

// ready waits for /readyz.
func (c *component) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	for {
		_, err := c.get("/readyz")
		if err == nil {
			return nil
		}
		select {
		case <-c.Done():
			return fmt.Errorf("%s ended before it was ready: %s", c.name, tail(c.log, 0, 5))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", c.name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *component) alive() bool {
	select {
	case <-c.Done():
		return false
	default:
		return true
	}
}

// end asks it to end, and kills it if it does not within the time.
func (c *component) end(within time.Duration) error {
	c.Signal(syscall.SIGCONT)
	c.Signal(syscall.SIGTERM)
	select {
	case <-c.Done():
		return nil
	case <-time.After(within):
		c.Signal(syscall.SIGKILL)
		<-c.Done()
		return fmt.Errorf("%s did not end within %v of SIGTERM", c.name, within)
	}
}

func (c *component) kill() {
	c.Signal(syscall.SIGKILL)
	<-c.Done()
}

// metrics reads all of them.
func (c *component) metrics() (map[string]*dto.MetricFamily, error) {
	body, err := c.get("/metrics")
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(strings.NewReader(body))
}

// metric is the sum of the series that carry these labels, given as key and value;
// of a histogram its count and its sum.
func metric(families map[string]*dto.MetricFamily, name string, labels ...string) (value, sum float64) {
series:
	for _, m := range families[name].GetMetric() {
		for i := 0; i < len(labels); i += 2 {
			if labelOf(m, labels[i]) != labels[i+1] {
				continue series
			}
		}
		value += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		sum += m.GetHistogram().GetSampleSum()
	}
	return value, sum
}

func labelOf(m *dto.Metric, name string) string {
	for _, pair := range m.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}

// resident is the memory now and at its peak since resetPeak, in bytes.
func (c *component) resident() (now, peak int64) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Pid()))
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
	stat, err := os.Stat(c.log)
	if err != nil {
		return 0
	}
	return stat.Size()
}

// said is what it has said since it had said that much.
func said(path string, from int64) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return ""
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return ""
	}
	return string(content)
}

// tail is the end of what it has said.
func tail(path string, from int64, lines int) string {
	all := strings.Split(strings.TrimSpace(said(path, from)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
