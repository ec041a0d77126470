package app

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestCheckConfiguration(t *testing.T) {
	const head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n"
	const whole = "- schedulerName: whole\n  plugins: {multiPoint: {enabled: [{name: Hyperconverge}]}}\n"
	for _, tc := range []struct {
		name, profiles string
		allowPlain     bool
		want           string // without the name of the file
	}{
		{name: "a profile with the plugin is fine", profiles: whole},
		{name: "a profile with a weight is fine", profiles: "- schedulerName: a\n  plugins: {multiPoint: {enabled: [{name: Hyperconverge, weight: 5}]}}\n"},
		{
			name: "a profile that names every extension point by itself is fine",
			profiles: "- schedulerName: a\n  plugins:\n" +
				"    preFilter: {enabled: [{name: Hyperconverge}]}\n    filter: {enabled: [{name: Hyperconverge}]}\n" +
				"    preScore: {enabled: [{name: Hyperconverge}]}\n    score: {enabled: [{name: Hyperconverge, weight: 2}]}\n" +
				"    reserve: {enabled: [{name: Hyperconverge}]}\n    postBind: {enabled: [{name: Hyperconverge}]}\n",
		},
		{
			name: "a point that turns all off and ours on again is fine",
			profiles: "- schedulerName: a\n  plugins:\n    multiPoint: {enabled: [{name: Hyperconverge}]}\n" +
				"    score: {disabled: [{name: '*'}], enabled: [{name: Hyperconverge, weight: 2}]}\n",
		},
		{
			name: "a profile without the plugin is refused", profiles: whole + "- schedulerName: stork\n",
			want: "profiles[1].plugins.multiPoint.enabled: Required value: profile stork would place pods without regard to their volumes: " +
				"add {name: Hyperconverge} to multiPoint.enabled, or start with --allow-plain-profiles if that is meant",
		},
		{name: "a profile without the plugin is fine for those who say so", profiles: whole + "- schedulerName: stork\n", allowPlain: true},
		{
			name:     "arguments for a plugin that is not enabled are refused, also for those who allow plain profiles",
			profiles: "- schedulerName: a\n  pluginConfig: [{name: Hyperconverge, args: {preference: Score}}]\n", allowPlain: true,
			want: "profiles[0].plugins.multiPoint.enabled: Required value: profile a has arguments for Hyperconverge, which is not enabled: " +
				"add {name: Hyperconverge} to multiPoint.enabled, or leave the arguments out",
		},
		{
			name:     "a plugin whose name is nearly ours is told ours",
			profiles: "- schedulerName: a\n  plugins: {multiPoint: {enabled: [{name: hyperconverged}]}}\n  pluginConfig: [{name: Hyperconverge, args: {}}]\n",
			want:     `profiles[0].plugins.multiPoint.enabled[hyperconverged]: Invalid value: "hyperconverged": there is no such plugin: did you mean Hyperconverge?`,
		},
		{
			name: "a profile with half of the plugin is refused", profiles: "- schedulerName: a\n  plugins: {score: {enabled: [{name: Hyperconverge}]}}\n", allowPlain: true,
			want: "profiles[0].plugins.preFilter.enabled: Required value: Hyperconverge does half of its work without preFilter, filter, preScore, reserve, postBind: " +
				"add {name: Hyperconverge} to multiPoint.enabled, and take it from no disabled list",
		},
		{
			name:     "a profile that turns one point off is refused",
			profiles: "- schedulerName: a\n  plugins: {multiPoint: {enabled: [{name: Hyperconverge}]}, filter: {disabled: [{name: Hyperconverge}]}}\n",
			want: "profiles[0].plugins.filter.enabled: Required value: Hyperconverge does half of its work without filter: " +
				"add {name: Hyperconverge} to multiPoint.enabled, and take it from no disabled list",
		},
		{
			name: "a negative weight is refused", profiles: "- schedulerName: a\n  plugins: {multiPoint: {enabled: [{name: Hyperconverge, weight: -1}]}}\n",
			want: "profiles[0].plugins.multiPoint.enabled[Hyperconverge].weight: Invalid value: -1: must be at least 1; leave it out for 1",
		},
		{
			name: "a duration without a unit is told the unit", profiles: whole + "  pluginConfig: [{name: Hyperconverge, args: {maxStaleness: 600}}]\n",
			want: "profiles[0].pluginConfig[0].args.maxStaleness: Invalid value: 600: 600 needs a unit: 600s",
		},
		{
			name: "an unknown argument is told the nearest known one", profiles: whole + "  pluginConfig: [{name: Other}, {name: Hyperconverge, args: {maxStalenes: 10m}}]\n",
			want: `profiles[0].pluginConfig[1].args.maxStalenes: Invalid value: "10m": unknown field "maxStalenes": did you mean maxStaleness?`,
		},
		{name: "what is no configuration at all is left to kube-scheduler", profiles: "kind: Pod\n"},
		{name: "what is no YAML is left to kube-scheduler", profiles: "\t:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "scheduler.yaml")
			if err := os.WriteFile(file, []byte(head+tc.profiles), 0o600); err != nil {
				t.Fatal(err)
			}
			err := checkConfiguration(file, tc.allowPlain)
			switch {
			case err == nil && tc.want == "":
			case err == nil, tc.want == "", err.Error() != file+": "+tc.want:
				t.Errorf("error:\n%v\nwant:\n%s", err, tc.want)
			}
		})
	}

	t.Run("without a file the profile is that of kube-scheduler, without the plugin", func(t *testing.T) {
		if checkConfiguration("", false) == nil || checkConfiguration("", true) != nil {
			t.Error("a start without --config is not treated as a plain profile")
		}
	})
	t.Run("a file that is not there is named", func(t *testing.T) {
		const file = "/nowhere/scheduler.yaml"
		if err := checkConfiguration(file, true); err == nil || !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error: %v", err)
		}
	})
}
