package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/hyperconverge/scheduler/pkg/apis/config/scheme" // as the engine has it
)

const scheduler = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: hyperconverge-scheduler
  plugins: {multiPoint: {enabled: [{name: Hyperconverge}]}}
  pluginConfig: [{name: Hyperconverge, args: {openStorage: {endpoint: "storage:9020"}}}]
`

func TestMistakesStopTheStart(t *testing.T) {
	for _, tc := range []struct {
		name, rebalancer, scheduler string
		do                          func(o *options)
		want                        string // empty: it starts
	}{
		{"all is well", "apiVersion: hyperconverge.dev/v1\nkind: RebalancerConfiguration\ndryRun: false\n", scheduler, nil, ""},
		{"no configuration of its own is the default", "", scheduler, nil, ""},
		{"no configuration of the scheduler", "", "", nil, "--scheduler-config is missing"},
		{"a budget of 0", "apiVersion: hyperconverge.dev/v1\nkind: RebalancerConfiguration\nbudgets: {maxPerHour: 0}\n", scheduler, nil, "budgets.maxPerHour"},
		{"a scheduler without the plugin", "", "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n", nil, "no profile enables Hyperconverge"},
		{"a scheduler with a field that does not exist", "", strings.Replace(scheduler, "endpoint", "endpiont", 1), nil, "endpiont"},
		{"no namespace", "", scheduler, func(o *options) { o.namespace = "" }, "--namespace"},
		{"a journal that cannot be", "", scheduler, func(o *options) { o.journal = "My Journal" }, "--journal"},
		{"a file that is not there", "", scheduler, func(o *options) { o.config = "/does/not/exist" }, "reading --config"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := newOptions()
			o.namespace = "hyperconverge-system"
			for path, text := range map[*string]string{&o.config: tc.rebalancer, &o.schedulerConfig: tc.scheduler} {
				if text != "" {
					*path = filepath.Join(t.TempDir(), "file")
					if err := os.WriteFile(*path, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			if tc.do != nil {
				tc.do(o)
			}
			s, err := o.load()
			switch {
			case tc.want == "" && err != nil, tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %q", err, tc.want)
			case tc.want == "" && (s.storage.Endpoint != "storage:9020" || len(s.drivers) == 0):
				t.Errorf("storage is %+v", s.storage)
			}
		})
	}
}
