// Package minor holds what differs between the minors of Kubernetes for which this project is
// built (hack/kubernetes): one file for each, which the tag kubernetes1.N chooses.
package minor

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	fwk "k8s.io/kube-scheduler/framework"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
)

// leftOut stands for a plugin of scheduler-plugins that does not build on this minor. A
// profile that names it ends the start.
func leftOut(name, instead string) frameworkruntime.PluginFactory {
	return func(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) {
		return nil, fmt.Errorf("plugin %s is left out of the build for Kubernetes 1.%d, on which it does not compile: %s (docs/versions.md)", name, Kubernetes, instead)
	}
}
