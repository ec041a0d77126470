package controlplane

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

// pluginName is the plugin whose arguments say where the storage is.
const pluginName = "Hyperconverge"

//go:embed scheduler.yaml
var defaultSchedulerConfig []byte

// readSchedulerConfig returns the file's content, or the built-in configuration
// for an empty path, and the name to use in messages.
func readSchedulerConfig(path string) (content []byte, name string, err error) {
	if path == "" {
		return defaultSchedulerConfig, "the built-in scheduler configuration", nil
	}
	content, err = os.ReadFile(path)
	if err != nil {
		return nil, "", fmt.Errorf("reading the scheduler configuration: %w", err)
	}
	return content, path, nil
}

// completeSchedulerConfig fills in what only the sandbox knows: the kubeconfig,
// and where the storage is, in every profile that uses the plugin. All else stays
// as it is written, mistakes included, for the scheduler to judge.
func completeSchedulerConfig(content []byte, kubeconfig, storageEndpoint, tokenFile string) ([]byte, error) {
	var config map[string]any
	if err := yaml.UnmarshalStrict(content, &config); err != nil {
		return nil, err
	}
	if config == nil {
		return nil, errors.New("the file is empty")
	}
	connection, err := child(config, "clientConnection")
	if err != nil {
		return nil, err
	}
	connection["kubeconfig"] = kubeconfig

	profiles, err := list(config, "profiles")
	if err != nil {
		return nil, err
	}
	for i, entry := range profiles {
		profile, ok := entry.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("profiles[%d] is not a mapping", i)
		}
		if err := setStorage(profile, storageEndpoint, tokenFile); err != nil {
			return nil, fmt.Errorf("profiles[%d].%w", i, err)
		}
	}
	return yaml.Marshal(config)
}

// setStorage writes where the storage is into the plugin's arguments if the
// profile enables the plugin.
func setStorage(profile map[string]any, endpoint, tokenFile string) error {
	entries, err := list(profile, "pluginConfig")
	if err != nil {
		return err
	}
	var plugin map[string]any
	for i, entry := range entries {
		candidate, ok := entry.(map[string]any)
		if !ok {
			return fmt.Errorf("pluginConfig[%d] is not a mapping", i)
		}
		if candidate["name"] == pluginName {
			plugin = candidate
		}
	}
	if plugin == nil {
		if !mentions(profile["plugins"], pluginName) {
			return nil
		}
		plugin = map[string]any{"name": pluginName}
		profile["pluginConfig"] = append(entries, plugin)
	}
	args, err := child(plugin, "args")
	if err != nil {
		return err
	}
	storage, err := child(args, "openStorage")
	if err != nil {
		return err
	}
	storage["endpoint"] = endpoint
	if tokenFile != "" {
		storage["tokenFile"] = tokenFile
		storage["allowPlaintextToken"] = true // it does not leave the machine
	}
	return nil
}

// child is the mapping under the key, made if it is not there.
func child(parent map[string]any, key string) (map[string]any, error) {
	switch value := parent[key].(type) {
	case nil:
		made := map[string]any{}
		parent[key] = made
		return made, nil
	case map[string]any:
		return value, nil
	default:
		return nil, fmt.Errorf("%s is not a mapping", key)
	}
}

// list is the sequence under the key, nil if it is not there.
func list(parent map[string]any, key string) ([]any, error) {
	switch value := parent[key].(type) {
	case nil:
		return nil, nil
	case []any:
		return value, nil
	default:
		return nil, fmt.Errorf("%s is not a list", key)
	}
}

// mentions is whether a plugin set names the plugin at any extension point.
func mentions(plugins any, name string) bool {
	switch node := plugins.(type) {
	case map[string]any:
		for key, value := range node {
			if key == "name" && value == name {
				return true
			}
			// What is disabled is not used.
			if key != "disabled" && mentions(value, name) {
				return true
			}
		}
	case []any:
		for _, value := range node {
			if mentions(value, name) {
				return true
			}
		}
	}
	return false
}

// writeSchedulerConfig writes the completed configuration to path. The error
// names where the configuration came from.
func (o *Options) writeSchedulerConfig(path, kubeconfig string) error {
	content, name, err := readSchedulerConfig(o.SchedulerConfig)
	if err != nil {
		return err
	}
	completed, err := completeSchedulerConfig(content, kubeconfig, o.StorageEndpoint, o.StorageTokenFile)
	if err != nil {
		return fmt.Errorf("%s: %s", name, strings.Join(strings.Fields(err.Error()), " "))
	}
	if err := os.WriteFile(path, completed, 0o600); err != nil {
		return fmt.Errorf("writing the scheduler configuration: %w", err)
	}
	return nil
}
