package v1

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestDefaults(t *testing.T) {
	defaults := func(change func(*HyperconvergeArgs)) *HyperconvergeArgs {
		args := &HyperconvergeArgs{
			Preference:   "LocalFirst",
			WaitForLocal: &metav1.Duration{},
			LocalFirst:   LocalFirst{Spread: "None", MaxSkew: ptr.To[int32](1)},
			TierScores: TierScores{
				Local:  ptr.To[int64](100),
				Rack:   ptr.To[int64](50),
				Zone:   ptr.To[int64](25),
				Region: ptr.To[int64](10),
				Remote: ptr.To[int64](0),
			},
			TopologyKeys: TopologyKeys{
				Region: []string{"topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region", "px/region", "topology.portworx.io/region"},
				Zone:   []string{"topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone", "px/zone", "topology.portworx.io/zone"},
				Rack:   []string{"px/rack", "topology.portworx.io/rack"},
			},
			Drivers:                  []string{"pxd.portworx.com", "com.openstorage.pxd", "kubernetes.io/portworx-volume"},
			UnknownVolumeGracePeriod: &metav1.Duration{Duration: 5 * time.Second},
			MaxStaleness:             &metav1.Duration{Duration: 10 * time.Minute},
			OpenStorage: OpenStorage{
				Endpoint:            ptr.To("portworx-api.portworx.svc:9020"),
				TLS:                 TLS{Enabled: ptr.To(false)},
				NodePollInterval:    &metav1.Duration{Duration: 10 * time.Second},
				ResyncInterval:      &metav1.Duration{Duration: 15 * time.Minute},
				RequestTimeout:      &metav1.Duration{Duration: 10 * time.Second},
				WatchBackoff:        &metav1.Duration{Duration: 30 * time.Second},
				AllowPlaintextToken: ptr.To(false),
			},
			CountPodsByNamespace: ptr.To(true),
			DebugPort:            ptr.To[int32](10359),
		}
		change(args)
		return args
	}

	tests := []struct {
		name  string
		given HyperconvergeArgs
		want  *HyperconvergeArgs
	}{
		{
			name: "without arguments everything has its default",
			want: defaults(func(*HyperconvergeArgs) {}),
		},
		{
			name:  "one score leaves the defaults of the others",
			given: HyperconvergeArgs{TierScores: TierScores{Zone: ptr.To[int64](30)}},
			want:  defaults(func(args *HyperconvergeArgs) { args.TierScores.Zone = ptr.To[int64](30) }),
		},
		{
			name:  "zero is a score and not an absent one",
			given: HyperconvergeArgs{TierScores: TierScores{Region: ptr.To[int64](0)}},
			want:  defaults(func(args *HyperconvergeArgs) { args.TierScores.Region = ptr.To[int64](0) }),
		},
		{
			name:  "one topology level leaves the defaults of the others",
			given: HyperconvergeArgs{TopologyKeys: TopologyKeys{Zone: []string{"example.com/room"}}},
			want:  defaults(func(args *HyperconvergeArgs) { args.TopologyKeys.Zone = []string{"example.com/room"} }),
		},
		{
			name:  "an empty topology level stays empty",
			given: HyperconvergeArgs{TopologyKeys: TopologyKeys{Rack: []string{}}},
			want:  defaults(func(args *HyperconvergeArgs) { args.TopologyKeys.Rack = []string{} }),
		},
		{
			name:  "an empty list of drivers stays empty, for validation to refuse it",
			given: HyperconvergeArgs{Drivers: []string{}},
			want:  defaults(func(args *HyperconvergeArgs) { args.Drivers = []string{} }),
		},
		{
			name:  "an empty endpoint and a zero duration stay, for validation to refuse them",
			given: HyperconvergeArgs{MaxStaleness: &metav1.Duration{}, OpenStorage: OpenStorage{Endpoint: ptr.To("")}},
			want: defaults(func(args *HyperconvergeArgs) {
				args.MaxStaleness = &metav1.Duration{}
				args.OpenStorage.Endpoint = ptr.To("")
			}),
		},
		{
			name: "a connection with a token and TLS keeps the default intervals",
			given: HyperconvergeArgs{OpenStorage: OpenStorage{
				Endpoint:  ptr.To("storage:9020"),
				TokenFile: "/token",
				TLS:       TLS{Enabled: ptr.To(true), CAFile: "/ca.crt"},
			}},
			want: defaults(func(args *HyperconvergeArgs) {
				args.OpenStorage.Endpoint = ptr.To("storage:9020")
				args.OpenStorage.TokenFile = "/token"
				args.OpenStorage.TLS = TLS{Enabled: ptr.To(true), CAFile: "/ca.crt"}
			}),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			SetObjectDefaults_HyperconvergeArgs(&tt.given)
			if diff := cmp.Diff(tt.want, &tt.given); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDefaultsAreNotShared(t *testing.T) {
	var first, second HyperconvergeArgs
	SetObjectDefaults_HyperconvergeArgs(&first)
	first.Drivers[0] = "changed"
	*first.TierScores.Local = 1

	SetObjectDefaults_HyperconvergeArgs(&second)
	if got := second.Drivers[0]; got != "pxd.portworx.com" {
		t.Errorf("first driver %q after another object was changed", got)
	}
	if got := *second.TierScores.Local; got != 100 {
		t.Errorf("local score %d after another object was changed", got)
	}
}
