// Package plugins lists the plugins that this project's scheduler has beside those of
// kube-scheduler.
package plugins

import (
	"maps"

	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	_ "sigs.k8s.io/scheduler-plugins/apis/config/scheme" // arguments of the four plugins
	"sigs.k8s.io/scheduler-plugins/pkg/noderesources"
	"sigs.k8s.io/scheduler-plugins/pkg/noderesourcetopology"

	"github.com/hyperconverge/scheduler/internal/minor"
	_ "github.com/hyperconverge/scheduler/pkg/apis/config/scheme" // HyperconvergeArgs
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
)

// Registry is the plugins by name: ours, and those of scheduler-plugins that databases
// need beside it, because a pod has one scheduler only.
func Registry(factory *hyperconverge.Factory) runtime.Registry {
	registry := minor.Plugins()
	maps.Copy(registry, runtime.Registry{
		hyperconverge.Name:            factory.New,
		noderesources.AllocatableName: noderesources.NewAllocatable,
		noderesourcetopology.Name:     noderesourcetopology.New,
	})
	return registry
}
