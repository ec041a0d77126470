package openstoragesim

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/libopenstorage/openstorage/api"
	driverspec "github.com/libopenstorage/openstorage/api/spec"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

func TestParseParameters(t *testing.T) {
	tests := []struct {
		name       string
		parameters map[string]string
		spec       *api.VolumeSpec // on top of one replica, one stripe, ext4
		labels     map[string]string
		invalid    string // the parameter that the error names
	}{
		{name: "no parameters give one replica"},
		{
			name:       "repl is the number of replicas",
			parameters: map[string]string{"repl": "3"},
			spec:       &api.VolumeSpec{HaLevel: 3},
		},
		{name: "repl 0 is refused", parameters: map[string]string{"repl": "0"}, invalid: "repl"},
		{name: "repl 4 is more than the system can do", parameters: map[string]string{"repl": "4"}, invalid: "repl"},
		{name: "repl that is no number is refused", parameters: map[string]string{"repl": "two"}, invalid: "repl"},
		{
			name:       "nodes are separated by commas, semicolons and spaces around them",
			parameters: map[string]string{"nodes": "a, b;c,;"},
			spec:       &api.VolumeSpec{ReplicaSet: &api.ReplicaSet{Nodes: []string{"a", "b", "c"}}},
		},
		{name: "nodes that name none are refused", parameters: map[string]string{"nodes": " , ;"}, invalid: "nodes"},
		{
			name:       "zones and racks travel as labels",
			parameters: map[string]string{"zones": "a,b", "racks": "r1"},
			labels:     map[string]string{"zones": "a,b", "racks": "r1"},
		},
		{
			name:       "rack is another name of racks",
			parameters: map[string]string{"rack": "r1"},
			labels:     map[string]string{"racks": "r1"},
		},
		{name: "zones that name none are refused", parameters: map[string]string{"zones": ""}, invalid: "zones"},
		{
			name:       "best effort is on whatever its value",
			parameters: map[string]string{"best_effort_location_provisioning": "false"},
			labels:     map[string]string{"best_effort_location_provisioning": "true"},
		},
		{
			name:       "aggregation level is the number of stripes",
			parameters: map[string]string{"aggregation_level": "2"},
			spec:       &api.VolumeSpec{AggregationLevel: 2},
		},
		{
			name:       "aggregation level auto is kept",
			parameters: map[string]string{"aggregation_level": "auto"},
			spec:       &api.VolumeSpec{AggregationLevel: api.AutoAggregation},
		},
		{
			name:       "an aggregation level that is no number is refused, not taken for 0",
			parameters: map[string]string{"aggregation_level": "many"},
			invalid:    "aggregation_level",
		},
		{
			name:       "sharedv4 alone has no service",
			parameters: map[string]string{"sharedv4": "true"},
			spec:       &api.VolumeSpec{Sharedv4: true},
		},
		{
			name:       "a service type makes a service volume",
			parameters: map[string]string{"sharedv4": "true", "sharedv4_svc_type": "ClusterIP"},
			spec: &api.VolumeSpec{Sharedv4: true, Sharedv4ServiceSpec: &api.Sharedv4ServiceSpec{
				Type: api.Sharedv4ServiceSpec_CLUSTERIP,
			}},
		},
		{
			name:       "an empty service type says plain sharedv4",
			parameters: map[string]string{"sharedv4": "true", "sharedv4_svc_type": ""},
			spec: &api.VolumeSpec{Sharedv4: true, Sharedv4ServiceSpec: &api.Sharedv4ServiceSpec{
				Type: api.Sharedv4ServiceSpec_NONE,
			}},
		},
		{name: "an unknown service type is refused", parameters: map[string]string{"sharedv4_svc_type": "clusterip"}, invalid: "sharedv4_svc_type"},
		{name: "a boolean that is none is refused", parameters: map[string]string{"sharedv4": "yes"}, invalid: "sharedv4"},
		{
			name:       "winshare makes a Windows volume",
			parameters: map[string]string{"winshare": "true"},
			spec:       &api.VolumeSpec{Winshare: true},
		},
		{
			name:       "a Pure backend makes a direct access volume",
			parameters: map[string]string{"backend": "pure_block"},
			spec:       &api.VolumeSpec{ProxySpec: &api.ProxySpec{ProxyProtocol: api.ProxyProtocol_PROXY_PROTOCOL_PURE_BLOCK}},
		},
		{name: "a backend that is not Pure is refused", parameters: map[string]string{"backend": "nfs"}, invalid: "backend"},
		{
			name:       "a proxy endpoint makes a proxy volume",
			parameters: map[string]string{"proxy_endpoint": "nfs://filer/export"},
			spec: &api.VolumeSpec{ProxySpec: &api.ProxySpec{
				ProxyProtocol: api.ProxyProtocol_PROXY_PROTOCOL_NFS, Endpoint: "filer/export",
			}},
		},
		{name: "a proxy endpoint without protocol is refused", parameters: map[string]string{"proxy_endpoint": "filer"}, invalid: "proxy_endpoint"},
		{
			name:       "the filesystem may come from the provisioner",
			parameters: map[string]string{"csi.storage.k8s.io/fstype": "xfs"},
			spec:       &api.VolumeSpec{Format: api.FSType_FS_TYPE_XFS},
		},
		{name: "an unknown filesystem is refused", parameters: map[string]string{"fs": "ntfs5"}, invalid: "fs"},
		{
			name: "claim name and namespace become labels, the provisioner's other keys do not",
			parameters: map[string]string{
				"csi.storage.k8s.io/pvc/name":                "mysql-data",
				"csi.storage.k8s.io/pvc/namespace":           "shop",
				"csi.storage.k8s.io/pv/name":                 "pvc-1",
				"csi.storage.k8s.io/provisioner-secret-name": "px-secret",
			},
			labels: map[string]string{"pvc": "mysql-data", "namespace": "shop"},
		},
		{
			name: "everything else is kept as a label as it is",
			parameters: map[string]string{
				"placement_strategy":                        "near-the-app",
				"stork.libopenstorage.org/preferRemoteNode": "False ",
				"iops": "many",
			},
			labels: map[string]string{
				"placement_strategy":                        "near-the-app",
				"stork.libopenstorage.org/preferRemoteNode": "False ",
				"iops": "many",
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec, labels, err := ParseParameters(test.parameters)
			if test.invalid != "" {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.invalid+"=") {
					t.Fatalf("got error %v, want ErrInvalid that names %s", err, test.invalid)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := driverspec.NewSpecHandler().DefaultSpec()
			want.AggregationLevel = 1
			if test.spec != nil {
				proto.Merge(want, test.spec)
			}
			if diff := cmp.Diff(want, spec, protocmp.Transform()); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
			if test.labels == nil {
				test.labels = map[string]string{}
			}
			if diff := cmp.Diff(test.labels, labels); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzParseParameters feeds parameters as text, key=value by line.
func FuzzParseParameters(f *testing.F) {
	f.Add("repl=3\nnodes=a;b,c\nzones=z1\nstork.libopenstorage.org/preferRemoteNode=false")
	f.Add("aggregation_level=auto\nsharedv4=true\nsharedv4_svc_type=")
	f.Add("backend=pure_file\nproxy_endpoint=s3://bucket\nfs=ext4\ncsi.storage.k8s.io/pvc/name=x")
	f.Add("repl=99999999999999999999\naggregation_level=-1\n=\n==")
	f.Fuzz(func(t *testing.T, text string) {
		parameters := map[string]string{}
		for line := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			parameters[key] = value
		}
		spec, labels, err := ParseParameters(parameters)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || spec != nil || labels != nil {
				t.Fatalf("got %v with spec %v and labels %v, want ErrInvalid and nothing else", err, spec, labels)
			}
			return
		}
		if spec.GetHaLevel() < 1 || spec.GetHaLevel() > maxReplicas || spec.GetAggregationLevel() < 1 {
			t.Errorf("%d replicas, %d stripes", spec.GetHaLevel(), spec.GetAggregationLevel())
		}
		for key, value := range parameters {
			if strings.HasPrefix(key, "stork.libopenstorage.org/") && labels[key] != value {
				t.Errorf("parameter %q=%q became label %q", key, value, labels[key])
			}
		}
		again, _, err := ParseParameters(parameters)
		if err != nil || !proto.Equal(spec, again) {
			t.Errorf("the second time it is %v, %v", again, err)
		}
	})
}
