package scheme

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	schedulerconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"
	schedulerscheme "k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	schedulerconfigv1 "k8s.io/kubernetes/pkg/scheduler/apis/config/v1"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/apis/config/validation"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

const pluginName = "Hyperconverge"

// configurationHead enables the plugin; arguments follow, indented by six.
const configurationHead = `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: hyperconverge-scheduler
  plugins:
    multiPoint:
      enabled:
      - name: Hyperconverge
        weight: 15
`

// everyArgument sets every field to something other than its default.
const everyArgument = configurationHead + `
  pluginConfig:
  - name: Hyperconverge
    args:
      preference: Score
      tierScores: {local: 90, rack: 80, zone: 70, region: 60, remote: 50}
      waitForLocal: 90s
      localFirst:
        maxAllocation: {cpu: 90%, memory: 95%, pods: 100%}
        spread: Zone
        maxSkew: 2
      topologyKeys:
        region: [example.com/region]
        zone: [example.com/zone, example.com/room]
        rack: []
      drivers: [example.com]
      unknownVolumeGracePeriod: 1s
      maxStaleness: 2m
      openStorage:
        endpoint: dns:///storage.example.com:9021
        tokenFile: /var/run/secrets/openstorage/auth-token
        tls: {enabled: true, caFile: /etc/openstorage/ca.crt, serverName: storage.example.com}
        nodePollInterval: 3s
        resyncInterval: 4m
        requestTimeout: 5s
        watchBackoff: 6s
        allowPlaintextToken: true
      countPodsByNamespace: false
      debugPort: 7
`

func everyArgumentDecoded() *config.HyperconvergeArgs {
	return &config.HyperconvergeArgs{
		Preference:   placement.ScoreOnly,
		TierScores:   config.TierScores{Local: 90, Rack: 80, Zone: 70, Region: 60, Remote: 50},
		WaitForLocal: metav1.Duration{Duration: 90 * time.Second},
		LocalFirst:   config.LocalFirst{MaxAllocation: config.MaxAllocation{CPU: "90%", Memory: "95%", Pods: "100%"}, Spread: placement.SpreadZone, MaxSkew: 2},
		TopologyKeys: config.TopologyKeys{
			Region: []string{"example.com/region"},
			Zone:   []string{"example.com/zone", "example.com/room"},
			Rack:   []string{},
		},
		Drivers:                  []string{"example.com"},
		UnknownVolumeGracePeriod: metav1.Duration{Duration: time.Second},
		MaxStaleness:             metav1.Duration{Duration: 2 * time.Minute},
		OpenStorage: config.OpenStorage{
			Endpoint:  "dns:///storage.example.com:9021",
			TokenFile: "/var/run/secrets/openstorage/auth-token",
			TLS: config.TLS{
				Enabled:    true,
				CAFile:     "/etc/openstorage/ca.crt",
				ServerName: "storage.example.com",
			},
			NodePollInterval:    metav1.Duration{Duration: 3 * time.Second},
			ResyncInterval:      metav1.Duration{Duration: 4 * time.Minute},
			RequestTimeout:      metav1.Duration{Duration: 5 * time.Second},
			WatchBackoff:        metav1.Duration{Duration: 6 * time.Second},
			AllowPlaintextToken: true,
		},
		CountPodsByNamespace: false,
		DebugPort:            7,
	}
}

// decode reads a configuration file exactly as kube-scheduler does.
func decode(text string) (*schedulerconfig.KubeSchedulerConfiguration, error) {
	object, _, err := schedulerscheme.Codecs.UniversalDecoder().Decode([]byte(text), nil, nil)
	if err != nil {
		return nil, err
	}
	return object.(*schedulerconfig.KubeSchedulerConfiguration), nil
}

func mustDecode(t *testing.T, text string) *schedulerconfig.KubeSchedulerConfiguration {
	t.Helper()
	configuration, err := decode(text)
	if err != nil {
		t.Fatalf("decoding: %v", err)
	}
	return configuration
}

func pluginArgs(t *testing.T, profile *schedulerconfig.KubeSchedulerProfile) *config.HyperconvergeArgs {
	t.Helper()
	for _, plugin := range profile.PluginConfig {
		if plugin.Name == pluginName {
			args, ok := plugin.Args.(*config.HyperconvergeArgs)
			if !ok {
				t.Fatalf("the arguments are a %T, not of the internal type", plugin.Args)
			}
			return args
		}
	}
	t.Fatalf("profile %q has no arguments for %s", profile.SchedulerName, pluginName)
	return nil
}

func TestEveryArgumentReachesThePlugin(t *testing.T) {
	args := pluginArgs(t, &mustDecode(t, everyArgument).Profiles[0])
	if diff := cmp.Diff(everyArgumentDecoded(), args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if err := validation.ValidateHyperconvergeArgs(nil, args); err != nil {
		t.Errorf("validation: %v", err)
	}
}

func TestWithoutArgumentsThePluginGetsTheDefaults(t *testing.T) {
	for name, text := range map[string]string{
		"no pluginConfig": configurationHead,
		"empty args":      configurationHead + "\n  pluginConfig:\n  - name: Hyperconverge\n    args: {}\n",
		"null args":       configurationHead + "\n  pluginConfig:\n  - name: Hyperconverge\n    args: null\n",
		"every field null": configurationHead + `
  pluginConfig:
  - name: Hyperconverge
    args:
      preference: null
      tierScores: null
      topologyKeys: {region: null, zone: null, rack: null}
      drivers: null
      unknownVolumeGracePeriod: null
      maxStaleness: null
      openStorage: {endpoint: null, tokenFile: null, tls: null, watchBackoff: null}
`,
	} {
		t.Run(name, func(t *testing.T) {
			args := pluginArgs(t, &mustDecode(t, text).Profiles[0])
			if args.Preference != placement.LocalFirst {
				t.Errorf("preference %q", args.Preference)
			}
			if got, want := args.TierScores, (config.TierScores{Local: 100, Rack: 50, Zone: 25, Region: 10}); got != want {
				t.Errorf("tier scores %v, want %v", got, want)
			}
			if got, want := args.OpenStorage.Endpoint, "portworx-api.portworx.svc:9020"; got != want {
				t.Errorf("endpoint %q, want %q", got, want)
			}
			if err := validation.ValidateHyperconvergeArgs(nil, args); err != nil {
				t.Errorf("the defaults are not valid: %v", err)
			}
		})
	}
}

func TestProfilesHaveArgumentsOfTheirOwn(t *testing.T) {
	text := everyArgument + `
- schedulerName: stork
  plugins:
    multiPoint:
      enabled:
      - name: Hyperconverge
`
	configuration := mustDecode(t, text)
	if got := pluginArgs(t, &configuration.Profiles[0]).Preference; got != placement.ScoreOnly {
		t.Errorf("first profile: preference %q", got)
	}
	if got := pluginArgs(t, &configuration.Profiles[1]).Preference; got != placement.LocalFirst {
		t.Errorf("second profile: preference %q", got)
	}
}

func TestDecodingIsStrict(t *testing.T) {
	tests := []struct {
		name string
		args string
		want string
	}{
		{"a field that does not exist is named", `{preferense: Score}`, `unknown field "preferense"`},
		{"a nested field that does not exist is named with its path", `{openStorage: {tls: {enable: true}}}`, `unknown field "openStorage.tls.enable"`},
		{"field names are case-sensitive", `{openstorage: {endpoint: "storage:9020"}}`, `unknown field "openstorage"`},
		{"a field that is written twice is named", `{preference: Score, preference: LocalFirst}`, `key "preference" already set`},
		{"a duration needs a unit", `{maxStaleness: 10}`, `HyperconvergeArgs.maxStaleness`},
		{"a duration that is no duration is quoted", `{maxStaleness: soon}`, `invalid duration "soon"`},
		{"a list is not a text", `{drivers: pxd.portworx.com}`, `HyperconvergeArgs.drivers`},
		{"a score is a whole number", `{tierScores: {rack: 12.5}}`, `tierScores.rack`},
		{"arguments of another version are refused", `{apiVersion: kubescheduler.config.k8s.io/v2, kind: HyperconvergeArgs}`, `kubescheduler.config.k8s.io/v2`},
		{"arguments of another plugin are refused", `{apiVersion: kubescheduler.config.k8s.io/v1, kind: NodeAffinityArgs}`, `NodeAffinityArgs`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := decode(configurationHead + "\n  pluginConfig:\n  - name: Hyperconverge\n    args: " + tt.args + "\n")
			if err == nil {
				t.Fatal("decoded without an error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
}

func TestWrittenConfigurationReadsTheSame(t *testing.T) {
	configuration := mustDecode(t, everyArgument)
	serializer, ok := runtime.SerializerInfoForMediaType(schedulerscheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeYAML)
	if !ok {
		t.Fatal("no YAML serializer")
	}
	encoder := schedulerscheme.Codecs.EncoderForVersion(serializer.Serializer, schedulerconfigv1.SchemeGroupVersion)
	text, err := runtime.Encode(encoder, configuration)
	if err != nil {
		t.Fatalf("encoding: %v", err)
	}
	if diff := cmp.Diff(configuration, mustDecode(t, string(text))); diff != "" {
		t.Errorf("configuration (-before +after):\n%s\nwritten as:\n%s", diff, text)
	}
}
