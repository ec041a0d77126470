package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func parse(t *testing.T, args ...string) *options {
	t.Helper()
	o := newOptions()
	flags := pflag.NewFlagSet("webhook", pflag.ContinueOnError)
	o.addFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestFlags(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want []string // parts of the error; none if the flags are right
	}{
		"in its own namespace nothing needs to be said": {},
		"files need no namespace":                       {args: []string{"--certificates=files", "--namespace="}},
		"a scheduler has a name":                        {args: []string{"--scheduler-name=Hyper Converge"}, want: []string{`--scheduler-name "Hyper Converge"`}},
		"no drivers, no volumes":                        {args: []string{"--drivers="}, want: []string{"--drivers is empty"}},
		"a driver has a name":                           {args: []string{"--drivers=a,,b"}, want: []string{"--drivers has an empty name"}},
		"a port is a port":                              {args: []string{"--port=70000"}, want: []string{"--port 70000"}},
		"lookups have a rate":                           {args: []string{"--lookup-qps=0"}, want: []string{"--lookup-qps"}},
		"no delay is negative":                          {args: []string{"--shutdown-delay=-1s"}, want: []string{"--shutdown-delay -1s"}},
		"no timeout is negative":                        {args: []string{"--shutdown-timeout=-1s"}, want: []string{"--shutdown-timeout -1s"}},
		"certificates come from somewhere":              {args: []string{"--certificates=heaven"}, want: []string{`--certificates "heaven"`}},
		"files are in a directory":                      {args: []string{"--certificates=files", "--certificate-dir="}, want: []string{"--certificate-dir"}},
		"self-managed certificates need the namespace":  {args: []string{"--namespace="}, want: []string{"POD_NAMESPACE"}},
		"a certificate lives longer than it settles":    {args: []string{"--certificate-validity=5m"}, want: []string{"--certificate-validity 5m0s", "--certificate-settle 1m0s"}},
		"settling takes time":                           {args: []string{"--certificate-settle=0s"}, want: []string{"--certificate-settle has to be"}},
		"objects have names":                            {args: []string{"--service=A/B", "--webhook-configuration="}, want: []string{`--service "A/B"`, `--webhook-configuration ""`}},
		"all mistakes are told at once":                 {args: []string{"--port=0", "--lookup-burst=0"}, want: []string{"--port 0", "--lookup-burst"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("POD_NAMESPACE", "hyperconverge-system")
			err := parse(t, test.args...).validate()
			if (err == nil) != (len(test.want) == 0) {
				t.Fatalf("the error is %v", err)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error is %q, want %q in it", err, part)
				}
			}
		})
	}
}

// The contract's drivers, docs/behaviour.md section 1.
func TestDefaultDrivers(t *testing.T) {
	want := []string{"pxd.portworx.com", "com.openstorage.pxd", "kubernetes.io/portworx-volume"}
	if got := parse(t).drivers; !slices.Equal(got, want) {
		t.Errorf("the drivers are %q, want %q", got, want)
	}
}
