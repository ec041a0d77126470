package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	schedulerapi "k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"sigs.k8s.io/yaml"

	"github.com/hyperconverge/scheduler/pkg/apis/config/validation"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/pkg/spelling"
)

// plainProfilesFlag allows profiles in which the plugin does nothing.
const plainProfilesFlag = "allow-plain-profiles"

// checkConfiguration looks at the configuration file before kube-scheduler does. It finds
// what kube-scheduler takes without a word although it cannot be meant, such as a
// profile without the plugin, and says in the words of the file what its decoder would
// say in those of Go. Everything else is left to kube-scheduler.
func checkConfiguration(file string, allowPlain bool) error {
	if file == "" {
		return checkProfiles([]schedulerapi.KubeSchedulerProfile{{SchedulerName: v1.DefaultSchedulerName}}, allowPlain)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading --config: %w", err)
	}
	if err := checkArguments(data); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	object, _, err := scheme.Codecs.UniversalDecoder().Decode(data, nil, nil)
	configuration, is := object.(*schedulerapi.KubeSchedulerConfiguration)
	if err != nil || !is {
		return nil //nolint:nilerr // kube-scheduler says it
	}
	if err := checkProfiles(configuration.Profiles, allowPlain); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func checkProfiles(profiles []schedulerapi.KubeSchedulerProfile, allowPlain bool) error {
	var errs field.ErrorList
	for i := range profiles {
		errs = append(errs, checkProfile(field.NewPath("profiles").Index(i), &profiles[i], allowPlain)...)
	}
	return errs.ToAggregate()
}

// checkArguments looks at the plugin's arguments in a file that may hold anything.
func checkArguments(data []byte) error {
	var file struct {
		Profiles []struct {
			PluginConfig []struct {
				Name string `json:"name"`
				Args any    `json:"args"`
			} `json:"pluginConfig"`
		} `json:"profiles"`
	}
	document, err := yaml.YAMLToJSON(data)
	if err != nil {
		return nil //nolint:nilerr // kube-scheduler tells the line
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	if err := decoder.Decode(&file); err != nil {
		return nil //nolint:nilerr // kube-scheduler tells the field
	}
	var errs field.ErrorList
	for i, profile := range file.Profiles {
		for k, plugin := range profile.PluginConfig {
			if plugin.Name == hyperconverge.Name {
				path := field.NewPath("profiles").Index(i).Child("pluginConfig").Index(k).Child("args")
				errs = append(errs, validation.ValidateDocument(path, plugin.Args)...)
			}
		}
	}
	return errs.ToAggregate()
}

// checkProfile refuses profiles that are blind to volumes, or see but a part.
func checkProfile(path *field.Path, profile *schedulerapi.KubeSchedulerProfile, allowPlain bool) field.ErrorList {
	plugins := profile.Plugins
	if plugins == nil {
		plugins = &schedulerapi.Plugins{}
	}
	points := []struct {
		name string
		set  *schedulerapi.PluginSet
	}{
		{"preFilter", &plugins.PreFilter}, {"filter", &plugins.Filter}, {"preScore", &plugins.PreScore},
		{"score", &plugins.Score}, {"reserve", &plugins.Reserve}, {"postBind", &plugins.PostBind},
	}
	var missing []string
	for _, point := range points {
		if !enabledAt(&plugins.MultiPoint, point.set) {
			missing = append(missing, point.name)
		}
	}
	path = path.Child("plugins")
	for _, plugin := range plugins.MultiPoint.Enabled {
		if plugin.Name != hyperconverge.Name && spelling.Typos(plugin.Name, hyperconverge.Name) <= spelling.MaxTypos {
			return field.ErrorList{field.Invalid(path.Child("multiPoint", "enabled").Key(plugin.Name), plugin.Name, "there is no such plugin: did you mean "+hyperconverge.Name+"?")}
		}
	}
	advice := fmt.Sprintf("add {name: %s} to multiPoint.enabled", hyperconverge.Name)
	switch {
	case len(missing) == len(points) && hasArguments(profile):
		return field.ErrorList{field.Required(path.Child("multiPoint", "enabled"), fmt.Sprintf(
			"profile %s has arguments for %s, which is not enabled: %s, or leave the arguments out", profile.SchedulerName, hyperconverge.Name, advice))}
	case len(missing) == len(points) && !allowPlain:
		return field.ErrorList{field.Required(path.Child("multiPoint", "enabled"), fmt.Sprintf(
			"profile %s would place pods without regard to their volumes: %s, or start with --%s if that is meant", profile.SchedulerName, advice, plainProfilesFlag))}
	case len(missing) > 0 && len(missing) < len(points):
		return field.ErrorList{field.Required(path.Child(missing[0], "enabled"), fmt.Sprintf(
			"%s does half of its work without %s: %s, and take it from no disabled list", hyperconverge.Name, strings.Join(missing, ", "), advice))}
	}
	var errs field.ErrorList
	for _, set := range []struct {
		name string
		set  *schedulerapi.PluginSet
	}{{"multiPoint", &plugins.MultiPoint}, {"score", &plugins.Score}} {
		for _, plugin := range set.set.Enabled {
			if plugin.Name == hyperconverge.Name && plugin.Weight < 0 {
				errs = append(errs, field.Invalid(path.Child(set.name, "enabled").Key(plugin.Name).Child("weight"), plugin.Weight, "must be at least 1; leave it out for 1"))
			}
		}
	}
	return errs
}

// enabledAt reports whether the plugin is on at an extension point: by itself, or by
// multiPoint unless the point says no.
func enabledAt(multiPoint, point *schedulerapi.PluginSet) bool {
	ours := func(p schedulerapi.Plugin) bool { return p.Name == hyperconverge.Name }
	off := func(p schedulerapi.Plugin) bool { return ours(p) || p.Name == "*" }
	return slices.ContainsFunc(point.Enabled, ours) ||
		slices.ContainsFunc(multiPoint.Enabled, ours) && !slices.ContainsFunc(point.Disabled, off)
}

func hasArguments(profile *schedulerapi.KubeSchedulerProfile) bool {
	return slices.ContainsFunc(profile.PluginConfig, func(c schedulerapi.PluginConfig) bool { return c.Name == hyperconverge.Name })
}
