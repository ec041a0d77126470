// Command scheduler is kube-scheduler with the plugins of this project.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics at /metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // build information at /metrics

	"github.com/hyperconverge/scheduler/cmd/scheduler/app"
)

func main() {
	os.Exit(cli.Run(app.NewCommand()))
}
