package migrate

import (
	"encoding/json"
	"fmt"
	"strings"
)

// IsRemote reports whether manifests are a git repository, and no folder.
func IsRemote(manifests string) bool {
	return strings.Contains(manifests, "://") || strings.HasPrefix(manifests, "git@") || strings.HasPrefix(manifests, "github.com/")
}

// at is a path in the manifests. What a URL asks for comes behind its path.
func at(manifests, path string) string {
	if folder, query, found := strings.Cut(manifests, "?"); found && IsRemote(manifests) {
		return strings.TrimSuffix(folder, "/") + "/" + path + "?" + query
	}
	return strings.TrimSuffix(manifests, "/") + "/" + path
}

// inline is a value in YAML's own notation for one line, which is that of JSON, where YAML
// takes fewer characters as they are.
func inline(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return "null" // these types are all encoded
	}
	var b strings.Builder
	for _, r := range string(text) {
		if r >= 0x7f && r <= 0x9f || r == 0xfeff {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// folder are the files for kustomize.
func (s *settings) folder(o Options) []File {
	return []File{{"kustomization.yaml", s.kustomization(o)}, {"scheduler.yaml", s.configuration(o)}}
}

func (s *settings) kustomization(o Options) string {
	var b strings.Builder
	b.WriteString(s.header(o))
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:")
	if s.hasWebhook(o) {
		line("- %s", inline(at(o.Manifests, "base")))
	} else {
		line("- %s", inline(at(o.Manifests, "overlays/no-webhook")))
	}
	var components []string
	if s.platform != "" {
		components = append(components, s.platform)
	}
	if s.auth {
		components = append(components, "storage-token")
	}
	if s.tls {
		components = append(components, "storage-tls")
	}
	if s.hasWebhook(o) && s.replacesAll() {
		components = append(components, "stork-replacement")
	}
	if len(components) > 0 {
		line("components:")
	}
	for _, component := range components {
		line("- %s", inline(at(o.Manifests, "components/"+component)))
	}
	s.patches(&b, o)
	line("images:")
	for _, image := range []string{"hyperconverge-scheduler", "hyperconverge-webhook"} {
		line("- {name: %s, newName: %s, newTag: %s}", image, inline(o.Registry+"/"+image), inline(o.Tag))
	}
	line("configMapGenerator:\n- name: hyperconverge-scheduler-config\n  namespace: %s\n  behavior: replace\n  files: [scheduler.yaml]", systemNamespace)
	return b.String()
}

// replacesAll reports whether the component stork-replacement says what Stork's webhook does.
func (s *settings) replacesAll() bool { return !s.retain && s.profile == "stork" }

// patches are what the components do not have.
func (s *settings) patches(b *strings.Builder, o Options) {
	const both, webhook = "hyperconverge-(scheduler|webhook)", "hyperconverge-webhook"
	var patches []string
	patch := func(kind, name string, lines ...string) {
		patches = append(patches, fmt.Sprintf("- target: {kind: %s, name: %s}\n  patch: |-\n    %s\n", kind, name, strings.Join(lines, "\n    ")))
	}
	if len(s.tolerations) > 0 {
		var lines []string
		for _, toleration := range s.tolerations {
			lines = append(lines, "- {op: add, path: /spec/template/spec/tolerations/-, value: "+inline(toleration)+"}")
		}
		patch("Deployment", both, lines...)
	}
	if s.affinity != nil {
		patch("Deployment", both, "apiVersion: apps/v1", "kind: Deployment", "metadata: {name: either}",
			"spec: {template: {spec: {affinity: {nodeAffinity: "+inline(s.affinity)+"}}}}")
	}
	if ports := s.morePorts(); len(ports) > 0 {
		patch("NetworkPolicy", "hyperconverge-scheduler", fmt.Sprintf("- {op: add, path: /spec/egress/1/ports/-, value: {protocol: TCP, port: %d}}", ports[0]))
	}
	if s.hasWebhook(o) {
		var flags []string
		if !s.replacesAll() {
			flags = append(flags, "--scheduler-name="+s.profile, "--own-scheduler-names="+ownName)
		}
		var lines []string
		for _, flag := range append(flags, s.webhookFlags()...) {
			lines = append(lines, "- {op: add, path: /spec/template/spec/containers/0/args/-, value: "+flag+"}")
		}
		if len(lines) > 0 {
			patch("Deployment", webhook, lines...)
		}
	}
	if len(patches) > 0 {
		b.WriteString("patches:\n" + strings.Join(patches, ""))
	}
}

// webhookFlags are those that neither name profiles nor come with the component
// stork-replacement.
func (s *settings) webhookFlags() []string {
	var flags []string
	if !s.retain && !s.replacesAll() {
		flags = append(flags, "--replace-any-scheduler")
	}
	if s.fsGroup {
		flags = append(flags, "--enable-fsgroup-optimization")
	}
	return flags
}

// morePorts are those of storage that neither base nor component has.
func (s *settings) morePorts() []int {
	if s.sdkPort == servicePort || s.platform == "openshift" && s.sdkPort == openShiftPort+sdkOffset {
		return nil
	}
	return []int{s.sdkPort}
}

const configurationHead = `# What can be set under args, and its defaults: docs/configure.md. What came from where
# stands in kustomization.yaml.
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection:
  leaderElect: true
  resourceName: hyperconverge-scheduler
  resourceNamespace: hyperconverge-system
clientConnection:
  qps: %d
  burst: %d
enableProfiling: false
enableContentionProfiling: false
profiles:
- schedulerName: %s
  plugins:%s
    multiPoint:
      enabled:
      - name: Hyperconverge
        weight: %d
  pluginConfig:%s
  - name: Hyperconverge
    args:
`

func (s *settings) configuration(o Options) string {
	qps, burst := s.client()
	profiles := s.profiles(o)
	plugins, config := "", ""
	if len(profiles) > 1 {
		plugins, config = " &plugins", " &pluginConfig"
	}
	var b strings.Builder
	fmt.Fprintf(&b, configurationHead, qps, burst, inline(profiles[0]), plugins, s.scores.weight, config)
	line := func(text string) { b.WriteString("      " + text + "\n") }
	for _, text := range s.scoreLines() {
		line(text)
	}
	if s.platform == "aks" {
		line("topologyKeys: # those that AKS sets\n        region: [topology.kubernetes.io/region]\n        zone: [topology.kubernetes.io/zone]\n        rack: [px/rack]")
	}
	line("openStorage:\n        endpoint: " + s.endpoint())
	if s.auth {
		line("  tokenFile: /var/run/secrets/openstorage/auth-token")
	}
	if s.auth && !s.tls {
		line("  allowPlaintextToken: true")
	}
	if s.tls {
		line("  tls:\n          enabled: true\n          caFile: /etc/openstorage/ca.crt\n          # Only if the certificate carries another name than the endpoint.\n          # serverName: " + strings.TrimSuffix(s.endpoint(), fmt.Sprintf(":%d", servicePort)))
	}
	for _, profile := range profiles[1:] {
		fmt.Fprintf(&b, "- schedulerName: %s\n  plugins: *plugins\n  pluginConfig: *pluginConfig\n", inline(profile))
	}
	return b.String()
}

// client are the limits of requests: Stork's, or else those of the manifests.
func (s *settings) client() (qps, burst int64) {
	qps, burst = 200, 400
	if s.qps > 0 {
		qps = s.qps
	}
	if s.burst > 0 {
		burst = s.burst
	}
	return qps, burst
}

// scoreLines are the arguments that say how near is near.
func (s *settings) scoreLines() []string {
	var lines []string
	if s.scores.preference != "" {
		lines = append(lines, "preference: "+s.scores.preference)
	}
	if s.scores.tiers != nil {
		lines = append(lines, "tierScores:")
		for i, score := range s.scores.tiers {
			lines = append(lines, fmt.Sprintf("  %s: %d", tierNames[i], score))
		}
	}
	return lines
}
