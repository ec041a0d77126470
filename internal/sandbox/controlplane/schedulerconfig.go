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
// every profile that uses the plugin where the storage is, and the port of the debug
// endpoint, which all profiles share: the first one that is written, or debugPort. It
// returns that port, too. All else stays as it is written, mistakes included, for the
// scheduler to validate.
func completeSchedulerConfig(content []byte, kubeconfig, storageEndpoint, tokenFile string, debugPort int) ([]byte, int, error) {
	var config map[string]any
	if err := yaml.UnmarshalStrict(content, &config); err != nil {
		return nil, 0, err
	}
	if config == nil {
		return nil, 0, errors.New("the file is empty")
	}
	connection, err := child(config, "clientConnection")
	if err != nil {
		return nil, 0, err
	}
	connection["kubeconfig"] = kubeconfig

	profiles, err := mappings(config, "profiles")
	if err != nil {
		return nil, 0, err
	}
	var all []map[string]any // arguments
	chosen := false
	for i, profile := range profiles {
		args, err := pluginArgs(profile)
		if err != nil {
			return nil, 0, fmt.Errorf("profiles[%d].%w", i, err)
		}
		if args == nil {
			continue
		}
		if err := setStorage(args, storageEndpoint, tokenFile); err != nil {
			return nil, 0, fmt.Errorf("profiles[%d].%w", i, err)
		}
		if written, ok := args["debugPort"].(float64); ok && !chosen {
			debugPort, chosen = int(written), true
		}
		all = append(all, args)
	}
	for _, args := range all {
		if _, written := args["debugPort"]; !written {
			args["debugPort"] = debugPort
		}
	}
	completed, err := yaml.Marshal(config)
	return completed, debugPort, err
}

// pluginArgs are the plugin's arguments, made if they are not there; nil if the profile
// does not enable the plugin.
func pluginArgs(profile map[string]any) (map[string]any, error) {
	entries, err := mappings(profile, "pluginConfig")
	if err != nil {
		return nil, err
	}
	var plugin map[string]any
	for _, entry := range entries {
		if entry["name"] == pluginName {
			plugin = entry
		}
	}
	if plugin == nil {
		if !mentions(profile["plugins"], pluginName) {
			return nil, nil
		}
		plugin = map[string]any{"name": pluginName}
		profile["pluginConfig"] = append(entries, plugin)
	}
	return child(plugin, "args")
}

// setStorage writes where the storage is into the plugin's arguments.
func setStorage(args map[string]any, endpoint, tokenFile string) error {
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

// writeSchedulerConfig writes the completed configuration to path, and returns the port
// of the debug endpoint in it. The error names where the configuration came from.
func (o *Options) writeSchedulerConfig(path, kubeconfig string, debugPort int) (int, error) {
	content, name := defaultSchedulerConfig, "the built-in scheduler configuration"
	if o.SchedulerConfig != "" {
		var err error
		if content, err = os.ReadFile(o.SchedulerConfig); err != nil {
			return 0, fmt.Errorf("reading the scheduler configuration: %w", err)
		}
		name = o.SchedulerConfig
	}
	completed, debugPort, err := completeSchedulerConfig(content, kubeconfig, o.StorageEndpoint, o.StorageTokenFile, debugPort)
	if err != nil {
		return 0, fmt.Errorf("%s: %s", name, strings.Join(strings.Fields(err.Error()), " "))
	}
	if err := os.WriteFile(path, completed, 0o600); err != nil {
		return 0, fmt.Errorf("writing the scheduler configuration: %w", err)
	}
	return debugPort, nil
}
