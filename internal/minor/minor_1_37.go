//go:build kubernetes1.37

package minor

import "k8s.io/kubernetes/pkg/scheduler/framework/runtime"

// Kubernetes is N of the minor 1.N.
const Kubernetes uint = 37

// Plugins are those of scheduler-plugins that not all minors have.
func Plugins() runtime.Registry {
	return runtime.Registry{
		"Coscheduling":       leftOut("Coscheduling", "use the PodGroups of Kubernetes and the feature gate GenericWorkload"),
		"CapacityScheduling": leftOut("CapacityScheduling", "use ResourceQuotas"),
	}
}
