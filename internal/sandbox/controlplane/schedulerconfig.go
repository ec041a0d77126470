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

// completeSchedulerConfig fills in what only the sandbox knows: the kubeconfig, and in
// every profile that uses the plugin where the storage is, and a port for the debug
// endpoint unless one is written. All else stays
// as it is written, mistakes included, for the scheduler to judge.
func completeSchedulerConfig(content []byte, kubeconfig, storageEndpoint, tokenFile string, debugPort int) ([]byte, error) {
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

	profiles, err := mappings(config, "profiles")
	if err != nil {
		return nil, err
	}
	for i, profile := range profiles {
		if err := setStorage(profile, storageEndpoint, tokenFile, debugPort); err != nil {
			return nil, fmt.Errorf("profiles[%d].%w", i, err)
		}
	}
	return yaml.Marshal(config)
}

// setStorage writes where the storage is into the plugin's arguments if the
// profile enables the plugin.
func setStorage(profile map[string]any, endpoint, tokenFile string, debugPort int) error {
	entries, err := mappings(profile, "pluginConfig")
	if err != nil {
		return err
	}
	var plugin map[string]any
	for _, entry := range entries {
		if entry["name"] == pluginName {
			plugin = entry
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
	if _, chosen := args["debugPort"]; !chosen {
		args["debugPort"] = debugPort
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

// mappings are the entries of the sequence under the key, none if it is not there.
func mappings(parent map[string]any, key string) ([]map[string]any, error) {
	list, ok := parent[key].([]any)
	if !ok && parent[key] != nil {
		return nil, fmt.Errorf("%s is not a list", key)
	}
	entries := make([]map[string]any, len(list))
	for i, entry := range list {
		if entries[i], ok = entry.(map[string]any); !ok {
			return nil, fmt.Errorf("%s[%d] is not a mapping", key, i)
		}
	}
	return entries, nil
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
func (o *Options) writeSchedulerConfig(path, kubeconfig string, debugPort int) error {
	content, name := defaultSchedulerConfig, "the built-in scheduler configuration"
	if o.SchedulerConfig != "" {
		var err error
		if content, err = os.ReadFile(o.SchedulerConfig); err != nil {
			return fmt.Errorf("reading the scheduler configuration: %w", err)
		}
		name = o.SchedulerConfig
	}
	completed, err := completeSchedulerConfig(content, kubeconfig, o.StorageEndpoint, o.StorageTokenFile, debugPort)
	if err != nil {
		return fmt.Errorf("%s: %s", name, strings.Join(strings.Fields(err.Error()), " "))
	}
	if err := os.WriteFile(path, completed, 0o600); err != nil {
		return fmt.Errorf("writing the scheduler configuration: %w", err)
	}
	return nil
}
