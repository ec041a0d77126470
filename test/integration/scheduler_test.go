package integration

import (
	"fmt"
	"strings"

	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// schedulerName is the profile that scenarios use unless they say otherwise.
const schedulerName = "hyperconverge-scheduler"

// schedulerYAML is a KubeSchedulerConfiguration.
type schedulerYAML struct {
	profiles []profileYAML
	// extenders is a list as it stands below that key.
	extenders string
}

// profileYAML is one profile of a KubeSchedulerConfiguration. Args are lines of
// HyperconvergeArgs; those of the storage API are added.
type profileYAML struct {
	name string
	args string
	// plugins are lines below plugins, besides the multiPoint entry of ours.
	plugins string
	// enabled are lines below multiPoint.enabled, besides Hyperconverge.
	enabled string
	// configs are entries of pluginConfig for other plugins.
	configs string
	// storage are lines of openStorage that come after the usual ones.
	storage string
	without bool // a profile without Hyperconverge
}

// header has limits and backoffs that no test has to wait for.
const header = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: {qps: 5000, burst: 10000}
podInitialBackoffSeconds: 1
podMaxBackoffSeconds: 1
profiles:
`

func (c schedulerYAML) render(endpoint string) string {
	var yaml strings.Builder
	yaml.WriteString(header)
	for _, p := range c.profiles {
		yaml.WriteString(p.render(endpoint))
	}
	if c.extenders != "" {
		yaml.WriteString("extenders:\n" + indent(c.extenders, 0))
	}
	return yaml.String()
}

func (p profileYAML) render(endpoint string) string {
	if p.without {
		return fmt.Sprintf("- schedulerName: %s\n  pluginConfig:\n%s", p.name, indent(p.configs, 2))
	}
	return fmt.Sprintf(`- schedulerName: %s
  plugins:
    multiPoint:
      enabled:
      - {name: Hyperconverge, weight: 15}
%s%s  pluginConfig:
%s  - name: Hyperconverge
    args:
      openStorage:
        endpoint: %s
        nodePollInterval: 200ms
        watchBackoff: 1s
%s%s`, p.name, indent(p.enabled, 6), indent(p.plugins, 4), indent(p.configs, 2), endpoint, indent(p.storage, 8), indent(p.args, 6))
}

func indent(text string, by int) string {
	if text == "" {
		return ""
	}
	pad := strings.Repeat(" ", by)
	return pad + strings.Join(strings.Split(strings.TrimSpace(text), "\n"), "\n"+pad) + "\n"
}

// newScheduler runs the scheduler of a configuration, and returns when it has read its
// lists. It stops with the test, or before by the function that is returned.
func (c *cluster) newScheduler(yaml schedulerYAML) (stop func(), err error) {
	c.Helper()
	s, err := controlplane.StartScheduler(c.TB, c.Config, controlplane.Hyperconverge, yaml.render(c.Server.Endpoint()))
	if err != nil {
		return nil, err
	}
	return s.Stop, nil
}

func (c *cluster) runScheduler(args string) (stop func()) {
	c.Helper()
	return c.runProfiles(profileYAML{name: schedulerName, args: args})
}

func (c *cluster) runProfiles(profiles ...profileYAML) (stop func()) {
	c.Helper()
	return c.runSchedulerOf(schedulerYAML{profiles: profiles})
}

func (c *cluster) runSchedulerOf(yaml schedulerYAML) (stop func()) {
	c.Helper()
	stop, err := c.newScheduler(yaml)
	c.Must(err)
	return stop
}
