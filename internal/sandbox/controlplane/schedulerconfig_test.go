package controlplane

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/hyperconverge/scheduler/internal/sandbox/workdir"
)

func TestOnlyWhatTheSandboxKnowsIsFilledIn(t *testing.T) {
	const connection = "clientConnection:\n  kubeconfig: /k\n"
	for name, row := range map[string]struct {
		config, token, want string
		port                int
	}{
		"a profile with arguments keeps them": {
			port: 7,
			config: `
profiles:
- schedulerName: ours
  pluginConfig:
  - name: NodeAffinity
    args: {addedAffinity: {}}
  - name: Hyperconverge
    args: {preference: Score, openStorage: {endpoint: elsewhere:1, nodePollInterval: 1s}}`,
			want: connection + `
profiles:
- schedulerName: ours
  pluginConfig:
  - name: NodeAffinity
    args: {addedAffinity: {}}
  - name: Hyperconverge
    args: {preference: Score, debugPort: 7, openStorage: {endpoint: "sdk:9020", nodePollInterval: 1s}}`,
		},
		"a profile that enables the plugin without arguments gets some": {
			port: 7,
			config: `
profiles:
- plugins: {multiPoint: {enabled: [{name: Hyperconverge, weight: 15}]}}`,
			want: connection + `
profiles:
- plugins: {multiPoint: {enabled: [{name: Hyperconverge, weight: 15}]}}
  pluginConfig:
  - name: Hyperconverge
    args: {debugPort: 7, openStorage: {endpoint: "sdk:9020"}}`,
		},
		"profiles without the plugin are left alone": {
			port: 7,
			config: `
profiles:
- schedulerName: plain
- schedulerName: off
  plugins: {multiPoint: {disabled: [{name: Hyperconverge}]}}`,
			want: connection + `
profiles:
- schedulerName: plain
- schedulerName: off
  plugins: {multiPoint: {disabled: [{name: Hyperconverge}]}}`,
		},
		"mistakes are kept for the scheduler to find": {
			port:   7,
			config: "profils: []\nclientConnection: {qps: many}",
			want:   "profils: []\nclientConnection: {kubeconfig: /k, qps: many}",
		},
		"a debug endpoint that is turned off stays off": {
			port: 0,
			config: `
profiles:
- pluginConfig: [{name: Hyperconverge, args: {debugPort: 0}}]`,
			want: connection + `
profiles:
- pluginConfig:
  - name: Hyperconverge
    args: {debugPort: 0, openStorage: {endpoint: "sdk:9020"}}`,
		},
		"a debug port that one profile chose is that of all": {
			port: 8,
			config: `
profiles:
- pluginConfig: [{name: Hyperconverge}]
- pluginConfig: [{name: Hyperconverge, args: {debugPort: 8}}]`,
			want: connection + `
profiles:
- pluginConfig:
  - name: Hyperconverge
    args: {debugPort: 8, openStorage: {endpoint: "sdk:9020"}}
- pluginConfig:
  - name: Hyperconverge
    args: {debugPort: 8, openStorage: {endpoint: "sdk:9020"}}`,
		},
		"debug ports that differ are kept for the scheduler to find": {
			port: 8,
			config: `
profiles:
- pluginConfig: [{name: Hyperconverge, args: {debugPort: 8}}]
- pluginConfig: [{name: Hyperconverge, args: {debugPort: 9}}]`,
			want: connection + `
profiles:
- pluginConfig:
  - name: Hyperconverge
    args: {debugPort: 8, openStorage: {endpoint: "sdk:9020"}}
- pluginConfig:
  - name: Hyperconverge
    args: {debugPort: 9, openStorage: {endpoint: "sdk:9020"}}`,
		},
		"a token goes along": {
			token: "/token",
			port:  7,
			config: `
profiles:
- pluginConfig: [{name: Hyperconverge}]`,
			want: connection + `
profiles:
- pluginConfig:
  - name: Hyperconverge
    args: {debugPort: 7, openStorage: {endpoint: "sdk:9020", tokenFile: /token, allowPlaintextToken: true}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, port, err := completeSchedulerConfig([]byte(row.config), "/k", "sdk:9020", row.token, 7)
			if err != nil {
				t.Fatal(err)
			}
			if want := row.port; port != want {
				t.Errorf("the debug port is %d, want %d", port, want)
			}
			if diff := cmp.Diff(parse(t, []byte(row.want)), parse(t, got)); diff != "" {
				t.Errorf("configuration differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAConfigurationThatCannotBeCompletedIsNamed(t *testing.T) {
	for name, row := range map[string]struct{ config, want string }{
		"no YAML":                       {"profiles: {", "yaml"},
		"a key twice":                   {"profiles: []\nprofiles: []", "already set"},
		"an empty file":                 {"", "empty"},
		"profiles that are no list":     {"profiles: 1", "profiles is not a list"},
		"a profile that is no mapping":  {"profiles: [1]", "profiles[0] is not a mapping"},
		"plugin settings of wrong kind": {"profiles: [{pluginConfig: [1]}]", "profiles[0].pluginConfig[0] is not a mapping"},
		"arguments of wrong kind":       {"profiles: [{pluginConfig: [{name: Hyperconverge, args: 1}]}]", "profiles[0].args is not a mapping"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "my-config.yaml")
			if err := os.WriteFile(path, []byte(row.config), 0o600); err != nil {
				t.Fatal(err)
			}
			options := Options{SchedulerConfig: path}
			_, err := options.writeSchedulerConfig(filepath.Join(t.TempDir(), "out"), "/k", 7)
			if err == nil {
				t.Fatal("it was accepted")
			}
			if !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q is not one line that names the file and says %q", err, row.want)
			}
		})
	}
}

func TestTheBuiltInConfigurationHasBothProfilesOnOneStorage(t *testing.T) {
	dir, err := workdir.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Remove() }()
	options := Options{StorageEndpoint: "sdk:9020"}
	if _, err := options.writeSchedulerConfig(dir.Join("out.yaml"), "/k", 7); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(dir.Join("out.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Profiles []struct {
			SchedulerName string
			PluginConfig  []struct {
				Name string
				Args struct{ OpenStorage struct{ Endpoint string } }
			}
		}
	}
	if err := yaml.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range got.Profiles {
		names = append(names, p.SchedulerName)
		if len(p.PluginConfig) != 1 || p.PluginConfig[0].Args.OpenStorage.Endpoint != "sdk:9020" {
			t.Errorf("profile %s has plugin settings %+v", p.SchedulerName, p.PluginConfig)
		}
	}
	if diff := cmp.Diff([]string{"hyperconverge-scheduler", "stork"}, names); diff != "" {
		t.Errorf("profiles differ (-want +got):\n%s", diff)
	}
}

func parse(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var parsed map[string]any
	if err := yaml.Unmarshal(text, &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}
