// Package plugins lists the plugins that this project's scheduler has beside those of
// kube-scheduler.
package plugins

import (
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	_ "sigs.k8s.io/scheduler-plugins/apis/config/scheme" // arguments of the four plugins
	"sigs.k8s.io/scheduler-plugins/pkg/capacityscheduling"
	"sigs.k8s.io/scheduler-plugins/pkg/coscheduling"
	"sigs.k8s.io/scheduler-plugins/pkg/noderesources"
	"sigs.k8s.io/scheduler-plugins/pkg/noderesourcetopology"

	_ "github.com/hyperconverge/scheduler/pkg/apis/config/scheme" // HyperconvergeArgs
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
)

// Registry is the plugins by name: ours, and four of scheduler-plugins that databases
// need beside it, because a pod has one scheduler only.
func Registry(factory *hyperconverge.Factory) runtime.Registry {
	return runtime.Registry{
		hyperconverge.Name:            factory.New,
		coscheduling.Name:             coscheduling.New,
		capacityscheduling.Name:       capacityscheduling.New,
		noderesources.AllocatableName: noderesources.NewAllocatable,
		noderesourcetopology.Name:     noderesourcetopology.New,
	}
}
