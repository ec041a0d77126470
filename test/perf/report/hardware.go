package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// hardware describes the machine and the versions, for people who compare.
type hardware struct {
	CPU, Memory, System, Go string
	Cores                   int
}

func describe(r *results) hardware {
	h := hardware{CPU: r.cpu, Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), Memory: "unknown"}
	if h.CPU == "" {
		h.CPU = "unknown"
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int
		if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kib); err == nil {
			h.Memory = fmt.Sprintf("%d GiB", kib>>20)
		}
	}
	if release, err := exec.Command("uname", "-sr").Output(); err == nil {
		h.System = strings.TrimSpace(string(release)) + " " + runtime.GOARCH
	}
	return h
}
