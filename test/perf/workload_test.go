package perf

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/test/kit"
)

const (
	// foreignDriver is any CSI driver but the one whose volumes the plugin knows, with the attach limit that
	// scheduler_perf gives to its nodes.
	foreignDriver      = "csi.example.com"
	foreignAttachLimit = 39

	strictAnnotation = "stork.libopenstorage.org/preferLocalNodeOnly"
	workloadLabel    = "workload"
)

// workload is one kind of pod.
type workload struct {
	name   string
	claims int    // per pod
	driver string // of the claims
	// strict pods run on a replica node of all their volumes or not at all. Their
	// volumes have their replicas on the same nodes; those of other pods are
	// placed one by one.
	strict bool
	// fold multiplies the number of pods: plain pods are quick, and their ratio has
	// to be told to a hundredth.
	fold int
	// shared claims are the same for all pods.
	shared bool
	// cpu is what a pod asks for, if that is not what scheduler_perf's pods do.
	cpu string
}

// ofEveryPod is what scheduler_perf's pods ask for.
var ofEveryPod = map[v1.ResourceName]string{v1.ResourceCPU: "100m", v1.ResourceMemory: "500Mi"}

// workloads are measured in this order.
var workloads = []workload{
	{name: "plain", fold: 4},
	{name: "csi", claims: 1, driver: foreignDriver, fold: 1},
	{name: "soft1", claims: 1, driver: kit.Driver, fold: 1},
	{name: "soft3", claims: 3, driver: kit.Driver, fold: 1},
	{name: "strict1", claims: 1, driver: kit.Driver, strict: true, fold: 1},
	{name: "strict3", claims: 3, driver: kit.Driver, strict: true, fold: 1},
}

// readers share one volume, and are so large that each has a node of its own: the pods for
// which kube-scheduler uses the search of one for the next (opportunistic batching).
var readers = workload{name: "readers", claims: 1, driver: kit.Driver, shared: true, cpu: "3", fold: 4}

// replicated reports whether the pods have data that they can be near to.
func (w workload) replicated() bool { return w.driver == kit.Driver }

func (w workload) claimName(pod, claim int) string {
	if w.shared {
		pod = 0
	}
	return fmt.Sprintf("%s-%d-%d", w.name, pod, claim)
}

func (w workload) podName(pod int) string { return fmt.Sprintf("%s-%d", w.name, pod) }

func (w workload) pod(number int) *v1.Pod {
	claims := make([]string, w.claims)
	for i := range claims {
		claims[i] = w.claimName(number, i)
	}
	pod := kit.Pod(metav1.NamespaceDefault, w.podName(number), v1.DefaultSchedulerName, claims...).Label(workloadLabel, w.name).Req(ofEveryPod)
	if w.cpu != "" {
		pod.Req(map[v1.ResourceName]string{v1.ResourceCPU: w.cpu})
	}
	if w.strict {
		pod.Annotation(strictAnnotation, "true")
	}
	return pod.Obj()
}

// onData reports whether a node is where LocalFirst has to put the pod:
// on a replica node of one of its volumes, of all of them if the pod is strict.
func (w workload) onData(c *cluster, pod int, node string) bool {
	held := 0
	for claim := range w.claims {
		if c.replicaNodes[w.claimName(pod, claim)].Has(node) {
			held++
		}
	}
	return held == w.claims || (held > 0 && !w.strict)
}
