package migrate

import (
	"fmt"
	"strings"
)

// values is the file for the chart.
func (s *settings) values(o Options) []File {
	var b strings.Builder
	b.WriteString(s.header(o))
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("image:\n  registry: %s\n  tag: %s", inline(o.Registry), inline(o.Tag))
	line("profiles: %s", inline(s.chartProfiles(o)))
	line("weight: %d", s.scores.weight)
	if lines := s.scoreLines(); len(lines) > 0 {
		line("args:\n  %s", strings.Join(lines, "\n  "))
	}
	qps, burst := s.client()
	line("clientConnection:\n  qps: %d\n  burst: %d", qps, burst)
	line("storage:\n  endpoint: %s", s.endpoint())
	if s.auth && s.tls {
		line("  secure:\n    enabled: true\n    # Only if the certificate carries another name than the endpoint.\n    serverName: \"\"")
	}
	if ports := s.morePorts(); len(ports) > 0 {
		line("storagePorts: %s", inline(ports))
	}
	mode := "off"
	if s.hasWebhook(o) {
		mode = "self-managed"
	}
	if len(s.tolerations) > 0 {
		line("scheduler:\n  tolerations:%s", s.list())
	}
	line("webhook:\n  mode: %q", mode) // the bare word would be false
	if len(s.tolerations) > 0 {
		line("  tolerations:%s", s.list())
	}
	if o.TakeOver && s.replacesAll() {
		line("storkReplacement:\n  enabled: true")
	}
	if s.platform != "" {
		line("%s:\n  enabled: true", s.platform)
	}
	return []File{{"values.yaml", b.String()}}
}

func (s *settings) list() string {
	var b strings.Builder
	for _, toleration := range s.tolerations {
		b.WriteString("\n  - " + inline(toleration))
	}
	return b.String()
}

// chartProfiles are the names that the chart is told. Its webhook gives the first one; with
// storkReplacement it adds the name stork itself, and has it given to all.
func (s *settings) chartProfiles(o Options) []string {
	switch {
	case !o.TakeOver || s.replacesAll():
		return []string{ownName}
	default:
		return []string{s.profile, ownName}
	}
}
