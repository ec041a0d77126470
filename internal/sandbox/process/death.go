package process

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

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
