//go:build kubernetes1.36

package minor

import (
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"sigs.k8s.io/scheduler-plugins/pkg/coscheduling"
)

// Kubernetes is N of the minor 1.N.
const Kubernetes uint = 36

// Plugins are those of scheduler-plugins that not all minors have.
func Plugins() runtime.Registry {
	return runtime.Registry{
		coscheduling.Name:    Signing(coscheduling.New, func(p *coscheduling.Coscheduling) fwk.Plugin { return signedGang{p} }),
		"CapacityScheduling": leftOut("CapacityScheduling", "use ResourceQuotas"),
	}
}
