package migrate

import (
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// fromDeployments reads an installation without an operator.
func (s *settings) fromDeployments(source *Source) error {
	stork := source.Stork
	if stork == nil {
		stork = source.Scheduler
		s.lose("The Deployment stork, whose flags say what the extender and the webhook do: it was not found, and no webhook is written")
	}
	s.namespace, s.home = stork.Namespace, stork.Namespace
	s.origin = name("the Deployment", stork)
	container := containerOf(stork, "stork")
	args := &arguments{values: map[string]string{}, name: func(key string) string { return "--" + key }}
	if source.Stork != nil {
		s.readVersion(container.Image)
		args.values = flagsOf(container)
	}
	if given := environment(container, "PX_NAMESPACE"); given != nil && given.Value != "" {
		s.namespace = given.Value
	}
	named := ""
	if given := environment(container, "PX_SERVICE_NAME"); given != nil && given.Value != "" {
		if len(validation.IsDNS1123Label(given.Value)) > 0 {
			return fmt.Errorf("%s: PX_SERVICE_NAME is %q: want the name of a Service", s.origin, given.Value)
		}
		s.service, named = given.Value, " and PX_SERVICE_NAME "+given.Value
	}
	s.sdkPort = servicePort
	s.carry("namespace %s%s -> endpoint %s", clean(s.namespace), named, clean(s.endpoint()))
	s.lose("The start port, which the Deployments do not tell: if the DaemonSet of Portworx has another one than 9001 (-r), docs/install.md says what the network policy needs")
	s.lose("The platform, which they do not tell either: on AKS and OpenShift add the component of that name")
	if err := s.readEnvironment(container); err != nil {
		return fmt.Errorf("%s: %w", s.origin, err)
	}
	var weight *int64
	if source.Scheduler != nil {
		var err error
		if weight, err = s.readScheduler(source.Scheduler, source.Config); err != nil {
			return err
		}
	} else {
		s.lose("The Deployment stork-scheduler, which says how loud the extender is: it was not found")
	}
	placed := stork
	if source.Scheduler != nil {
		placed = source.Scheduler
	}
	pod := placed.Spec.Template.Spec
	s.tolerations = pod.Tolerations
	if pod.Affinity != nil {
		s.affinity = pod.Affinity.NodeAffinity
	}
	s.readPlacement(name("the Deployment", placed))
	if err := s.readArguments(args, false, weight, "weight of the extender"); err != nil {
		return fmt.Errorf("%s: %w", s.origin, err)
	}
	return nil
}

// containerOf is the container of that name, or else the first.
func containerOf(d *appsv1.Deployment, name string) *v1.Container {
	containers := d.Spec.Template.Spec.Containers
	for i := range containers {
		if containers[i].Name == name {
			return &containers[i]
		}
	}
	if len(containers) == 0 {
		return &v1.Container{}
	}
	return &containers[0]
}

// flagsOf are the flags of a container: --flag=value, --flag value, and --flag for true.
func flagsOf(c *v1.Container) map[string]string {
	flags := map[string]string{}
	words := append(slices.Clone(c.Command), c.Args...)
	for i, word := range words {
		if !strings.HasPrefix(word, "-") {
			continue
		}
		key, value, found := strings.Cut(strings.TrimLeft(word, "-"), "=")
		if !found {
			value = "true"
			if i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
				value = words[i+1]
			}
		}
		flags[key] = value
	}
	return flags
}

func environment(c *v1.Container, name string) *v1.EnvVar {
	for i := range c.Env {
		if c.Env[i].Name == name {
			return &c.Env[i]
		}
	}
	return nil
}

// readEnvironment reads token and TLS of Stork's client. Values may be secret, so that
// only those are looked at that are none.
func (s *settings) readEnvironment(c *v1.Container) error {
	value := func(name string) string {
		if v := environment(c, name); v != nil {
			return v.Value
		}
		return ""
	}
	if text := value("PX_ENABLE_TLS"); text != "" {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("PX_ENABLE_TLS is %q: want true or false", text)
		}
		s.tls = on
	}
	secret := environment(c, "PX_SHARED_SECRET")
	s.auth = secret != nil
	where := "the shared secret stands in the Deployment"
	if s.auth && secret.ValueFrom != nil && secret.ValueFrom.SecretKeyRef != nil {
		where = fmt.Sprintf("the shared secret is in the Secret %s/%s", clean(s.namespace), clean(secret.ValueFrom.SecretKeyRef.Name))
	}
	issuer := value("PX_JWT_ISSUER")
	if issuer == "" {
		issuer = "that of PORTWORX_AUTH_JWT_ISSUER of Portworx's DaemonSet"
	}
	s.tokenSource = "the issuer is " + clean(issuer) + ", and " + where
	ca, key := value("PX_CA_CERT_SECRET"), value("PX_CA_CERT_SECRET_KEY")
	s.caSource = "# ca.crt is the certificate of the authority that signed that of the storage API."
	if len(validation.IsDNS1123Subdomain(ca)) == 0 && len(validation.IsConfigMapKey(key)) == 0 {
		s.caSource = fmt.Sprintf(`kubectl -n %s get secret %s -o go-template='{{index .data "%s" | base64decode}}' >ca.crt`, s.namespace, ca, key)
	}
	s.tellSecurity("the environment of " + s.origin)
	return nil
}

// schedulerConfig is as much as matters of a KubeSchedulerConfiguration, and of the Policy
// that schedulers before 1.23 read.
type schedulerConfig struct {
	ClientConnection struct {
		QPS   *float64 `json:"qps"`
		Burst *int64   `json:"burst"`
	} `json:"clientConnection"`
	Profiles []struct {
		SchedulerName string `json:"schedulerName"`
		Plugins       any    `json:"plugins"`
		PluginConfig  any    `json:"pluginConfig"`
	} `json:"profiles"`
	Extenders []struct {
		URLPrefix string `json:"urlPrefix"`
		Weight    *int64 `json:"weight"`
	} `json:"extenders"`
}

// ConfigMapOf is the name of the ConfigMap with the configuration of Stork's scheduler.
func ConfigMapOf(scheduler *appsv1.Deployment) string {
	for _, volume := range scheduler.Spec.Template.Spec.Volumes {
		if volume.ConfigMap != nil {
			return volume.ConfigMap.Name
		}
	}
	if named := flagsOf(containerOf(scheduler, "stork-scheduler"))["policy-configmap"]; named != "" {
		return named
	}
	return "stork-config"
}

// readScheduler reads the kube-scheduler that asks Stork, and returns the weight of the
// extender if somebody has chosen it.
func (s *settings) readScheduler(d *appsv1.Deployment, config *v1.ConfigMap) (weight *int64, err error) {
	flags := flagsOf(containerOf(d, "stork-scheduler"))
	if served := flags["scheduler-name"]; served != "" {
		s.profile = served
	}
	var c schedulerConfig
	if config == nil {
		s.lose("The weight of the extender and the limits of requests: there is no ConfigMap " + clean(ConfigMapOf(d)) + " beside " + name("the Deployment", d))
	} else if err := s.readConfig(config, path.Base(flags["config"]), &c); err != nil {
		return nil, err
	}
	if len(c.Profiles) > 0 && c.Profiles[0].SchedulerName != "" {
		s.profile = c.Profiles[0].SchedulerName
	}
	if len(validation.IsDNS1123Subdomain(s.profile)) > 0 || s.profile == ownName || s.profile == v1.DefaultSchedulerName {
		return nil, fmt.Errorf("%s serves the name %q, which this scheduler cannot take over: see docs/configure.md for profiles", name("the Deployment", d), s.profile)
	}
	if s.profile != "stork" {
		s.carry("Stork's scheduler serves %s -> so does the profile, in the step --take-over", s.profile)
	}
	qps, burst := c.ClientConnection.QPS, c.ClientConnection.Burst
	if err := fromFlag(flags, "kube-api-qps", &qps, strconv.ParseFloat); err != nil {
		return nil, fmt.Errorf("%s: %w", name("the Deployment", d), err)
	}
	if err := fromFlag(flags, "kube-api-burst", &burst, func(text string, bits int) (int64, error) { return strconv.ParseInt(text, 10, bits) }); err != nil {
		return nil, fmt.Errorf("%s: %w", name("the Deployment", d), err)
	}
	const qpsName = "--kube-api-qps or clientConnection.qps"
	var whole *int64
	if qps != nil {
		if *qps < 1 || *qps > maxRequests || math.IsNaN(*qps) {
			return nil, fmt.Errorf("%s: %s is %v: want a number from 1 to %d", name("the Deployment", d), qpsName, *qps, maxRequests)
		}
		rounded := int64(*qps)
		whole = &rounded
	}
	if err := s.readClient(whole, burst, qpsName, "--kube-api-burst or clientConnection.burst"); err != nil {
		return nil, fmt.Errorf("%s: %w", name("the Deployment", d), err)
	}
	return s.chosenWeight(&c), nil
}

// fromFlag reads a number from a flag, which counts before the file.
func fromFlag[T any](flags map[string]string, key string, into **T, parse func(string, int) (T, error)) error {
	text, found := flags[key]
	if !found {
		return nil
	}
	value, err := parse(text, 64)
	if err != nil {
		return fmt.Errorf("--%s is %q: want a number", key, text)
	}
	*into = &value
	return nil
}

// readConfig reads the ConfigMap, and names what stands in it beside Stork's own.
func (s *settings) readConfig(config *v1.ConfigMap, file string, c *schedulerConfig) error {
	where := name("ConfigMap", config)
	text, found := config.Data[file]
	for _, usual := range []string{"stork-config.yaml", "policy.cfg"} {
		if !found {
			text, found = config.Data[usual]
		}
	}
	if !found {
		return fmt.Errorf("%s has no stork-config.yaml and no policy.cfg, but %s: correct it, or leave it out of the files", where, clean(strings.Join(slices.Sorted(maps.Keys(config.Data)), ", ")))
	}
	if err := yaml.Unmarshal([]byte(text), c); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(text), &fields); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	handled := []string{"apiVersion", "kind", "leaderElection", "clientConnection", "profiles", "extenders"}
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(fields)), func(key string) bool { return slices.Contains(handled, key) })
	for i, profile := range c.Profiles {
		if profile.Plugins != nil || profile.PluginConfig != nil || i > 0 {
			others = append(others, fmt.Sprintf("profiles[%d]", i))
		}
	}
	if len(others) > 0 {
		s.lose(where + ": write what you need of " + clean(strings.Join(others, ", ")) + " into scheduler.yaml yourself")
	}
	return nil
}

// chosenWeight is the weight of Stork's extender, unless it is the one that Stork's release
// comes with.
func (s *settings) chosenWeight(c *schedulerConfig) *int64 {
	var weight *int64
	for _, extender := range c.Extenders {
		if weight == nil && (len(c.Extenders) == 1 || strings.Contains(extender.URLPrefix, "stork")) {
			weight = extender.Weight
			continue
		}
		s.lose("The extender " + clean(extender.URLPrefix) + ": add it to scheduler.yaml, if it is needed")
	}
	if weight == nil {
		return nil
	}
	old := s.version != nil && s.version.LessThan(normalizing)
	shipped := *weight == 5 && (old || s.version == nil) || *weight == 1 && !old
	if shipped {
		return nil
	}
	return weight
}
