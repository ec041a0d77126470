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
	if s.auth {
		line("  token:\n    enabled: true")
	}
	if s.tls {
		line("  tls:\n    enabled: true\n    # Only if the certificate carries another name than the endpoint.\n    serverName: \"\"")
	}
	if ports := s.morePorts(); len(ports) > 0 {
		line("storagePorts: %s", inline(ports))
	}
	mode := "off"
	if s.hasWebhook(o) {
		mode = "self-managed"
	}
	placement := s.placement()
	if placement != "" {
		line("scheduler:%s", placement)
	}
	line("webhook:\n  mode: %q%s", mode, placement) // the bare word would be false
	if flags := s.webhookFlags(); s.hasWebhook(o) && len(flags) > 0 {
		line("  extraArgs: %s", inline(flags))
	}
	if o.TakeOver && s.replacesAll() {
		line("storkReplacement:\n  enabled: true")
	}
	if s.platform != "" {
		line("%s:\n  enabled: true", s.platform)
	}
	return []File{{"values.yaml", b.String()}}
}

// placement says where the pods of a Deployment may run.
func (s *settings) placement() string {
	var b strings.Builder
	if len(s.tolerations) > 0 {
		b.WriteString("\n  tolerations:")
	}
	for _, toleration := range s.tolerations {
		b.WriteString("\n  - " + inline(toleration))
	}
	if s.affinity != nil {
		b.WriteString("\n  nodeAffinity: " + inline(s.affinity))
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
