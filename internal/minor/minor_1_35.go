//go:build !kubernetes1.36 && !kubernetes1.37

package minor

import (
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"sigs.k8s.io/scheduler-plugins/pkg/capacityscheduling"
	"sigs.k8s.io/scheduler-plugins/pkg/coscheduling"
)

// Kubernetes is N of the minor 1.N.
const Kubernetes uint = 35

// Plugins are those of scheduler-plugins that not all minors have.
func Plugins() runtime.Registry {
	return runtime.Registry{coscheduling.Name: coscheduling.New, capacityscheduling.Name: capacityscheduling.New}
}
