package validation

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
)

func TestValidateOpenStorage(t *testing.T) {
	checkValidation(t, []validationCase{
		{
			name: "a token over TLS is valid",
			change: func(args *config.HyperconvergeArgs) {
				args.OpenStorage.TokenFile = "/token"
				args.OpenStorage.TLS = config.TLS{Enabled: true, CAFile: "/ca.crt", ServerName: "storage"}
			},
		},
		{
			name: "a token over plaintext is valid for those who ask for it",
			change: func(args *config.HyperconvergeArgs) {
				args.OpenStorage.TokenFile = "/token"
				args.OpenStorage.AllowPlaintextToken = true
			},
		},
		{
			name:   "a token over plaintext is refused with both ways out",
			change: func(args *config.HyperconvergeArgs) { args.OpenStorage.TokenFile = "/token" },
			want:   []string{`openStorage.tokenFile: Invalid value: "/token": the token would go over an unencrypted connection: set openStorage.tls.enabled to true, or openStorage.allowPlaintextToken to true if everyone on the way may read it`},
		},
		{
			name: "TLS settings that would have no effect are refused",
			change: func(args *config.HyperconvergeArgs) {
				args.OpenStorage.TLS = config.TLS{CAFile: "/ca.crt", ServerName: "storage"}
			},
			want: []string{
				`openStorage.tls.caFile: Invalid value: "/ca.crt": has no effect without TLS: set openStorage.tls.enabled to true or leave it out`,
				`openStorage.tls.serverName: Invalid value: "storage": has no effect without TLS: set openStorage.tls.enabled to true or leave it out`,
			},
		},
		{
			name: "durations of zero and less are refused",
			change: func(args *config.HyperconvergeArgs) {
				args.OpenStorage.NodePollInterval = metav1.Duration{Duration: -time.Second}
				args.OpenStorage.ResyncInterval = metav1.Duration{}
				args.OpenStorage.RequestTimeout = metav1.Duration{}
				args.OpenStorage.WatchBackoff = metav1.Duration{}
			},
			want: []string{
				`openStorage.nodePollInterval: Invalid value: "-1s": must be at least 100ms`,
				`openStorage.resyncInterval: Invalid value: "0s": must be at least 100ms`,
				`openStorage.requestTimeout: Invalid value: "0s": must be at least 100ms`,
				`openStorage.watchBackoff: Invalid value: "0s": must be at least 1s`,
			},
		},
		{
			name: "durations that would keep the storage servers busy, or be over before they answer, are refused",
			change: func(args *config.HyperconvergeArgs) {
				args.OpenStorage.NodePollInterval.Duration = 1
				args.OpenStorage.ResyncInterval.Duration = 15 * time.Millisecond
				args.OpenStorage.RequestTimeout.Duration = 99 * time.Millisecond
			},
			want: []string{
				`openStorage.nodePollInterval: Invalid value: "1ns": must be at least 100ms`,
				`openStorage.resyncInterval: Invalid value: "15ms": must be at least 100ms`,
				`openStorage.requestTimeout: Invalid value: "99ms": must be at least 100ms`,
			},
		},
		{
			name: "the least durations are valid",
			change: func(args *config.HyperconvergeArgs) {
				args.OpenStorage.NodePollInterval.Duration = 100 * time.Millisecond
				args.OpenStorage.ResyncInterval.Duration = 100 * time.Millisecond
				args.OpenStorage.RequestTimeout.Duration = 100 * time.Millisecond
				args.MaxStaleness.Duration = 300 * time.Millisecond
			},
		},
		{
			name:   "a watch backoff of one second is valid",
			change: func(args *config.HyperconvergeArgs) { args.OpenStorage.WatchBackoff.Duration = time.Second },
		},
		{
			name:   "a watch backoff below one second is refused",
			change: func(args *config.HyperconvergeArgs) { args.OpenStorage.WatchBackoff.Duration = 30 * time.Millisecond },
			want:   []string{`openStorage.watchBackoff: Invalid value: "30ms": must be at least 1s`},
		},
		{
			name:   "a resync as often as the node poll is valid",
			change: func(args *config.HyperconvergeArgs) { args.OpenStorage.ResyncInterval.Duration = 10 * time.Second },
		},
		{
			name:   "a resync more often than the node poll is refused",
			change: func(args *config.HyperconvergeArgs) { args.OpenStorage.ResyncInterval.Duration = 9 * time.Second },
			want:   []string{`openStorage.resyncInterval: Invalid value: "9s": must be at least nodePollInterval (10s)`},
		},
	})
}

func TestValidateEndpoint(t *testing.T) {
	tests := []struct {
		name     string
		endpoint string
		want     string
	}{
		{name: "a service name with a port", endpoint: "portworx-api.portworx.svc:9020"},
		{name: "a name in capitals", endpoint: "Storage.Example.COM:9020"},
		{name: "an absolute name", endpoint: "portworx-api.portworx.svc.cluster.local.:9020"},
		{name: "an IPv4 address", endpoint: "10.0.0.1:9020"},
		{name: "an IPv6 address in brackets", endpoint: "[fd00::1]:9020"},
		{name: "the gRPC target of a name", endpoint: "dns:///storage:9020"},
		{name: "the gRPC target of a unix socket", endpoint: "unix:///var/run/storage.sock"},
		{name: "the highest port", endpoint: "storage:65535"},

		{name: "nothing", endpoint: "",
			want: `endpoint: Required value: must be host:port, dns:///host:port or unix:///path; leave it out for the default`},
		{name: "a name without a port", endpoint: "storage",
			want: `endpoint: Invalid value: "storage": must be host:port, dns:///host:port or unix:///path: address storage: missing port in address`},
		{name: "a gRPC target without a port", endpoint: "dns:///storage",
			want: `endpoint: Invalid value: "dns:///storage": must be host:port, dns:///host:port or unix:///path: address storage: missing port in address`},
		{name: "an IPv6 address without brackets", endpoint: "fd00::1:9020",
			want: `endpoint: Invalid value: "fd00::1:9020": must be host:port, dns:///host:port or unix:///path: address fd00::1:9020: too many colons in address`},
		{name: "a port without a host", endpoint: ":9020",
			want: `endpoint: Invalid value: ":9020": "" is neither a host name nor an IP address`},
		{name: "a host with a space", endpoint: "my storage:9020",
			want: `endpoint: Invalid value: "my storage:9020": "my storage" is neither a host name nor an IP address`},
		{name: "port zero", endpoint: "storage:0",
			want: `endpoint: Invalid value: "storage:0": port "0" is not a number from 1 to 65535`},
		{name: "a port that is too high", endpoint: "storage:65536",
			want: `endpoint: Invalid value: "storage:65536": port "65536" is not a number from 1 to 65535`},
		{name: "a port by name", endpoint: "storage:grpc",
			want: `endpoint: Invalid value: "storage:grpc": port "grpc" is not a number from 1 to 65535`},
		{name: "a web address", endpoint: "https://storage:9021",
			want: `endpoint: Invalid value: "https://storage:9021": must be host:port, dns:///host:port or unix:///path, not https://`},
		{name: "a DNS target with two slashes", endpoint: "dns://storage:9020",
			want: `endpoint: Invalid value: "dns://storage:9020": two slashes name a DNS server: write dns:///host:port, with three`},
		{name: "a unix socket with two slashes", endpoint: "unix://run/storage.sock",
			want: `endpoint: Invalid value: "unix://run/storage.sock": the path of a unix socket is absolute: unix:///path`},
		{name: "a unix socket without a path", endpoint: "unix:///",
			want: `endpoint: Invalid value: "unix:///": the path of a unix socket is absolute: unix:///path`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			errs := validateEndpoint(field.NewPath("endpoint"), tt.endpoint)
			got := ""
			if err := errs.ToAggregate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("error:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

func FuzzValidateEndpoint(f *testing.F) {
	for _, endpoint := range []string{"storage:9020", "[::1]:1", "dns:///storage:9020", "unix:///run/storage.sock", "://", "[", ":"} {
		f.Add(endpoint)
	}
	f.Fuzz(func(t *testing.T, endpoint string) {
		for _, err := range validateEndpoint(field.NewPath("endpoint"), endpoint) {
			if err.Detail == "" {
				t.Errorf("%q is refused without a reason", endpoint)
			}
		}
	})
}
