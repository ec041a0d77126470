package validation

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	configv1 "github.com/hyperconverge/scheduler/pkg/apis/config/v1"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// defaultArgs are the arguments of a user who wrote none.
func defaultArgs(t *testing.T) *config.HyperconvergeArgs {
	t.Helper()
	var versioned configv1.HyperconvergeArgs
	configv1.SetObjectDefaults_HyperconvergeArgs(&versioned)
	args := &config.HyperconvergeArgs{}
	if err := configv1.Convert_v1_HyperconvergeArgs_To_config_HyperconvergeArgs(&versioned, args, nil); err != nil {
		t.Fatalf("converting the defaults: %v", err)
	}
	return args
}

func messages(err error) []string {
	if err == nil {
		return nil
	}
	var aggregate utilerrors.Aggregate
	if !errors.As(err, &aggregate) {
		return []string{err.Error()}
	}
	var all []string
	for _, err := range aggregate.Errors() {
		all = append(all, err.Error())
	}
	return all
}

type validationCase struct {
	name   string
	change func(*config.HyperconvergeArgs)
	want   []string
}

func checkValidation(t *testing.T, tests []validationCase) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := defaultArgs(t)
			tt.change(args)
			got := messages(ValidateHyperconvergeArgs(nil, args))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func TestValidateHyperconvergeArgs(t *testing.T) {
	checkValidation(t, []validationCase{
		{
			name:   "the defaults are valid",
			change: func(*config.HyperconvergeArgs) {},
		},
		{
			name:   "both preferences are valid",
			change: func(args *config.HyperconvergeArgs) { args.Preference = placement.ScoreOnly },
		},
		{
			name:   "another preference is refused with those that exist",
			change: func(args *config.HyperconvergeArgs) { args.Preference = "localFirst" },
			want:   []string{`preference: Unsupported value: "localFirst": supported values: "LocalFirst", "Score"`},
		},
		{
			name: "equal scores are valid, at both ends of the range",
			change: func(args *config.HyperconvergeArgs) {
				args.TierScores = config.TierScores{Local: 100, Rack: 100, Zone: 100}
			},
		},
		{
			name: "scores out of range are refused, each by its name",
			change: func(args *config.HyperconvergeArgs) {
				args.TierScores.Local = 101
				args.TierScores.Remote = -1
			},
			want: []string{
				`tierScores.local: Invalid value: 101: must be 0 to 100`,
				`tierScores.remote: Invalid value: -1: must be 0 to 100`,
			},
		},
		{
			name:   "a farther tier that scores more than a nearer one is refused",
			change: func(args *config.HyperconvergeArgs) { args.TierScores.Rack = 20 },
			want:   []string{`tierScores.zone: Invalid value: 25: must not be more than rack, which is nearer and scores 20; scores that are left out have their defaults`},
		},
		{
			name: "an empty topology level is valid",
			change: func(args *config.HyperconvergeArgs) {
				args.TopologyKeys = config.TopologyKeys{Region: []string{}, Zone: []string{}, Rack: []string{}}
			},
		},
		{
			name: "what cannot be a label key is refused with its place in the list",
			change: func(args *config.HyperconvergeArgs) {
				args.TopologyKeys.Region = []string{"px/region", ""}
				args.TopologyKeys.Rack = []string{"px/rack/row"}
			},
			want: []string{
				`topologyKeys.region[1]: Required value: must not be empty`,
				`topologyKeys.rack[0]: Invalid value: "px/rack/row": must be [prefix/]name: letters, digits, '-', '_' and '.', the prefix a DNS name, the name at most 63 characters`,
			},
		},
		{
			name:   "a label key that is listed twice is refused",
			change: func(args *config.HyperconvergeArgs) { args.TopologyKeys.Zone = []string{"px/zone", "room", "px/zone"} },
			want:   []string{`topologyKeys.zone[2]: Duplicate value: "px/zone"`},
		},
		{
			name:   "an empty list of drivers is refused",
			change: func(args *config.HyperconvergeArgs) { args.Drivers = []string{} },
			want:   []string{`drivers: Required value: without a driver no volume is ours; leave the field out for the default names`},
		},
		{
			name:   "a driver with a stray space is refused",
			change: func(args *config.HyperconvergeArgs) { args.Drivers = []string{" pxd.portworx.com"} },
			want:   []string{`drivers[0]: Invalid value: " pxd.portworx.com": must be [prefix/]name: letters, digits, '-', '_' and '.', the prefix a DNS name, the name at most 63 characters`},
		},
		{
			name: "a driver without a name and a driver that is listed twice are refused",
			change: func(args *config.HyperconvergeArgs) {
				args.Drivers = []string{"", "pxd.portworx.com", "pxd.portworx.com"}
			},
			want: []string{
				`drivers[0]: Required value: must not be empty`,
				`drivers[2]: Duplicate value: "pxd.portworx.com"`,
			},
		},
		{
			name: "durations of zero and less are refused",
			change: func(args *config.HyperconvergeArgs) {
				args.UnknownVolumeGracePeriod = metav1.Duration{}
				args.MaxStaleness = metav1.Duration{Duration: -time.Minute}
			},
			want: []string{
				`unknownVolumeGracePeriod: Invalid value: "0s": must be more than zero`,
				`maxStaleness: Invalid value: "-1m0s": must be more than zero`,
			},
		},
		{
			name:   "data must not go stale between two node polls",
			change: func(args *config.HyperconvergeArgs) { args.MaxStaleness.Duration = 30*time.Second - 1 },
			want:   []string{`maxStaleness: Invalid value: "29.999999999s": must be at least 30s, two openStorage.nodePollInterval (10s) and one openStorage.requestTimeout (10s), or data goes stale between two polls`},
		},
		{
			name:   "data that lives from one node poll to the next is valid",
			change: func(args *config.HyperconvergeArgs) { args.MaxStaleness.Duration = 30 * time.Second },
		},
		{
			name:   "a wait is from nothing to an hour",
			change: func(args *config.HyperconvergeArgs) { args.WaitForLocal.Duration = 61 * time.Minute },
			want:   []string{`waitForLocal: Invalid value: "1h1m0s": must be 0s to 1h0m0s`},
		},
		{
			name:   "nobody waits for less than nothing",
			change: func(args *config.HyperconvergeArgs) { args.WaitForLocal.Duration = -time.Second },
			want:   []string{`waitForLocal: Invalid value: "-1s": must be 0s to 1h0m0s`},
		},
		{
			name: "limits of allocation are percentages, and their faults say how to write them",
			change: func(args *config.HyperconvergeArgs) {
				args.LocalFirst.MaxAllocation = config.MaxAllocation{CPU: "90", Memory: "0%", Pods: "101%"}
			},
			want: []string{
				`localFirst.maxAllocation.cpu: Invalid value: "90": has no percent sign: write 90%`,
				`localFirst.maxAllocation.memory: Invalid value: "0%": is less than 1%: write 1% or more, or leave it out`,
				`localFirst.maxAllocation.pods: Invalid value: "101%": is more than 100%: write 100% or less, or leave it out`,
			},
		},
		{
			name: "spread and skew",
			change: func(args *config.HyperconvergeArgs) {
				args.LocalFirst.Spread, args.LocalFirst.MaxSkew = "Racks", 0
			},
			want: []string{
				`localFirst.spread: Unsupported value: "Racks": supported values: "None", "Replicas", "Zone"`,
				`localFirst.maxSkew: Invalid value: 0: must be at least 1`,
			},
		},
		{
			name: "everything that is wrong is reported at once",
			change: func(args *config.HyperconvergeArgs) {
				args.Preference = ""
				args.Drivers = nil
				args.OpenStorage.Endpoint = ""
			},
			want: []string{
				`preference: Unsupported value: "": supported values: "LocalFirst", "Score"`,
				`drivers: Required value: without a driver no volume is ours; leave the field out for the default names`,
				`openStorage.endpoint: Required value: must be host:port, dns:///host:port or unix:///path; leave it out for the default`,
			},
		},
	})
}

func TestErrorsStandBelowTheGivenPath(t *testing.T) {
	args := defaultArgs(t)
	args.OpenStorage.TokenFile = "/token"
	path := field.NewPath("profiles").Index(0).Child("pluginConfig").Index(1).Child("args")
	want := []string{`profiles[0].pluginConfig[1].args.openStorage.tokenFile: Invalid value: "/token": ` +
		`the token would go over an unencrypted connection: ` +
		`set profiles[0].pluginConfig[1].args.openStorage.tls.enabled to true, or ` +
		`profiles[0].pluginConfig[1].args.openStorage.allowPlaintextToken to true if everyone on the way may read it`}
	if diff := cmp.Diff(want, messages(ValidateHyperconvergeArgs(path, args))); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}
