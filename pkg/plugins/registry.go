// Package plugins lists the plugins that this project's scheduler has beside those of
// kube-scheduler.
package plugins

import (
	"maps"

	fwk "k8s.io/kube-scheduler/framework"
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
		noderesources.AllocatableName: minor.Signing(noderesources.NewAllocatable, func(p *noderesources.Allocatable) fwk.Plugin { return signedAllocatable{p} }),
		noderesourcetopology.Name:     minor.Signing(noderesourcetopology.New, func(p *noderesourcetopology.TopologyMatch) fwk.Plugin { return signedTopology{p} }),
	})
	return registry
}
