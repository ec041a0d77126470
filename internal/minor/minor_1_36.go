//go:build kubernetes1.36

package minor

import (
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"sigs.k8s.io/scheduler-plugins/pkg/coscheduling"
)

// Kubernetes is N of the minor 1.N.
const Kubernetes uint = 36

// Plugins are those of scheduler-plugins that not all minors have.
func Plugins() runtime.Registry {
	return runtime.Registry{
		coscheduling.Name:    coscheduling.New,
		"CapacityScheduling": leftOut("CapacityScheduling", "use ResourceQuotas"),
	}
}
