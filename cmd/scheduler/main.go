// Command scheduler is kube-scheduler with the Hyperconverge plugin, and with
// four plugins of scheduler-plugins that databases need beside it: a pod has one
// scheduler only.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics at /metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // build information at /metrics
	_ "sigs.k8s.io/scheduler-plugins/apis/config/scheme"  // arguments of the four plugins

	"github.com/hyperconverge/scheduler/cmd/scheduler/app"
	_ "github.com/hyperconverge/scheduler/pkg/apis/config/scheme" // HyperconvergeArgs
)

func main() {
	os.Exit(cli.Run(app.NewCommand()))
}
